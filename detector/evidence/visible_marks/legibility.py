"""Tells a stock agency's name from a garbled one, in words that were read from a picture. Pure.

An agency prints its name right: a clean name is the sign of a stock photograph. A generator that
learnt from such photographs paints letters that only resemble it ("sutterso"): that is the sign of
a generator. Between the two stands the reader of the letters, which errs too, so a name counts as
garbled only when it is too far from the clean one for a slip of the reader, and was read surely.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["AGENCIES", "Likeness", "NameReading", "ReadWord", "judge_word", "read_names"]

AGENCIES = {
    "gettyimages": "Getty Images",
    "shutterstock": "Shutterstock",
    "istockphoto": "iStock",
    "istock": "iStock",
    "adobestock": "Adobe Stock",
    "alamy": "Alamy",
    "dreamstime": "Dreamstime",
    "depositphotos": "Depositphotos",
    "123rf": "123RF",
    "bigstockphoto": "Bigstock",
    "bigstock": "Bigstock",
    "canstockphoto": "Can Stock Photo",
    "fotolia": "Fotolia",
    "freepik": "Freepik",
    "vectorstock": "VectorStock",
    "stocksy": "Stocksy",
    "agefotostock": "age fotostock",
}
"""What is printed over previews, in small letters without spaces; and the agency.

Left out are Pond5 and Masterfile: "ponds" and "masterpiece" are words."""

MIN_GARBLED_LETTERS = 9
"""Of a name: shorter ones have common words near them (Alamy: "llama"), and count clean alone."""
SLIPS = 1
"""Letters that the reader of a clean name may get wrong, beside those that look alike."""
MAX_DISTANCE_SHARE = 0.34
"""A third: "sutterso", read from a generator's picture, is 4 of 12 letters from Shutterstock.
Within two fifths there are scores of English words, within a third a few (docs/benchmarks)."""
NEAR_WORDS = frozenset({"realtime", "shutters"})
"""English words within that share of a name, of 32,230 common ones; never a garbled name."""
MIN_CLEAN_CONFIDENCE = 30.0
"""Of 100, for a name that fits to the letter: chance does not spell it."""
MIN_GARBLED_CONFIDENCE = 70.0
"""Of 100, for one that does not: below, the letters are the reader's guess."""
MAX_WORDS = 2000

_LOOK_ALIKE = str.maketrans({"0": "o", "1": "i", "l": "i", "|": "i", "!": "i", "5": "s", "$": "s"})
"""Letters that printed text is misread in; they cost nothing."""


class Likeness(Enum):
    """What a word is to the nearest name. SLIP: clean, but for a letter misread or a lost end."""

    CLEAN = "clean"
    SLIP = "slip"
    GARBLED = "garbled"


@dataclass(frozen=True, slots=True)
class ReadWord:
    """A word as the text reader answers it.

    Attributes:
        text: Its letters; a stranger's.
        confidence: The reader's own, 0..100.
        line: Words of the same line have the same number, in reading order.
    """

    text: str
    confidence: float
    line: int = 0


@dataclass(frozen=True, slots=True)
class NameReading:
    """A word, or two beside each other, that resembles an agency's name.

    Attributes:
        agency: The nearest.
        read: What was read: small letters and digits alone.
        likeness: What it is to the name.
        legibility: 1 minus edit distance over the name's letters, 0..1; 1 is the name itself.
    """

    agency: str
    read: str
    likeness: Likeness
    legibility: float


def read_names(words: Sequence[ReadWord]) -> NameReading | None:
    """The best likeness among words; a clean name before any garbled one.

    One clean copy among many on a picture says that the others were misread.
    """
    found = [
        reading
        for text, confidence in _candidates(words[:MAX_WORDS])
        if (reading := judge_word(text)) is not None
        and confidence >= _least_confidence(reading.likeness)
    ]
    order = list(Likeness)
    return min(found, key=lambda r: (order.index(r.likeness), -r.legibility), default=None)


def judge_word(text: str) -> NameReading | None:
    """What a word is to the nearest agency's name; None where it resembles none."""
    letters = _letters(text)
    if not letters or letters in NEAR_WORDS:
        return None
    folded = letters.translate(_LOOK_ALIKE)
    near = [
        (distance / len(name), distance, name)
        for name, form in _names()
        if (distance := _distance(folded, form, limit=int(MAX_DISTANCE_SHARE * len(name))))
        is not None
    ]
    if not near:
        return None
    share, distance, name = min(near)
    likeness = _likeness(folded, distance, name)
    if likeness is None:
        return None
    return NameReading(AGENCIES[name], letters, likeness, 1.0 - share)


def _likeness(folded: str, distance: int, name: str) -> Likeness | None:
    if distance == 0:
        return Likeness.CLEAN
    if len(name) < MIN_GARBLED_LETTERS:
        return None
    is_near = distance <= SLIPS or _is_stretch(folded, name.translate(_LOOK_ALIKE))
    return Likeness.SLIP if is_near else Likeness.GARBLED


def _is_stretch(word: str, name: str) -> bool:
    """Whether `word` is a part of `name`, but for a slip.

    Where the picture is as bright as the letters, the reader loses an end of the name and is sure
    of the rest: "dreamsti", "gettyimag".
    """
    return any(
        _distance(word, name[start : start + length], limit=SLIPS) is not None
        for length in range(len(word) - SLIPS, len(word) + SLIPS + 1)
        for start in range(len(name) - length + 1)
    )


def _least_confidence(likeness: Likeness) -> float:
    return MIN_GARBLED_CONFIDENCE if likeness is Likeness.GARBLED else MIN_CLEAN_CONFIDENCE


def _candidates(words: Sequence[ReadWord]) -> Iterator[tuple[str, float]]:
    """Words, and two neighbours of a line as one: names of two words are printed either way."""
    for word in words:
        yield word.text, word.confidence
    for one, two in pairwise(words):
        if one.line == two.line:
            yield one.text + two.text, min(one.confidence, two.confidence)


@cache
def _names() -> tuple[tuple[str, str], ...]:
    return tuple((name, name.translate(_LOOK_ALIKE)) for name in AGENCIES)


_LONGEST = 24
"""No likeness of a name is longer."""


def _letters(text: str) -> str:
    """Small letters and digits, without a web address's ending."""
    word = text.lower().removeprefix("www.").removesuffix(".com")
    kept = "".join(c for c in word if (c.isascii() and c.isalnum()) or c in "|!$")
    return kept if len(kept) <= _LONGEST else ""


def _distance(one: str, two: str, *, limit: int) -> int | None:
    """Levenshtein's edit distance; None above `limit`."""
    if abs(len(one) - len(two)) > limit:
        return None
    row: Iterable[int] = range(len(two) + 1)
    for i, a in enumerate(one, 1):
        above = list(row)
        line = [i]
        for j, b in enumerate(two, 1):
            line.append(min(line[-1] + 1, above[j] + 1, above[j - 1] + (a != b)))
        row = line
    last = list(row)[-1]
    return last if last <= limit else None
