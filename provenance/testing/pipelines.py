"""Conformance suite of the pipeline seam: subclass it, give a fixture, and run it under pytest.

Example (load once for the module, since the fixture is asked for by each test)::

    @pytest.fixture(scope="module")
    def loaded():
        return load_my_pipeline()

    class TestMyPipeline(PipelineTests):
        @pytest.fixture
        def pipeline(self, loaded):
            return loaded
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from provenance.errors import InputError
from provenance.interfaces import Pipeline
from provenance.types import GenerationRequest, ModelRef, RasterImage

__all__ = ["PipelineTests"]


class _StoppedError(Exception):
    """What the suite's own callback raises: no backend can know it."""


def _ignore(_done: int, _total: int) -> None:
    """A step callback of somebody who doesn't care."""


def _render_or_refusal(pipeline: Pipeline, request: GenerationRequest) -> RasterImage | str:
    """The picture, or the message of an `InputError`; any other error fails the test."""
    try:
        return pipeline.render(request, _ignore)
    except InputError as error:
        return str(error)


class PipelineTests:
    """What every `Pipeline` must do. Override `pipeline`, and `request_` if your sizes differ."""

    @pytest.fixture
    def pipeline(self) -> Pipeline:
        """The backend under test, loaded."""
        raise NotImplementedError("override the fixture 'pipeline'")

    @pytest.fixture
    def request_(self) -> GenerationRequest:
        """A small request that the backend can meet."""
        return GenerationRequest(
            prompt="a lighthouse at dusk", seed=7, steps=2, guidance=5.0, width_px=64, height_px=128
        )

    @pytest.fixture
    def picture(self, pipeline: Pipeline, request_: GenerationRequest) -> RasterImage:
        """What `request_` gives."""
        return pipeline.render(request_, _ignore)

    def test_satisfies_the_protocol(self, pipeline: Pipeline) -> None:
        assert isinstance(pipeline, Pipeline)

    def test_model_is_pinned_and_named_without_a_path(self, pipeline: Pipeline) -> None:
        model = pipeline.model
        assert isinstance(model, ModelRef)
        assert not model.name.startswith(("/", "~", "."))
        assert "\\" not in model.name
        assert model.name.count("/") <= 1
        assert model.family
        assert pipeline.version

    def test_model_stays_the_same(self, pipeline: Pipeline) -> None:
        assert pipeline.model == pipeline.model

    def test_picture_has_the_size_asked_for(
        self, picture: RasterImage, request_: GenerationRequest
    ) -> None:
        assert (picture.width_px, picture.height_px) == (request_.width_px, request_.height_px)

    def test_picture_is_not_one_flat_colour(self, picture: RasterImage) -> None:
        assert picture.pixels.std() > 0

    def test_same_request_gives_the_same_picture(
        self, pipeline: Pipeline, request_: GenerationRequest, picture: RasterImage
    ) -> None:
        again = pipeline.render(replace(request_), _ignore)
        assert np.array_equal(again.pixels, picture.pixels)

    def test_another_seed_gives_another_picture(
        self, pipeline: Pipeline, request_: GenerationRequest, picture: RasterImage
    ) -> None:
        other = pipeline.render(replace(request_, seed=request_.seed + 1), _ignore)
        assert not np.array_equal(other.pixels, picture.pixels)

    def test_largest_seed_is_taken(
        self, pipeline: Pipeline, request_: GenerationRequest, picture: RasterImage
    ) -> None:
        other = pipeline.render(replace(request_, seed=2**63 - 1), _ignore)
        assert not np.array_equal(other.pixels, picture.pixels)

    def test_steps_are_counted_up_to_their_total(
        self, pipeline: Pipeline, request_: GenerationRequest
    ) -> None:
        seen: list[tuple[int, int]] = []
        pipeline.render(request_, lambda done, total: seen.append((done, total)))
        totals = {total for _done, total in seen}
        assert len(totals) == 1
        assert [done for done, _total in seen] == list(range(1, totals.pop() + 1))

    def test_what_the_step_callback_raises_comes_out_unchanged(
        self, pipeline: Pipeline, request_: GenerationRequest, picture: RasterImage
    ) -> None:
        stop = _StoppedError("enough")

        def raise_it(_done: int, _total: int) -> None:
            raise stop

        with pytest.raises(_StoppedError) as caught:
            pipeline.render(request_, raise_it)
        assert caught.value is stop
        after = pipeline.render(request_, _ignore)
        assert np.array_equal(after.pixels, picture.pixels)

    def test_a_runtime_error_of_the_step_callback_is_not_taken_for_the_models(
        self, pipeline: Pipeline, request_: GenerationRequest
    ) -> None:
        stop = RuntimeError("the caller's own")

        def raise_it(_done: int, _total: int) -> None:
            raise stop

        with pytest.raises(RuntimeError) as caught:
            pipeline.render(request_, raise_it)
        assert caught.value is stop

    def test_negative_prompt_changes_the_picture_or_is_refused_by_name(
        self, pipeline: Pipeline, request_: GenerationRequest, picture: RasterImage
    ) -> None:
        other = _render_or_refusal(pipeline, replace(request_, negative_prompt="rain and fog"))
        if isinstance(other, RasterImage):
            assert not np.array_equal(other.pixels, picture.pixels)
        else:
            assert "negative_prompt" in other

    def test_a_size_that_does_not_suit_is_refused_by_name_or_met(
        self, pipeline: Pipeline, request_: GenerationRequest
    ) -> None:
        wider = request_.width_px + 8
        other = _render_or_refusal(pipeline, replace(request_, width_px=wider))
        if isinstance(other, RasterImage):
            assert other.width_px == wider
        else:
            assert "width" in other
