import pytest

from provenance.plugins import load_backend
from provenance.testing.hashers import HasherTests
from provenance.testing.twins_marks import MeanHasher


class TestPdq(HasherTests):
    @pytest.fixture
    def hasher(self):
        return load_backend("countermark.hashers", "pdq")()


class TestMeanHasher(HasherTests):
    @pytest.fixture
    def hasher(self):
        return MeanHasher()
