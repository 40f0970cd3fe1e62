"""Doctor's table shows every line as it stands, and fails on what generate and verify refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from privileges import open_folder, without_root

from provenance import doctor
from provenance.config import load_settings
from provenance.doctor import check_backends, check_environment, show_checks
from provenance.types import HealthCheck


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COUNTERMARK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")  # wide enough that no line of these tests is folded
    return tmp_path / "home"


def settings_lines() -> dict[str, HealthCheck]:
    return {check.name: check for check in doctor._check_settings()}


# -- the table -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["pip install 'countermark[generate]'", "/tmp/h[/x]", "[/]", "[bold]", "a:warning:b", "x\\[b]"],
)
def test_texts_are_shown_as_they_stand(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_checks(
        [
            HealthCheck(text, ok=True, detail="d"),
            HealthCheck("detail", ok=True, detail=f"<{text}>"),
            HealthCheck("remedy", ok=False, detail="d", remedy=f"do {text}"),
        ]
    )
    shown = capsys.readouterr().out
    assert f"{text} " in shown.splitlines()[1]
    assert f"<{text}>" in shown
    assert f"-> do {text}" in shown


def test_control_characters_steer_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_checks([HealthCheck("x", ok=False, detail="a\x1b[2Jb\rc", remedy="\x9b31md\u202e")])
    shown = capsys.readouterr().out
    assert not {"\x1b", "\r", "\x9b", "\u202e"} & set(shown)
    assert "a�[2Jb�c" in shown


def test_each_line_is_marked_and_only_failing_ones_give_a_remedy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_checks(
        [
            HealthCheck("one", ok=True, detail="fine", remedy="hidden"),
            HealthCheck("two", ok=False, detail="bad", remedy="mend it"),
            HealthCheck("three", ok=False, detail="so so", remedy="mind it", optional=True),
            HealthCheck("four", ok=False, detail="worse"),
        ]
    )
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["ok", "one", "fine"] in shown
    assert ["FAIL", "two", "bad"] in shown
    assert ["->", "mend", "it"] in shown
    assert ["optional", "three", "so", "so"] in shown
    assert shown[-1] == ["FAIL", "four", "worse"]
    assert ["->", "hidden"] not in shown


# -- backends ------------------------------------------------------------------------------------


def test_a_fresh_machine_is_in_order(home: Path) -> None:
    checks = {check.name: check for check in check_environment()}
    for name in ("settings", "home folder", "backends", "watermark key"):
        assert checks[name].ok, checks[name]
    assert "dwtDctSvd" in checks["backends"].detail
    assert not home.exists()  # looking makes nothing


@pytest.mark.parametrize(
    "setting",
    [
        *("generator.pipeline", "safety.checker", "watermark.codec", "watermark.read_codecs"),
        *("manifest.signer", "fingerprint.hasher", "fingerprint.embedder", "detector.sources"),
    ],
)
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nonsense", "is called 'nonsense'"),
        (":x", "is no module:attribute"),
        ("os:nothing", "has no nothing"),
        ("os:sep", "is a str, no backend"),
        ("no_module_of_this_name:x", "cannot be imported"),
    ],
)
def test_a_backend_that_cannot_be_had_is_one_failing_line(
    setting: str, name: str, told: str
) -> None:
    variable = f"COUNTERMARK_{setting}".upper().replace(".", "_")
    (check,) = check_backends(load_settings(environ={variable: name}))
    assert check.name == setting
    assert not check.ok
    assert not check.optional
    assert told in check.detail
    assert setting in check.remedy


def test_one_wrong_name_in_a_list_is_found_among_right_ones() -> None:
    environ = {
        "COUNTERMARK_DETECTOR_SOURCES": "c2pa,waterwark,registry,metdata",
        "COUNTERMARK_WATERMARK_READ_CODECS": "dwtDctSvd,dwtDct",
    }
    first, second = check_backends(load_settings(environ=environ))
    assert "did you mean 'watermark'" in first.detail
    assert "did you mean 'metadata'" in second.detail


def test_the_settings_lines_include_the_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERMARK_WATERMARK_CODEC", "nonsense")
    assert not settings_lines()["watermark.codec"].ok


# -- settings, home and key ------------------------------------------------------------------------


def test_unreadable_settings_are_one_failing_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERMARK_SERVE_PORT", "99999")
    (check,) = doctor._check_settings()
    assert not check.ok
    assert "from 0 to 65535" in check.detail


@pytest.mark.parametrize("named", ["default", "by a setting"])
@pytest.mark.parametrize(
    ("content", "mode", "told", "remedy"),
    [
        ("ab" * 32, 0o644, "can be read by others", "chmod 600"),
        ("no hex at all", 0o600, "is not hex", "watermark.key_file"),
        ("", 0o600, "is empty", "backup"),
        ("é" * 64, 0o600, "cannot be read", "watermark.key_file"),
    ],
)
def test_an_unusable_watermark_key_fails(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    named: str,
    content: str,
    mode: int,
    told: str,
    remedy: str,
) -> None:
    key = home / "keys" / "watermark.key"
    if named != "default":
        key = home / "own.key"
        monkeypatch.setenv("COUNTERMARK_WATERMARK_KEY_FILE", str(key))
    key.parent.mkdir(parents=True)
    key.write_text(content, encoding="utf-8")
    key.chmod(mode)
    check = settings_lines()["watermark key"]
    assert not check.ok
    assert not check.optional
    assert told in check.detail
    assert remedy in check.remedy
    key.write_text("ab" * 32 + "\n" + "cd" * 32 + "\n")
    key.chmod(0o600)
    check = settings_lines()["watermark key"]
    assert check.ok
    assert check.detail == f"{key}, 1 retired"


def test_a_missing_key_fails_only_where_the_settings_name_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings_lines()["watermark key"].detail == "none yet; made on first use"
    monkeypatch.setenv("COUNTERMARK_WATERMARK_KEY_FILE", str(home / "own.key"))
    check = settings_lines()["watermark key"]
    assert not check.ok
    assert "own.key does not exist" in check.detail


def test_a_home_that_cannot_be_made_fails(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write_text("a file in the way")
    assert not settings_lines()["home folder"].ok
    with open_folder() as folder:
        monkeypatch.setenv("COUNTERMARK_HOME", str(folder / "closed" / "home"))
        assert settings_lines()["home folder"].ok
        (folder / "closed").mkdir()
        (folder / "closed").chmod(0o555)
        with without_root():
            assert not settings_lines()["home folder"].ok


@pytest.mark.parametrize("setting", ["TRUST_ANCHORS", "TSA_ANCHORS"])
def test_trust_anchors_that_cannot_be_read_fail(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "trust anchors" not in settings_lines()
    pem = tmp_path / "own.pem"
    monkeypatch.setenv(f"COUNTERMARK_DETECTOR_{setting}", str(pem))
    for content in (None, "no certificate"):
        if content is not None:
            pem.write_text(content)
        check = settings_lines()["trust anchors"]
        assert not check.ok
        assert "own.pem" in check.detail
        assert setting.lower() in check.remedy
    shipped = Path(doctor.__file__).parent / "manifest/trust_lists/C2PA-TRUST-LIST.pem"
    pem.write_bytes(shipped.read_bytes())
    assert settings_lines()["trust anchors"].ok
