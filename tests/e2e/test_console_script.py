"""The console script as its users run it: as a process, with exit codes and standard error."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SUPPORT = Path(__file__).parents[1] / "support"


class Console:
    """Runs ``countermark`` with a home of its own and a drawn picture for a model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("COUNTERMARK_")},
            "COUNTERMARK_HOME": str(self.home),
            "COUNTERMARK_GENERATOR_PIPELINE": "drawn_backend:load_pipeline",
            "PYTHONPATH": os.pathsep.join([str(SUPPORT), str(Path.cwd())]),
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }

    def run(self, *arguments: str | Path, max_file_bytes: int | None = None):
        def limit() -> None:
            if max_file_bytes is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))

        return subprocess.run(
            [sys.executable, "-m", "provenance", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env=self.environ,
            cwd=self.folder,
            preexec_fn=limit if max_file_bytes is not None else None,
        )

    def json(self, *arguments: str | Path) -> list[dict]:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)  # standard output holds JSON and nothing else
        assert isinstance(answer, list)
        return answer


@pytest.fixture
def console(tmp_path: Path) -> Console:
    return Console(tmp_path)


def assert_one_clear_line(done: subprocess.CompletedProcess, code: int, *named: str) -> None:
    assert done.returncode == code, (done.returncode, done.stderr)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for text in named:
        assert text in lines[0], lines[0]


def test_generate_then_verify_then_strip_then_heal(console: Console) -> None:
    (made,) = console.json("generate", "a red house", "-o", "a.png", "--seed", "7", "--steps", "1")
    (verdict,) = console.json("verify", "a.png")
    assert (verdict["origin"], verdict["assurance"]) == ("machine_made", "registered")
    assert verdict["record_id"] == made["record_id"]
    assert verdict["sha256"] == made["sha256"]

    strip(console.folder / "a.png", console.folder / "bare.png")
    (verdict,) = console.json("verify", "bare.png")
    assert (verdict["origin"], verdict["assurance"]) == ("machine_made", "registered")
    done = console.run("recover", "bare.png", "-o", "healed.png")
    assert done.returncode == 0, done.stderr
    original = (console.folder / "a.png").read_bytes()
    assert (console.folder / "healed.png").read_bytes() == original

    Image.open(console.folder / "a.png").save(console.folder / "again.jpg", quality=75)
    (verdict,) = console.json("verify", "again.jpg")
    assert (verdict["origin"], verdict["assurance"]) == ("machine_made", "registered")
    assert verdict["record_id"] == made["record_id"]
    done = console.run("recover", "again.jpg", "-o", "no.jpg")
    assert done.returncode == 3
    assert "no.c2pa" in done.stderr or ".c2pa" in done.stderr
    assert not (console.folder / "no.jpg").exists()


def strip(source: Path, target: Path) -> None:
    """Writes the critical chunks of a PNG and nothing else; pixels stay compressed as they are."""
    data, kept, place = source.read_bytes(), [source.read_bytes()[:8]], 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        if data[place + 4 : place + 8] in (b"IHDR", b"IDAT", b"IEND"):
            kept.append(data[place : place + 12 + length])
        place += 12 + length
    target.write_bytes(b"".join(kept))


def test_several_pictures_get_numbers_and_seeds(console: Console) -> None:
    made = console.json("generate", "trees", "-o", "t.webp", "-n", "2", "--seed", "3")
    assert [m["file"] for m in made] == ["t-1.webp", "t-2.webp"]
    assert [m["seed"] for m in made] == [3, 4]
    verdicts = console.json("verify", "t-1.webp", "t-2.webp")
    assert [v["assurance"] for v in verdicts] == ["registered", "registered"]


def test_fail_on_answers_one(console: Console) -> None:
    console.json("generate", "trees", "-o", "t.png")
    assert console.run("verify", "t.png", "--fail-on", "machine_made,conflicting").returncode == 1
    assert console.run("verify", "t.png", "--fail-on", "conflicting").returncode == 0
    done = console.run("verify", "t.png", "--fail-on", "machine_mad")
    assert done.returncode == 2
    assert "machine_made" in done.stderr


def test_verifying_on_a_fresh_machine_needs_no_state(console: Console) -> None:
    photo(console.folder / "p.png")
    (verdict,) = console.json("verify", "p.png")
    assert (verdict["origin"], verdict["assurance"]) == ("unknown", "none")


def photo(path: Path, width: int = 300, height: int = 300) -> None:
    rng = np.random.default_rng(3)
    Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(path)


def png_bomb(path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10_000_000))
        + chunk(b"IEND", b"")
    )


def test_unreadable_inputs_get_one_clear_line_each(console: Console) -> None:
    (console.folder / "text.png").write_text("this is no picture")
    (console.folder / "empty.png").touch()
    png_bomb(console.folder / "bomb.png")
    for name, said in {
        "missing.png": "does not exist",
        "text.png": "not an image by its content",
        "empty.png": "is empty",
        "bomb.png": "limits.max_pixels",
        ".": "is a folder",
    }.items():
        assert_one_clear_line(console.run("verify", name), 3, name, said)


def test_escape_sequences_in_file_names_do_not_reach_the_terminal(console: Console) -> None:
    name = "evil\x1b[31m\udcff.png"
    for command in (("verify", name), ("recover", name, "-o", "x.png")):
        done = console.run(*command)
        assert done.returncode == 3
        assert "\x1b" not in done.stderr
    done = console.run("verify", name, "--json")
    assert "does not exist" in json.loads(done.stdout)[0]["error"]


def test_one_bad_file_does_not_silence_the_others(console: Console) -> None:
    photo(console.folder / "p.png")
    done = console.run("verify", "missing.png", "p.png", "--json")
    assert done.returncode == 3
    first, second = json.loads(done.stdout)
    assert "does not exist" in first["error"]
    assert second["origin"] == "unknown"


def test_one_pixel_is_verified_without_a_crash(console: Console) -> None:
    photo(console.folder / "one.png", 1, 1)
    (verdict,) = console.json("verify", "one.png")
    assert verdict["origin"] == "unknown"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--size", "100x100"), "width 100"),
        (("--size", "big"), "WIDTHxHEIGHT"),
        (("--steps", "0"), "steps 0"),
        (("--seed", "-4"), "seed"),
        (("--quality", "0"), "quality 0"),
        (("--format", "gif"), "gif"),
        (("--format", "jpeg"), "disagree"),
        (("--guidance", "nan"), "guidance"),
    ],
)
def test_bad_requests_are_usage_errors(
    console: Console, arguments: tuple[str, ...], said: str
) -> None:
    done = console.run("generate", "a tree", "-o", "x.png", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (console.folder / "x.png").exists()


def test_an_unknown_model_is_named(console: Console) -> None:
    del console.environ["COUNTERMARK_GENERATOR_PIPELINE"]
    (console.folder / "not-a-model").mkdir()
    done = console.run("generate", "a tree", "-o", "x.png", "--model", "not-a-model")
    assert_one_clear_line(done, 3, "model", "not-a-model")
    console.environ["COUNTERMARK_GENERATOR_OFFLINE"] = "true"
    done = console.run("generate", "a tree", "-o", "x.png", "--model", "nobody/nothing")
    assert done.returncode in {3, 4}
    assert_one_clear_line(done, done.returncode, "nobody/nothing")


def test_a_size_that_cannot_be_marked_is_refused_before_it_is_rendered(console: Console) -> None:
    done = console.run("generate", "a tree", "-o", "x.png", "--size", "128x128")
    assert_one_clear_line(done, 3, "128x128", "256 pixels")


def test_what_was_delivered_before_a_failure_is_named(console: Console) -> None:
    console.environ["COUNTERMARK_SAFETY_CHECKER"] = "drawn_backend:load_second_refusing_checker"
    done = console.run("generate", "a tree", "-o", "t.png", "-n", "2", "--json")
    assert_one_clear_line(done, 1, "flagged it: bright")
    delivered, refused = json.loads(done.stdout)
    assert delivered["file"] == "t-1.png"
    assert console.run("registry", "show", delivered["record_id"]).returncode == 0
    assert refused["file"] == "t-2.png"
    assert refused["flagged"] == ["bright"]
    assert (console.folder / "t-1.png").exists()
    assert not (console.folder / "t-2.png").exists()


def test_a_target_in_the_way_is_told_before_anything_is_delivered(console: Console) -> None:
    (console.folder / "t-2.png").mkdir()
    done = console.run("generate", "a tree", "-o", "t.png", "-n", "2", "--json")
    assert_one_clear_line(done, 4, "t-2.png is a folder")
    assert done.stdout == ""
    assert not (console.folder / "t-1.png").exists()


def test_a_limit_on_visibility_is_kept(console: Console) -> None:
    console.environ["COUNTERMARK_WATERMARK_MIN_PSNR_DB"] = "99"
    done = console.run("generate", "a tree", "-o", "x.png")
    assert_one_clear_line(done, 4, "would be visible")


def test_an_unwritable_target_is_told_before_the_model_draws(console: Console) -> None:
    (console.folder / "file").write_text("in the way")
    done = console.run("generate", "a tree", "-o", "file/x.png")
    assert_one_clear_line(done, 4, "file/x.png", "cannot be written")


def test_unusable_keys_are_explained(console: Console) -> None:
    console.json("generate", "a tree", "-o", "x.png")
    key = console.home / "keys" / "signing.key"
    key.chmod(0o644)
    assert_one_clear_line(
        console.run("generate", "a tree", "-o", "y.png"), 4, "signing.key", "chmod 600"
    )
    key.chmod(0o600)
    key.write_text("no key at all")
    assert_one_clear_line(console.run("generate", "a tree", "-o", "y.png"), 4, "signing.key")
    (console.home / "keys" / "watermark.key").write_text("zz")
    (verdict,) = console.json("verify", "x.png")  # one source breaks, the others still answer
    findings = {e["source"]: e["finding"] for e in verdict["evidence"]}
    assert findings["watermark"] == "unreadable"
    assert verdict["assurance"] == "registered"
    assert not (console.folder / "y.png").exists()


def files_below(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_full_disk_leaves_nothing_half_written(console: Console) -> None:
    console.json("generate", "a tree", "-o", "first.png")
    before = files_below(console.folder)
    done = console.run("generate", "a tree", "-o", "second.png", max_file_bytes=150_000)
    assert_one_clear_line(done, 4, "cannot be written")
    left = files_below(console.folder) - before
    assert {name for name in left if not name.startswith("registry.sqlite3")} == set()
    assert len(console.json("registry", "list")) == 1


def test_a_locked_database_is_one_clear_line(console: Console) -> None:
    console.json("generate", "a tree", "-o", "first.png")
    holder = sqlite3.connect(console.home / "registry.sqlite3", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        done = console.run("generate", "a tree", "-o", "second.png")
    finally:
        holder.rollback()
        holder.close()
    assert_one_clear_line(done, 4, "locked")
    assert not (console.folder / "second.png").exists()


def test_a_mistyped_setting_is_one_clear_line(console: Console) -> None:
    console.environ["COUNTERMARK_SAFTY_POLICY"] = "flag"
    assert_one_clear_line(
        console.run("generate", "a tree", "-o", "x.png"), 4, "COUNTERMARK_SAFETY_POLICY"
    )


def test_a_blocked_picture_exits_with_one_and_leaves_no_file(console: Console) -> None:
    console.environ["COUNTERMARK_SAFETY_CHECKER"] = "drawn_backend:load_strict_checker"
    done = console.run("generate", "a tree", "-o", "x.png", "--json")
    assert_one_clear_line(done, 1, "flagged it: bright", "refusal")
    assert not (console.folder / "x.png").exists()
    (row,) = json.loads(done.stdout)
    assert row["flagged"] == ["bright"]
    assert console.run("registry", "show", row["refusal_id"]).returncode == 0


def test_the_unsafe_checker_warns_and_is_recorded(console: Console) -> None:
    console.environ["COUNTERMARK_SAFETY_CHECKER"] = "unsafe-none"
    done = console.run("generate", "a tree", "-o", "x.png", "--json")
    assert done.returncode == 0, done.stderr
    assert "unsafe-none" in done.stderr
    (made,) = json.loads(done.stdout)
    shown = console.run("registry", "show", made["record_id"], "--json")
    assert "unsafe-none" in shown.stdout


def test_every_command_has_help(console: Console) -> None:
    for command in (
        (), ("generate",), ("verify",), ("recover",), ("filter",), ("serve",), ("doctor",),
        ("demo",), ("keys",), ("keys", "init"), ("keys", "doctor"), ("keys", "use"),
        ("registry",), ("registry", "upgrade"), ("registry", "show"), ("registry", "list"),
    ):  # fmt: skip
        done = console.run(*command, "--help")
        assert done.returncode == 0, (command, done.stderr)
        assert "Usage" in done.stdout
    assert console.run("--version").stdout.startswith("countermark 0.")


def test_doctor_is_content_with_a_fresh_installation(console: Console) -> None:
    del console.environ["COUNTERMARK_GENERATOR_PIPELINE"]
    done = console.run("doctor", "--json")
    checks = json.loads(done.stdout)
    assert [c for c in checks if not c["ok"] and not c["optional"]] == []
    assert done.returncode == 0
    (console.home / "keys").mkdir(parents=True, exist_ok=True)
    (console.home / "keys" / "chain.pem").write_text("nonsense")
    done = console.run("doctor", "--json")
    assert done.returncode == 4
    failing = [c for c in json.loads(done.stdout) if not c["ok"] and not c["optional"]]
    assert failing
    assert all(c["remedy"] for c in failing)


def test_pickled_weights_are_refused_unless_asked_for_with_a_warning(console: Console) -> None:
    del console.environ["COUNTERMARK_GENERATOR_PIPELINE"]
    model = console.folder / "old-model"
    (model / "unet").mkdir(parents=True)
    (model / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")
    (model / "unet" / "config.json").write_text("{}")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
    }
    (model / "model_index.json").write_text(json.dumps(index))
    done = console.run("generate", "a tree", "-o", "x.png", "--model", "old-model")
    assert_one_clear_line(done, 3, "old-model")
    done = console.run(
        "generate", "a tree", "-o", "x.png", "--model", "old-model", "--allow-pickle"
    )
    assert done.returncode in {3, 4}
    assert "can run" in done.stderr
    assert "Traceback" not in done.stderr
