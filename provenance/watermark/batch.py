"""Reads the marks of many pictures at once: for data sets."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from provenance.errors import InputError
from provenance.imaging import DEFAULT_LIMITS, ImageLimits
from provenance.watermark.pictures import DEFAULT_CODEC, open_picture, open_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from provenance.types import WatermarkEvidence
    from provenance.watermark.payload import WatermarkKey
    from provenance.watermark.pictures import Picture

__all__ = ["detect_many"]


def detect_many(
    pictures: Iterable[Picture],
    *,
    keys: Sequence[WatermarkKey],
    codec: str = DEFAULT_CODEC,
    thorough: bool = False,
    workers: int | None = None,
    limits: ImageLimits = DEFAULT_LIMITS,
) -> Iterator[WatermarkEvidence | InputError]:
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
        workers: Threads; None means one a core. Whether they help depends on the size of the
            pictures (``docs/benchmarks/watermark_speed.md``: of 256 pixels, two threads read no
            faster than one); processes, each with a part of the data set, do.
        limits: On the bytes and pixels of each picture.

    Raises:
        ConfigError: There is no key.
        UnknownBackendError: No such codec is installed.
        BackendUnavailableError: The codec's library is not installed.
    """
    reader = open_reader(keys, codec)

    def read(picture: Picture) -> WatermarkEvidence | InputError:
        try:
            return reader.read(open_picture(picture, limits=limits).raster, thorough=thorough)
        except InputError as error:
            return error

    return _in_order(pictures, read, workers or os.cpu_count() or 1)


def _in_order(
    pictures: Iterable[Picture],
    read: Callable[[Picture], WatermarkEvidence | InputError],
    workers: int,
) -> Iterator[WatermarkEvidence | InputError]:
    waiting: deque[Future[WatermarkEvidence | InputError]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="detect") as pool:
        try:
            for picture in pictures:
                waiting.append(pool.submit(read, picture))
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # also when the caller stops asking half-way
            for future in waiting:
                future.cancel()
