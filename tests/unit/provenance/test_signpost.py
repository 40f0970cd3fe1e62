"""Names of registries in 64 bits, and what readings under the published key mean."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance.errors import ConfigError
from provenance.plugins import load_backend
from provenance.testing.twins_marks import StripeCodec
from provenance.types import Finding, RecordId, WatermarkEvidence
from provenance.watermark.framed import as_scheme
from provenance.watermark.signpost import (
    MAX_NAME_LETTERS,
    SIGNPOST_KEY,
    SignpostedScheme,
    check_registry_name,
    describe_signpost,
    name_of_payload,
    payload_of_name,
    put_signpost,
)

WORDS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=4)


@given(st.lists(WORDS, min_size=2, max_size=3), st.lists(WORDS, max_size=1))
def test_a_name_comes_back_from_its_payload(host, path):
    name = "/".join([".".join(host), *path])[:MAX_NAME_LETTERS].rstrip("./")
    if "." in name:
        assert name_of_payload(payload_of_name(name).record_id) == name


@given(st.integers(0, 2**64 - 1))
def test_any_64_bits_are_one_name_or_none(number):
    payload = RecordId(f"{number:016x}")
    name = name_of_payload(payload)
    assert name is None or payload_of_name(name).record_id == payload


@pytest.mark.parametrize("name", ["a.b", "cm.acme.org", "acme.io/cm", "x-1.io", "a.b/c/d", "9.io"])
def test_good_names(name):
    assert check_registry_name(name) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("registry.acme.org", "has 17 letters, and 12 is the most"),
        ("Acme.io", "small"),
        ("acme", "must be a host name"),
        ("", "must be a host name"),
        ("acme..io", "must be"),
        (".acme.io", "must be"),
        ("acme.io/", "must be"),
        ("acme.io//a", "must be"),
        ("-a.io", "must be"),
        ("a-.io", "must be"),
        ("a.io/..", "must be"),
        ("a_b.io", "must be"),
        ("acmé.io", "must be"),
        ("acme.io\n", "must be"),
    ],
)
def test_bad_names_say_why(name, reason):
    with pytest.raises(ConfigError, match=reason):
        check_registry_name(name)


def test_a_signpost_names_its_registry_and_says_that_anyone_can_write_it():
    payload = payload_of_name("acme.io/cm").record_id
    answer = WatermarkEvidence(Finding.PRESENT, "", "lattice", payload, 1e-10, SIGNPOST_KEY.key_id)
    signpost = describe_signpost(answer)
    assert (signpost.finding, signpost.registry) == (Finding.PRESENT, "acme.io/cm")
    assert signpost.p_value == 1e-10
    assert "anyone can write" in signpost.reason


@pytest.mark.parametrize("payload", ["0" * 16, "f" * 16])
def test_a_signpost_that_names_nothing_is_unreadable(payload):
    answer = WatermarkEvidence(Finding.PRESENT, "", "lattice", RecordId(payload), 1e-10, "k")
    assert describe_signpost(answer).finding is Finding.UNREADABLE
    assert describe_signpost(answer).registry is None


def test_traces_of_a_signpost_are_told_and_silence_is_not():
    trace = WatermarkEvidence(
        Finding.UNREADABLE, "", "lattice", p_value=1e-8, key_id=SIGNPOST_KEY.key_id
    )
    assert describe_signpost(trace).finding is Finding.UNREADABLE
    assert describe_signpost(WatermarkEvidence(Finding.UNREADABLE, "too small")) is None
    assert describe_signpost(WatermarkEvidence(Finding.ABSENT, "nothing")) is None


def test_only_schemes_that_can_read_both_write_signposts():
    scheme, lattice = as_scheme(StripeCodec()), load_backend("countermark.codecs", "lattice")()
    assert put_signpost(scheme, "") is scheme
    assert isinstance(put_signpost(lattice, "acme.io/cm"), SignpostedScheme)
    with pytest.raises(ConfigError, match="writes no signposts"):
        put_signpost(scheme, "acme.io/cm")
    with pytest.raises(ConfigError, match="12 is the most"):
        put_signpost(lattice, "registry.acme.org")
