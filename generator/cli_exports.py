"""What ``countermark generate`` writes between the first step and the last."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from generator.pipelines.checkpoints import checkpoint_name, write_checkpoint
from generator.service import PreviewOf
from provenance.files import StagedFile

if TYPE_CHECKING:
    from pathlib import Path

    from generator.service import GenerationService
    from provenance.interfaces import StepReport
    from provenance.types import Delivery, GenerationRequest, RecordId

__all__ = ["StepExport"]


@dataclass(slots=True)
class StepExport:
    """A folder that gets, for each step of a picture, a preview and a checkpoint.

    A preview is a picture that leaves like any other: checked, marked, signed and registered, with
    the id of the picture that it becomes in its record. Checkpoints hold the prompt and are
    written for their owner's eyes only.

    Attributes:
        folder: Where to.
        service: W1 to W9.
        withheld: Steps whose preview the safety policy blocked.
        previews: What was delivered, with its file.
    """

    folder: Path
    service: GenerationService
    withheld: list[int] = field(default_factory=list)
    previews: list[tuple[Path, Delivery]] = field(default_factory=list)

    def write(
        self,
        report: StepReport,
        request: GenerationRequest,
        out: Path,
        *,
        final: RecordId,
        index: int = 0,
    ) -> None:
        """Writes both files of one step.

        Raises:
            ProvenanceError: One could not be written; nothing unmarked stays.
        """
        write_checkpoint(
            self.folder / checkpoint_name(out.stem, report.done), report.checkpoint(index)
        )
        path = self.folder / f"{out.stem}-step-{report.done:04d}{out.suffix or '.png'}"
        delivery = self.service.deliver_preview(
            request,
            report.preview(index),
            PreviewOf(final, report.done),
            lambda asset: StagedFile(path, asset.image.data),
        )
        if delivery is None:
            self.withheld.append(report.done)
        else:
            self.previews.append((path, delivery))
