"""An embedder in the write and the read path: what looks alike is shown, and decides nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from tiny_clip import write_folder

from detector.evidence.registry_search import RegistrySearchSource
from detector.policy import STANDARD, decide
from generator.wiring import build_generator
from provenance.config import Settings, load_settings
from provenance.fingerprint.wiring import build_embedder
from provenance.imaging import decode_image, encode_image, open_candidate
from provenance.types import (
    Finding,
    GenerationRequest,
    MatchBasis,
    MatchTier,
    MediaType,
    Origin,
    RasterImage,
    RegistryEvidence,
)
from registry.likeness import SearchOptions

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.interfaces import RecordStore
    from provenance.types import Evidence

CONFIG = """
[generator]
pipeline = "drawn_backend:load_pipeline"
[fingerprint]
embedder = "open_clip"
embedder_folder = "{folder}"
"""


def look(settings: Settings, store: RecordStore, copy: bytes) -> list[Evidence]:
    """What the search says without hashes (with some marks a copy's is the very same) and without
    comparing point by point: it must rest on the embedding alone."""
    embedder = build_embedder(settings)
    source = RegistrySearchSource(
        lambda: store,
        lambda: None,
        lambda: embedder,
        lambda: None,
        options=SearchOptions(min_cosine=0.9),
    )
    return list(source.collect(open_candidate(copy, name="copy")))


def test_a_shrunken_copy_is_similar_by_embedding_and_still_unknown(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "tiny-clip", seed=1)
    (tmp_path / "countermark.toml").write_text(CONFIG.format(folder=folder))
    settings = load_settings(environ={}, home=tmp_path)
    generator = build_generator(settings)
    request = GenerationRequest(prompt="a hill", seed=2, steps=1)
    delivery = generator.service.generate(request, lambda _report: None)

    embedding = generator.store.get(delivery.record.record_id).fingerprints.embedding
    assert embedding is not None
    assert embedding.space_id.startswith("open_clip/tiny-clip@")

    small = Image.fromarray(decode_image(delivery.asset.image.data).pixels).resize((300, 300))
    copy = encode_image(RasterImage(np.asarray(small)), MediaType.PNG)
    evidence = look(settings, generator.store, copy.data)
    assert decide(evidence, STANDARD, {}).origin is Origin.UNKNOWN
    found = [
        e for e in evidence if isinstance(e, RegistryEvidence) and e.basis is MatchBasis.EMBEDDING
    ]
    assert [(e.tier, e.record_id) for e in found] == [
        (MatchTier.SIMILAR, delivery.record.record_id)
    ]


def test_vectors_of_another_space_are_never_compared(tmp_path: Path) -> None:
    first = write_folder(tmp_path / "tiny-clip", seed=1)
    (tmp_path / "countermark.toml").write_text(CONFIG.format(folder=first))
    settings = load_settings(environ={}, home=tmp_path)
    generator = build_generator(settings)
    request = GenerationRequest(prompt="a hill", seed=2, steps=1)
    delivery = generator.service.generate(request, lambda _report: None)
    (tmp_path / "second").mkdir()
    second = write_folder(tmp_path / "second" / "tiny-clip", seed=2)
    other = replace(
        settings, fingerprint=replace(settings.fingerprint, embedder_folder=str(second))
    )
    small = Image.fromarray(decode_image(delivery.asset.image.data).pixels).resize((300, 300))
    copy = encode_image(RasterImage(np.asarray(small)), MediaType.PNG)
    assert [e.finding for e in look(other, generator.store, copy.data)] == [Finding.UNREADABLE]
