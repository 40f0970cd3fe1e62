"""What is asked for, and the model that is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from provenance.types.base import require, require_sha256
from provenance.types.images import WRITABLE_MEDIA_TYPES, MediaType

__all__ = ["MAX_PROMPT_CHARACTERS", "MAX_SIDE_PX", "MAX_STEPS", "GenerationRequest", "ModelRef"]


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model that is pinned: which one, exactly which weights, under which licence.

    Attributes:
        name: Hub id, or the folder's own name. Never an absolute path of the machine.
        revision: Full commit hash of a hub model, or ``sha256:<digest>`` of a local folder.
        weights_sha256: Digest over the weight files, see `generator.pipelines`.
        licence: SPDX name or the model card's own word; None when it states none.
        family: Pipeline class name, e.g. ``StableDiffusionPipeline``.
    """

    name: str
    revision: str
    weights_sha256: str
    licence: str | None = None
    family: str = ""

    def __post_init__(self) -> None:
        require(bool(self.name), "model name must not be empty")
        require(
            bool(re.fullmatch(r"[0-9a-f]{40}|sha256:[0-9a-f]{64}", self.revision)),
            f"model revision {self.revision!r} must be a full commit hash or a sha256 digest: "
            "a floating branch cannot be recorded",
        )
        require_sha256("model weights_sha256", self.weights_sha256)


MAX_PROMPT_CHARACTERS = 10_000
"""Far above what text encoders read (77 to 512 tokens); bounds memory and log lines."""
MAX_SIDE_PX = 4096
MAX_STEPS = 1000
"""The number of training time steps of every scheduler that diffusers ships."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One picture to render, with every choice made concrete (W1).

    Attributes:
        prompt: What to draw.
        negative_prompt: What to steer away from.
        seed: 0..2**63-1; always concrete, so that the picture can be rendered again.
        steps: Denoising steps asked for, 1..1000.
        guidance: Classifier-free guidance scale, 0..100.
        width_px: Multiple of 8, 8..4096.
        height_px: Multiple of 8, 8..4096.
        model: Hub id or local folder; None means the bundled model.
        media_type: PNG, JPEG or WebP.
        quality: 1..100; for JPEG and WebP.
    """

    prompt: str = field(repr=False)
    seed: int
    negative_prompt: str = field(default="", repr=False)
    steps: int = 20
    guidance: float = 7.5
    width_px: int = 512
    height_px: int = 512
    model: str | None = None
    media_type: MediaType = MediaType.PNG
    quality: int = 92

    def __post_init__(self) -> None:
        for name, text in (("prompt", self.prompt), ("negative_prompt", self.negative_prompt)):
            require(
                len(text) <= MAX_PROMPT_CHARACTERS,
                f"{name} has {len(text)} characters; at most {MAX_PROMPT_CHARACTERS} are read",
            )
            require(_is_text(text), f"{name} holds half a character (an unpaired surrogate)")
        require(bool(self.prompt.strip()), "prompt is empty: say what to draw")
        require(0 <= self.seed < 2**63, f"seed {self.seed} is outside 0..2**63-1")
        require(1 <= self.steps <= MAX_STEPS, f"steps {self.steps} is outside 1..{MAX_STEPS}")
        require(0 <= self.guidance <= 100, f"guidance {self.guidance} is outside 0..100")
        require(1 <= self.quality <= 100, f"quality {self.quality} is outside 1..100")
        for name, side in (("width", self.width_px), ("height", self.height_px)):
            require(
                8 <= side <= MAX_SIDE_PX and side % 8 == 0,
                f"{name} {side} must be a multiple of 8 between 8 and {MAX_SIDE_PX}",
            )
        require(
            self.media_type in WRITABLE_MEDIA_TYPES,
            f"format {self.media_type} cannot be delivered; use png, jpeg or webp",
        )


def _is_text(text: str) -> bool:
    """Whether the text can be written as UTF-8, which hashing and tokenizing need."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
