import pytest

from provenance.plugins import load_backend
from provenance.testing.codecs import CodecTests
from provenance.testing.twins_marks import StripeCodec


class TestStripeCodec(CodecTests):
    @pytest.fixture
    def codec(self):
        return StripeCodec()


class TestDwtDctSvd(CodecTests):
    min_psnr_db = 41.0

    @pytest.fixture
    def codec(self):
        return load_backend("countermark.codecs", "dwtDctSvd")()


class TestDwtDct(CodecTests):
    # Lowering a coefficient can make another the largest: even clean reading errs in a fifth.
    min_clean_accuracy = 0.78

    @pytest.fixture
    def codec(self):
        return load_backend("countermark.codecs", "dwtDct")()


@pytest.mark.slow
class TestRivaGan(CodecTests):
    # The network's own errors; a tenth of the bits on some photographs.
    min_clean_accuracy = 0.78

    @pytest.fixture
    def codec(self):
        return load_backend("countermark.codecs", "rivaGan")()
