import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance.manifest.hostile import (
    clean_text,
    mapping_of,
    soft_binding_text,
    text_of,
    time_of,
    values_of,
)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain", "plain"),
        ("  two\n\tlines\u2028here ", "two lines here"),
        ("abc\u202egnp.exe", "abcgnp.exe"),
        ("zero\u200bwidth\u2066x\u2069", "zerowidthx"),
        ("nul\x00\x1b[31mred", "nul[31mred"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("'; DROP TABLE records; --", "'; DROP TABLE records; --"),
        ("Zoë 模型", "Zoë 模型"),
    ],
)
def test_text_becomes_one_visible_line(text, clean):
    assert clean_text(text) == clean


@given(st.text(max_size=5000))
def test_clean_text_is_short_and_printable_for_any_input(text):
    clean = clean_text(text)
    assert len(clean) <= 200
    assert clean.isprintable()


def test_long_text_is_cut_and_says_so():
    assert clean_text("x" * 10_000) == "x" * 199 + "…"
    # Cut even where everything within the first characters is invisible.
    assert clean_text("\u200b" * 10_000 + "x") == "…"


@pytest.mark.parametrize("value", [None, 3, [], {}, "", "\u200b", b"x"])
def test_what_is_no_text_is_none(value):
    assert text_of(value) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1*0101", "1*0101"),
        ([49, 42, 48], "1*0"),
        ("b64'MSow'", "1*0"),
        ([0, 255], "00ff"),
        ("b64'AP8='", "00ff"),
        ("b64'not base64!'", None),
        ([256], None),
        ([-1], None),
        ([True], None),
        ([1.5], None),
        ([], None),
        ("", None),
        ("b64''", None),
        ({}, None),
        (None, None),
        ([0] * 20_000, None),
    ],
)
def test_soft_binding_values_fold_to_one_text(value, text):
    assert soft_binding_text(value) == text


@pytest.mark.parametrize("value", ["2026-11-23T12:00:00Z", "2026-11-23T12:00:00.123456+00:00"])
def test_iso_times_pass(value):
    assert time_of(value) == value


@pytest.mark.parametrize("value", ["today", "2026-11-23", "2026-11-23T12:00:00Z<b>", 5, None, "٢"])
def test_other_times_do_not(value):
    assert time_of(value) is None


def test_shapes_are_never_trusted():
    assert mapping_of([]) == {}
    assert list(values_of({"a": 1}, limit=5)) == []
    assert list(values_of([1, {"a": 1}, "x", {"b": 2}], limit=3)) == [{"a": 1}]
