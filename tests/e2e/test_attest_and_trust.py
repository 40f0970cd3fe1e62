"""``countermark attest`` and ``countermark trust`` as a user runs them, process by process.

The console script finds commands by entry point: after a checkout that adds one, the package must
be installed again (`make test` does).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from console import run

from provenance.imaging import encode_image
from provenance.testing.certificates import ThrowawayAuthority
from provenance.testing.pictures import natural_picture
from provenance.types import MediaType

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode_image(natural_picture(240, 180, seed=3), MediaType.JPEG).data)
    return path


def test_attest_then_verify_with_an_own_trusted_certificate(photo: Path, tmp_path: Path) -> None:
    authority = ThrowawayAuthority("Newsroom")
    leaf, home, signed = authority.issue(), tmp_path / "home", tmp_path / "signed.jpg"
    chain, key, root = (tmp_path / name for name in ("chain.pem", "leaf.key", "root.pem"))
    chain.write_bytes(leaf.chain_pem)
    key.write_bytes(leaf.key_pem)
    key.chmod(0o600)
    root.write_bytes(authority.root_pem)

    added = run(home, "trust", "add", root, "--json")
    assert added.code == 0, added.err
    assert [one["name"] for one in run(home, "trust", "list", "--json").json][-1] == "root.pem"

    own = ("--cert", chain, "--key", key)
    done = run(home, "attest", photo, "--source-type", "humanEdits", "-o", signed, *own, "--json")
    assert done.code == 0, done.err
    (verdict,) = run(home, "verify", signed, "--json").json
    assert (verdict["origin"], verdict["record_id"]) == ("human_claimed", done.json["record_id"])
    assert verdict["claimant"] == "Throwaway Leaf (Throwaway Signer)"
    assert set(verdict["list_dates"]) == {"C2PA trust list", "C2PA TSA trust list", "root.pem"}
    text = run(home, "verify", signed).out
    assert "Throwaway Leaf" in text
    assert "C2PA trust list of 2026-08-05" in " ".join(text.split())


def test_errors_are_one_line_with_their_exit_code(photo: Path, tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "out.jpg"
    generated = tmp_path / "generated.jpg"
    exif = natural_picture(200, 200, seed=4)
    generated.write_bytes(
        encode_image(
            exif,
            MediaType.JPEG,
            xmp=b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
            b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            b'<rdf:Description xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
            b'i:DigitalSourceType="trainedAlgorithmicMedia"/></rdf:RDF></x:xmpmeta>',
        ).data
    )
    cases = [
        (1, "a machine took part", ("attest", generated, "--source-type", "digitalCapture")),
        (3, "does not exist", ("attest", tmp_path / "no.jpg", "--source-type", "humanEdits")),
        (3, "never overwritten", ("attest", out, "--source-type", "humanEdits")),
    ]
    out.write_bytes(photo.read_bytes())
    for code, named, arguments in cases:
        done = run(home, *arguments, "-o", out)
        lines = [line for line in done.err.splitlines() if line.strip()]
        assert (done.code, len(lines)) == (code, 1), done.err
        assert named in lines[0]
    assert out.read_bytes() == photo.read_bytes()
    assert run(home, "attest", photo, "--source-type", "painting", "-o", out).code == 2
    bad = run(home, "trust", "update", photo)
    assert bad.code == 3
    assert str(photo) in bad.err
    assert json.loads(run(home, "trust", "list", "--json").out)
