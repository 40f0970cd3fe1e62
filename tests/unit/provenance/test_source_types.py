import pytest

from provenance.manifest.source_types import classify_source_type, is_known_source_type
from provenance.types import SourceClaim

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@pytest.mark.parametrize(
    ("term", "claim"),
    [
        ("trainedAlgorithmicMedia", SourceClaim.FULLY_AI),
        ("compositeWithTrainedAlgorithmicMedia", SourceClaim.PARTLY_AI),
        ("compositeSynthetic", SourceClaim.PARTLY_AI),
        ("composite", SourceClaim.POSSIBLY_AI),
        ("digitalCapture", SourceClaim.CAPTURE),
        ("computationalCapture", SourceClaim.CAPTURE),
        ("digitalCreation", SourceClaim.HUMAN),
        ("algorithmicMedia", SourceClaim.NOT_AI),
        ("screenCapture", SourceClaim.NOT_AI),
    ],
)
def test_term_is_known_in_every_spelling(term, claim):
    assert is_known_source_type(IPTC + term)
    for text in (
        IPTC + term,
        IPTC.replace("http:", "https:") + term,
        (IPTC + term).upper(),
        IPTC + term + "/",
        f"  {IPTC}{term} ",
        term,
        f"digsrctype:{term}",
    ):
        assert classify_source_type(text) is claim


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nottrainedAlgorithmicMedia",
        IPTC + "trainedAlgorithmicMediaX",
        "http://evil.example/trainedAlgorithmicMedia",
        IPTC + "x/trainedAlgorithmicMedia",
        IPTC,
        "trainedAlgorithmicMedia" * 1000,
        "trained AlgorithmicMedia",
    ],
)
def test_other_text_says_nothing(text):
    assert classify_source_type(text) is None
    assert not is_known_source_type(text)


def test_blank_canvas_is_known_and_claims_nothing():
    uri = "http://c2pa.org/digitalsourcetype/empty"
    assert is_known_source_type(uri)
    assert classify_source_type(uri) is SourceClaim.NO_CLAIM
