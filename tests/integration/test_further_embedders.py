"""Several embedders at once: each writes its vector with the record, and each is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import select

from detector.wiring import build_context
from generator.wiring import build_generator
from provenance.config import load_settings
from provenance.errors import ConfigError, InputError
from provenance.fingerprint.wiring import build_embedders
from provenance.imaging import decode_image
from provenance.testing.stores import build_embedding
from provenance.types import Fingerprints, GenerationRequest, RasterImage
from registry.check import check_consistency
from registry.engine import reading
from registry.likeness import LikenessSearch
from registry.reindex import list_spaces, reindex
from registry.tables import EmbeddingRow
from registry.wiring import open_asset_store

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.config import Settings

OWN = "countermark-descriptor"
FURTHER = "provenance.testing.twins_marks:load_thumbnail"


def settings_of(folder: Path, embedder: str = OWN, further: str = FURTHER) -> Settings:
    environ = {
        "COUNTERMARK_GENERATOR_PIPELINE": "drawn_backend:load_pipeline",
        "COUNTERMARK_FINGERPRINT_EMBEDDER": embedder,
        "COUNTERMARK_FINGERPRINT_FURTHER_EMBEDDERS": further,
    }
    return load_settings(environ=environ, home=folder)


def test_a_picture_is_written_in_every_space_and_found_by_each(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    generator = build_generator(settings)
    request = GenerationRequest(prompt="a hill", seed=2, steps=1)
    delivery = generator.service.generate(request, lambda _report: None)
    store, record_id = generator.store, delivery.record.record_id
    own, further = build_embedders(settings)
    assert dict(list_spaces(store.engine)) == {own.space_id: 1, further.space_id: 1}
    with reading(store.engine) as session:
        rows = {row.space_id: row for row in session.scalars(select(EmbeddingRow))}
    assert (rows[own.space_id].of_record, rows[further.space_id].of_record) == (True, False)
    report = check_consistency(store.engine, now=delivery.record.created_at)
    assert report.problems == ()

    pixels = decode_image(delivery.asset.image.data).pixels
    edited = RasterImage((pixels * 0.9).astype(np.uint8))  # darker
    for embedder in (own, further):
        alone = LikenessSearch(store, None, embedder=embedder)
        assert [one.record.record_id for one in alone.search(edited)] == [record_id]
    context = build_context(settings)
    first = context.embedder()
    assert first is not None
    assert first.space_id == own.space_id
    assert [one.space_id for one in context.further_embedders()] == [further.space_id]

    # What was written is what a re-embedding would write: it has nothing left to do.
    again = reindex(store.engine, open_asset_store(settings).get, further)
    assert (again.present, again.added) == (1, 0)


def test_one_embedder_alone_stays_as_it_was(tmp_path: Path) -> None:
    (own,) = build_embedders(settings_of(tmp_path, further=""))
    assert own.space_id.startswith("countermark-descriptor")
    assert build_embedders(settings_of(tmp_path, embedder="", further="")) == ()
    context = build_context(settings_of(tmp_path, embedder="", further=""))
    assert (context.embedder(), context.further_embedders()) == (None, ())


@pytest.mark.parametrize(
    ("embedder", "further", "said"),
    [
        ("", FURTHER, r"set fingerprint\.embedder first"),
        (OWN, OWN, "is named already"),
        (FURTHER, f"{OWN},{FURTHER}", "is named already"),
    ],
)
def test_embedders_that_do_not_go_together_are_named(
    tmp_path: Path, embedder: str, further: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        build_embedders(settings_of(tmp_path, embedder, further))


def test_two_vectors_of_one_space_are_no_fingerprints_of_one_picture() -> None:
    with pytest.raises(InputError, match="of one space"):
        Fingerprints(None, build_embedding(1), further=(build_embedding(0, 1),))
