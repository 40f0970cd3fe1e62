"""The console script's frame: plug-ins that break, and the address that `serve` listens on."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from provenance import plugins, web
from provenance.cli import build_app, main
from provenance.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provenance.config import Settings

MODULES = {
    "cm_syntax": "def app(:\n",
    "cm_raises": "raise ValueError('not today')\n",
    "cm_exits": "import sys\nsys.exit(0)\n",
    "cm_text": "app = 'no commands'\n",
    "cm_empty": "import typer\napp = typer.Typer()\n",
    "cm_signature": "import typer\napp = typer.Typer()\n\n"
    "@app.command('cm-signature')\ndef run(what: int | str) -> None: ...\n",
    "cm_good": "import typer\napp = typer.Typer()\n\n"
    "@app.command('cm-good')\ndef run() -> None:\n    print('well')\n",
}
BROKEN = sorted(set(MODULES) - {"cm_good"})


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A real distribution on sys.path whose commands break in every way, and one that works."""
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    info = tmp_path / "plugged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    points = "".join(f"{name} = {name}:app\n" for name in MODULES)
    malformed = "cm_malformed = :app\n"
    (info / "entry_points.txt").write_text(
        f"[countermark.commands]\n{points}{malformed}\n[countermark.command_groups]\n{points}"
    )
    monkeypatch.syspath_prepend(tmp_path)
    plugins._entry_points.cache_clear()
    yield
    plugins._entry_points.cache_clear()
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("plugged")
def test_broken_plug_ins_leave_every_other_command_standing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = build_app()
    told = capsys.readouterr().err
    for name in (*BROKEN, "cm_malformed"):
        assert f"countermark: the command {name} is left out: " in told
    assert "cm_good" not in told
    shown = CliRunner().invoke(app, ["--help"])
    assert shown.exit_code == 0
    for command in ("generate", "verify", "doctor", "serve", "keys", "registry", "cm-good"):
        assert command in shown.output
    for arguments in (["cm-good"], ["cm_good", "cm-good"]):
        ran = CliRunner().invoke(app, arguments)
        assert ran.exit_code == 0, (arguments, ran.output)
    assert "well" in CliRunner().invoke(app, ["cm-good"]).output


def serve(monkeypatch: pytest.MonkeyPatch, home: Path, *arguments: str) -> tuple[str, int]:
    """Where `serve` would listen; these tests may open no socket."""
    asked: list[tuple[str, int]] = []

    def listen(_settings: Settings, *, host: str, port: int) -> None:
        asked.append((host, port))

    monkeypatch.setattr(web, "run_server", listen)
    monkeypatch.setenv("COUNTERMARK_HOME", str(home))
    done = CliRunner().invoke(build_app(), ["serve", *arguments])
    if done.exception is not None:
        raise done.exception
    return asked[0]


def test_serve_takes_port_zero_for_a_free_port(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert serve(monkeypatch, tmp_path) == ("127.0.0.1", 8765)
    assert serve(monkeypatch, tmp_path, "--port", "0") == ("127.0.0.1", 0)
    monkeypatch.setenv("COUNTERMARK_SERVE_PORT", "0")
    monkeypatch.setenv("COUNTERMARK_SERVE_HOST", "127.0.0.2")
    assert serve(monkeypatch, tmp_path) == ("127.0.0.2", 0)
    assert serve(monkeypatch, tmp_path, "--port", "80", "--host", "::1") == ("::1", 80)


def test_serve_never_takes_an_empty_address_for_all_addresses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="address to listen on is empty"):
        serve(monkeypatch, tmp_path, "--host", "")
    monkeypatch.setenv("COUNTERMARK_SERVE_HOST", "")
    with pytest.raises(ConfigError, match="address to listen on is empty"):
        serve(monkeypatch, tmp_path)


LONG = "a" * 300 + ".png"


@pytest.mark.parametrize(
    "words",
    [
        ["watermark", "embed", "in.png", "-o", LONG],
        ["generate", "a house", "-o", LONG],
        ["generate", "a house", "-o", "out.png", "--export-steps", LONG],
        ["generate", "-o", "out.png", "--resume", LONG],
    ],
)
def test_a_name_that_the_machine_refuses_is_no_defect_of_ours(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["countermark", *words])
    # What the console script sets for its whole process must not stay for other tests.
    monkeypatch.setattr(logging, "captureWarnings", lambda *, capture: None)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 4
    said = capsys.readouterr().err
    assert "File name too long; check the path" in said
    assert "defect" not in said
