"""The codec ``lattice``: a keyed mark of our own that survives what pictures go through.

Needs no weights and no cv2. `lattice_carrier` says where the mark lives, `lattice_embedding` writes
it, `lattice_lines` and `lattice_reading` read it at a known geometry, `lattice_search` finds the
geometry.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from provenance.errors import CapacityError
from provenance.types import (
    Finding,
    MarkGeometry,
    MarkRegion,
    RasterImage,
    Resave,
    WatermarkEvidence,
)
from provenance.watermark import coding, statistics
from provenance.watermark.codecs.lattice_canvas import folded_spectrum, pick_lines, scaled_luma
from provenance.watermark.codecs.lattice_carrier import (
    TILE_PX,
    make_carrier,
    slot_of,
)
from provenance.watermark.codecs.lattice_cells import find_cells, find_frame
from provenance.watermark.codecs.lattice_embedding import write_waves
from provenance.watermark.codecs.lattice_geometry import Geometry
from provenance.watermark.codecs.lattice_lines import Lines
from provenance.watermark.codecs.lattice_magnitudes import MagnitudeMap
from provenance.watermark.codecs.lattice_plane import SearchedPlane
from provenance.watermark.codecs.lattice_reading import WORDS_COUNTED, Attempts, Reading, read_lines
from provenance.watermark.codecs.lattice_search import Match, Search
from provenance.watermark.codecs.lattice_spectrum import Spectrum
from provenance.watermark.payload import make_word

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from provenance.types import RecordId, WatermarkPayload
    from provenance.watermark.payload import WatermarkKey

__all__ = ["LatticeCodec"]

_MIN_SIDE_PX = 256

_LEAST_READ_PX = _MIN_SIDE_PX // 4
"""Smaller ones have lost all but the longest waves."""

_FLAT_LEVELS = 0.05
"""Deviation of luma in grey levels below which a picture is constant: it has nothing to read."""


@dataclass(frozen=True, slots=True)
class _Found:
    reading: Reading
    key: WatermarkKey
    geometry: Geometry
    region: MarkRegion


@dataclass(slots=True)
class _Hunt:
    """What is looked for: one mark of each group of keys. The first group's ends it.

    Another group's never does: anyone can write a signpost, and it must hide no mark.

    Attributes:
        groups: Keys, most important first.
        attempts: Of each group, counted apart: what one reads does not depend on the others.
        best: What was found of each group.
    """

    groups: Sequence[Sequence[WatermarkKey]]
    attempts: tuple[Attempts, ...]
    best: list[_Found | None] = field(init=False)

    def __post_init__(self) -> None:
        self.best = [None] * len(self.groups)

    def wanted(self) -> Iterator[tuple[int, WatermarkKey]]:
        """Groups and their keys, of which no mark is found yet when their turn comes."""
        for group, keys in enumerate(self.groups):
            for key in keys:
                if self.found(group) is None:
                    yield group, key

    def found(self, group: int) -> _Found | None:
        """The mark of a group; None while it isn't found."""
        best = self.best[group]
        return None if best is None or best.reading.record_id is None else best

    def read(
        self,
        lines: Lines,
        group: int,
        key: WatermarkKey,
        geometry: Geometry,
        region: MarkRegion,
        *,
        plane: SearchedPlane | None = None,
    ) -> None:
        """Reads lines under a key and keeps the best; a plane tells where in a region it is."""
        reading = read_lines(lines, make_carrier(key), key, self.attempts[group])
        best = self.best[group]
        if best is not None and reading.rank <= best.reading.rank:
            return
        if plane is not None:
            part = plane.locate(reading, geometry, key) or plane.whole
            region = _inside(region, part)
        self.best[group] = _Found(reading, key, geometry, region)


@dataclass(frozen=True, slots=True)
class LatticeCodec:
    """Writes and reads the lattice mark; see `interfaces.WatermarkScheme`.

    Attributes:
        budget_s: Processor seconds that a thorough reading may take; what is found by then is
            answered. Not wall-clock time: a busy machine must not find fewer marks.
    """

    name: str = "lattice"
    alg: str = "lattice.1"
    min_side_px: int = _MIN_SIDE_PX
    strengths: tuple[float, ...] = (0.9, 1.05, 1.2, 1.4, 1.6)
    endures: tuple[Resave, ...] = (
        Resave(quality=30),
        Resave(quality=70, scale=0.5),
        Resave(quality=20),
    )
    budget_s: float = 4.0

    def holds_record_id(self, width_px: int, height_px: int) -> bool:
        """Whether a picture of this size carries a mark; every mark holds a record id."""
        return min(width_px, height_px) >= _MIN_SIDE_PX

    def fits(self, width_px: int, height_px: int) -> bool:
        """As `holds_record_id`."""
        return self.holds_record_id(width_px, height_px)

    def embed(
        self,
        image: RasterImage,
        payload: WatermarkPayload | None,
        *,
        key: WatermarkKey,
        strength: float,
    ) -> RasterImage:
        """Returns a copy that carries the payload.

        Raises:
            CapacityError: The picture is too small, or there is no payload.
        """
        self._check(image)
        if payload is None:
            raise CapacityError("the lattice mark always carries a record id; give a payload")
        carrier = make_carrier(key)
        coded = coding.encode_bits(make_word(payload, key))
        start = _start_of(payload.record_id, key)
        waves = carrier.waves(slot_of(payload.record_id), coded, start)
        return write_waves(image, carrier, waves, strength=strength)

    def _check(self, image: RasterImage) -> None:
        if not self.fits(image.width_px, image.height_px):
            raise CapacityError(
                f"{self.name} needs at least {_MIN_SIDE_PX} pixels on the short side, but the "
                f"picture is {image.width_px}x{image.height_px}: render it larger"
            )

    def readings(self, keys: int) -> int:
        """What other codecs must count: a picture's budget of words, whatever the keys."""
        del keys
        return WORDS_COUNTED

    def read(
        self,
        image: RasterImage,
        keys: Sequence[WatermarkKey],
        *,
        thorough: bool = False,
        rivals: int = 0,
    ) -> WatermarkEvidence:
        """What the picture says; `thorough` looks for rotation, scale, mirror, stretch and shear.

        PRESENT: the tag fits. UNREADABLE: pilots of a key are there beyond doubt, but no id; or
        the picture is constant or too small to look. ABSENT: looked properly, found nothing.
        """
        (answer,) = self.read_groups(image, (keys,), thorough=thorough, rivals=rivals)
        return answer

    def read_groups(
        self,
        image: RasterImage,
        groups: Sequence[Sequence[WatermarkKey]],
        *,
        thorough: bool = False,
        rivals: int = 0,
    ) -> tuple[WatermarkEvidence, ...]:
        """As `read`, for several parties' keys at once; see `interfaces.KeyGroupScheme`."""
        problem = _problem_of(image)
        if problem is not None:
            return (self._unreadable(problem),) * len(groups)
        hunt = _Hunt(groups, tuple(Attempts(rivals=rivals) for _ in groups))
        self._look(image, hunt, thorough=thorough)
        best = [_narrowed(one, image) if thorough and one else one for one in hunt.best]
        return tuple(
            self._answer(one, attempts) for one, attempts in zip(best, hunt.attempts, strict=True)
        )

    def _look(self, image: RasterImage, hunt: _Hunt, *, thorough: bool) -> None:
        """Looks in one place after another, the cheapest first, until the leader is found."""
        deadline = time.thread_time() + self.budget_s
        whole = MarkRegion(0, 0, image.width_px, image.height_px)
        _look_direct(image, hunt, whole)
        if hunt.found(0):
            return
        frame = find_frame(image)
        if frame != whole:
            _look_direct(image, hunt, frame)
        if not thorough or hunt.found(0):
            return
        _look_everywhere(image, hunt, frame, deadline)
        if hunt.found(0):
            return
        cells = [one for one in find_cells(image) if _may_carry(one)]
        for look in (_look_direct, partial(_look_everywhere, deadline=deadline)):
            for cell in cells:
                if hunt.found(0) or time.thread_time() > deadline:
                    return
                look(image, hunt, cell)

    def _answer(self, best: _Found | None, attempts: Attempts) -> WatermarkEvidence:
        if best is None:
            return WatermarkEvidence(Finding.ABSENT, "there is no key to look with", self.name)
        reading, key_id = best.reading, best.key.key_id
        if reading.record_id is not None:
            return WatermarkEvidence(
                Finding.PRESENT,
                f"our mark with record id {reading.record_id}; its keyed tag fits, and "
                f"{reading.bit_accuracy:.0%} of the coded bits agree",
                self.name,
                reading.record_id,
                attempts.p_value,
                key_id,
                bit_accuracy=reading.bit_accuracy,
                margin=reading.margin,
                geometry=_describe(best.geometry),
                region=best.region,
            )
        p_value = reading.sync_p_value(attempts)
        if p_value <= statistics.PRESENCE_P_VALUE:
            return WatermarkEvidence(
                Finding.UNREADABLE,
                "a mark of this key seems to be there, but its record id cannot be read",
                self.name,
                p_value=p_value,
                key_id=key_id,
                geometry=_describe(best.geometry),
                region=best.region,
            )
        return WatermarkEvidence(
            Finding.ABSENT, f"no mark of our keys in {self.name}", self.name, p_value=p_value
        )

    def _unreadable(self, reason: str) -> WatermarkEvidence:
        return WatermarkEvidence(Finding.UNREADABLE, reason, self.name)


def _start_of(record_id: RecordId, key: WatermarkKey) -> tuple[float, float]:
    """Where the tile begins: another place for every record, so that pictures do not add up."""
    draw = hashlib.shake_256(key.derive("lattice/start") + bytes.fromhex(record_id)).digest(4)
    down, across = np.frombuffer(draw, dtype="<u2") * (TILE_PX / 2**16)
    return float(down), float(across)


def _may_carry(region: MarkRegion) -> bool:
    return min(region.width_px, region.height_px) >= _LEAST_READ_PX


def _cut(image: RasterImage, region: MarkRegion) -> RasterImage:
    rows = slice(region.top_px, region.top_px + region.height_px)
    columns = slice(region.left_px, region.left_px + region.width_px)
    return RasterImage(image.pixels[rows, columns])


def _problem_of(image: RasterImage) -> str | None:
    """Why no mark can be looked for; None when one can."""
    if min(image.width_px, image.height_px) < _LEAST_READ_PX:
        return f"{image.width_px}x{image.height_px} pixels are too few to look for a mark"
    if float(scaled_luma(image, 64).std()) < _FLAT_LEVELS:
        return "the picture is one flat colour: it can show no mark"
    return None


def _look_direct(image: RasterImage, hunt: _Hunt, region: MarkRegion) -> None:
    spectrum = folded_spectrum(_cut(image, region))
    for group, key in hunt.wanted():
        carrier = make_carrier(key)
        lines = Lines(pick_lines(spectrum, carrier.points), pick_lines(spectrum, carrier.empty))
        hunt.read(lines, group, key, Geometry(), region)


def _look_everywhere(image: RasterImage, hunt: _Hunt, region: MarkRegion, deadline: float) -> None:
    """Searches for the leader; the other groups' marks only where it was found."""
    plane = SearchedPlane(_cut(image, region))
    spectrum, magnitudes = Spectrum(plane.white), MagnitudeMap(plane.white)
    for group, key in hunt.wanted():
        search = Search(spectrum, magnitudes, make_carrier(key), hunt.attempts[group])
        leader = hunt.found(0)
        if group == 0:
            matches: Iterable[Match] = search.run(lambda: time.thread_time() > deadline)
        else:
            matches = () if leader is None else (Match(0.0, leader.geometry),)
        for match in matches:
            hunt.read(search.lines(match.geometry), group, key, match.geometry, region, plane=plane)
            if hunt.found(group):
                break


def _narrowed(found: _Found, image: RasterImage) -> _Found:
    """The same, with the part of a picture put together from several that carries the mark."""
    if found.geometry != Geometry() or found.reading.record_id is None:
        return found
    if not find_cells(_cut(image, found.region)):
        return found
    plane = SearchedPlane(_cut(image, found.region))
    # Direct reading counts from the corner of the picture, the plane from its middle.
    down, across = found.reading.sync.start
    height, width = plane.white.shape
    start = ((down - height // 2) % TILE_PX, (across - width // 2) % TILE_PX)
    reading = replace(found.reading, sync=replace(found.reading.sync, start=start))
    part = plane.locate(reading, found.geometry, found.key)
    return found if part is None else replace(found, region=_inside(found.region, part))


def _inside(region: MarkRegion, part: MarkRegion) -> MarkRegion:
    """A part of a region, in pixels of the whole picture."""
    return replace(part, left_px=region.left_px + part.left_px, top_px=region.top_px + part.top_px)


def _describe(geometry: Geometry) -> MarkGeometry:
    return MarkGeometry(
        mirrored=geometry.mirrored,
        rotation_deg=float(np.degrees(geometry.angle)),
        scale=geometry.scale,
        stretch=geometry.stretch,
        shear=geometry.shear,
    )
