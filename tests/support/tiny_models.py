"""Tiny model folders with random weights, one for each family, in the layout of the real ones.

Nothing is downloaded: tokenizers are built from vocabularies of single bytes and letters. The
folders are what `save_pretrained` writes, so they are loaded by the same code as the big ones.
Every VAE shrinks by 8, as the real ones do, with so few channels that a 512x512 picture takes
about a second on one core; the last layer is amplified, so that pictures have texture and marks
can hide in it.
"""

from __future__ import annotations

import functools
import json
import shutil
from typing import TYPE_CHECKING, Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PNDMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FAMILIES = ("sd1", "sd2", "sdxl", "sd3", "flux", "zimage")

_CARD = "---\nlicense: {licence}\ntags:\n- tiny\n---\n# A tiny model with random weights\n"
_LICENCES = {"sd1": "creativeml-openrail-m", "sd2": "openrail++", "flux": "apache-2.0"}
_WIDTH = 16


def model_factory(root: Path) -> Callable[[str], Path]:
    """Answers a function from family (one of `FAMILIES`) to folder, built once below `root`.

    The folders are shared: copy one before changing it.
    """

    @functools.cache
    def folder_of(family: str) -> Path:
        return build_model(family, root / f"tiny-{family}")

    return folder_of


def build_model(family: str, folder: Path, *, seed: int = 0) -> Path:
    """Writes a model of `family` into `folder`; another seed gives other weights."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    builder = _BUILDERS[family]
    builder(folder).save_pretrained(folder, safe_serialization=True)
    licence = _LICENCES.get(family, "other")
    (folder / "README.md").write_text(_CARD.format(licence=licence))
    return folder


def build_safety_checker(folder: Path, *, seed: int = 0, threshold: float = 0.95) -> Path:
    """Writes ``safety_checker/`` and ``feature_extractor/`` into `folder`.

    Args:
        folder: The model folder.
        seed: Another seed gives other weights.
        threshold: Cosine of each concept above which it flags. Random vectors stay below the
            default; the real thresholds lie between 0.17 and 0.25.
    """
    torch.manual_seed(seed)
    config = CLIPConfig(
        text_config={"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2},
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        projection_dim=12,
    )
    checker = StableDiffusionSafetyChecker(config)
    with torch.no_grad():
        for name in ("concept_embeds", "special_care_embeds"):
            getattr(checker, name).normal_()
        for name in ("concept_embeds_weights", "special_care_embeds_weights"):
            getattr(checker, name).fill_(threshold)
    checker.save_pretrained(folder / "safety_checker", safe_serialization=True)
    _image_processor().save_pretrained(folder / "feature_extractor")
    return folder


# -- parts -------------------------------------------------------------------------------------


def clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """Every byte, alone and at a word's end: any text can be read, at one token a letter."""
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer.from_pretrained(str(folder), model_max_length=77)
    shutil.rmtree(folder)
    return tokenizer


def _clip_config(**extra: Any) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=514,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
        hidden_size=_WIDTH,
        intermediate_size=_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=_WIDTH,
        **extra,
    )


def _t5_tokenizer() -> T5TokenizerFast:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(chr(code), -3.0) for code in range(ord("a"), ord("z") + 1)]
    return T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=512)


def _t5_encoder() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=32, d_model=_WIDTH, d_kv=8, d_ff=_WIDTH, num_layers=1, num_heads=2)
    )


def _qwen_tokenizer() -> Qwen2Tokenizer:
    letters = sorted(ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*letters, "<|endoftext|>"])}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[], model_max_length=512)
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    return tokenizer


def _vae(latent_channels: int, **extra: Any) -> AutoencoderKL:
    vae = AutoencoderKL(
        block_out_channels=(4, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=latent_channels,
        sample_size=64,
        **extra,
    )
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(1.2)
    return vae


def _unet(**extra: Any) -> UNet2DConditionModel:
    settings: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (8, _WIDTH),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        # Attention only at the coarser level: at 512x512 it has 1024 places instead of 4096.
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 2,
        "cross_attention_dim": _WIDTH,
    }
    return UNet2DConditionModel(**{**settings, **extra})


def _image_processor() -> CLIPImageProcessor:
    return CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


_BETAS: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
}
"""The noise schedule of every Stable Diffusion before 3."""


# -- families ----------------------------------------------------------------------------------


def _stable_diffusion(folder: Path, scheduler: Any, unet: UNet2DConditionModel) -> Any:
    return StableDiffusionPipeline(
        vae=_vae(4),
        text_encoder=CLIPTextModel(_clip_config()),
        tokenizer=clip_tokenizer(folder / "parts"),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _build_sd1(folder: Path) -> Any:
    """As SD 1.5 is published: with PNDM and a safety checker of its own."""
    build_safety_checker(folder)
    pipeline = _stable_diffusion(
        folder, PNDMScheduler(**_BETAS, skip_prk_steps=True, set_alpha_to_one=False), _unet()
    )
    checker = StableDiffusionSafetyChecker.from_pretrained(folder / "safety_checker")
    pipeline.register_modules(safety_checker=checker, feature_extractor=_image_processor())
    return pipeline


def _build_sd2(folder: Path) -> Any:
    """As SD 2.1 is published: v-prediction, linear projections, no safety checker."""
    scheduler = DDIMScheduler(**_BETAS, prediction_type="v_prediction", clip_sample=False)
    unet = _unet(use_linear_projection=True, attention_head_dim=(2, 4))
    return _stable_diffusion(folder, scheduler, unet)


def _build_sdxl(folder: Path) -> Any:
    unet = _unet(
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=_WIDTH + 6 * 8,
        cross_attention_dim=2 * _WIDTH,
    )
    return StableDiffusionXLPipeline(
        vae=_vae(4),
        text_encoder=CLIPTextModel(_clip_config()),
        text_encoder_2=CLIPTextModelWithProjection(_clip_config(hidden_act="gelu")),
        tokenizer=clip_tokenizer(folder / "parts"),
        tokenizer_2=clip_tokenizer(folder / "parts"),
        unet=unet,
        scheduler=EulerDiscreteScheduler(**_BETAS, timestep_spacing="leading"),
        add_watermarker=False,
    )


def _build_sd3(folder: Path) -> Any:
    transformer = SD3Transformer2DModel(
        sample_size=32,
        patch_size=2,
        # diffusers paints inside masks with 16 channels only, which all published ones have.
        in_channels=16,
        out_channels=16,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=2 * _WIDTH,
        caption_projection_dim=16,
        pooled_projection_dim=2 * _WIDTH,
        pos_embed_max_size=64,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(16, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.0609),
        text_encoder=CLIPTextModelWithProjection(_clip_config()),
        tokenizer=clip_tokenizer(folder / "parts"),
        text_encoder_2=CLIPTextModelWithProjection(_clip_config(hidden_act="gelu")),
        tokenizer_2=clip_tokenizer(folder / "parts"),
        text_encoder_3=T5EncoderModel(
            T5Config(vocab_size=32, d_model=2 * _WIDTH, d_kv=8, d_ff=8, num_layers=1, num_heads=2)
        ),
        tokenizer_3=_t5_tokenizer(),
    )


def _build_flux(folder: Path) -> Any:
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=_WIDTH,
        pooled_projection_dim=_WIDTH,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_vae(4, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.1159),
        text_encoder=CLIPTextModel(_clip_config()),
        tokenizer=clip_tokenizer(folder / "parts"),
        text_encoder_2=_t5_encoder(),
        tokenizer_2=_t5_tokenizer(),
        transformer=transformer,
    )


def _build_zimage(_folder: Path) -> Any:
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=_WIDTH,
        axes_dims=[8, 4, 4],
        axes_lens=[1024, 64, 64],
    )
    with torch.no_grad():  # diffusers leaves these two uninitialised
        transformer.x_pad_token.fill_(1.0)
        transformer.cap_pad_token.fill_(1.0)
    encoder = Qwen3Model(
        Qwen3Config(
            vocab_size=512,
            hidden_size=_WIDTH,
            intermediate_size=_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
        )
    )
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(4, shift_factor=0.1159, scaling_factor=0.3611),
        text_encoder=encoder,
        tokenizer=_qwen_tokenizer(),
        transformer=transformer,
    )


_BUILDERS: dict[str, Callable[[Path], Any]] = {
    "sd1": _build_sd1,
    "sd2": _build_sd2,
    "sdxl": _build_sdxl,
    "sd3": _build_sd3,
    "flux": _build_flux,
    "zimage": _build_zimage,
}
