import hashlib
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance.errors import InputError
from provenance.types import (
    Assurance,
    Embedding,
    GenerationRequest,
    InputImage,
    InputRole,
    LoraRef,
    ManifestReport,
    MediaType,
    ModelRef,
    Origin,
    PerceptualHash,
    RasterImage,
    RecordId,
    Reservation,
    SafetyPolicy,
    SafetyReport,
    SignerTrust,
    Verdict,
    WatermarkPayload,
    parse_record_id,
)

DIGEST = "0" * 64


@given(st.integers(0, 2**64 - 1))
def test_payload_bits_spell_the_record_id(number: int) -> None:
    record_id = RecordId(f"{number:016x}")
    bits = WatermarkPayload(record_id).bits
    assert bits.shape == (64,)
    assert int("".join(str(int(b)) for b in bits), 2) == number


@pytest.mark.parametrize("text", ["", "12", "g" * 16, "0" * 17, "../../etc/passwd"])
def test_record_id_refuses_what_is_no_id(text: str) -> None:
    with pytest.raises(InputError, match="16 hex digits"):
        parse_record_id(text)


def test_record_id_folds_case() -> None:
    assert parse_record_id(" ABCDEF0123456789\n") == "abcdef0123456789"


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_raster_refuses_other_shapes_and_types(pixels: np.ndarray) -> None:
    with pytest.raises(InputError, match="pixels"):
        RasterImage(pixels)


def test_raster_is_read_only_and_leaves_the_caller_its_array() -> None:
    pixels = np.zeros((4, 5, 3), np.uint8)
    raster = RasterImage(pixels)
    with pytest.raises(ValueError, match="read-only"):
        raster.pixels[0, 0, 0] = 1
    pixels[0, 0, 0] = 1
    assert (raster.width_px, raster.height_px, raster.min_side_px) == (5, 4, 4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", "  "),
        ("prompt", "x" * 10_001),
        ("prompt", "a \ud800 tree"),
        ("negative_prompt", "\udcff"),
        ("seed", -1),
        ("seed", 2**63),
        ("steps", 0),
        ("steps", 1001),
        ("guidance", float("nan")),
        ("guidance", 101.0),
        ("width_px", 511),
        ("height_px", 0),
        ("height_px", 8192),
        ("quality", 0),
        ("media_type", "image/gif"),
    ],
)
def test_request_names_the_field_that_is_wrong(field: str, value: object) -> None:
    good = {"prompt": "a tree", "seed": 1}
    name = {"width_px": "width", "height_px": "height", "media_type": "format"}.get(field, field)
    with pytest.raises(InputError, match=name):
        GenerationRequest(**{**good, field: value})


def _input() -> InputImage:
    return InputImage(b"bytes", MediaType.PNG, RasterImage(np.zeros((4, 4, 3), np.uint8)))


@pytest.mark.parametrize(
    ("steps", "strength", "effective"),
    [(50, 0.875, 43), (50, 0.9, 45), (20, 1.0, 20), (4, 0.25, 1), (1000, 0.5, 500)],
)
def test_effective_steps_are_those_that_diffusers_runs(steps, strength, effective) -> None:
    request = GenerationRequest("a tree", 1, steps=steps, strength=strength, init_image=_input())
    assert request.effective_steps == effective


def test_effective_steps_are_all_steps_when_there_is_no_input() -> None:
    assert GenerationRequest("a tree", 1, steps=50, strength=0.5).effective_steps == 50


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"strength": 0.0}, "strength"),
        ({"strength": 1.1}, "strength"),
        ({"strength": float("nan")}, "strength"),
        ({"strength": 0.04, "steps": 20}, "raise strength to 0.05"),
        ({"strength": 0.04, "steps": 3}, "raise strength to 0.334"),
        ({"init_image": None, "mask": RasterImage(np.zeros((4, 4, 3), np.uint8))}, "init_image"),
        ({"init_image": None, "input_role": InputRole.GUIDE}, "input_role"),
        ({"mask": RasterImage(np.full((4, 4, 3), 127, np.uint8))}, "mask is black everywhere"),
        (
            {"input_role": InputRole.GUIDE, "mask": RasterImage(np.zeros((4, 4, 3), np.uint8))},
            "input_role guide and mask",
        ),
        ({"scheduler": ""}, "scheduler"),
        ({"scheduler": "../x"}, "scheduler"),
        ({"loras": tuple(LoraRef(f"l{i}") for i in range(9))}, "at most 8"),
        ({"loras": (LoraRef("a"), LoraRef("a.safetensors"))}, "twice"),
    ],
)
def test_request_with_an_input_names_the_field_that_is_wrong(change, named) -> None:
    good = {"prompt": "a tree", "seed": 1, "init_image": _input()}
    with pytest.raises(InputError, match=named):
        GenerationRequest(**{**good, **change})


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", "a\\b", "/etc/passwd", ".hidden", "a..b", "x\n"]
)
def test_lora_refuses_what_is_no_plain_name(name) -> None:
    with pytest.raises(InputError, match="loras"):
        LoraRef(name)


@pytest.mark.parametrize("scale", [-0.1, 2.1, float("nan")])
def test_lora_refuses_a_scale_out_of_range(scale) -> None:
    with pytest.raises(InputError, match="scale"):
        LoraRef("style", scale)


def test_input_image_is_known_by_its_bytes() -> None:
    assert _input().sha256 == hashlib.sha256(b"bytes").hexdigest()
    assert _input() == _input()
    assert "bytes" not in repr(_input())
    with pytest.raises(InputError, match="one byte"):
        InputImage(b"", MediaType.PNG, RasterImage(np.zeros((4, 4, 3), np.uint8)))


def test_model_ref_refuses_a_floating_branch() -> None:
    with pytest.raises(InputError, match="floating branch"):
        ModelRef(name="org/model", revision="main", weights_sha256=DIGEST)


def test_times_must_be_utc() -> None:
    there = timezone(timedelta(hours=2))
    with pytest.raises(InputError, match="UTC"):
        Reservation(RecordId("0" * 16), datetime(2026, 1, 1, tzinfo=there))
    with pytest.raises(InputError, match="UTC"):
        Reservation(RecordId("0" * 16), datetime(2026, 1, 1))  # noqa: DTZ001
    Reservation(RecordId("0" * 16), datetime(2026, 1, 1, tzinfo=UTC))


def test_safety_report_flags_at_the_threshold_and_blocks_by_policy() -> None:
    def report(policy: SafetyPolicy) -> SafetyReport:
        scores = {"a": 0.5, "b": 0.4999}
        return SafetyReport("c", "1", scores, {"a": 0.5, "b": 0.5}, policy)

    assert report(SafetyPolicy.BLOCK).flagged == ("a",)
    assert report(SafetyPolicy.BLOCK).blocked
    assert not report(SafetyPolicy.FLAG).blocked


def test_safety_report_refuses_a_score_without_threshold_and_nan() -> None:
    with pytest.raises(InputError, match="thresholds"):
        SafetyReport("c", "1", {"a": 0.5}, {}, SafetyPolicy.BLOCK)
    with pytest.raises(InputError, match="no number"):
        SafetyReport("c", "1", {"a": float("nan")}, {"a": 1.0}, SafetyPolicy.BLOCK)


def test_hash_and_embedding_validate() -> None:
    with pytest.raises(InputError):
        PerceptualHash("pdq-1", "ff", 100)
    with pytest.raises(InputError, match="quality"):
        PerceptualHash("pdq-1", DIGEST, 101)
    with pytest.raises(InputError, match="norm"):
        Embedding("space", np.ones(4, np.float32))
    assert Embedding("space", np.full(4, 0.5)).vector.dtype == np.float32


def test_the_name_of_an_untrusted_signer_is_no_fact() -> None:
    from provenance.types import Credential

    with pytest.raises(InputError, match="untrusted signer"):
        ManifestReport(Credential.EMBEDDED, signer_name="OpenAI")
    report = ManifestReport(
        Credential.EMBEDDED, signer=SignerTrust.TRUSTED, signer_name="Example Org"
    )
    assert report.signer_name == "Example Org"


@given(st.sampled_from(Origin), st.sampled_from(Assurance))
def test_unknown_and_no_assurance_go_together(origin: Origin, assurance: Assurance) -> None:
    fits = (origin is Origin.UNKNOWN) == (assurance is Assurance.NONE)
    if fits:
        assert Verdict(origin, assurance, None, (), ("why", "why not"), "p").origin is origin
    else:
        with pytest.raises(InputError, match="does not go with"):
            Verdict(origin, assurance, None, (), ("why", "why not"), "p")
