"""Renders what the command line asked for, one picture or one batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from generator.cli_exports import StepExport
from generator.schemas import delivery_view
from provenance.errors import ContentBlockedError, ProvenanceError
from provenance.files import StagedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from generator.wiring import Generator
    from provenance.interfaces import StepReport
    from provenance.types import Checkpoint, Delivery, GenerationRequest, RecordId

__all__ = ["Bench"]

Rows = list[dict[str, object]]


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of the command.

    Attributes:
        generator: Ready to take requests.
        batch_size: Most pictures rendered together, on an accelerator. On the CPU a batch takes as
            long as its pictures one by one, and rounds otherwise than they do.
        export: Folder for the steps; None writes none.
        resume: Where to go on; None means from the start.
    """

    generator: Generator
    batch_size: int
    export: Path | None
    resume: Checkpoint | None

    def render_all(
        self, requests: Sequence[GenerationRequest], paths: Sequence[Path], rows: Rows
    ) -> None:
        """Delivers all; appends a row for each picture, also for the one that failed.

        Raises:
            ProvenanceError: A picture failed; those before it are delivered.
        """
        size = self._together(requests)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            for start in range(0, len(requests), size):
                batch, files = requests[start : start + size], paths[start : start + size]
                last = start + len(batch)
                shown = f"picture {last}" if size == 1 else f"pictures {start + 1} to {last}"
                task = progress.add_task(
                    f"{shown} of {len(requests)}", total=batch[0].effective_steps
                )

                def show(report: StepReport, task: object = task) -> None:
                    progress.update(task, completed=report.done, total=report.total)  # type: ignore[arg-type]  # rich's own id

                if size == 1:
                    self._one(batch[0], files[0], show, rows)
                else:
                    self._batch(batch, files, show, rows)

    def _together(self, requests: Sequence[GenerationRequest]) -> int:
        if len(requests) == 1 or self.export is not None or self.batch_size == 1:
            return 1
        pipeline = self.generator.service.open_studio(requests[0].model).pipeline
        on_cpu = str(getattr(pipeline, "device", "cpu")).startswith("cpu")
        return 1 if on_cpu else self.batch_size

    def _one(
        self,
        request: GenerationRequest,
        path: Path,
        show: Callable[[StepReport], None],
        rows: Rows,
    ) -> None:
        service = self.generator.service
        export = None if self.export is None else StepExport(self.export, service)
        final: list[RecordId] = []

        def step(report: StepReport) -> None:
            show(report)
            if export is not None:
                export.write(report, request, path, final=final[0])

        try:
            rendered = service.render(request, step, resume=self.resume, on_reserved=final.append)
            delivery = service.finish(rendered, lambda asset: StagedFile(path, asset.image.data))
            rows.append(_delivered_row(delivery, path))
        except ProvenanceError as error:
            rows.append(_failed_row(error, path))
            raise
        finally:
            if export is not None:
                rows.extend(_preview_rows(export))

    def _batch(
        self,
        requests: Sequence[GenerationRequest],
        paths: Sequence[Path],
        show: Callable[[StepReport], None],
        rows: Rows,
    ) -> None:
        service = self.generator.service
        failure: ProvenanceError | None = None
        for rendered, path in zip(service.render_batch(requests, show), paths, strict=True):
            try:
                if isinstance(rendered, ContentBlockedError):
                    raise rendered
                delivery = service.finish(rendered, _to(path))
            except ProvenanceError as error:
                rows.append(_failed_row(error, path))
                failure = failure or error
            else:
                rows.append(_delivered_row(delivery, path))
        if failure is not None:
            raise failure


def _to(path: Path) -> Callable[..., StagedFile]:
    return lambda asset: StagedFile(path, asset.image.data)


def _delivered_row(delivery: Delivery, path: Path) -> dict[str, object]:
    view = delivery_view(delivery).model_dump(exclude={"asset_url"})
    return {"file": str(path), **view}


def _preview_rows(export: StepExport) -> Rows:
    rows = []
    for path, delivery in export.previews:
        facts = delivery.record.parameters
        row = _delivered_row(delivery, path)
        row["preview_of"], row["preview_step"] = facts["preview_of"], facts["preview_step"]
        rows.append(row)
    for step, reason in export.withheld.items():
        said = f"preview of step {step} withheld: {reason}"
        rows.append({"file": str(export.folder), "withheld": said})
    return rows


def _failed_row(error: ProvenanceError, path: Path) -> dict[str, object]:
    row: dict[str, object] = {"file": str(path), "error": str(error)}
    if isinstance(error, ContentBlockedError):
        row["refusal_id"] = error.refusal_id
        row["flagged"] = list(error.report.flagged)
        row["scores"] = dict(error.report.scores)
    return row
