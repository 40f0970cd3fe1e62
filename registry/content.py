"""What a picture itself says: its mark and its fingerprints, as soft bindings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from provenance.fingerprint.similarity import can_search
from provenance.imaging import DEFAULT_LIMITS, decode_image
from provenance.types import Finding
from provenance.watermark.straighten import is_partial, straighten
from registry.soft_bindings import PictureBindings

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.imaging import ImageLimits
    from provenance.interfaces import Hasher
    from provenance.types import PerceptualHash, RasterImage, WatermarkEvidence
    from provenance.watermark.marking import MarkReader
    from registry.soft_bindings import AlgNames

__all__ = ["ContentReader"]


class ContentReader:
    """Reads the soft bindings of pictures; safe from any thread.

    Args:
        mark_reader: Answers the reader of marks, or None while there is no watermark key.
        hasher: Answers the hasher whose hashes the records hold.
        names: What the algorithms are called.
        thorough: Whether to look for marks of pictures that were turned or scaled.
        limits: On bytes and pixels.
    """

    def __init__(
        self,
        mark_reader: Callable[[], MarkReader | None],
        hasher: Callable[[], Hasher],
        names: AlgNames,
        *,
        thorough: bool = True,
        limits: ImageLimits = DEFAULT_LIMITS,
    ) -> None:
        self._mark_reader = mark_reader
        self._hasher = hasher
        self._thorough = thorough
        self.names = names
        self.limits = limits

    @property
    def reads_marks(self) -> bool:
        """Whether this installation has a watermark key."""
        return self._mark_reader() is not None

    def read(self, data: bytes, *, name: str) -> PictureBindings:
        """Decodes once, reads the mark, takes the hashes.

        Args:
            data: By anybody.
            name: What the caller calls it, for messages.

        Raises:
            UnsupportedMediaTypeError: No image by its content.
            ImageTooLargeError: A limit is exceeded.
            ImageDecodeError: Truncated or corrupt.
        """
        raster = decode_image(data, name=name, limits=self.limits)
        hashes = self._hash_all(raster)
        searchable = bool(hashes) and can_search(hashes[0])
        reader = self._mark_reader()
        mark = None if reader is None else reader.read(raster, thorough=self._thorough)
        if reader is None or mark is None or mark.finding is not Finding.PRESENT:
            return PictureBindings(hashes=hashes, searchable=searchable)
        suffix = next((one.alg for one in reader.codecs if one.name == mark.codec), None)
        return PictureBindings(
            mark_alg=None if suffix is None else f"{self.names.namespace}.{suffix}",
            mark_value=mark.record_id or mark.key_id or "",
            names_record=mark.record_id is not None,
            hashes=hashes,
            straight_hash=(
                partial(self._straight_hash, raster, mark) if is_partial(raster, mark) else None
            ),
            searchable=searchable,
        )

    def _hash_all(self, raster: RasterImage) -> tuple[PerceptualHash, ...]:
        """The hash as the picture lies, and turned and mirrored where the hasher can."""
        hasher = self._hasher()
        variants = getattr(hasher, "hash_variants", None)
        if variants is not None:
            found: tuple[PerceptualHash, ...] = variants(raster)
            return found
        one = hasher.hash(raster)
        return () if one is None else (one,)

    def _straight_hash(
        self, raster: RasterImage, mark: WatermarkEvidence, size: tuple[int, int]
    ) -> PerceptualHash | None:
        return self._hasher().hash(straighten(raster, mark, size))
