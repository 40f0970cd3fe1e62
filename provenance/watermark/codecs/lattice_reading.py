"""From lines to a record id: synchronise, demodulate, decode; believe only what the tag proves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.watermark import coding
from provenance.watermark.codecs import lattice_lines
from provenance.watermark.codecs.lattice_carrier import slot_of
from provenance.watermark.payload import TAG_BITS, check_word
from provenance.watermark.statistics import tag_p_value

if TYPE_CHECKING:
    from provenance.types import BitArray, Float32Array, RecordId
    from provenance.watermark.codecs.lattice_carrier import Carrier
    from provenance.watermark.codecs.lattice_lines import Lines, Sync
    from provenance.watermark.payload import WatermarkKey

__all__ = ["WORDS_COUNTED", "Attempts", "Reading", "read_lines"]

_WORTH_DECODING = 4.9
"""Pilot statistic from which decoding is tried: few unmarked pictures reach it."""

_LIST = 24
"""Words tried for one slot of one geometry where pilots prove a mark."""

_FEW = 6
"""Words tried where pilots prove nothing."""

_PROOF_BITS = TAG_BITS + 4
"""What must agree by chance for a false word: its tag, and its slot with the pilots'."""

_BUDGET = 54.0
"""Price of the words that a picture may be asked for. With the lists that cost next to nothing,
whose price grows with the geometries tried, it stays below 64, and 64 * 2**-36 is below one false
id in a thousand million."""

WORDS_COUNTED = 64 >> (_PROOF_BITS - TAG_BITS)
"""The budget, in words that are proved by a tag of 32 bits alone."""


@dataclass(slots=True)
class Attempts:
    """What was tried on one picture so far; every bound counts it.

    A word costs 1, or, where pilots agree better than chance allows, the bound of that chance:
    before such a word could be false, the pilots must have agreed by chance, too.

    Attributes:
        geometries: Geometries, windows and keys whose pilots were looked at.
        words: Price of all words compared with their tag.
        rivals: Words that other codecs compare with a tag of 32 bits for the same picture.
    """

    geometries: int = 0
    words: float = 0.0
    rivals: int = 0

    def afford(self, statistic: float) -> int:
        """Pays for as many words as pilots so good are worth; answers how many.

        Where they prove a mark, a whole list costs next to nothing. Where they do not, a few words
        are tried while the budget lasts.
        """
        price = lattice_lines.pilot_bound(statistic, geometries=self.geometries)
        count = _LIST if price * _LIST < 1 else min(_FEW, int(_BUDGET - self.words))
        self.words += count * price
        return count

    @property
    def p_value(self) -> float:
        """Bound that an unmarked picture yields any word that passes, here or elsewhere."""
        return min(1.0, math.ldexp(self.words, -_PROOF_BITS) + tag_p_value(self.rivals))


@dataclass(frozen=True, slots=True)
class Reading:
    """What one key says of one geometry.

    Attributes:
        sync: Start, slot and pilot statistic.
        record_id: None when the tag does not fit.
        margin: Correlation of the soft bits with the payload's coded bits, 0..1; about 0.55 is the
            least that decodes. None without payload.
        bit_accuracy: Share of coded bits whose soft sum has the right sign; None without payload.
    """

    sync: Sync
    record_id: RecordId | None = None
    margin: float | None = None
    bit_accuracy: float | None = None

    @property
    def rank(self) -> tuple[bool, float]:
        """Orders readings: one with a payload first, then by pilots."""
        return self.record_id is not None, self.sync.statistic

    def sync_p_value(self, attempts: Attempts) -> float:
        """Bound that an unmarked picture's pilots agree so well."""
        return lattice_lines.pilot_bound(self.sync.statistic, geometries=attempts.geometries)


def read_lines(lines: Lines, carrier: Carrier, key: WatermarkKey, attempts: Attempts) -> Reading:
    """Reads one geometry under one key."""
    attempts.geometries += 1
    sync = lattice_lines.synchronise(lines, carrier)
    if sync.statistic < _WORTH_DECODING:
        return Reading(sync)
    for slot, soft in zip(sync.slots, lattice_lines.demodulate(lines, carrier, sync), strict=True):
        count = attempts.afford(sync.statistic)
        if not count:
            break
        for word in coding.decode_list(soft, count):
            record_id = check_word(word, key)
            if record_id is not None and slot_of(record_id) == slot:
                return _describe(sync, record_id, word, soft)
    return Reading(sync)


def _describe(sync: Sync, record_id: RecordId, word: BitArray, soft: Float32Array) -> Reading:
    agreement = np.where(coding.encode_bits(word), soft, -soft)
    norm = float(np.sqrt(np.square(agreement).sum() * agreement.size))
    return Reading(sync, record_id, float(agreement.sum()) / norm, float((agreement > 0).mean()))
