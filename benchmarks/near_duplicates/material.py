"""What is registered, and what is asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.edits import EDITS, Scene, edit_picture
from benchmarks.siblings import FAMILY, drawn_scene, keep_drawn, rendered_families
from benchmarks.watermark.pictures import photographs
from provenance.fingerprint.hashes.pdq import PdqHasher
from provenance.fingerprint.words.making import keep_small
from provenance.types import AssetInfo, Fingerprints, MediaType, RecordKind, RegistryRecord
from registry import migrate
from registry.store import SqlRecordStore, open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from provenance.fingerprint.words.making import WordMaker
    from provenance.interfaces import Embedder
    from provenance.types import RasterImage

REGISTERED_PHOTOS = 2
"""Of three; the third is a stranger."""
REGISTERED_SIBLINGS = 2
"""Of each prompt's pictures; the rest are asked for."""
REGISTERED_SCENES = FAMILY - 1
RENDERED_SOURCES = 12
"""Rendered pictures whose edits are asked for; photographs are all asked for."""
SMALL_FAMILIES = 12
SMALL_PHOTOS = 90
"""Two thirds of them are registered: few enough that geometry looks at each record."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question.

    Attributes:
        name: Unlike any other's; also the seed of its edit.
        kind: ``copy``, ``stranger`` or ``sibling``.
        source: The picture that is edited: ``photo/3``, ``rendered/7-2``, ``scene/41``.
        edit: One of `benchmarks.edits.EDITS`.
    """

    kind: str
    source: str
    edit: str

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.source}:{self.edit}"


_more: list[Path] = []


def use_photographs(folders: Iterable[Path]) -> None:
    """Asks pictures of these folders too; to be called before anything else."""
    _more.extend(folders)


@lru_cache(maxsize=1)
def photos() -> list[RasterImage]:
    return [one.native() for one in photographs(_more)]


@lru_cache(maxsize=1)
def rendered() -> list[list[RasterImage]]:
    return rendered_families()


def picture(source: str) -> RasterImage:
    kind, _, number = source.partition("/")
    if kind == "photo":
        return photos()[int(number)]
    if kind == "scene":
        return drawn_scene(int(number))
    family, _, member = number.partition("-")
    return rendered()[int(family)][int(member)]


def registered_pictures(*, is_small: bool) -> Iterator[str]:
    """Photographs and rendered pictures that the registry holds."""
    yield from (
        f"photo/{n}" for n in _photo_numbers(is_small=is_small) if n % 3 < REGISTERED_PHOTOS
    )
    for family in range(_families(is_small=is_small)):
        yield from (f"rendered/{family}-{member}" for member in range(REGISTERED_SIBLINGS))


def _photo_numbers(*, is_small: bool) -> range:
    return range(min(len(photos()), SMALL_PHOTOS) if is_small else len(photos()))


def _families(*, is_small: bool) -> int:
    return min(SMALL_FAMILIES, len(rendered())) if is_small else len(rendered())


def list_queries(*, is_small: bool, scenes: int) -> list[Query]:
    """All that is asked of a registry, in an order that a broken-off run makes a fair sample of."""
    families = _families(is_small=is_small)
    own = [one for one in registered_pictures(is_small=is_small) if one.startswith("photo")]
    own += [f"rendered/{family}-0" for family in range(min(families, RENDERED_SOURCES))]
    queries = [Query("copy", source, edit) for source in own for edit in EDITS]
    strangers = (n for n in _photo_numbers(is_small=is_small) if n % 3 >= REGISTERED_PHOTOS)
    queries += [Query("stranger", f"photo/{n}", edit) for n in strangers for edit in EDITS]
    queries += [
        Query("sibling", f"rendered/{family}-{member}", edit)
        for family in range(families)
        for member in range(REGISTERED_SIBLINGS, len(rendered()[family]))
        for edit in ("none", "jpeg50")
    ]
    if not is_small:
        queries += [
            Query("sibling", f"scene/{family * FAMILY + FAMILY - 1}", "none")
            for family in range(min(150, scenes // FAMILY))
        ]
    order = np.random.default_rng(17).permutation(len(queries))
    return [queries[n] for n in order]


def ask(query: Query) -> RasterImage:
    """The edited picture."""
    seed = int.from_bytes(query.name.encode(), "big") % 2**63
    draw = np.random.default_rng(seed)
    # What a collage sets beside it is never registered.
    fillers = [one for n, one in enumerate(photos()) if n % 3 >= REGISTERED_PHOTOS]
    chosen = draw.permutation(len(fillers))[:4]
    others = [fillers[n] for n in chosen if f"photo/{3 * n + 2}" != query.source]
    return edit_picture(query.edit, picture(query.source), Scene(draw, tuple(others)))


def fill_registry(
    file: Path, *, is_small: bool, scenes: int, embedder: Embedder | None, words: WordMaker | None
) -> tuple[SqlRecordStore, dict[str, str]]:
    """A SQLite registry, and which source each of its records is."""
    file.unlink(missing_ok=True)
    url = f"sqlite:///{file}"
    migrate.upgrade(url)
    store = open_store(url)
    names: dict[str, str] = {}
    for source in registered_pictures(is_small=is_small):
        image = picture(source)
        embedding = None if embedder is None else embedder.encode(image)
        prints = Fingerprints(PdqHasher().hash(image), embedding, *keep_small(image, words))
        names[_commit(store, prints)] = source
    for source, prints in () if is_small else _drawn(scenes, embedder, words):
        names[_commit(store, prints)] = source
    return store, names


def _drawn(
    scenes: int, embedder: Embedder | None, words: WordMaker | None
) -> Iterable[tuple[str, Fingerprints]]:
    for kept in keep_drawn(scenes):
        if kept.number % FAMILY >= REGISTERED_SCENES:
            continue
        vector = None if embedder is None else embedder.encode(drawn_scene(kept.number))
        corners = None if words is None else words.describe(kept.thumbnail)
        yield (
            f"scene/{kept.number}",
            Fingerprints(kept.perceptual_hash, vector, kept.thumbnail, corners),
        )


def _commit(store: SqlRecordStore, prints: Fingerprints) -> str:
    record_id = store.reserve().record_id
    unknown = record_id.ljust(64, "0")
    store.commit(
        RegistryRecord(
            record_id=record_id,
            kind=RecordKind.GENERATED,
            created_at=datetime.now(UTC),
            asset=AssetInfo(unknown, unknown, MediaType.PNG, 512, 512, 1),
            model=None,
            parameters={},
            safety=None,
            watermark=None,
            fingerprints=prints,
            manifest_label=f"urn:c2pa:{record_id}",
            manifest_store=b"none",
            claim_generator="benchmark",
        )
    )
    return record_id
