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
from provenance.imaging import encode_image
from provenance.interfaces import Pipeline, StepReport
from provenance.types import (
    Checkpoint,
    GenerationRequest,
    InputImage,
    MediaType,
    ModelRef,
    RasterImage,
)

__all__ = ["PipelineTests"]


class _StoppedError(Exception):
    """What the suite's own callback raises: no backend can know it."""


def _ignore(_report: StepReport) -> None:
    """A step callback of somebody who doesn't care."""


def _input_image() -> InputImage:
    """48x96 pixels, in every colour."""
    random = np.random.default_rng(11)
    coarse = random.integers(0, 256, (12, 6, 3), dtype=np.uint8)
    raster = RasterImage(coarse.repeat(8, axis=0).repeat(8, axis=1))
    return InputImage(encode_image(raster, MediaType.PNG).data, MediaType.PNG, raster)


def _checkpoints(pipeline: Pipeline, request: GenerationRequest) -> list[Checkpoint]:
    kept: list[Checkpoint] = []
    pipeline.render(request, lambda report: kept.append(report.checkpoint()))
    return kept


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
        pipeline.render(request_, lambda report: seen.append((report.done, report.total)))
        totals = {total for _done, total in seen}
        assert len(totals) == 1
        assert [done for done, _total in seen] == list(range(1, totals.pop() + 1))

    def test_what_the_step_callback_raises_comes_out_unchanged(
        self, pipeline: Pipeline, request_: GenerationRequest, picture: RasterImage
    ) -> None:
        stop = _StoppedError("enough")

        def raise_it(_report: StepReport) -> None:
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

        def raise_it(_report: StepReport) -> None:
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

    # -- inputs --------------------------------------------------------------------------------

    def test_input_picture_shapes_the_picture_or_is_refused_by_name(
        self, pipeline: Pipeline, request_: GenerationRequest, picture: RasterImage
    ) -> None:
        wanted = replace(request_, steps=4, init_image=_input_image(), strength=0.5)
        other = _render_or_refusal(pipeline, wanted)
        if isinstance(other, RasterImage):
            assert (other.width_px, other.height_px) == (request_.width_px, request_.height_px)
            assert not np.array_equal(other.pixels, picture.pixels)
        else:
            assert "init_image" in other

    def test_steps_run_are_the_effective_steps(
        self, pipeline: Pipeline, request_: GenerationRequest
    ) -> None:
        wanted = replace(request_, steps=8, init_image=_input_image(), strength=0.7)
        totals: list[int] = []
        try:
            pipeline.render(wanted, lambda report: totals.append(report.total))
        except InputError as error:
            assert "init_image" in str(error)  # noqa: PT017  a refusal is an answer too
            return
        # A scheduler of second order, or one that warms up, takes more evaluations.
        assert wanted.effective_steps == 5
        assert wanted.effective_steps <= totals[0] <= 2 * wanted.effective_steps

    def test_pixels_outside_the_mask_stay_or_the_mask_is_refused_by_name(
        self, pipeline: Pipeline, request_: GenerationRequest
    ) -> None:
        shape = (request_.height_px, request_.width_px, 3)
        mask = np.zeros(shape, np.uint8)
        mask[: shape[0] // 2] = 255
        raster = RasterImage(np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8))
        given = InputImage(encode_image(raster, MediaType.PNG).data, MediaType.PNG, raster)
        wanted = replace(request_, steps=4, init_image=given, mask=RasterImage(mask))
        other = _render_or_refusal(pipeline, wanted)
        if isinstance(other, RasterImage):
            outside = mask == 0
            assert np.array_equal(other.pixels[outside], raster.pixels[outside])
            assert not np.array_equal(other.pixels[~outside], raster.pixels[~outside])
        else:
            assert "mask" in other

    # -- steps kept and gone on from -----------------------------------------------------------

    def test_previews_have_the_size_of_the_picture(
        self, pipeline: Pipeline, request_: GenerationRequest
    ) -> None:
        previews: list[RasterImage] = []
        pipeline.render(request_, lambda report: previews.append(report.preview()))
        sizes = {(preview.width_px, preview.height_px) for preview in previews}
        assert sizes == {(request_.width_px, request_.height_px)}
        assert not np.array_equal(previews[0].pixels, previews[-1].pixels)

    def test_watching_closely_does_not_change_the_picture(
        self, pipeline: Pipeline, request_: GenerationRequest, picture: RasterImage
    ) -> None:
        def look(report: StepReport) -> None:
            report.preview()
            report.checkpoint()

        assert np.array_equal(pipeline.render(request_, look).pixels, picture.pixels)

    def test_a_resumed_render_gives_the_very_same_picture(
        self, pipeline: Pipeline, request_: GenerationRequest
    ) -> None:
        wanted = replace(request_, steps=4)
        whole = pipeline.render(wanted, _ignore)
        for kept in _checkpoints(pipeline, wanted):
            again = pipeline.render(kept.request, _ignore, resume=kept)
            assert np.array_equal(again.pixels, whole.pixels)

    def test_a_resumed_render_runs_the_steps_that_are_left(
        self, pipeline: Pipeline, request_: GenerationRequest
    ) -> None:
        kept = _checkpoints(pipeline, replace(request_, steps=3))[1]
        seen: list[tuple[int, int]] = []
        pipeline.render(
            kept.request, lambda report: seen.append((report.done, report.total)), resume=kept
        )
        left = range(kept.done + 1, kept.total + 1)
        assert seen == [(done, kept.total) for done in left]

    def test_a_checkpoint_of_another_model_is_refused(
        self, pipeline: Pipeline, request_: GenerationRequest
    ) -> None:
        kept = _checkpoints(pipeline, request_)[0]
        foreign = replace(kept, model=replace(kept.model, weights_sha256="0" * 64))
        with pytest.raises(InputError, match="checkpoint"):
            pipeline.render(foreign.request, _ignore, resume=foreign)

    # -- batches -------------------------------------------------------------------------------

    def test_batched_pictures_are_those_of_single_renders_up_to_rounding(
        self, pipeline: Pipeline, request_: GenerationRequest
    ) -> None:
        wanted = [request_, replace(request_, seed=8, prompt="a boat"), replace(request_, seed=9)]
        batched = pipeline.render_batch(wanted, _ignore)
        assert len(batched) == len(wanted)
        for one, other in zip(wanted, batched, strict=True):
            single = pipeline.render(one, _ignore).pixels.astype(int)
            assert np.abs(single - other.pixels).max() <= 2

    def test_requests_that_do_not_go_together_are_refused(
        self, pipeline: Pipeline, request_: GenerationRequest
    ) -> None:
        with pytest.raises(InputError, match="batch"):
            pipeline.render_batch([request_, replace(request_, steps=3)], _ignore)
        with pytest.raises(InputError, match="batch"):
            pipeline.render_batch([], _ignore)
