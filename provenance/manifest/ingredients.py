"""Takes a picture in as an ingredient: what its own credentials are worth, before it is used.

Nothing is fetched. Four answers, and one rule for each:

- *none*: the manifest names the ingredient, whose past stays unknown.
- *clean*: its whole manifest store comes along.
- *damaged*: so does a store that can be read but does not validate, with what is wrong with it; of
  one that cannot be read the manifest says just that.
- *remote*: the manifest says where the credentials are kept and that they were not fetched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.errors import InputError, UnsupportedMediaTypeError
from provenance.manifest import sdk
from provenance.manifest.claims import Ingredient, IngredientState
from provenance.manifest.codes import is_recorded_damage
from provenance.manifest.heal import read_store_bytes
from provenance.manifest.reading import credential_without_reading, interpret
from provenance.manifest.trust import no_trust
from provenance.types import Credential, Integrity

if TYPE_CHECKING:
    from provenance.manifest.claims import Relationship
    from provenance.types import EncodedImage, ManifestReport

__all__ = ["MAX_STORE_BYTES", "examine_ingredient"]

MAX_STORE_BYTES = 16 * 2**20
"""Longest manifest store that is taken over: it goes into every picture made from this one, and
into the registry. Thirty manifests of a real file, thumbnails included, have 2 MB."""


def examine_ingredient(
    image: EncodedImage, *, relationship: Relationship, title: str
) -> Ingredient:
    """Reads the credentials of a picture that another one is made from; opens no connection.

    Args:
        image: The bytes as they came; within the caller's limits.
        relationship: What it will be to the new picture.
        title: Shown by viewers.

    Raises:
        InputError: Its credentials are too long to be taken over.
    """
    _check_length(image)
    reading = sdk.read_store(image.data, image.media_type, trust=no_trust())
    if isinstance(reading, sdk.EngineReading):
        report = interpret(reading, credential=Credential.EMBEDDED)
        state = IngredientState.DAMAGED if _is_damaged(report) else IngredientState.CLEAN
        return Ingredient(relationship, image, title, state, report.manifest_label)
    readable = reading in (sdk.ReadFailure.NO_MANIFEST, sdk.ReadFailure.REMOTE_NOT_FETCHED)
    match credential_without_reading(reading, image.data):
        case Credential.REMOTE_NOT_FETCHED:
            state = IngredientState.REMOTE
        case Credential.MALFORMED:
            state = IngredientState.DAMAGED
        case _:
            state = IngredientState.NONE
    return Ingredient(relationship, image, title, state, is_readable=readable)


def _is_damaged(report: ManifestReport) -> bool:
    # What is wrong with *its* ingredients is their story, and stays with them.
    broken = report.integrity in (Integrity.CONTENT_CHANGED, Integrity.MANIFEST_ALTERED)
    return broken or any(is_recorded_damage(code) for code in report.codes)


def _check_length(image: EncodedImage) -> None:
    try:
        store = read_store_bytes(image.data, image.media_type)
    except (InputError, UnsupportedMediaTypeError):
        return  # whether it can be read is found out next
    if store is not None and len(store) > MAX_STORE_BYTES:
        raise InputError(
            f"init_image carries {len(store)} bytes of Content Credentials; at most "
            f"{MAX_STORE_BYTES} are taken over into a new picture"
        )
