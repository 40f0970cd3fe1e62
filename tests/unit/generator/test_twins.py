from dataclasses import replace

import numpy as np
import pytest

from provenance.errors import InputError
from provenance.testing.twins_generation import GradientPipeline
from provenance.types import GenerationRequest

REQUEST = GenerationRequest(prompt="a cat", seed=1, steps=2, width_px=64, height_px=32)


@pytest.mark.parametrize(
    "change",
    [{"prompt": "a dog"}, {"seed": 2}, {"steps": 3}, {"guidance": 1.0}, {"negative_prompt": "x"}],
)
def test_each_setting_changes_the_picture(change):
    one, other = (
        GradientPipeline().render(request, lambda _report: None)
        for request in (REQUEST, replace(REQUEST, **change))
    )
    assert not np.array_equal(one.pixels, other.pixels)


def test_picture_has_smooth_and_fine_parts():
    request = replace(REQUEST, width_px=256, height_px=256)
    pixels = GradientPipeline().render(request, lambda _report: None).pixels.astype(float)
    grain = np.abs(np.diff(pixels, axis=1)).mean()
    assert pixels.std() > 20
    assert 2 < grain < 12


def test_side_beyond_its_limit_is_refused_by_name():
    with pytest.raises(InputError, match="width 64"):
        GradientPipeline(largest_side_px=32).render(REQUEST, lambda _report: None)
