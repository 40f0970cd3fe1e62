"""A Stable Diffusion 1.5 of full size, random weights, through the whole path.

The tiny families show that every layout loads; this one shows that nothing on the way minds a
thousand million parameters: digest, loading, half precision on disk, memory, time.
"""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'generate'")
pytest.importorskip("diffusers", reason="needs the extra 'generate'")

from full_size_model import build_stable_diffusion_15  # noqa: E402

from detector.wiring import build_detector  # noqa: E402
from generator.wiring import build_generator  # noqa: E402
from provenance.config import load_settings  # noqa: E402
from provenance.types import Assurance, GenerationRequest, Origin  # noqa: E402

_PARAMETERS = 1_066_000_000


@pytest.mark.slow
def test_a_full_size_model_renders_and_its_picture_leaves_marked_and_registered(
    tmp_path: Path,
) -> None:
    folder = build_stable_diffusion_15(tmp_path / "stable-diffusion-v1-5")
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    # Two bytes a parameter.
    assert size == pytest.approx(2 * _PARAMETERS, rel=0.01)

    settings = load_settings(environ={}, home=tmp_path / "home")
    generator = build_generator(settings, model=str(folder))
    request = GenerationRequest(
        prompt="a red house on a green hill", seed=5, steps=2, width_px=256, height_px=256
    )
    delivery = generator.service.generate(request, lambda _report: None)

    record = delivery.record
    assert record.model is not None
    assert record.model.name == "stable-diffusion-v1-5"
    assert record.model.family == "StableDiffusionPipeline"
    verdict = build_detector(settings).verify(delivery.asset.image.data, name="picture")
    assert (verdict.origin, verdict.assurance) == (Origin.MACHINE_MADE, Assurance.REGISTERED)
    assert verdict.record_id == record.record_id
