# mypy: disable-error-code="no-untyped-call,attr-defined,no-any-return"
# NOTE: diffusers and transformers annotate only some of their functions.
"""The parts of the bundled model, and the folder they are saved in.

Sizes are chosen for two CPU cores: 20 guided steps on 32x32 latents and one decoder pass to
512x512 stay within a few seconds, and everything in half precision within 40 MB.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from generator.embedded.training.vocabulary import MAX_TOKENS, write_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "LATENT_CHANNELS",
    "PREDICTION",
    "TEXT_WIDTH",
    "make_autoencoder",
    "make_scheduler",
    "make_text_encoder",
    "make_tokenizer",
    "make_unet",
    "save_pipeline",
]

# 8 channels at 1/16 of the side: half the compression ratio of a 4-channel one, so that
# texture survives; the decoder's five levels give the 16.
LATENT_CHANNELS = 8
TEXT_WIDTH = 128
# Velocity is well conditioned at both ends of the noise schedule (Salimans and Ho, "Progressive
# Distillation", 2022, section 4), which matters for short training.
PREDICTION = "v_prediction"


def make_autoencoder() -> AutoencoderKL:
    """Makes an untrained autoencoder: (N, 3, 16h, 16w) in [-1, 1] <-> (N, 8, h, w)."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 5,
        up_block_types=("UpDecoderBlock2D",) * 5,
        block_out_channels=(16, 32, 64, 128, 192),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        # Groups of two or three channels would erase the mean colour of a picture.
        norm_num_groups=1,
        sample_size=512,
        # Export normalises the latents, so the usual factor of Stable Diffusion is not needed.
        scaling_factor=1.0,
        # Convolutions alone keep the cost linear in pixels at sizes other than 512.
        mid_block_add_attention=False,
    )


def make_unet() -> UNet2DConditionModel:
    """Makes an untrained denoiser for (N, 8, 32, 32) latents with cross-attention to text."""
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        # Few channels where there are many cells: those levels cost the most and draw only detail.
        block_out_channels=(48, 96, 192),
        layers_per_block=1,
        # Time and text scale and shift every residual branch, not only shift it: a stronger hold
        # on what is drawn (Dhariwal and Nichol, "Diffusion Models Beat GANs", 2021, section 4.1).
        resnet_time_scale_shift="scale_shift",
        # Attention at 8x8 only: a step takes two thirds of the time it takes with 16x16 as well.
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
        # A pooled copy of the text joins the time embedding: day time and weather concern the
        # whole picture and are learnt much sooner this way.
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )


def make_tokenizer(folder: Path) -> CLIPTokenizer:
    """Writes the tokenizer's files into ``folder`` and loads them."""
    write_tokenizer(folder)
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Makes an untrained text encoder: (N, 77) token ids -> (N, 77, 128)."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            hidden_act="quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def make_scheduler() -> DPMSolverMultistepScheduler:
    """Makes the default sampler: DPM-Solver++ 2M, good from about 12 steps on.

    Source: Lu et al., "DPM-Solver++" (2022). The noise schedule is Stable Diffusion's.
    """
    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=PREDICTION,
        algorithm_type="dpmsolver++",
        solver_order=2,
        timestep_spacing="trailing",
        # Without effect on trailing steps; diffusers deprecates any other value.
        steps_offset=1,
        # Latents at 32x32 need more noise than Stable Diffusion's last step has; the last
        # step is pure noise, as in training (Lin et al., "Common Diffusion Noise Schedules
        # and Sample Steps are Flawed", 2024).
        rescale_betas_zero_snr=True,
        lower_order_final=True,
    )


def save_pipeline(
    folder: Path,
    *,
    autoencoder: AutoencoderKL,
    text_encoder: CLIPTextModel,
    unet: UNet2DConditionModel,
) -> None:
    """Saves all parts as a diffusers folder: half precision, safetensors only."""
    tokenizer = make_tokenizer(folder / "tokenizer")
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    _load_text_encoder_as_float32(folder / "text_encoder" / "config.json")
    _forget_origin(folder / "vae" / "config.json")
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)


def _forget_origin(config: Path) -> None:
    """Drops the path that a part was loaded from: it speaks of the machine that exported it."""
    settings = _read_config(config)
    settings.pop("_name_or_path", None)
    _write_config(config, settings)


def _load_text_encoder_as_float32(config: Path) -> None:
    """Makes the text encoder load in the precision that diffusers loads the other parts in.

    NOTE: transformers 5 loads in the saved precision by default, diffusers 0.42 in float32, so a
    folder saved in half precision would otherwise mix the two and fail on a CPU.
    """
    _write_config(config, _read_config(config) | {"dtype": "float32"})


def _read_config(config: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
    return settings


def _write_config(config: Path, settings: dict[str, Any]) -> None:
    config.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
