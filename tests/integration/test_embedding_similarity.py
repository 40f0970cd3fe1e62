"""An embedder in the write and the read path: what looks alike is shown, and decides nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from tiny_clip import write_folder

from detector.wiring import build_detector
from generator.wiring import build_generator
from provenance.config import load_settings
from provenance.imaging import decode_image, encode_image
from provenance.types import (
    GenerationRequest,
    MatchBasis,
    MatchTier,
    MediaType,
    Origin,
    RasterImage,
    RegistryEvidence,
)

# A codec whose mark a resize takes away, no source that looks at hashes (with some marks the copy's
# is the very same), no search by geometry: the answer must rest on the embedding alone.
CONFIG = """
[watermark]
codec = "dwtDctSvd"
read_codecs = ["dwtDctSvd"]
[generator]
pipeline = "drawn_backend:load_pipeline"
[fingerprint]
embedder = "open_clip"
embedder_folder = "{folder}"
[detector]
sources = ["c2pa", "watermark", "embedding"]
similar_min_cosine = 0.9
"""


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
    verdict = build_detector(settings).verify(copy.data, name="copy")
    assert verdict.origin is Origin.UNKNOWN
    found = [
        e
        for e in verdict.evidence
        if isinstance(e, RegistryEvidence) and e.basis is MatchBasis.EMBEDDING
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
    verdict = build_detector(other).verify(copy.data, name="copy")
    bases = {e.basis for e in verdict.evidence if isinstance(e, RegistryEvidence)}
    assert MatchBasis.EMBEDDING not in bases
