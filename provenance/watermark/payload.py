"""From a record id to carrier bits and back, under a secret key.

Pure: no picture, no IO. The way out (`frame`)::

    record id (64 bits) | tag (32 bits, keyed)      framed word, 96 bits
    -> tail-biting convolutional code, rate 1/4     coded bits, 384
    -> repeated round after round over all slots,
       each round in its own keyed order            slot i carries coded bit order[i]
    -> flipped by a keyed pseudo-random sequence    carrier bits

`unframe` goes back softly: it undoes the flips, adds up the slots of each coded bit, searches the
most likely word and believes it only if the tag fits.

**Why the flips matter (the null hypothesis).** Carrier bits of unmarked pictures are neither fair
nor independent: a grey picture reads as all zeros, a striped one as stripes. Let y be *any* fixed
soft reading of an unmarked picture and w the flips, independent fair signs that the picture cannot
know. The sum for coded bit j is S_j = sum of w_i y_i over its slots: a sum of constants with random
signs. Whatever y is, it is symmetric around 0, sums of different j are independent, and with
z_j = S_j / sqrt(sum y_i^2), E exp(t z_j^2) <= (1 - 2 t)^(-1/2), the value of a squared normal
variable, because a sum of random signs is sub-Gaussian (Hoeffding 1963). So the energy, the sum of
z_j^2, exceeds a bound no more often than the Chernoff bound of chi-square allows: no calibration on
pictures, no normal approximation. The probability is over keys: it holds for a picture that was
not made with knowledge of the key.

All pseudo-random choices come from SHAKE-256 with HMAC-SHA256 sub-keys, so they never change with a
NumPy release: a mark written today is read by every later version.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from provenance.errors import CapacityError, ConfigError
from provenance.types import BitArray, RecordId, WatermarkPayload
from provenance.watermark import coding

if TYPE_CHECKING:
    from provenance.types import Float32Array

__all__ = [
    "CODED_BITS",
    "MIN_SECRET_BYTES",
    "TAG_BITS",
    "PayloadReading",
    "WatermarkKey",
    "check_word",
    "frame",
    "frame_presence",
    "make_word",
    "unframe",
]

_Slots: TypeAlias = npt.NDArray[np.intp]
_Real: TypeAlias = npt.NDArray[np.float64]

MIN_SECRET_BYTES = 16
"""128 bits: below that, an offline search for the key is thinkable."""

ID_BITS = 64
TAG_BITS = 32
"""A made-up word passes with probability 2**-32; see `statistics.tag_p_value` for several tries."""

WORD_BITS = ID_BITS + TAG_BITS
CODED_BITS = WORD_BITS * coding.RATE
"""384: a codec with fewer carrier bits cannot carry a record id."""

_DOMAIN = b"countermark/watermark/v1/"
"""Version of the whole frame: another frame gets another number and reads nothing of this one."""


@dataclass(frozen=True, slots=True)
class WatermarkKey:
    """The secret of a service's watermark.

    Attributes:
        secret: At least 16 random bytes; never logged, never in `repr`.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) < MIN_SECRET_BYTES:
            raise ConfigError(
                f"watermark key has {len(self.secret)} bytes; it needs {MIN_SECRET_BYTES} or more "
                "from a secure random source"
            )

    @property
    def key_id(self) -> str:
        """Public name of the key: 16 hex digits that do not tell the secret."""
        return self.derive("key-id").hex()[:16]

    def derive(self, purpose: str) -> bytes:
        """Sub-key of 32 bytes for one purpose, so that no use of the key weakens another.

        Source: RFC 5869, HKDF-Expand with a single block.
        """
        return hmac.digest(self.secret, _DOMAIN + purpose.encode() + b"\x01", hashlib.sha256)


@dataclass(frozen=True, slots=True)
class PayloadReading:
    """What a soft reading says under one key.

    Attributes:
        record_id: The payload; None when its tag does not fit.
        energy: Sum of z_j^2 over the coded bits that were read at all (module docstring); about
            `degrees` for an unmarked picture, more for a marked one.
        degrees: Coded bits that were read at all, 0..384.
        bit_accuracy: Share of carrier bits that agree with the payload, 0..1; None without one.
    """

    record_id: RecordId | None
    energy: float
    degrees: int
    bit_accuracy: float | None


def frame(payload: WatermarkPayload, key: WatermarkKey, capacity_bits: int) -> BitArray:
    """Spreads a record id over a carrier.

    Returns:
        (capacity_bits,) bool.

    Raises:
        CapacityError: The carrier is smaller than one coded word.
    """
    if capacity_bits < CODED_BITS:
        raise CapacityError(
            f"a record id needs {CODED_BITS} carrier bits ({ID_BITS} id + {TAG_BITS} tag, coded at "
            f"rate 1/{coding.RATE}), but there are {capacity_bits}: use a larger picture, or a "
            "codec that carries more (a presence mark carries no id)"
        )
    word = np.concatenate([payload.bits, _tag_bits(payload.record_id, key)])
    spread = coding.encode_bits(word)[_slot_order(key, capacity_bits)]
    flipped: BitArray = spread ^ _flips(key, capacity_bits)
    return flipped


def frame_presence(key: WatermarkKey, capacity_bits: int) -> BitArray:
    """The carrier bits of a presence mark: nothing but the key's flips.

    Returns:
        (capacity_bits,) bool.
    """
    return _flips(key, capacity_bits)


def unframe(soft: Float32Array, key: WatermarkKey) -> tuple[PayloadReading, ...]:
    """Reads the payload from soft carrier bits; several readings of one picture at once.

    Args:
        soft: (B, capacity) float32, positive: 1; 0 where nothing could be read.
        key: The key under which to read.

    Returns:
        One reading per row.

    Raises:
        CapacityError: The carrier is smaller than one coded word.
    """
    capacity = soft.shape[1]
    if capacity < CODED_BITS:
        raise CapacityError(f"{capacity} carrier bits hold no record id ({CODED_BITS} are needed)")
    order = _slot_order(key, capacity)
    signs = 1.0 - 2.0 * _flips(key, capacity)
    sums = np.stack([_sum_slots(order, row * signs) for row in soft])
    squares = np.stack([_sum_slots(order, np.square(row)) for row in soft])
    words = coding.decode_soft(sums)
    return tuple(
        _judge_word(word, soft=row, key=key, energy=_energy(total, square))
        for word, row, total, square in zip(words, soft, sums, squares, strict=True)
    )


def _sum_slots(order: _Slots, values: npt.NDArray[np.floating]) -> _Real:
    return np.bincount(order, values, CODED_BITS).astype(np.float64)


def _energy(sums: _Real, squares: _Real) -> tuple[float, int]:
    read = squares > 0
    return float((sums[read] ** 2 / squares[read]).sum()), int(read.sum())


def make_word(payload: WatermarkPayload, key: WatermarkKey) -> BitArray:
    """(96,) bool: the record id and its tag under a key, before coding."""
    return np.concatenate([payload.bits, _tag_bits(payload.record_id, key)])


def check_word(word: BitArray, key: WatermarkKey) -> RecordId | None:
    """The record id of a decoded word, (96,) bool; None when its tag does not fit."""
    record_id = RecordId(np.packbits(word[:ID_BITS]).tobytes().hex())
    return record_id if np.array_equal(word[ID_BITS:], _tag_bits(record_id, key)) else None


def _judge_word(
    word: BitArray, *, soft: Float32Array, key: WatermarkKey, energy: tuple[float, int]
) -> PayloadReading:
    record_id = check_word(word, key)
    if record_id is None:
        return PayloadReading(None, *energy, None)
    sent = frame(WatermarkPayload(record_id), key, soft.size)
    return PayloadReading(record_id, *energy, float(((soft > 0) == sent).mean()))


def _tag_bits(record_id: RecordId, key: WatermarkKey) -> BitArray:
    """(32,) bool: HMAC-SHA256 of the id, cut to its first bytes (RFC 2104, section 5)."""
    digest = hmac.digest(key.derive("tag"), bytes.fromhex(record_id), hashlib.sha256)
    return np.unpackbits(np.frombuffer(digest[: TAG_BITS // 8], dtype=np.uint8)).astype(np.bool_)


# Reading tries the same key and size for every strength; two sizes cover a picture and its copy.
@lru_cache(maxsize=4)
def _slot_order(key: WatermarkKey, capacity_bits: int) -> _Slots:
    """(capacity_bits,) which coded bit each slot carries.

    Every run of 384 slots carries every coded bit once, in an order of its own: a damaged stripe of
    the picture costs each coded bit equally little, and the first slots do not depend on how many
    follow.
    """
    rounds = -(-capacity_bits // CODED_BITS)
    stream = hashlib.shake_256(key.derive("order")).digest(rounds * CODED_BITS * 8)
    draws = np.frombuffer(stream, dtype="<u8").reshape(rounds, CODED_BITS)
    order = np.argsort(draws, axis=1, kind="stable").reshape(-1)[:capacity_bits]
    order.flags.writeable = False
    return order


@lru_cache(maxsize=4)
def _flips(key: WatermarkKey, capacity_bits: int) -> BitArray:
    """(capacity_bits,) fair pseudo-random bits."""
    stream = hashlib.shake_256(key.derive("flips")).digest(-(-capacity_bits // 8))
    bits = np.unpackbits(np.frombuffer(stream, dtype=np.uint8))[:capacity_bits].astype(np.bool_)
    bits.flags.writeable = False
    return bits
