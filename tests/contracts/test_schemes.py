import pytest

from provenance.plugins import load_backend
from provenance.testing.schemes import SchemeTests
from provenance.testing.twins_marks import StripeCodec
from provenance.watermark.framed import as_scheme


class TestLattice(SchemeTests):
    # Noise all over hides more: the mark is stronger in it than in photographs.
    min_psnr_db = 38.0

    @pytest.fixture
    def scheme(self):
        return load_backend("countermark.codecs", "lattice")()


class TestFramedStripe(SchemeTests):
    @pytest.fixture
    def scheme(self):
        return as_scheme(StripeCodec())


class TestFramedDwtDctSvd(SchemeTests):
    @pytest.fixture
    def scheme(self):
        return as_scheme(load_backend("countermark.codecs", "dwtDctSvd")())
