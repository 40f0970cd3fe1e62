import hashlib
import json
from datetime import date
from importlib.resources import files

import pytest

from provenance.errors import ConfigError
from provenance.manifest.trust import (
    AnchorKind,
    default_trust,
    load_anchors,
    no_trust,
    parse_anchors,
    with_anchors,
)
from provenance.testing.certificates import ThrowawayAuthority


@pytest.fixture(scope="module")
def root_pem():
    return ThrowawayAuthority().root_pem


def test_shipped_lists_are_dated_and_whole():
    trust = default_trust()
    assert [(one.name, one.kind, one.dated, len(one.certificates)) for one in trust.lists] == [
        ("C2PA trust list", AnchorKind.MANIFEST, date(2026, 8, 5), 30),
        ("C2PA TSA trust list", AnchorKind.TSA, date(2026, 8, 5), 22),
    ]
    assert trust.list_dates == {
        "C2PA trust list": "2026-08-05",
        "C2PA TSA trust list": "2026-08-05",
    }
    assert {one.next_update for one in trust.lists} == {date(2027, 8, 5)}


def test_shipped_lists_name_source_and_licence():
    folder = files("provenance.manifest").joinpath("trust_lists")
    for entry in json.loads(folder.joinpath("lists.json").read_text("utf-8"))["lists"]:
        digest = hashlib.sha256(folder.joinpath(entry["file"]).read_bytes()).hexdigest()
        assert digest == entry["sha256"]
        assert entry["licence"] == "CC BY 4.0"
        assert entry["attribution"]
        assert entry["source"].startswith("https://")


def test_own_anchors_join_the_lists(tmp_path, root_pem):
    path = tmp_path / "root.pem"
    path.write_bytes(root_pem)
    trust = with_anchors(default_trust(), [load_anchors(path, AnchorKind.MANIFEST)])
    assert [one.name for one in trust.lists][-1] == "root.pem"
    assert "root.pem" not in trust.list_dates
    assert len(default_trust().lists) == 2


def test_two_files_of_one_name_both_count(root_pem):
    other = ThrowawayAuthority().root_pem
    added = [parse_anchors(p, name="r", kind=AnchorKind.MANIFEST) for p in (root_pem, other)]
    assert len(with_anchors(no_trust(), added).lists) == 2


def test_doubled_certificates_count_once(root_pem):
    assert len(parse_anchors(root_pem * 3, name="r", kind=AnchorKind.TSA).certificates) == 1


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"garbage",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"\xff\xfe\x00",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ],
)
def test_garbage_is_refused_by_name(tmp_path, pem):
    path = tmp_path / "my-roots.pem"
    path.write_bytes(pem)
    with pytest.raises(ConfigError, match=r"my-roots\.pem"):
        load_anchors(path, AnchorKind.MANIFEST)


def test_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.pem"):
        load_anchors(tmp_path / "gone.pem", AnchorKind.MANIFEST)


def test_trust_is_a_key(root_pem):
    one, two = (
        with_anchors(no_trust(), [parse_anchors(root_pem, name="r", kind=AnchorKind.MANIFEST)])
        for _ in range(2)
    )
    assert one == two
    assert hash(one) == hash(two)
