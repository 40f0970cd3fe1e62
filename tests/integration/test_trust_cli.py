"""``countermark trust`` and what it changes in the answers of ``verify``."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from detector.display import show_answers
from detector.schemas import view_verdict
from detector.wiring import build_detector
from provenance.config import load_settings
from provenance.errors import ConfigError, InputError
from provenance.manifest.signing import ManifestSigner
from provenance.manifest.trust_cli import app
from provenance.testing.certificates import ThrowawayAuthority
from provenance.testing.manifests import sample_claim, unsigned_picture

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = files("provenance.manifest").joinpath("trust_lists")
DATES = {"C2PA trust list": "2026-08-05", "C2PA TSA trust list": "2026-08-05"}


@pytest.fixture(scope="module")
def authority() -> ThrowawayAuthority:
    return ThrowawayAuthority()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COUNTERMARK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def run(home: Path):
    def call(*arguments: str | Path):
        done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return call


def verify(home: Path, data: bytes):
    return build_detector(load_settings(home=home)).verify(data, name="picture.png")


def signed_by(authority: ThrowawayAuthority) -> bytes:
    signer = ManifestSigner(authority.issue().signer)
    return signer.sign(unsigned_picture(), sample_claim()).image.data


def test_list_shows_dates_counts_and_sources(run) -> None:
    rows = run("list")
    assert [(r["name"], r["kind"], r["date"], r["certificates"]) for r in rows] == [
        ("C2PA trust list", "manifest", "2026-08-05", 30),
        ("C2PA TSA trust list", "tsa", "2026-08-05", 22),
    ]
    assert all("https://github.com/c2pa-org/conformance-public" in r["source"] for r in rows)
    assert {r["next_update"] for r in rows} == {"2027-08-05"}
    text = CliRunner().invoke(app, ["list"]).stdout
    assert "C2PA trust list (manifest): 2026-08-05, 30 certificates" in text


def test_the_dates_stand_in_every_answer(
    home: Path, authority: ThrowawayAuthority, capsys: pytest.CaptureFixture[str]
) -> None:
    for data in (unsigned_picture().data, signed_by(authority)):
        view = view_verdict(verify(home, data), file="a", sha256="0" * 64).model_dump(mode="json")
        assert view["list_dates"] == DATES
        show_answers([view])
        assert "C2PA trust list of 2026-08-05" in " ".join(capsys.readouterr().out.split())


def test_an_added_anchor_makes_a_signer_trusted(
    run, home: Path, authority: ThrowawayAuthority, tmp_path: Path
) -> None:
    picture = signed_by(authority)
    assert verify(home, picture).assurance == "signed_unlisted"
    root = tmp_path / "newsroom.pem"
    root.write_bytes(authority.root_pem)
    assert run("add", root)["done"] == "added"
    assert run("list")[-1]["name"] == "newsroom.pem"
    verdict = verify(home, picture)
    assert verdict.assurance == "signed_trusted"
    assert "newsroom.pem" in verdict.list_dates
    assert "list: newsroom.pem" in " ".join(verdict.reasons)


def test_an_anchor_for_time_stamps_vouches_for_no_signer(
    run, home: Path, authority: ThrowawayAuthority, tmp_path: Path
) -> None:
    root = tmp_path / "stamps.pem"
    root.write_bytes(authority.root_pem)
    run("add", root, "--kind", "tsa")
    assert verify(home, signed_by(authority)).assurance == "signed_unlisted"


def test_an_update_replaces_the_list_and_its_date(
    run, home: Path, authority: ThrowawayAuthority, tmp_path: Path
) -> None:
    newer = tmp_path / "C2PA-TRUST-LIST.pem"
    newer.write_bytes(SHIPPED.joinpath("C2PA-TRUST-LIST.pem").read_bytes() + authority.root_pem)
    done = run("update", newer, "--date", "2026-10-01")
    assert (done["kind"], done["certificates"], done["added"], done["removed"]) == (
        "manifest",
        31,
        1,
        0,
    )
    verdict = verify(home, signed_by(authority))
    assert verdict.assurance == "signed_trusted"
    assert verdict.list_dates == {**DATES, "C2PA trust list": "2026-10-01"}
    assert "newer" not in run("list")[0]["source"]


def test_without_the_default_lists_an_update_does_not_count_either(
    run, home: Path, authority: ThrowawayAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = tmp_path / "list.pem"
    newer.write_bytes(authority.root_pem)
    run("update", newer)
    monkeypatch.setenv("COUNTERMARK_DETECTOR_DEFAULT_TRUST", "no")
    assert verify(home, signed_by(authority)).assurance == "signed_unlisted"
    assert run("list") == []


def test_the_kind_is_taken_from_the_name_of_a_bare_bundle(
    run, authority: ThrowawayAuthority, tmp_path: Path
) -> None:
    stamps = tmp_path / "C2PA-TSA-TRUST-LIST.pem"
    stamps.write_bytes(authority.root_pem)
    assert run("update", stamps)["kind"] == "tsa"


def test_an_older_or_unusable_list_is_refused_and_changes_nothing(
    run, home: Path, authority: ThrowawayAuthority, tmp_path: Path
) -> None:
    file = tmp_path / "list.pem"
    file.write_bytes(authority.root_pem)
    with pytest.raises(ConfigError, match=r"list\.pem is of 2026-01-01, older"):
        run("update", file, "--date", "2026-01-01")
    file.write_bytes(b"no list")
    for command in ("update", "add"):
        with pytest.raises(InputError, match=r"list\.pem"):
            run(command, file)
        with pytest.raises(InputError, match="cannot be read"):
            run(command, tmp_path / "missing.pem")
    assert not (home / "trust").exists()
