"""W1 for pictures that come in: what an init image carries, and whether it is one of ours.

An init image that is edited becomes the parent of the new picture and brings its credentials
along; one that only guides must have none, because a new creation would let them disappear. One of
our own pictures whose credentials were stripped is found again by its bytes, its pixels or its
mark, and gets them back where the registry can restore the file and nobody revoked the record.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.errors import InputError, RecordNotFoundError
from provenance.fingerprint.similarity import match_marked_picture
from provenance.imaging import hash_pixels
from provenance.manifest.claims import Ingredient, IngredientState, Relationship
from provenance.manifest.heal import heal
from provenance.manifest.ingredients import examine_ingredient
from provenance.types import EncodedImage, Finding, InputRole, MatchTier
from registry.events import find_revocation

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.interfaces import Hasher, RecordStore
    from provenance.types import (
        GenerationRequest,
        InputImage,
        RasterImage,
        RecordId,
        RegistryRecord,
        WatermarkEvidence,
    )

__all__ = ["InputExaminer", "InputFacts"]

_TITLE = "init_image"
"""Shown by viewers in place of a file name, which is the uploader's own business."""


@dataclass(frozen=True, slots=True)
class InputFacts:
    """What is known of an init image before it is used.

    Attributes:
        ingredient: As the manifest will tell of it.
        record_id: Our own record of it, when it is one of our pictures.
        restored: Whether it came without credentials and the registry gave them back.
    """

    ingredient: Ingredient
    record_id: RecordId | None = None
    restored: bool = False


@dataclass(frozen=True, slots=True)
class InputExaminer:
    """Examines init images.

    Attributes:
        store: The registry.
        hasher: That of the records.
        read_mark: Reads our watermark; None where there is no key yet.
    """

    store: RecordStore
    hasher: Hasher
    read_mark: Callable[[RasterImage], WatermarkEvidence] | None

    def __call__(self, request: GenerationRequest) -> InputFacts | None:
        """What the init image of `request` is; None when it has none.

        Raises:
            InputError: It should only guide, but carries credentials; or they are too long.
            RegistryError: The registry could not be asked.
        """
        image = request.init_image
        if image is None:
            return None
        is_guide = request.input_role is InputRole.GUIDE
        relationship = Relationship.INPUT if is_guide else Relationship.PARENT
        encoded = EncodedImage(image.data, image.media_type)
        ingredient = examine_ingredient(encoded, relationship=relationship, title=_TITLE)
        if is_guide and ingredient.state is not IngredientState.NONE:
            raise InputError(
                "init_image carries Content Credentials, so it cannot merely guide a new picture: "
                'that would drop its history. Use it with input_role "edit"'
            )
        record = self._find_record(image)
        if record is None:
            return InputFacts(ingredient)
        revoked = find_revocation(self.store.notices(record)) is not None
        restored = None if is_guide or revoked else _restore(ingredient, record)
        return InputFacts(restored or ingredient, record.record_id, restored is not None)

    def _find_record(self, image: InputImage) -> RegistryRecord | None:
        found = self.store.find_by_file_hash(image.sha256)
        if found is None:
            found = self.store.find_by_pixel_hash(hash_pixels(image.raster))
        return found or self._find_by_mark(image.raster)

    def _find_by_mark(self, raster: RasterImage) -> RegistryRecord | None:
        mark = None if self.read_mark is None else self.read_mark(raster)
        if mark is None or mark.finding is not Finding.PRESENT or mark.record_id is None:
            return None
        try:
            record = self.store.get(mark.record_id)
        except RecordNotFoundError:
            return None
        match = match_marked_picture(record.fingerprints.perceptual_hash, self.hasher.hash(raster))
        # A mark that was moved onto another picture makes it no child of ours.
        return None if match.tier is MatchTier.TRANSPLANT else record


def _restore(ingredient: Ingredient, record: RegistryRecord) -> Ingredient | None:
    """The ingredient with the credentials that were stripped from it, byte for byte, or None."""
    image, asset = ingredient.image, record.asset
    if ingredient.state is not IngredientState.NONE or image.media_type is not asset.media_type:
        return None
    try:
        data = heal(image.data, asset.media_type, head=asset.shell_head, tail=asset.shell_tail)
    except InputError:
        return None
    if hashlib.sha256(data).hexdigest() != asset.sha256:
        return None
    healed = EncodedImage(data, asset.media_type)
    return examine_ingredient(healed, relationship=ingredient.relationship, title=_TITLE)
