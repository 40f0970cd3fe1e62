"""``countermark watermark`` as a process: the mark by itself, with nothing else around."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from console import run
from PIL import Image

from provenance.testing.pictures import flat_picture, natural_picture

PAYLOAD = "3f2a9c0d11e87b46"


def write_key(path: Path, secret: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(secret.hex())
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds a photograph, a marked one made under a key of the home, and nonsense."""
    place = tmp_path_factory.mktemp("watermark")
    Image.fromarray(natural_picture(400, 320, seed=3).pixels).save(place / "in.jpg", quality=95)
    Image.fromarray(natural_picture(100, 100, seed=3).pixels).save(place / "small.png")
    Image.fromarray(flat_picture(300, 300, rgb=(9, 9, 9)).pixels).save(place / "flat.png")
    (place / "text.png").write_text("just text")
    write_key(place / "home" / "keys" / "watermark.key", bytes(range(32)))
    made = run(
        *(place / "home", "watermark", "embed", place / "in.jpg", "-o", place / "marked.jpg"),
        *("--payload", PAYLOAD, "--json"),
    )
    assert made.code == 0, made.err
    facts = made.json
    assert facts["payload"] == PAYLOAD
    assert facts["codec"] == "lattice"
    assert facts["psnr_db"] > 34
    assert 0 < facts["margin"] <= 1
    assert facts["bit_accuracy"] > 0.8
    assert facts["strength"] > 0
    return place


def test_detect_answers_each_file_in_order_and_prints_nothing_but_json(folder: Path) -> None:
    turned = folder / "turned.png"
    Image.open(folder / "marked.jpg").transpose(Image.Transpose.ROTATE_270).save(turned)
    names = ["turned.png", "text.png", "in.jpg", "missing.png", "flat.png", "marked.jpg"]
    answer = run(
        folder / "home", "watermark", "detect", "--json", *(folder / name for name in names), folder
    )
    assert answer.code == 3
    assert answer.err == ""
    rows = answer.json
    assert [Path(row["file"]).name for row in rows] == [*names, folder.name]
    found = {Path(row["file"]).name: row for row in rows}
    assert found["marked.jpg"]["payload"] == found["turned.png"]["payload"] == PAYLOAD
    assert found["marked.jpg"]["region"] == {
        "left_px": 0,
        "top_px": 0,
        "width_px": 400,
        "height_px": 320,
    }
    assert found["turned.png"]["geometry"]["rotation_deg"] == pytest.approx(90, abs=1)
    assert list(found["marked.jpg"])[:3] == ["file", "finding", "payload"]
    assert {"p_value", "region", "geometry", "codec", "key_id", "margin", "reason"} <= set(
        found["marked.jpg"]
    )
    assert (found["in.jpg"]["finding"], found["in.jpg"]["payload"]) == ("absent", None)
    assert found["flat.png"]["finding"] == "unreadable"
    assert "not an image" in found["text.png"]["error"]
    assert "does not exist" in found["missing.png"]["error"]
    assert "is a folder" in found[folder.name]["error"]


def test_a_fast_look_tells_people_what_it_found(folder: Path) -> None:
    answer = run(
        folder / "home", "watermark", "detect", "--fast", folder / "marked.jpg", folder / "text.png"
    )
    assert answer.code == 3
    for words in ("marked.jpg present", PAYLOAD, "chance of a false report", "margin", "400x320"):
        assert words in answer.out
    assert len(answer.err.splitlines()) == 1
    assert "text.png" in answer.err


def test_a_key_of_ones_own_reads_its_marks_and_no_others(folder: Path) -> None:
    key = write_key(folder / "own.key", b"\x0f" * 32)
    out = folder / "new" / "own.webp"
    home = folder / "no home"
    made = run(home, "watermark", "embed", folder / "in.jpg", "-o", out, "--key", key)
    assert made.code == 0, made.err
    for words in ("own.webp payload ", "PSNR", "strength", "bit accuracy", "margin"):
        assert words in made.out
    assert not home.exists()  # neither a key nor a registry was made
    read = run(
        *(home, "watermark", "detect", "--json", "--fast", "--key", key),
        *(out, folder / "marked.jpg"),
    )
    assert [row["finding"] for row in read.json] == ["present", "absent"]
    assert Image.open(out).format == "WEBP"


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["missing.png", "-o", "x.png"], 3, "missing.png does not exist"),
        (["text.png", "-o", "x.png"], 3, "text.png is not an image"),
        (["small.png", "-o", "x.png"], 3, "small.png is 100x100 pixels"),
        (["flat.png", "-o", "x.jpg", "--quality", "10"], 3, "too flat"),
        (["in.jpg", "-o", "x.png", "--payload", "3f2a"], 2, "16 hex digits"),
        (["in.jpg", "-o", "x.png", "--payload", "z" * 16], 2, "--payload"),
        (["in.jpg", "-o", "x.png", "--codec", "latice"], 4, "'lattice'"),
        (["in.jpg", "-o", "x.png", "--key", "no.key"], 4, "no.key does not exist"),
        (["in.jpg", "-o", "x.png", "--key", "in.jpg"], 4, "in.jpg"),
        (["in.jpg", "-o", "x.gif"], 2, ".png, .jpg or .webp"),
        (["in.jpg", "-o", "in.jpg"], 2, "input itself"),
        (["in.jpg", "-o", "../{folder}/in.jpg"], 2, "input itself"),
        (["in.jpg", "-o", "."], 2, "is a folder"),
        (["in.jpg", "-o", "text.png/x.png"], 4, "cannot be written"),
    ],
)
def test_nonsense_is_refused_in_words_and_writes_nothing(
    folder: Path, arguments: list[str], code: int, named: str
) -> None:
    before = (folder / "in.jpg").read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "provenance", "watermark", "embed"]
        + [part.format(folder=folder.name) for part in arguments],
        env={
            **os.environ,
            "COUNTERMARK_HOME": str(folder / "home"),
            "PYTHONPATH": str(Path.cwd()),
            "COLUMNS": "300",
        },
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert not [*folder.glob("x.*")]
    assert (folder / "in.jpg").read_bytes() == before


def test_the_first_mark_makes_the_key_that_reads_it(folder: Path, tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "out.png"
    assert run(home, "watermark", "embed", folder / "in.jpg", "-o", out).code == 0
    assert [path.name for path in home.rglob("*") if path.is_file()] == ["watermark.key"]
    (row,) = run(home, "watermark", "detect", "--fast", "--json", out).json
    assert row["finding"] == "present"


def test_without_a_key_there_is_nothing_to_look_for(folder: Path, tmp_path: Path) -> None:
    answer = run(tmp_path / "home", "watermark", "detect", folder / "in.jpg", "--json")
    assert answer.code == 4
    assert answer.out == ""
    assert "--key" in answer.err
    assert "COUNTERMARK_HOME" in answer.err
    assert not (tmp_path / "home").exists()


def test_verify_reads_the_mark_too_and_says_how_sure_and_where(folder: Path) -> None:
    home = folder / "home"
    (home / "countermark.toml").write_text('[watermark]\ncodec = "lattice"\n')
    try:
        thorough = run(home, "verify", "--json", folder / "turned.png").json[0]
        fast = run(home, "verify", "--json", "--fast", folder / "turned.png").json[0]
    finally:
        (home / "countermark.toml").unlink()
    marks = [
        next(item for item in view["evidence"] if item["source"] == "watermark")
        for view in (thorough, fast)
    ]
    assert [mark["finding"] for mark in marks] == ["present", "absent"]
    assert marks[0]["record_id"] == PAYLOAD
    assert marks[0]["p_value"] < 1e-6
    assert marks[0]["geometry"]["rotation_deg"] == pytest.approx(90, abs=1)
    assert marks[0]["region"]["width_px"] == 320
    assert "° clockwise" in marks[0]["reason"]
