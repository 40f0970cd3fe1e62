"""Latents to pixels, as the diffusers pipelines do it at their end, but at any step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from provenance.errors import InputError

if TYPE_CHECKING:
    from provenance.types import Float32Array, GenerationRequest

__all__ = ["decode_latents"]


def decode_latents(pipeline: Any, latents: torch.Tensor, request: GenerationRequest) -> Any:
    """(N, H, W, 3) float32, RGB, 0..1.

    Source: the last lines of ``__call__`` of the Stable Diffusion 1 to 3, FLUX and Z-Image
    pipelines of diffusers.

    Raises:
        InputError: The model's latents cannot be decoded by themselves.
    """
    vae = getattr(pipeline, "vae", None)
    if vae is None or not hasattr(vae.config, "scaling_factor"):
        raise InputError(
            f"a {type(pipeline).__name__} has no pictures to show between its steps; ask for no "
            "previews"
        )
    if latents.ndim == 3 and hasattr(pipeline, "_unpack_latents"):
        # NOTE: FLUX works on rows of patches; only its own code knows how to lay them out again.
        latents = pipeline._unpack_latents(  # noqa: SLF001
            latents, request.height_px, request.width_px, pipeline.vae_scale_factor
        )
    widened = vae.dtype == torch.float16 and bool(getattr(vae.config, "force_upcast", False))
    if widened:
        vae.to(dtype=torch.float32)
    try:
        image = vae.decode(_unscale(vae, latents).to(vae.dtype), return_dict=False)[0]
    finally:
        if widened:
            vae.to(dtype=torch.float16)
    floats: Float32Array = pipeline.image_processor.postprocess(image, output_type="np")
    return floats


def _unscale(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    mean = getattr(vae.config, "latents_mean", None)
    std = getattr(vae.config, "latents_std", None)
    if mean is not None and std is not None:
        places = (1, len(mean), 1, 1)
        spread, centre = (_row(values, latents).view(places) for values in (std, mean))
        whole: torch.Tensor = latents * spread / vae.config.scaling_factor + centre
        return whole
    scaled: torch.Tensor = latents / vae.config.scaling_factor
    return scaled + (getattr(vae.config, "shift_factor", None) or 0.0)


def _row(values: Any, like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, device=like.device, dtype=like.dtype)
