"""Every pipeline backend, under the shipped conformance suite."""

from __future__ import annotations

import pytest

from provenance.testing.pipelines import PipelineTests
from provenance.testing.twins_generation import GradientPipeline


@pytest.fixture(scope="module")
def bundled_pipeline():
    pytest.importorskip("diffusers")
    from generator.pipelines.diffusers import load_pipeline

    return load_pipeline(device="cpu")


class TestGradientPipeline(PipelineTests):
    @pytest.fixture
    def pipeline(self):
        return GradientPipeline()


class TestBundledModel(PipelineTests):
    """The diffusers backend with its default; `tests/integration` runs it with each family."""

    @pytest.fixture
    def pipeline(self, bundled_pipeline):
        return bundled_pipeline
