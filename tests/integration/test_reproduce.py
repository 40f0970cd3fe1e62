"""Registered pictures rendered again: the bundled model, the real watermark, real SQLite."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from generator.kept import pack_inputs, unpack_inputs
from generator.reproduce import MIN_CLOSE_DB, Outcome, Reproducer
from generator.reproduce_cli import reproduce_app
from generator.service import Studio
from generator.wiring import build_generator, build_reproducer
from provenance.config import load_settings
from provenance.errors import ConfigError, InputError, RecordNotFoundError, RegistryError
from provenance.imaging import encode_image, open_input
from provenance.testing.pictures import natural_picture
from provenance.testing.twins_generation import GradientPipeline
from provenance.types import (
    GenerationRequest,
    InputRole,
    LoraRef,
    MediaType,
    RasterImage,
    RecordId,
    RecordKind,
    SealedInputs,
)
from registry.cli import app as registry_app
from registry.kept_inputs import InputVault

if TYPE_CHECKING:
    from pathlib import Path

    from generator.wiring import Generator
    from provenance.config import Settings
    from provenance.types import Delivery

WORDS = "a quiet harbour, PRIVATE-WORD"


class Home:
    """One deployment with the bundled model."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.settings: Settings = load_settings(environ=environ, home=folder)
        self.generator: Generator = build_generator(self.settings)
        self.reproducer: Reproducer = build_reproducer(self.settings)
        # One model in memory for all of it.
        pipeline = self.generator.service.open_studio(None).pipeline
        self.reproducer = replace(self.reproducer, open_pipeline=lambda _: pipeline)

    def generate(self, **changes: object) -> Delivery:
        plain = GenerationRequest(prompt=WORDS, seed=5, steps=2, width_px=256, height_px=256)
        return self.generator.service.generate(replace(plain, **changes), lambda *_: None)

    def change(self, statement: str, *values: object) -> None:
        with sqlite3.connect(self.folder / "registry.sqlite3") as raw:
            raw.execute(statement, values)

    def parameters(self, delivery: Delivery, **changes: object) -> None:
        """Alters the record's row by hand."""
        changed = dict(delivery.record.parameters) | changes
        self.change(
            "UPDATE records SET parameters = ? WHERE record_id = ?",
            json.dumps(changed),
            delivery.record.record_id,
        )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"))


def init_image(seed: int = 3) -> bytes:
    return encode_image(natural_picture(256, 256, seed=seed), MediaType.PNG).data


def mask() -> RasterImage:
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[64:192, 64:192] = 255
    return RasterImage(pixels)


CASES = {
    "txt2img": {},
    "jpeg": {"media_type": MediaType.JPEG, "quality": 90},
    "labelled": {"visible_label": True, "negative_prompt": "rain"},
    "img2img": {"strength": 0.5, "steps": 4},
    "guide": {"strength": 0.5, "steps": 4, "input_role": InputRole.GUIDE},
}


@pytest.mark.parametrize("case", list(CASES))
def test_a_picture_comes_out_again_to_the_pixel(home: Home, case: str) -> None:
    changes: dict[str, object] = dict(CASES[case])
    if case in ("img2img", "guide"):
        changes["init_image"] = open_input(init_image(), name="init_image")
    delivery = home.generate(**changes)
    before = home.generator.store.count(), home.generator.store.log_head()
    found = home.reproducer(delivery.record.record_id)
    assert (found.outcome, found.psnr_db) == (Outcome.EXACT, 100.0)
    assert found.image is not None
    assert found.image.data == delivery.asset.image.data  # signed and whole, not a copy of it
    assert (home.generator.store.count(), home.generator.store.log_head()) == before


def test_an_inpainted_picture_comes_out_again(tmp_path: Path, tiny_model_factory) -> None:
    tiny = Home(
        tmp_path,
        COUNTERMARK_GENERATOR_MODEL=str(tiny_model_factory("sd1")),
        COUNTERMARK_SAFETY_POLICY="flag",  # random weights may draw anything
    )
    image = open_input(init_image(), name="init_image")
    delivery = tiny.generate(init_image=image, mask=mask(), strength=0.5, steps=4)
    assert delivery.record.kind is RecordKind.EDITED
    assert tiny.reproducer(delivery.record.record_id).outcome is Outcome.EXACT


def test_a_signpost_comes_out_again_whatever_the_settings_say_now(tmp_path: Path) -> None:
    signposted = Home(
        tmp_path,
        COUNTERMARK_WATERMARK_CODEC="lattice",
        COUNTERMARK_WATERMARK_SIGNPOST="acme.io/cm",
    )
    delivery = signposted.generate(width_px=512, height_px=512)
    plain = Home(tmp_path)
    assert plain.reproducer(delivery.record.record_id).outcome is Outcome.EXACT
    signposted.parameters(delivery, signpost="no registry's name")
    found = plain.reproducer(delivery.record.record_id)
    assert (found.outcome, "altered" in found.reason) == (Outcome.DIFFERS, True)


def test_an_edit_is_reproduced_after_its_parent_was_recorded(home: Home) -> None:
    parent = home.generate(seed=77)
    image = open_input(parent.asset.image.data, name="init_image")
    delivery = home.generate(init_image=image, strength=0.5, steps=4)
    assert home.reproducer(delivery.record.record_id).outcome is Outcome.EXACT


def test_without_inputs_it_says_so(home: Home) -> None:
    delivery = home.generate(seed=8)
    assert home.generator.store.erase_inputs(delivery.record.record_id)
    found = home.reproducer(delivery.record.record_id)
    assert found.outcome is Outcome.IMPOSSIBLE
    assert "not kept, or were erased" in found.reason
    assert found.image is None


def test_inputs_are_kept_only_where_the_operator_lets_them(home: Home) -> None:
    service = replace(home.generator.service, seal=None)
    request = GenerationRequest(prompt=WORDS, seed=5, steps=1, width_px=256, height_px=256)
    delivery = service.generate(request, lambda *_: None)
    assert home.reproducer(delivery.record.record_id).outcome is Outcome.IMPOSSIBLE
    settings = load_settings(
        environ={"COUNTERMARK_GENERATOR_KEEP_INPUTS": "false"}, home=home.folder
    )
    assert build_generator(settings).service.seal is None


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"seed": 6}, "seed"), ({"steps": 3}, "steps"), ({"prompt_hmac": "0" * 64}, "prompt_hmac")],
)
def test_an_altered_row_differs(home: Home, changes: dict[str, object], word: str) -> None:
    delivery = home.generate(seed=9, steps=1)
    home.parameters(delivery, **changes)
    found = home.reproducer(delivery.record.record_id)
    assert found.outcome is Outcome.DIFFERS
    assert word in found.reason


def test_an_altered_digest_of_pixels_differs(home: Home) -> None:
    delivery = home.generate(seed=10, steps=1)
    home.change(
        "UPDATE records SET pixel_sha256 = ? WHERE record_id = ?",
        "0" * 64,
        delivery.record.record_id,
    )
    found = home.reproducer(delivery.record.record_id)
    assert found.outcome is Outcome.DIFFERS
    assert found.psnr_db == 100.0  # the picture is right, the record is not
    assert found.image is None


def test_inputs_of_another_record_do_not_open(home: Home) -> None:
    first, second = home.generate(seed=11, steps=1), home.generate(seed=12, steps=1)
    home.change(
        "UPDATE kept_inputs SET (key_id, wrapped_key, sealed) = "
        "(SELECT key_id, wrapped_key, sealed FROM kept_inputs WHERE record_id = ?) "
        "WHERE record_id = ?",
        first.record.record_id,
        second.record.record_id,
    )
    found = home.reproducer(second.record.record_id)
    assert found.outcome is Outcome.DIFFERS
    assert "altered" in found.reason


def rounded_otherwise(pixels: np.ndarray) -> np.ndarray:
    """Other hardware: every number comes out a little different."""
    return pixels + np.random.default_rng(1).normal(0.0, 1.0, pixels.shape)


def negative(pixels: np.ndarray) -> np.ndarray:
    """Another picture, whatever the model draws."""
    return 255 - pixels


class Changed:
    """The same model, but its pictures come out changed."""

    def __init__(self, pipeline: object, change: Callable[[np.ndarray], np.ndarray]) -> None:
        self._pipeline, self._change = pipeline, change
        self.model = pipeline.model
        self.version = pipeline.version
        self.describe = pipeline.describe

    def render(self, request: GenerationRequest, on_step: object) -> RasterImage:
        pixels = self._pipeline.render(request, on_step).pixels.astype(np.float32)
        return RasterImage(self._change(pixels).round().clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("change", "outcome"), [(rounded_otherwise, Outcome.CLOSE), (negative, Outcome.DIFFERS)]
)
def test_other_hardware_is_close_and_another_picture_differs(
    home: Home, change: Callable[[np.ndarray], np.ndarray], outcome: Outcome
) -> None:
    delivery = home.generate(seed=13)
    pipeline = Changed(home.reproducer.open_pipeline(None), change)
    found = replace(home.reproducer, open_pipeline=lambda _: pipeline)(delivery.record.record_id)
    assert found.outcome is outcome
    assert found.psnr_db is not None
    assert (found.psnr_db >= MIN_CLOSE_DB) is (outcome is Outcome.CLOSE)
    assert found.image is None
    without = replace(home.reproducer, open_pipeline=lambda _: pipeline, assets=None)
    blind = without(delivery.record.record_id)
    # Rounding must not accuse the registry; only the fingerprint of another picture does.
    unknown = Outcome.IMPOSSIBLE if outcome is Outcome.CLOSE else Outcome.DIFFERS
    assert (blind.outcome, blind.psnr_db) == (unknown, None)


def test_another_model_is_named(home: Home) -> None:
    delivery = home.generate(seed=14, steps=1)
    other = replace(home.reproducer, open_pipeline=lambda _: GradientPipeline())
    found = other(delivery.record.record_id)
    assert found.outcome is Outcome.IMPOSSIBLE
    assert "gradient" in found.reason
    assert "--model" in found.reason


def test_another_scheduler_says_nothing_against_the_record(
    tmp_path: Path, tiny_model_factory
) -> None:
    """The weights are the same to the bit; what is done with their answers is not."""
    ours = Home(
        tmp_path / "home",
        COUNTERMARK_GENERATOR_MODEL=str(tiny_model_factory("sd1")),
        COUNTERMARK_SAFETY_POLICY="flag",  # random weights may draw anything
    )
    delivery = ours.generate(seed=15)
    changed = shutil.copytree(tiny_model_factory("sd1"), tmp_path / "changed")
    config = changed / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"beta_end": 0.02345}))
    reproducer = build_reproducer(ours.settings, model=str(changed))
    found = reproducer(delivery.record.record_id)
    assert found.outcome is Outcome.IMPOSSIBLE
    assert "scheduler_sha256" in found.reason
    assert ours.reproducer(delivery.record.record_id).outcome is Outcome.EXACT


@pytest.mark.parametrize("here", ["style scale 1 sha256:bb", None])
def test_another_lora_file_says_nothing_against_the_record(home: Home, here: str | None) -> None:
    class Adapted(GradientPipeline):
        """Has one LoRA, whose file was exchanged or removed since."""

        files: str | None = "style scale 1 sha256:aa"

        def describe(self, request: GenerationRequest) -> dict[str, str]:
            if self.files is None:
                raise InputError("loras: there is no style here")
            return {"lora_files": self.files}

    pipeline = Adapted()
    checker = home.generator.service.open_studio(None).checker
    service = replace(home.generator.service, open_studio=lambda _name: Studio(pipeline, checker))
    request = GenerationRequest(
        WORDS, 5, steps=1, width_px=256, height_px=256, loras=(LoraRef("style"),)
    )
    delivery = service.generate(request, lambda *_: None)
    reproducer = replace(home.reproducer, open_pipeline=lambda _: pipeline)
    assert reproducer(delivery.record.record_id).outcome is Outcome.EXACT
    pipeline.files = here
    found = reproducer(delivery.record.record_id)
    assert found.outcome is Outcome.IMPOSSIBLE
    assert "style" in found.reason


def test_an_unknown_record_is_an_error(home: Home) -> None:
    with pytest.raises(RecordNotFoundError):
        home.reproducer(RecordId("0" * 16))


# -- kept inputs -------------------------------------------------------------------------------


def test_a_request_survives_packing() -> None:
    request = GenerationRequest(
        prompt="a fox — 狐",
        negative_prompt="rain",
        seed=2**62,
        init_image=open_input(init_image(), name="init_image"),
        mask=mask(),
        strength=0.6,
        media_type=MediaType.WEBP,
        visible_label=True,
    )
    again = unpack_inputs(pack_inputs(request))
    assert again.init_image == request.init_image
    assert np.array_equal(again.mask.pixels, request.mask.pixels)
    assert replace(again, mask=None) == replace(request, mask=None)


def test_neither_prompt_nor_picture_is_readable_in_the_database(home: Home) -> None:
    image = init_image(seed=21)
    home.generate(seed=15, steps=2, init_image=open_input(image, name="init_image"))
    everything = b"".join(p.read_bytes() for p in home.folder.glob("registry.sqlite3*"))
    assert b"PRIVATE-WORD" not in everything
    assert image[200:260] not in everything
    key_file = home.settings.inputs_key_file
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert bytes.fromhex(key_file.read_text().split()[0]) not in everything


def test_erasing_leaves_nothing_of_inputs_and_key_on_disk(home: Home) -> None:
    delivery = home.generate(seed=16, steps=1)
    sealed = home.generator.store.kept_inputs(delivery.record.record_id)
    assert sealed is not None
    assert home.generator.store.erase_inputs(delivery.record.record_id)
    everything = b"".join(p.read_bytes() for p in home.folder.glob("registry.sqlite3*"))
    assert sealed.wrapped_key[12:] not in everything
    assert sealed.sealed[12:60] not in everything


def test_inputs_go_with_their_record(home: Home) -> None:
    delivery = home.generate(seed=20, steps=1)
    record_id = delivery.record.record_id
    with sqlite3.connect(home.folder / "registry.sqlite3") as raw:
        raw.execute("PRAGMA foreign_keys = ON")
        raw.execute("DELETE FROM perceptual_hashes WHERE record_id = ?", [record_id])
        raw.execute("DELETE FROM records WHERE record_id = ?", [record_id])
    assert home.generator.store.kept_inputs(record_id) is None


def test_a_vault_opens_its_own_and_nothing_that_was_changed() -> None:
    old, new = b"o" * 32, b"n" * 32
    sealed = InputVault((old,)).seal(RecordId("a" * 16), b"inputs")
    assert InputVault((new, old)).open(sealed) == b"inputs"  # a retired key still opens
    assert b"inputs" not in sealed.sealed
    with pytest.raises(ConfigError, match=r"inputs\.key"):
        InputVault((new,)).open(sealed)
    flipped = bytes([sealed.sealed[-1] ^ 1])
    for wrong in (
        replace(sealed, record_id=RecordId("b" * 16)),
        replace(sealed, sealed=sealed.sealed[:-1] + flipped),
        replace(sealed, wrapped_key=sealed.sealed),
        replace(sealed, sealed=b"x"),
    ):
        with pytest.raises(RegistryError, match="altered"):
            InputVault((old,)).open(wrong)
    again = InputVault((old,)).seal(RecordId("a" * 16), b"inputs")
    assert isinstance(again, SealedInputs)
    assert again.wrapped_key != sealed.wrapped_key


# -- command line ------------------------------------------------------------------------------


def run(home: Home, *words: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COUNTERMARK_HOME", str(home.folder))
    apps = {"reproduce": reproduce_app, "registry": registry_app}
    return CliRunner().invoke(apps[words[0]], list(words[1:]))


def test_the_command_answers_writes_the_file_and_erases(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = home.generate(seed=17, steps=1)
    record_id, out = delivery.record.record_id, tmp_path / "again.png"
    answer = run(home, "reproduce", record_id, "-o", str(out), "--json", monkeypatch=monkeypatch)
    assert answer.exit_code == 0, answer.output
    said = json.loads(answer.stdout)
    assert (said["outcome"], said["psnr_db"], said["file"]) == ("exact", 100.0, str(out))
    assert out.read_bytes() == delivery.asset.image.data

    home.parameters(delivery, seed=18)
    answer = run(home, "reproduce", record_id, "-o", str(out), monkeypatch=monkeypatch)
    assert answer.exit_code == 1
    assert "disagree in seed" in answer.output
    assert "nothing is written" in answer.output

    assert (
        "are erased"
        in run(home, "registry", "erase-inputs", record_id, monkeypatch=monkeypatch).output
    )
    answer = run(home, "registry", "erase-inputs", record_id, "--json", monkeypatch=monkeypatch)
    assert json.loads(answer.stdout) == {"record_id": record_id, "erased": False}
    answer = run(home, "reproduce", record_id, monkeypatch=monkeypatch)
    assert answer.exit_code == 3
    assert "erased" in answer.output


def test_the_command_shows_parameters_and_nothing_private(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = open_input(init_image(), name="init_image")
    delivery = home.generate(seed=19, steps=4, init_image=image, strength=0.5)
    shown = run(home, "registry", "show", delivery.record.record_id, monkeypatch=monkeypatch).output
    for name in ("effective_steps", "input_hmac", "parent_state", "strength"):
        assert f"parameters.{name}" in shown
    assert "prompt" not in shown
