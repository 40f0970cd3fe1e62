"""``verify`` and ``recover`` as a user meets them, on really marked pictures."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from console import run
from deliveries import DeliveringHome, make_home
from PIL import Image, PngImagePlugin

from provenance.imaging import encode_image
from provenance.manifest.heal import split_shell
from provenance.testing.pictures import natural_picture
from provenance.types import MediaType

if TYPE_CHECKING:
    from provenance.types import Delivery

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> DeliveringHome:
    return make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def delivery(home: DeliveringHome) -> Delivery:
    return home.deliver("a lake at night")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    path.write_bytes(encode_image(natural_picture(300, 200, seed=3), MediaType.JPEG).data)
    return path


def strip_png(data: bytes) -> bytes:
    """The picture with its header and nothing else around it."""
    shell = split_shell(data, MediaType.PNG)
    header = data[: 8 + 12 + 13]
    return header + shell.essence + data[-12:]


def as_jpeg(data: bytes, quality: int) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).save(out, "JPEG", quality=quality)
    return out.getvalue()


def test_prompts_and_names_are_printed_only_when_asked_for(
    home: DeliveringHome, tmp_path: Path
) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a secret prompt\nSteps: 20, Sampler: Euler a, Seed: 1")
    info.add_text("Author", "a secret name")
    path = tmp_path / "generated.png"
    Image.new("RGB", (32, 32)).save(path, pnginfo=info)
    for option in ("--json", "--fast"):
        said = run(home.settings.home, "verify", path, option).out
        assert "AUTOMATIC1111" in said
        assert "secret" not in said
    said = run(home.settings.home, "verify", path, "--json", "--include-private").out
    assert "a secret prompt" in said
    assert "a secret name" in said


def test_verify_answers_each_file_and_prints_nothing_but_json(
    home: DeliveringHome, delivery: Delivery, photo: Path, tmp_path: Path
) -> None:
    image = delivery.asset.image.data
    files = {
        "own.png": image,
        "stripped.png": strip_png(image),
        "saved.jpg": as_jpeg(image, 75),
        "text.png": b"just text",
        "cut.jpg": photo.read_bytes()[:-2000],
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    paths = [*(tmp_path / name for name in files), tmp_path / "missing.png", photo]
    answer = run(home.settings.home, "verify", "--json", *paths)
    assert answer.code == 3
    views = {Path(view["file"]).name: view for view in answer.json}
    assert list(views) == [*files, "missing.png", "photo.jpg"]
    for name in ("own.png", "stripped.png", "saved.jpg"):
        view = views[name]
        assert (view["origin"], view["assurance"]) == ("machine_made", "registered"), name
        assert view["record_id"] == delivery.record.record_id
        assert view["sha256"] == hashlib.sha256(files[name]).hexdigest()
        assert view["error"] is None
    assert (views["photo.jpg"]["origin"], views["photo.jpg"]["assurance"]) == ("unknown", "none")
    assert "not an image" in views["text.png"]["error"]
    assert "does not exist" in views["missing.png"]["error"]
    assert "origin" not in views["missing.png"]
    assert "damaged" in views["cut.jpg"]["error"]
    assert views["cut.jpg"]["origin"] == "unknown"


def test_verify_shows_recovered_credentials_of_a_stripped_picture(
    home: DeliveringHome, delivery: Delivery, tmp_path: Path
) -> None:
    image = delivery.asset.image.data
    (tmp_path / "stripped.png").write_bytes(strip_png(image))
    (tmp_path / "saved.jpg").write_bytes(as_jpeg(image, 75))
    answer = run(
        home.settings.home, "verify", "--json", tmp_path / "stripped.png", tmp_path / "saved.jpg"
    )
    recovered = [
        next(e for e in view["evidence"] if e["source"] == "c2pa_recovered") for view in answer.json
    ]
    assert [e["finding"] for e in recovered] == ["present", "invalid"]
    assert {e["credential"] for e in recovered} == {"recovered"}
    assert {e["manifest_label"] for e in recovered} == {delivery.record.manifest_label}
    assert recovered[0]["integrity"] == "intact"
    assert "2 of its 2 soft bindings agree" in recovered[1]["reason"]


def test_verify_exit_codes(
    home: DeliveringHome, delivery: Delivery, photo: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.png"
    own.write_bytes(delivery.asset.image.data)
    folder = home.settings.home
    assert run(folder, "verify", photo).code == 0
    assert run(folder, "verify", own, "--fail-on", "machine_edited,conflicting").code == 0
    assert run(folder, "verify", photo, own, "--fail-on", "unknown,machine_made").code == 1
    wrong = run(folder, "verify", own, "--fail-on", "machine-made")
    assert wrong.code == 2
    assert "machine_made" in wrong.err
    assert run(folder, "verify", tmp_path).code == 3
    assert run(folder, "verify").code == 2
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    broken = run(folder, "verify", own, "--trust-anchors", bad)
    assert broken.code == 4
    assert "bad.pem" in broken.err
    assert broken.err.count("\n") == 1


def test_verify_on_a_fresh_machine_makes_no_state(photo: Path, tmp_path: Path) -> None:
    answer = run(tmp_path / "fresh", "verify", photo, "--json", "--fast")
    assert (answer.code, answer.json[0]["origin"]) == (0, "unknown")
    assert not (tmp_path / "fresh").exists()


@pytest.mark.skipif(not DATA.is_dir(), reason="the signed sample files are not here")
def test_verify_takes_anchors_and_gives_up_the_shipped_ones(tmp_path: Path) -> None:
    signed = DATA / "c2pa" / "synthetic" / "s20_expired_with_timestamp.png"
    openai = DATA / "generators" / "openai_gptimage2_signed.png"
    trust = DATA / "c2pa" / "trust"
    anchors = (
        "--trust-anchors",
        trust / "test_dev_root.pem",
        "--tsa-anchors",
        trust / "test_dev_tsa_root.pem",
    )
    both = run(tmp_path, "verify", "--json", signed, openai, *anchors).json
    assert [view["assurance"] for view in both] == ["signed_trusted", "signed_trusted"]
    none = run(tmp_path, "verify", "--json", signed, openai, "--no-default-trust").json
    assert [view["assurance"] for view in none] == ["signed_unlisted", "signed_unlisted"]
    assert none[0]["list_dates"] == {}


def test_verify_shows_a_panel_to_people(
    home: DeliveringHome, delivery: Delivery, tmp_path: Path
) -> None:
    own = tmp_path / "own.png"
    own.write_bytes(delivery.asset.image.data)
    shown = run(home.settings.home, "verify", own).out
    for words in ("own.png", "machine_made", "registered", delivery.record.record_id, "its limit"):
        assert words in shown


@pytest.mark.parametrize("media_type", [MediaType.PNG, MediaType.JPEG, MediaType.WEBP])
def test_recover_heals_a_stripped_picture_byte_for_byte(
    home: DeliveringHome, tmp_path: Path, media_type: MediaType
) -> None:
    image = home.deliver(f"a tower, {media_type}", media_type=media_type).asset.image.data
    shell = split_shell(image, media_type)
    stripped = {
        MediaType.PNG: lambda: strip_png(image),
        MediaType.JPEG: lambda: b"\xff\xd8" + shell.essence + shell.tail,
        MediaType.WEBP: lambda: (
            b"RIFF" + (4 + len(shell.essence)).to_bytes(4, "little") + b"WEBP" + shell.essence
        ),
    }[media_type]()
    assert b"c2pa" not in stripped
    (tmp_path / "stripped").write_bytes(stripped)
    answer = run(
        home.settings.home, "recover", tmp_path / "stripped", "-o", tmp_path / "healed", "--json"
    )
    assert (answer.code, answer.json["kind"]) == (0, "healed")
    assert (tmp_path / "healed").read_bytes() == image


def test_recover_gives_a_saved_copy_its_manifest_as_a_sidecar(
    home: DeliveringHome, delivery: Delivery, tmp_path: Path
) -> None:
    saved = tmp_path / "saved.jpg"
    saved.write_bytes(as_jpeg(delivery.asset.image.data, 75))
    refused = run(home.settings.home, "recover", saved, "-o", tmp_path / "healed.png")
    assert refused.code == 3
    assert ".c2pa" in refused.err
    assert refused.err.count("\n") == 1
    assert not (tmp_path / "healed.png").exists()
    given = run(home.settings.home, "recover", saved, "-o", tmp_path / "saved.c2pa", "--json")
    assert (given.code, given.json["record_id"]) == (0, delivery.record.record_id)
    assert (tmp_path / "saved.c2pa").read_bytes() == delivery.asset.manifest_store


def test_recover_refuses_strangers_and_says_why(
    home: DeliveringHome, photo: Path, tmp_path: Path
) -> None:
    for place, words in ((home.settings.home, "no record"), (tmp_path / "fresh", "no registry")):
        answer = run(place, "recover", photo, "-o", tmp_path / "x.png")
        assert answer.code == 3
        assert words in answer.err
    assert not (tmp_path / "x.png").exists()
