"""Reads the marks of many pictures at once: for data sets."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TYPE_CHECKING, TypeAlias

from provenance.errors import BackendUnavailableError, InputError
from provenance.imaging import DEFAULT_LIMITS, ImageLimits
from provenance.watermark.pictures import DEFAULT_CODEC, open_picture, open_reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from provenance.types import WatermarkEvidence
    from provenance.watermark.marking import MarkReader
    from provenance.watermark.payload import WatermarkKey
    from provenance.watermark.pictures import Picture

__all__ = ["detect_many"]

Answer: TypeAlias = "WatermarkEvidence | InputError"


def detect_many(
    pictures: Iterable[Picture],
    *,
    keys: Sequence[WatermarkKey],
    codec: str = DEFAULT_CODEC,
    thorough: bool = False,
    workers: int = 1,
    limits: ImageLimits = DEFAULT_LIMITS,
) -> Iterator[Answer]:
    """`detect` for many pictures; one answer each, in order, as they become ready.

    A picture that cannot be read is answered by its `InputError`; the others are read all the
    same::

        for path, answer in zip(paths, detect_many(paths, keys=keys)):
            if isinstance(answer, InputError):
                print(answer)
            elif answer.finding is Finding.PRESENT:
                print(path, answer.record_id)

    Args:
        pictures: Taken one by one; at most two a worker are in memory.
        keys: Current key first; at least one.
        codec: Entry point of ``countermark.codecs``.
        thorough: As in `detect`; off by default, because most pictures of a data set have no
            mark, and to be sure of that takes some seventy times as long.
        workers: Processes. With 1 this one does the work; more start anew (which takes about a
            second), so a program calls it below ``if __name__ == "__main__"``. Threads would
            wait for each other: most of the work on a small picture holds the interpreter's lock.
        limits: On the bytes and pixels of each picture.

    Raises:
        ConfigError: There is no key.
        UnknownBackendError: No such codec is installed.
        BackendUnavailableError: The codec's library is not installed, or a process ended.
        InputError: `pictures` is a single one.
    """
    if isinstance(pictures, str | os.PathLike | bytes):
        raise InputError("detect_many takes several pictures: give a list, or call detect")
    reader = _Reader(tuple(keys), codec, limits, thorough=thorough)
    return reader.read_all(pictures) if workers <= 1 else reader.spread(pictures, workers)


class _Reader:
    """Reads pictures one way; opens its codec anew in every process that it is sent to."""

    def __init__(
        self, keys: Sequence[WatermarkKey], codec: str, limits: ImageLimits, *, thorough: bool
    ) -> None:
        self._keys, self._codec = keys, codec
        self._limits, self._thorough = limits, thorough
        self._marks: MarkReader = open_reader(keys, codec)

    def __reduce__(self) -> tuple[object, ...]:
        return _build, (self._keys, self._codec, self._limits, self._thorough)

    def read(self, picture: Picture) -> Answer:
        try:
            raster = open_picture(picture, limits=self._limits).raster
            return self._marks.read(raster, thorough=self._thorough)
        except InputError as error:
            return error

    def read_all(self, pictures: Iterable[Picture]) -> Iterator[Answer]:
        for picture in pictures:
            yield self.read(picture)

    def spread(self, pictures: Iterable[Picture], workers: int) -> Iterator[Answer]:
        """As `read_all`, in processes."""
        waiting: deque[Future[Answer] | InputError] = deque()
        pool = ProcessPoolExecutor(workers, get_context("spawn"), _settle, (self,))
        try:
            for picture in pictures:
                waiting.append(self._submit(pool, picture))
                if len(waiting) >= 2 * workers:
                    yield _answer_of(waiting.popleft())
            while waiting:
                yield _answer_of(waiting.popleft())
        finally:  # also when the caller stops asking half-way
            pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, pool: ProcessPoolExecutor, picture: Picture) -> Future[Answer] | InputError:
        sent = picture
        if not isinstance(picture, str | os.PathLike | bytes):
            # What others hand over may hold open files or be damaged: only pixels travel.
            try:
                sent = open_picture(picture, limits=self._limits).raster
            except InputError as error:
                return error
        try:
            return pool.submit(_read_here, sent)
        except BrokenProcessPool as error:
            raise _ended(error) from error


_reader: _Reader | None = None
"""Of a process that was started for reading."""


def _build(
    keys: Sequence[WatermarkKey],
    codec: str,
    limits: ImageLimits,
    thorough: bool,  # noqa: FBT001 - unpickling passes no names
) -> _Reader:
    return _Reader(keys, codec, limits, thorough=thorough)


def _settle(reader: _Reader) -> None:
    global _reader
    _reader = reader


def _read_here(picture: Picture) -> Answer:
    if _reader is None:  # pragma: no cover - a process settles before it reads
        raise RuntimeError("this process was not started for reading")
    return _reader.read(picture)


def _answer_of(waiting: Future[Answer] | InputError) -> Answer:
    if isinstance(waiting, InputError):
        return waiting
    try:
        return waiting.result()
    except BrokenProcessPool as error:
        raise _ended(error) from error


def _ended(error: BrokenProcessPool) -> BackendUnavailableError:
    return BackendUnavailableError(
        "a process that reads pictures ended before it answered: call detect_many below "
        '`if __name__ == "__main__"`, or with workers=1; or the machine is short of memory '
        f"({error})"
    )
