"""Policies where users meet them: `verify`, `filter`, `policy` and the HTTP service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from console import Answer
from console import run as run_process
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image, PngImagePlugin
from typer.testing import CliRunner

from detector import cli, policy_cli
from detector.api import build_router
from provenance.config import load_settings
from provenance.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

OWN = """\
format = "countermark-policy-1"
name = "labels-are-shown"

[verdict.evidence]
metadata = "shown"

[filter]
unknown = "review"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    (folder / "policies").mkdir(parents=True)
    (folder / "policies" / "press.toml").write_text(OWN)
    return folder


@pytest.fixture(autouse=True)
def _environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERMARK_HOME", str(home))


def run(_home: Path, command: str, *arguments: str | Path) -> Answer:
    """A command in this process: most of the time of a process of its own is its start."""
    apps = {"verify": cli.verify_app, "filter": cli.filter_app, "policy": policy_cli.app}
    done = CliRunner().invoke(apps[command], [str(one) for one in arguments])
    said = "" if done.exception is None else str(done.exception)
    return Answer(done.exit_code, done.stdout, said)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a cat\nSteps: 20, Sampler: Euler a, Seed: 1")
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "labelled.png"
    Image.new("RGB", (32, 32)).save(path, pnginfo=info)
    return path


def told(answer: Answer) -> tuple[str, str, str]:
    assert answer.code == 0, answer.err
    (view,) = answer.json
    return view["origin"], view["policy_id"].partition("-1/")[0], view["filter_action"]


def test_verify_follows_the_policy_that_is_named(home: Path, labelled: Path) -> None:
    def verify(*options: str) -> tuple[str, str, str]:
        return told(run(home, "verify", labelled, "--json", "--fast", *options))

    assert verify() == ("machine_made", "default", "drop")
    assert verify("--policy", "lenient") == ("machine_made", "lenient", "keep")
    by_name = verify("--policy", "press")
    assert by_name == ("unknown", "labels-are-shown", "review")
    assert verify("--policy", str(home / "policies" / "press.toml")) == by_name
    (home / "countermark.toml").write_text('[detector]\npolicy = "press"\n')
    assert verify() == by_name
    assert verify("--policy", "default") == ("machine_made", "default", "drop")


def test_verify_shows_the_limit_and_the_policy_on_a_terminal(home: Path, labelled: Path) -> None:
    said = " ".join(
        run(home, "verify", labelled, "--fast", "--policy", "press").out.replace("│", " ").split()
    )
    for words in (
        "it means",
        "its limit",
        "This does not mean that a person made it",
        "labels-are-shown-1/",
        'what "metadata" says here decides nothing',
    ):
        assert words in said


def test_a_defective_policy_is_one_clear_line(home: Path, labelled: Path) -> None:
    own = home / "policies" / "press.toml"
    own.write_text(OWN.replace("shown", "show"))
    answer = run_process(home, "verify", labelled, "--policy", "press")
    assert (answer.code, answer.out, answer.err.count("\n")) == (4, "", 1)
    for said in (
        answer.err,
        run(home, "filter", labelled.parent, "-o", home / "out", "--policy", str(own)).err,
        run(home, "policy", "check", "press").err,
    ):
        for words in ("press.toml", "[verdict.evidence] metadata", "did you mean shown?"):
            assert words in said
    assert not (home / "out").exists()
    missing = run(home, "verify", labelled, "--policy", "strickt")
    assert "did you mean strict?" in missing.err


def test_filter_follows_the_policy_and_resumes_only_under_the_same_rules(
    home: Path, labelled: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = run(home, "filter", labelled.parent, "-o", out, "--policy", "press", "--json")
    assert first.code == 0
    assert first.json["actions"] == {"keep": 0, "drop": 0, "review": 1}
    assert first.json["policy"] == "labels-are-shown"
    (policy_id,) = first.json["policy_ids"]
    assert policy_id.startswith("labels-are-shown-1/")
    resume = ("filter", labelled.parent, "-o", out, "--policy", "press", "--resume", "--json")
    assert run(home, *resume).code == 0
    own = home / "policies" / "press.toml"
    own.write_text(OWN + '\n[filter.machine_made]\nhint = "keep"\n')
    changed = run(home, *resume)
    assert "begun with" in changed.err


def test_policies_are_listed_shown_and_checked(home: Path) -> None:
    listed = run(home, "policy", "list", "--json")
    rows = {row["called"]: row for row in listed.json}
    assert list(rows) == ["default", "strict", "lenient", "press"]
    assert [row["called"] for row in listed.json if row["in_force"]] == ["default"]
    shown = run(home, "policy", "show", "default").out
    copy = home / "policies" / "copy.toml"
    copy.write_text(shown.replace('name = "default"', 'name = "copy"'))
    assert "says what default says" in run(home, "policy", "check", "copy").out
    checked = run(home, "policy", "check", "press", "--json").json
    assert checked["differs"] == {"verdict.evidence.metadata": "shown", "filter.unknown": "review"}
    assert run(home, "policy", "show", "press").code == 2


def test_the_service_follows_the_setting(home: Path, labelled: Path) -> None:
    def ask() -> Any:
        app = FastAPI()
        app.include_router(build_router(load_settings(environ={}, home=home)))
        with TestClient(app) as client:
            return client.post("/v1/verify?fast=true", content=labelled.read_bytes()).json()

    assert ask()["origin"] == "machine_made"
    (home / "countermark.toml").write_text('[detector]\npolicy = "press"\n')
    answer = ask()
    assert (answer["origin"], answer["filter_action"]) == ("unknown", "review")
    assert answer["policy_id"].startswith("labels-are-shown-1/")
    assert answer["means"] != answer["does_not_mean"]
    # A mistake shows when the service starts, not with the first picture.
    (home / "countermark.toml").write_text('[detector]\npolicy = "pres"\n')
    with pytest.raises(ConfigError, match="did you mean press"):
        ask()
