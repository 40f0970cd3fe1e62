"""The filter's memory: one JSON line per decision, written before anything else relies on it.

A run that is killed leaves a journal whose lines are all whole but perhaps the last, which the next
run drops; so no sample is decided twice or lost.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from provenance.errors import DeliveryError, InputError
from provenance.types import FilterAction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedRandom
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from provenance.types import FilterDecision

__all__ = ["Journal", "Row", "row_of"]

FORMAT = "countermark-filter-1"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the decisions table.

    Attributes:
        key: Sample key.
        action: keep, drop or review.
        reason_code: Short and stable, for counting.
        origin: Of the verdict; None when the sample could not be read.
        assurance: Of the verdict.
        record_id: Of the verdict.
        sha256: Of the sample's bytes; None when they could not be read.
        detail: One sentence for a person.
        policy_id: Of the verdict.
    """

    key: str
    action: str
    reason_code: str
    origin: str | None
    assurance: str | None
    record_id: str | None
    sha256: str | None
    detail: str
    policy_id: str | None


def row_of(decision: FilterDecision) -> Row:
    """The table's line for a decision."""
    verdict = decision.verdict
    return Row(
        key=decision.key,
        action=decision.action.value,
        reason_code=decision.reason_code,
        origin=None if verdict is None else verdict.origin.value,
        assurance=None if verdict is None else verdict.assurance.value,
        record_id=None if verdict is None else verdict.record_id,
        sha256=decision.sha256,
        detail=decision.detail,
        policy_id=None if verdict is None else verdict.policy_id,
    )


class Journal:
    """Appends rows to a file; used as a context manager.

    Args:
        path: The journal.
        header: What this run is about; a journal of another run is refused.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self._path = path
        self._header = {"format": FORMAT, **header}
        self._stream: BufferedRandom | None = None
        self.rows: dict[str, Row] = {}

    def __enter__(self) -> Self:
        """Opens the journal, with the rows of an earlier run of the same kind.

        Raises:
            InputError: It belongs to another run, or is damaged in the middle.
            DeliveryError: It cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._path.open("a+b")
            self._read_earlier(self._stream)
        except OSError as error:
            self.__exit__(None, None, None)
            raise self._cannot_write(error) from error
        except InputError:
            self.__exit__(None, None, None)
            raise
        return self

    def _read_earlier(self, stream: BufferedRandom) -> None:
        stream.seek(0)
        data = stream.read()
        whole = data.rfind(b"\n") + 1
        # A line that was cut short by a kill: its sample is decided again.
        stream.truncate(whole)
        lines = self._parse(data[:whole])
        header = next(lines, None)
        if header is None:
            self._append(self._header)
            return
        if header != self._header:
            raise InputError(
                f"{self._path} was begun with {_describe(header)}, not with "
                f"{_describe(self._header)}; finish it as it was begun, or choose another output"
            )
        for line in lines:
            row = Row(**line)
            self.rows[row.key] = row

    def _parse(self, data: bytes) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(data.splitlines(), 1):
            try:
                value = json.loads(line)
                if number > 1:
                    Row(**value)
                    FilterAction(value["action"])
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(
                    f"{self._path} is damaged in line {number}; choose another output folder"
                ) from error
            yield value

    def add(self, decision: FilterDecision) -> None:
        """Writes one decision to disk.

        Raises:
            DeliveryError: No room, no right.
        """
        row = row_of(decision)
        try:
            self._append(asdict(row))
        except OSError as error:
            raise self._cannot_write(error) from error
        self.rows[row.key] = row

    def _append(self, value: dict[str, Any]) -> None:
        if self._stream is None:
            raise InputError(f"{self._path} is not open")
        # One write call a line; flushed, so that a killed process leaves it behind. A line that a
        # power cut takes is decided again, so it need not be synced one by one.
        self._stream.write(json.dumps(value, ensure_ascii=True).encode("ascii") + b"\n")
        self._stream.flush()

    def _cannot_write(self, error: OSError) -> DeliveryError:
        return DeliveryError(
            f"{self._path} cannot be written ({error.strerror}); free some room or choose another "
            "output, then run again with --resume"
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            try:
                os.fsync(self._stream.fileno())
            finally:
                self._stream.close()
                self._stream = None


def _describe(header: dict[str, Any]) -> str:
    return f"folder {header.get('folder')} and policy {header.get('policy')}"
