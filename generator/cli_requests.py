"""From the options of ``countermark generate`` to concrete requests."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from generator.pipelines.checkpoints import find_checkpoint, read_checkpoint
from generator.schemas import FORMATS, GenerationBody
from provenance.errors import InputError
from provenance.imaging import ImageLimits, read_file
from provenance.types import InputRole

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.config import LimitSettings
    from provenance.types import Checkpoint, GenerationRequest, RenderDefaults

__all__ = ["Order", "read_lora"]

_FIXED = {
    "negative_prompt": "--negative",
    "seed": "--seed",
    "steps": "--steps",
    "guidance": "--guidance",
    "width": "--size",
    "strength": "--strength",
    "scheduler": "--scheduler",
    "loras": "--lora",
}
"""What a checkpoint has settled."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line asks for.

    Attributes:
        body: Fields of `GenerationBody`; None where the option was left out.
        init_image: File to start from.
        mask: File with the mask.
        resume: Checkpoint, or folder of checkpoints, to go on from.
        from_step: Which of them.
    """

    body: dict[str, Any]
    init_image: Path | None
    mask: Path | None
    resume: Path | None
    from_step: int | None

    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint to go on from.

        Raises:
            InputError: It is unusable, or an option contradicts it.
        """
        if self.resume is None:
            if self.from_step is not None:
                raise InputError("--from-step says where to go on; give --resume with it")
            return None
        found = read_checkpoint(find_checkpoint(self.resume, self.from_step))
        prompt = self.body["prompt"]
        if prompt is not None and prompt != found.request.prompt:
            raise InputError(
                "the prompt is not the one of the checkpoint; leave it out, or render anew"
            )
        # What was left out is None or empty; a zero was given.
        given = [opt for name, opt in _FIXED.items() if self.body[name] not in (None, "", [])]
        given += ["--init-image"] if self.init_image else []
        given += ["--mask"] if self.mask else []
        given += ["--input-role"] if self.body["input_role"] != InputRole.EDIT else []
        given += ["-n"] if self.body["n"] != 1 else []
        given += ["--visible-label"] if self.body["visible_label"] else []
        if given:
            raise InputError(
                f"{', '.join(given)}: the checkpoint has settled this; leave it out with --resume"
            )
        return found

    def model(self, checkpoint: Checkpoint | None) -> str | None:
        """The model to load: as named, or as it was named when the checkpoint was made."""
        named: str | None = self.body["model"]
        return named if named is not None or checkpoint is None else checkpoint.request.model

    def check(self) -> None:
        """Refuses early what needs no model to be seen as wrong.

        Raises:
            InputError: There is nothing to draw, or nothing that an option counts for.
        """
        if self.resume is None and self.body["prompt"] is None:
            raise InputError("PROMPT is missing: say what to draw, or give --resume")
        if self.body["strength"] is not None and self.init_image is None:
            raise InputError("--strength says how far to go from --init-image; give that too")

    def requests(
        self, defaults: RenderDefaults, checkpoint: Checkpoint | None, limits: LimitSettings
    ) -> tuple[GenerationRequest, ...]:
        """One concrete request a picture.

        Raises:
            InputError: An option is out of range, or a file is unusable.
        """
        if checkpoint is not None:
            changed = replace(
                checkpoint.request,
                model=self.model(checkpoint),
                media_type=FORMATS[self.body["format"]],
                quality=self.body["quality"],
            )
            return (changed,)
        bounds = ImageLimits(limits.max_bytes, limits.max_pixels)
        fields = {name: value for name, value in self.body.items() if value is not None}
        for name, path in (("init_image", self.init_image), ("mask", self.mask)):
            if path is not None:
                fields[name] = base64.b64encode(read_file(path, limits=bounds)).decode()
        try:
            body = GenerationBody(**fields)
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(f"{first['loc'][0]}: {first['msg']}") from error
        return body.to_requests(defaults, limits=bounds)


def read_lora(text: str) -> dict[str, Any]:
    """Reads ``NAME[:SCALE]``.

    Raises:
        InputError: The scale is no number.
    """
    name, colon, scale = text.partition(":")
    if not colon:
        return {"name": name}
    try:
        return {"name": name, "scale": float(scale)}
    except ValueError as error:
        raise InputError(f"--lora {text}: the scale {scale!r} is no number, like 0.8") from error
