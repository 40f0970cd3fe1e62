"""What is asked for, and the model that is asked."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from provenance.types.base import Parameters, RecordId, frozen_parameters, require, require_sha256
from provenance.types.images import WRITABLE_MEDIA_TYPES, MediaType, RasterImage

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

__all__ = [
    "MAX_LORAS",
    "MAX_LORA_SCALE",
    "MAX_PROMPT_CHARACTERS",
    "MAX_SIDE_PX",
    "MAX_STEPS",
    "Checkpoint",
    "GenerationRequest",
    "InputImage",
    "InputRole",
    "LoraRef",
    "ModelRef",
    "RenderDefaults",
    "can_batch",
]


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
MAX_LORAS = 8
MAX_LORA_SCALE = 2.0

_OPENED = 128
"""Where a mask begins to be white. Source: ``do_binarize`` of diffusers' mask processor, 0.5."""

_SHAPES_DIFFER = 0.05
"""Share by which the shapes of a mask and its picture may differ: sides are rounded to the model's
multiples, and a mask may have been made smaller."""

_LORA_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,99}", re.ASCII)
"""A plain file name: nothing that a path could be made of."""
_SCHEDULER_NAME = re.compile(r"[A-Za-z0-9][\w.+ -]{0,63}", re.ASCII)


class InputRole(StrEnum):
    """What an input picture is to the new one; decides what the manifest says of it.

    Members:
        EDIT: It is changed: the new picture is an edited version of it.
        GUIDE: It only steers: the new picture is a creation of its own.
    """

    EDIT = "edit"
    GUIDE = "guide"


@dataclass(frozen=True, slots=True)
class InputImage:
    """A picture as somebody gave it, to start from.

    Attributes:
        data: The bytes as they came, with whatever manifest they carry.
        media_type: By content, never by name.
        raster: The decoded first frame, EXIF orientation applied.
    """

    data: bytes = field(repr=False)
    media_type: MediaType
    raster: RasterImage = field(repr=False, compare=False)  # follows from the bytes

    def __post_init__(self) -> None:
        require(bool(self.data), "an input image must have at least one byte")

    @property
    def sha256(self) -> str:
        """Hex digest of `data`."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class LoraRef:
    """A low-rank adaptation of the model, from the operator's folder.

    Attributes:
        name: File name there, with or without ``.safetensors``; never a path.
        scale: How strongly it counts, 0..2.
    """

    name: str
    scale: float = 1.0

    def __post_init__(self) -> None:
        require(
            bool(_LORA_NAME.fullmatch(self.name)) and ".." not in self.name,
            f"loras: {self.name[:100]!r} is not the name of a LoRA; give a file name of the "
            "LoRA folder, without a path",
        )
        require(
            0 <= self.scale <= MAX_LORA_SCALE,
            f"loras: scale {self.scale} of {self.name} is outside 0..{MAX_LORA_SCALE:g}",
        )


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
        init_image: What to start from; fitted to width and height.
        strength: How far from `init_image` it may go, above 0 to 1; counts only with one.
        mask: White is painted anew, black stays; needs `init_image`, its shape, and white
            somewhere: a picture that stays as it is must not be called edited.
        input_role: What `init_image` is to the picture.
        scheduler: Name of a sampler; None means the model's own.
        loras: Adaptations, all at once.
        visible_label: Whether a label that people see is drawn onto the picture.
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
    init_image: InputImage | None = None
    strength: float = 0.75
    mask: RasterImage | None = field(default=None, repr=False)
    input_role: InputRole = InputRole.EDIT
    scheduler: str | None = None
    loras: tuple[LoraRef, ...] = ()
    visible_label: bool = False

    @property
    def effective_steps(self) -> int:
        """Denoising steps that are run: fewer than asked for when there is an `init_image`.

        Source: ``get_timesteps`` of diffusers' image-to-image pipelines. 50 steps at strength
        0.875 are 43, at 0.9 they are 45.
        """
        if self.init_image is None:
            return self.steps
        return min(int(self.steps * self.strength), self.steps)

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
        self._check_input()
        require(
            self.scheduler is None or bool(_SCHEDULER_NAME.fullmatch(self.scheduler)),
            f"scheduler {str(self.scheduler)[:64]!r} is not the name of a scheduler, like euler",
        )
        require(
            len(self.loras) <= MAX_LORAS,
            f"loras names {len(self.loras)} adaptations; at most {MAX_LORAS} count at once",
        )
        names = {one.name.removesuffix(".safetensors") for one in self.loras}
        require(len(names) == len(self.loras), "loras names one adaptation twice; add the scales")

    def _check_shape(self, mask: RasterImage, image: RasterImage) -> None:
        """A mask of another shape would be stretched, and open other places than were meant."""
        shape = mask.width_px / mask.height_px
        shapes = (image.width_px / image.height_px, self.width_px / self.height_px)
        require(
            any(abs(shape / one - 1) <= _SHAPES_DIFFER for one in shapes),
            f"mask of {mask.width_px}x{mask.height_px} pixels has another shape than init_image "
            f"of {image.width_px}x{image.height_px}; give a mask of the same size",
        )

    def _check_input(self) -> None:
        require(0 < self.strength <= 1, f"strength {self.strength} must be above 0 and at most 1")
        if self.init_image is None:
            require(self.mask is None, "mask needs init_image: the picture that it is a mask of")
            require(
                self.input_role is InputRole.EDIT,
                "input_role says what init_image is to the picture; give an init_image",
            )
            return
        require(
            self.mask is None or self.input_role is InputRole.EDIT,
            "input_role guide and mask exclude each other: with a mask the picture itself is "
            "edited; leave one of them out",
        )
        require(
            self.mask is None or int(self.mask.pixels.max()) >= _OPENED,
            "mask is black everywhere, so nothing would be painted anew; make white what shall be",
        )
        if self.mask is not None:
            self._check_shape(self.mask, self.init_image.raster)
        require(
            self.effective_steps >= 1,
            f"strength {self.strength} of {self.steps} steps leaves no step to run; raise "
            f"strength to {ceil(1000 / self.steps) / 1000:g} or more, or the steps",
        )


@dataclass(frozen=True, slots=True)
class RenderDefaults:
    """What suits a model when a request leaves the choice open.

    Attributes:
        steps: Denoising steps.
        guidance: Guidance scale.
        side_px: Width and height that the model was made for; None when it names none.
        multiple_px: Width and height must be multiples of this.
    """

    steps: int
    guidance: float
    side_px: int | None = None
    multiple_px: int = 8


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A render between two steps: with model and machine the same, it goes on bit for bit.

    It holds the whole request, so also the prompt and the input pictures: personal data.

    Attributes:
        request: What is rendered.
        model: The model that was at work; another one cannot go on.
        version: Of the program that ran it.
        done: Steps that were done, 1..total.
        total: Steps in all.
        tensors: Numbers by name, in the pipeline's own terms; read-only.
        state: Scalars by name, in the pipeline's own terms.
        record_id: Under which the picture was rendered, where that is known; it may never have
            been delivered.
    """

    request: GenerationRequest
    model: ModelRef
    version: str
    done: int
    total: int
    tensors: Mapping[str, npt.NDArray[Any]] = field(repr=False)
    state: Parameters = field(repr=False)
    record_id: RecordId | None = None

    def __post_init__(self) -> None:
        require(
            1 <= self.done <= self.total,
            f"a checkpoint after step {self.done} of {self.total} cannot be",
        )
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))
        object.__setattr__(self, "state", frozen_parameters(self.state))


def can_batch(first: GenerationRequest, second: GenerationRequest) -> bool:
    """Whether one pipeline call can render both.

    All that shapes the computation must be the same; the words, the seed, and what happens to the
    finished picture (its format, its label) may differ. A negative prompt only goes with another
    one, since some models take none at all for something else than an empty one.
    """
    shapes = [
        (
            request.steps,
            request.guidance,
            request.width_px,
            request.height_px,
            request.model,
            request.scheduler,
            request.loras,
            request.init_image,
            request.strength,
            bool(request.negative_prompt),
        )
        for request in (first, second)
    ]
    return shapes[0] == shapes[1] and _same_mask(first.mask, second.mask)


def _same_mask(first: RasterImage | None, second: RasterImage | None) -> bool:
    if first is None or second is None:
        return first is second
    one, other = first.pixels, second.pixels
    return one is other or (one.shape == other.shape and bool((one == other).all()))


def _is_text(text: str) -> bool:
    """Whether the text can be written as UTF-8, which hashing and tokenizing need."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
