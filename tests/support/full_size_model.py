"""Stable Diffusion 1.5 in its own size, with random weights, in the layout of the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tiny_models import clip_tokenizer
from transformers import CLIPTextConfig, CLIPTextModel

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["build_stable_diffusion_15"]

# The last layer of a random decoder answers nearly grey pictures, in which no mark can hide.
_CONTRAST = 6.0


def build_stable_diffusion_15(folder: Path) -> Path:
    """Writes about 2 GB of half precision weights into ``folder``.

    Source: the ``config.json`` files of stable-diffusion-v1-5; what they leave out are diffusers'
    and transformers' defaults.
    """
    torch.manual_seed(0)
    # Made in half precision: the random numbers are drawn for half of the memory.
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                hidden_size=768,
                intermediate_size=3072,
                num_hidden_layers=12,
                num_attention_heads=12,
                projection_dim=768,
            )
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            sample_size=512,
        )
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    finally:
        torch.set_default_dtype(before)
    with torch.no_grad():
        vae.decoder.conv_out.weight *= _CONTRAST
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=clip_tokenizer(folder / "tokenizer"),
        unet=unet,
        scheduler=PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=True,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "README.md").write_text(
        "---\nlicense: creativeml-openrail-m\n---\n# Random weights\n"
    )
    return folder
