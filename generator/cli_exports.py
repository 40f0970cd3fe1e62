"""What ``countermark generate`` writes between the first step and the last."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from generator.pipelines.checkpoints import (
    checkpoint_name,
    remove_later_checkpoints,
    write_checkpoint,
)
from generator.service import PreviewOf
from provenance.errors import WatermarkError
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
        withheld: Steps without a preview, and why.
        previews: What was delivered, with its file.
    """

    folder: Path
    service: GenerationService
    withheld: dict[int, str] = field(default_factory=dict)
    previews: list[tuple[Path, Delivery]] = field(default_factory=list)
    _begun: bool = False

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

        A preview that cannot carry the mark is withheld: the picture itself may well carry it.

        Raises:
            ProvenanceError: One could not be written; nothing unmarked stays.
        """
        if not self._begun:
            self._begun = True
            remove_later_checkpoints(self.folder, out.stem, report.done)
        write_checkpoint(
            self.folder / checkpoint_name(out.stem, report.done),
            replace(report.checkpoint(index), record_id=final),
        )
        path = self.folder / f"{out.stem}-step-{report.done:04d}{out.suffix or '.png'}"
        try:
            rendered = self.service.take_preview(
                request, report.preview(index), PreviewOf(final, report.done)
            )
            if rendered is None:
                self.withheld[report.done] = "the safety policy blocked it"
                return
            delivery = self.service.finish(
                rendered, lambda asset: StagedFile(path, asset.image.data)
            )
        except WatermarkError as error:
            self.withheld[report.done] = str(error)
        else:
            self.previews.append((path, delivery))
