"""``filter`` on really marked pictures, killed half-way and resumed."""

from __future__ import annotations

import io
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from console import command, environment, run
from deliveries import DeliveringHome, make_home
from PIL import Image

from provenance.imaging import encode_image
from provenance.testing.pictures import natural_picture
from provenance.types import MediaType

if TYPE_CHECKING:
    from pathlib import Path

PHOTO = encode_image(natural_picture(300, 200, seed=3), MediaType.JPEG).data


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> DeliveringHome:
    return make_home(tmp_path_factory.mktemp("home"))


def test_filter_separates_our_pictures_from_photographs(
    home: DeliveringHome, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "sub").mkdir(parents=True)
    (folder / "photo.jpg").write_bytes(PHOTO)
    delivery = home.deliver("a lake at night")
    picture = Image.open(io.BytesIO(delivery.asset.image.data))
    picture.save(folder / "sub" / "saved.jpg", quality=75)
    (folder / "notes.txt").write_text("words")
    answer = run(home.settings.home, "filter", folder, "-o", out, "--json")
    assert answer.code == 0
    assert answer.json["actions"] == {"keep": 1, "drop": 1, "review": 1}
    rows = {row["key"]: row for row in pq.read_table(out / "decisions.parquet").to_pylist()}
    assert rows["sub/saved.jpg"]["reason_code"] == "machine_made.registered"
    assert rows["sub/saved.jpg"]["record_id"] == delivery.record.record_id
    assert (out / "photo.jpg").read_bytes() == PHOTO
    again = run(home.settings.home, "filter", folder, "-o", out)
    assert again.code == 3
    assert "--resume" in again.err


def test_filter_killed_half_way_is_resumed(home: DeliveringHome, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(120):
        (folder / f"{number:03}.jpg").write_bytes(PHOTO)
    process = subprocess.Popen(
        command("filter", folder, "-o", out),
        env=environment(home.settings.home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    journal = out / "decisions.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if journal.exists() and journal.read_bytes().count(b"\n") > 10:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = journal.read_bytes().count(b"\n") - 1
    assert 10 <= done < 120, "the run must be killed in the middle for this test to mean anything"
    assert not (out / "decisions.parquet").exists()
    answer = run(home.settings.home, "filter", folder, "-o", out, "--resume", "--json")
    assert answer.code == 0
    keys = pq.read_table(out / "decisions.parquet")["key"].to_pylist()
    assert sorted(keys) == [f"{number:03}.jpg" for number in range(120)]
    assert {p.name for p in out.glob("*.jpg")} == set(keys)
