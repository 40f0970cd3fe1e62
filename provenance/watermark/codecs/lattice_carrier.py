"""Where the lattice mark lives in the spectrum, and the keyed choices behind it.

The mark is a periodic pattern: a tile of `TILE_PX` canonical pixels, repeated. Its spectrum is
therefore a lattice of lines at k / `TILE_PX` cycles per pixel. A keyed 62 % of the lattice points
of a ring carry the mark, the others stay empty and tell how strong the picture itself is there.
Three kinds of points carry:

- *pilots*: phases that depend on the key alone. They say whether a mark is there and where its tile
  begins.
- *slot pilots*: phases that depend on key and slot. They say which slot the mark is in.
- *data*: phases and order depend on key and slot; each point carries one coded bit as its sign.

Slots are 16 marks under one key, chosen by the record id: pictures of different slots averaged
together cancel each other's data (see docs/THREAT_MODEL.md).

Pure: keys in, numbers out. All choices come from SHAKE-256, so they never change with a library.

Source: the lattice is a spread-spectrum mark (Cox, Kilian, Leighton, Shamoon, "Secure spread
spectrum watermarking for multimedia", IEEE Trans. Image Processing 6(12), 1997) whose periodicity
makes it findable after rotation and scaling (Kutter, "Watermarking resistant to translation,
rotation, and scaling", SPIE 3528, 1998).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from provenance.watermark.payload import CODED_BITS, WatermarkKey

if TYPE_CHECKING:
    from provenance.types import BitArray, Float32Array, RecordId

__all__ = [
    "CANONICAL_PX",
    "MAX_RADIUS",
    "SLOTS",
    "TILE_PX",
    "Carrier",
    "Complex64Array",
    "Slot",
    "make_carrier",
    "slot_of",
]

_Index: TypeAlias = npt.NDArray[np.intp]
Complex64Array: TypeAlias = npt.NDArray[np.complex64]

CANONICAL_PX = 512
"""Short side at which pictures are marked and read: a resize that keeps aspect costs nothing."""

TILE_PX = 128
"""Period of the mark in canonical pixels: sixteen tiles in a square picture."""

SLOTS = 16

_MIN_RADIUS, MAX_RADIUS = 4.5, 24.5
"""Ring of lattice points, in lattice steps: 0.035 to 0.19 cycles per canonical pixel. Below, the
picture itself is strongest; above, JPEG at quality 50 and halving the size leave nothing."""

_CARRYING_SHARE = 0.62
_PILOTS = 84
_SLOT_PILOTS = 24
_PILOT_GAIN = 1.25
"""Amplitude of pilots over data: without synchronisation no bit is worth anything."""

_SLOPE = -0.6
"""Amplitude falls as radius**-0.6: compression takes the high frequencies first."""


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """What depends on the slot.

    Attributes:
        pilot_phase: (slot pilots,) float32 radians.
        data_phase: (data,) float32 radians.
        order: (data,) which coded bit, 0..383, each data point carries.
        flips: (384,) bool, added to the coded bits.
    """

    pilot_phase: Float32Array
    data_phase: Float32Array
    order: _Index
    flips: BitArray


@dataclass(frozen=True, slots=True, eq=False)
class Carrier:
    """All keyed choices of one key.

    Points are (n, 2) int: lattice steps down and across, one of each pair k, -k. The points in use
    come first pilots, then slot pilots, then data.

    Attributes:
        points: (n, 2) lattice points in use.
        empty: (m, 2) lattice points left empty.
        amplitude: (n,) float32 relative amplitude.
        pilot_phase: (pilots,) float32 radians.
        slots: `SLOTS` slots.
    """

    points: _Index
    empty: _Index
    amplitude: Float32Array
    pilot_phase: Float32Array
    slots: tuple[Slot, ...]

    @property
    def all_pilots(self) -> slice:
        """Where pilots and slot pilots stand in `points`."""
        return slice(0, _PILOTS + _SLOT_PILOTS)

    @property
    def pilots(self) -> slice:
        """Where the pilots stand in `points`."""
        return slice(0, _PILOTS)

    @property
    def slot_pilots(self) -> slice:
        """Where the slot pilots stand in `points`."""
        return slice(_PILOTS, _PILOTS + _SLOT_PILOTS)

    @property
    def data(self) -> slice:
        """Where the data points stand in `points`."""
        return slice(_PILOTS + _SLOT_PILOTS, len(self.points))

    def waves(self, slot: int, coded: BitArray, start: tuple[float, float]) -> Complex64Array:
        """(n,) complex64 amplitudes and phases of a mark that says ``coded``, (384,) bool.

        Args:
            slot: 0..15.
            coded: (384,) bool coded bits.
            start: Where its tile begins, canonical pixels down and across.
        """
        one = self.slots[slot]
        signs = (coded ^ one.flips)[one.order]
        data = one.data_phase + np.float32(np.pi) * signs
        phases = np.concatenate([self.pilot_phase, one.pilot_phase, data])
        turn = self.points @ np.array(start) * (2 * np.pi / TILE_PX)
        waves: Complex64Array = (self.amplitude * np.exp(1j * (phases - turn))).astype(np.complex64)
        return waves


def slot_of(record_id: RecordId) -> int:
    """The slot of a record's mark: the last four bits of its id, which are random."""
    return int(record_id[-1], SLOTS)


@lru_cache(maxsize=16)
def make_carrier(key: WatermarkKey) -> Carrier:
    """Draws the carrier of a key."""
    ring = _ring()
    shuffled = ring[_draw_order(key, "lattice/points", len(ring))]
    carrying = round(_CARRYING_SHARE * len(ring))
    points, empty = shuffled[:carrying], shuffled[carrying:]
    amplitude = (np.hypot(*points.T) / _MIN_RADIUS) ** _SLOPE
    amplitude[: _PILOTS + _SLOT_PILOTS] *= _PILOT_GAIN
    return Carrier(
        points=points,
        empty=empty,
        amplitude=amplitude.astype(np.float32),
        pilot_phase=_draw_phases(key, "lattice/pilots", _PILOTS),
        slots=tuple(
            _make_slot(key, index, carrying - _PILOTS - _SLOT_PILOTS) for index in range(SLOTS)
        ),
    )


def _make_slot(key: WatermarkKey, index: int, data: int) -> Slot:
    name = f"lattice/slot/{index}"
    rounds = -(-data // CODED_BITS)
    order = [_draw_order(key, f"{name}/order/{turn}", CODED_BITS) for turn in range(rounds)]
    flips = _draw(key, f"{name}/flips", CODED_BITS // 8)
    return Slot(
        pilot_phase=_draw_phases(key, f"{name}/pilots", _SLOT_PILOTS),
        data_phase=_draw_phases(key, f"{name}/data", data),
        order=np.concatenate(order)[:data],
        flips=np.unpackbits(np.frombuffer(flips, dtype=np.uint8)).astype(np.bool_),
    )


def _ring() -> _Index:
    """(n, 2) lattice points of the ring, one of each pair k, -k."""
    reach = int(MAX_RADIUS) + 1
    down, across = np.mgrid[0 : reach + 1, -reach : reach + 1]
    radius = np.hypot(down, across)
    inside = (radius >= _MIN_RADIUS) & (radius <= MAX_RADIUS) & ((down > 0) | (across > 0))
    return np.stack([down[inside], across[inside]], axis=1).astype(np.intp)


def _draw(key: WatermarkKey, purpose: str, count: int) -> bytes:
    return hashlib.shake_256(key.derive(purpose)).digest(count)


def _draw_order(key: WatermarkKey, purpose: str, count: int) -> _Index:
    draws = np.frombuffer(_draw(key, purpose, 8 * count), dtype="<u8")
    return np.argsort(draws, kind="stable")


def _draw_phases(key: WatermarkKey, purpose: str, count: int) -> Float32Array:
    draws = np.frombuffer(_draw(key, purpose, 4 * count), dtype="<u4")
    return (draws * (2 * np.pi / 2**32)).astype(np.float32)
