import pytest

from provenance.plugins import load_backend
from provenance.testing.engines import FilterEngineTests


class TestLocalEngine(FilterEngineTests):
    @pytest.fixture
    def engine(self):
        return load_backend("countermark.filter_engines", "local")()


class TestLocalEngineWithOneWorker(FilterEngineTests):
    @pytest.fixture
    def engine(self):
        return load_backend("countermark.filter_engines", "local")(1)
