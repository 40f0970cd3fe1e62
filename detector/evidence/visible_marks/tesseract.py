"""Reads text in a picture through the program ``tesseract``, where it is installed.

One process for one picture, under limits: time, pixels, output, one thread. It sees our own PNG of
the decoded pixels on its standard input, never the stranger's file, and writes no file.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from PIL import Image

from detector.evidence.visible_marks.legibility import ReadWord
from provenance.errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provenance.types import Uint8Array

__all__ = ["find_program", "read_words"]

PROGRAM = "tesseract"
MAX_SIDE_PX = 1600
"""Larger pictures are made smaller first: letters that matter stay larger than 10 pixels."""
MAX_OUTPUT_BYTES = 2**20
MAX_WORDS = 2000
_SPARSE_TEXT = "11"
"""Page segmentation mode: "sparse text, as much as possible in no particular order"."""
_COLUMNS = 12
"""level, page, block, paragraph, line, word, left, top, width, height, confidence, text.

Source: tesseract's manual page, "tsv"."""


def find_program() -> str | None:
    """Where the program is; None where it is not installed."""
    return shutil.which(PROGRAM)


def read_words(pixels: Uint8Array, *, program: str, timeout_s: float) -> list[ReadWord]:
    """Words of a picture, in reading order.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        program: From `find_program`.
        timeout_s: The process is ended after so many seconds.

    Raises:
        BackendUnavailableError: It does not run, fails, or takes too long.
    """
    command = [program, "stdin", "stdout", "-l", "eng", "--psm", _SPARSE_TEXT, "tsv"]
    try:
        done = subprocess.run(  # noqa: S603  a list, no shell; the program is the operator's own
            command,
            input=_encode(pixels),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
            env=_environment(),
        )
    except subprocess.TimeoutExpired:
        raise BackendUnavailableError(
            f"{PROGRAM} did not answer within {timeout_s:.0f} seconds"
        ) from None
    except OSError as error:
        raise BackendUnavailableError(f"{PROGRAM} does not run: {error.strerror}") from error
    if done.returncode:
        raise BackendUnavailableError(
            f"{PROGRAM} ended with code {done.returncode}; are its English data installed?"
        )
    return list(_parse(done.stdout[:MAX_OUTPUT_BYTES].decode("utf-8", "replace")))


def _environment() -> dict[str, str]:
    """What the program needs to be found and to find its data, and one thread for it."""
    kept = {name: os.environ[name] for name in ("PATH", "TESSDATA_PREFIX") if name in os.environ}
    return {**kept, "OMP_THREAD_LIMIT": "1", "LC_ALL": "C.UTF-8"}


def _encode(pixels: Uint8Array) -> bytes:
    picture = Image.fromarray(pixels)
    picture.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _parse(table: str) -> Iterator[ReadWord]:
    lines: dict[tuple[str, ...], int] = {}
    found = 0
    for row in table.splitlines():
        fields = row.split("\t")
        if len(fields) != _COLUMNS or not fields[-1].strip():
            continue
        try:
            confidence = float(fields[10])
        except ValueError:
            continue  # the heading
        if not 0.0 <= confidence <= 100.0:
            continue
        line = lines.setdefault(tuple(fields[1:5]), len(lines))
        yield ReadWord(fields[-1].strip(), confidence, line)
        found += 1
        if found == MAX_WORDS:
            return
