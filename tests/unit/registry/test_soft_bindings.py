"""Values on the wire, and when soft bindings fit a picture."""

from __future__ import annotations

import base64

import pytest

from provenance.errors import InputError
from provenance.types import BindingState, PerceptualHash, SoftBinding
from registry.soft_bindings import (
    AlgNames,
    PictureBindings,
    agreement,
    check_alg,
    decode_value,
    encode_value,
    judge_bindings,
    parse_mark_value,
)

NAMES = AlgNames("org.countermark", ("lattice.1", "dwtdctsvd.1"), "pdq-1")
LATTICE, PDQ = "org.countermark.lattice.1", "org.countermark.pdq.1"
ID = "35c8b226f4e9d090"
HASH = "0f" * 32


def near(bits: int) -> str:
    return f"{int(HASH, 16) ^ (2**bits - 1):064x}"


def picture(mark: str | None = ID, bits: int | None = 0, **more) -> PictureBindings:
    hashes = () if bits is None else (PerceptualHash("pdq-1", near(bits), 90),)
    alg = None if mark is None else LATTICE
    return PictureBindings(alg, mark or "", mark is not None, hashes, searchable=True, **more)


@pytest.mark.parametrize("text", ["1*35c8b226f4e9d090", "2*0011", "é", "x" * 9000])
def test_a_value_comes_back_from_the_wire(text: str) -> None:
    expected = text if text.isascii() else text.encode().hex()
    assert decode_value(encode_value(text)) == expected


def test_both_alphabets_with_and_without_padding_are_read() -> None:
    raw = bytes(range(250, 256)) + b"\xff\xef\xbe\xfb"
    plain = base64.b64encode(raw).decode()
    safe = base64.urlsafe_b64encode(raw).decode()
    for wire in (plain, safe, plain.rstrip("="), safe.rstrip("="), plain.replace("+", " ")):
        assert decode_value(wire) == raw.hex()


@pytest.mark.parametrize("wire", ["", "=", "%%%", "a", "ab!c", "YQ==YQ==", "A" * 30_000, "é"])
def test_what_is_no_value_is_an_input_error(wire: str) -> None:
    with pytest.raises(InputError):
        decode_value(wire)


@pytest.mark.parametrize("alg", ["com.adobe.trustmark.P", "io.iscc.v0", "org.a-b.c_d.1"])
def test_algorithms_have_reverse_domains(alg: str) -> None:
    assert check_alg(alg) == alg


@pytest.mark.parametrize("alg", ["", "plain", ".a.b", "a..b", "a.b ", "a/b.c", "a." + "b" * 300])
def test_other_names_are_refused(alg: str) -> None:
    with pytest.raises(InputError):
        check_alg(alg)


def test_mark_values() -> None:
    assert parse_mark_value(f"1*{ID}") == ID
    for text in (ID, f"2*{ID}", "1*", "*x", ""):
        assert parse_mark_value(text) is None


@pytest.mark.parametrize(
    ("bindings", "seen", "score"),
    [
        ([SoftBinding(LATTICE, f"1*{ID}"), SoftBinding(PDQ, HASH)], picture(), 100),
        ([SoftBinding(LATTICE, f"1*{ID}"), SoftBinding(PDQ, HASH)], picture(bits=60), 77),
        ([SoftBinding(LATTICE, f"1*{ID}"), SoftBinding(PDQ, HASH)], picture(bits=61), None),
        ([SoftBinding(LATTICE, f"1*{ID}"), SoftBinding(PDQ, HASH)], picture(mark=None), None),
        ([SoftBinding(LATTICE, f"1*{ID}"), SoftBinding(PDQ, HASH)], picture(bits=None), None),
        ([SoftBinding(LATTICE, f"1*{ID[::-1]}"), SoftBinding(PDQ, HASH)], picture(), None),
        ([SoftBinding(LATTICE, ID), SoftBinding(PDQ, HASH)], picture(), None),
        ([SoftBinding("org.countermark.dwtdctsvd.1", f"1*{ID}")], picture(), None),
        ([SoftBinding(LATTICE, f"1*{ID}")], picture(bits=None), 100),
        # Without a mark that names it, only what looks nearly the same fits.
        ([SoftBinding(PDQ, HASH)], picture(mark=None, bits=31), 88),
        ([SoftBinding(PDQ, HASH)], picture(mark=None, bits=32), None),
        ([SoftBinding(PDQ, HASH.upper())], picture(mark=None), 100),
        ([SoftBinding(PDQ, "no hash")], picture(), None),
        ([SoftBinding(PDQ, HASH), SoftBinding("com.adobe.icn.dense", "aa")], picture(), None),
        ([], picture(), None),
    ],
)
def test_all_soft_bindings_must_fit(bindings, seen, score) -> None:
    assert agreement(judge_bindings(bindings, seen, NAMES)) == score


def test_a_cropped_picture_is_compared_as_it_was() -> None:
    asked = []

    def straight(size):
        asked.append(size)
        return PerceptualHash("pdq-1", near(3), 90)

    seen = picture(bits=128, straight_hash=straight)
    bindings = [SoftBinding(LATTICE, f"1*{ID}"), SoftBinding(PDQ, HASH)]
    assert agreement(judge_bindings(bindings, seen, NAMES, size=(640, 480))) == 99
    assert asked == [(640, 480)]
    assert agreement(judge_bindings(bindings, seen, NAMES)) is None


def test_without_the_keys_a_mark_that_is_not_seen_says_nothing() -> None:
    (judged,) = judge_bindings(
        [SoftBinding(LATTICE, f"1*{ID}")], picture(mark=None), NAMES, holds_keys=False
    )
    assert judged.state is BindingState.NOT_EVALUATED
    (judged,) = judge_bindings(
        [SoftBinding(LATTICE, "1*0000000000000000")], picture(), NAMES, holds_keys=False
    )
    assert judged.state is BindingState.DISAGREES


def test_what_is_asked_by() -> None:
    assert picture().as_bindings(NAMES) == (
        SoftBinding(LATTICE, f"1*{ID}"),
        SoftBinding(PDQ, HASH),
    )
    presence = PictureBindings(LATTICE, "key", names_record=False)
    assert presence.as_bindings(NAMES) == ()


def test_our_own_manifests_of_another_namespace_are_read_as_todays() -> None:
    old = SoftBinding("com.old-name.lattice.1", f"1*{ID}")
    assert NAMES.normalise(old) == SoftBinding(LATTICE, f"1*{ID}")
    assert NAMES.normalise(SoftBinding("com.x.other", "v")).alg == "com.x.other"
