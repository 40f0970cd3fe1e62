"""Every built-in evidence source, with everything it can have and with nothing at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from detector.evidence import (
    manifest,
    metadata,
    registry,
    registry_search,
    trustmark,
    watermark,
)
from detector.evidence.context import SourceContext
from detector.evidence.known_marks import source as known_marks
from detector.evidence.visible_marks import source as visible_marks
from provenance.fingerprint.verification import load_verifier
from provenance.manifest.trust import default_trust, no_trust
from provenance.testing.sources import EvidenceSourceTests
from provenance.testing.twins_marks import MeanHasher, StripeCodec, ThumbnailEmbedder
from provenance.testing.twins_registry import MemoryRecordStore
from provenance.watermark.marking import MarkReader
from provenance.watermark.payload import WatermarkKey

if TYPE_CHECKING:
    from provenance.interfaces import EvidenceSource


def full_context() -> SourceContext:
    reader = MarkReader((StripeCodec(),), (WatermarkKey(bytes(range(32))),))
    store, hasher, embedder = MemoryRecordStore(), MeanHasher(), ThumbnailEmbedder()
    verifier = load_verifier()
    return SourceContext(
        trust=default_trust(),
        store=lambda: store,
        hasher=lambda: hasher,
        embedder=lambda: embedder,
        verifier=lambda: verifier,
        mark_reader=lambda: reader,
    )


def bare_context() -> SourceContext:
    return SourceContext(trust=no_trust())


CONTEXTS = [full_context, bare_context]


@pytest.fixture(params=CONTEXTS, ids=["equipped", "bare"])
def context(request: pytest.FixtureRequest) -> SourceContext:
    built: SourceContext = request.param()
    return built


class TestManifestSource(EvidenceSourceTests):
    @pytest.fixture
    def source(self, context: SourceContext) -> EvidenceSource:
        return manifest.build_source(context)


class TestMetadataSource(EvidenceSourceTests):
    @pytest.fixture
    def source(self, context: SourceContext) -> EvidenceSource:
        return metadata.build_source(context)


class TestWatermarkSource(EvidenceSourceTests):
    @pytest.fixture
    def source(self, context: SourceContext) -> EvidenceSource:
        return watermark.build_source(context)


class TestRegistrySource(EvidenceSourceTests):
    @pytest.fixture
    def source(self, context: SourceContext) -> EvidenceSource:
        return registry.build_source(context)


class TestRegistrySearchSource(EvidenceSourceTests):
    @pytest.fixture
    def source(self, context: SourceContext) -> EvidenceSource:
        return registry_search.build_source(context)


class TestKnownMarkSource(EvidenceSourceTests):
    @pytest.fixture
    def source(self, context: SourceContext) -> EvidenceSource:
        return known_marks.build_source(context)


class TestKnownMarkSearch(EvidenceSourceTests):
    @pytest.fixture
    def source(self, context: SourceContext) -> EvidenceSource:
        return known_marks.build_search(context)


class TestVisibleOverlaySource(EvidenceSourceTests):
    @pytest.fixture
    def source(self, context: SourceContext) -> EvidenceSource:
        return visible_marks.build_source(context)


class TestVisibleTextSource(EvidenceSourceTests):
    @pytest.fixture
    def source(self, context: SourceContext) -> EvidenceSource:
        return visible_marks.build_text_source(context)


class TestTrustMarkSource(EvidenceSourceTests):
    @pytest.fixture
    def source(self, context: SourceContext) -> EvidenceSource:
        return trustmark.build_source(context)
