import pytest

from provenance.testing.embedders import EmbedderTests
from provenance.testing.twins_marks import ThumbnailEmbedder


class TestThumbnailEmbedder(EmbedderTests):
    @pytest.fixture
    def embedder(self):
        return ThumbnailEmbedder()
