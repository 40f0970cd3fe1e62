"""The verifier's promise: light modules stay light, and heavy libraries stay behind adapters."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "diffusers", "transformers", "imwatermark", "cv2", "open_clip", "onnxruntime")

BLOCK = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {HEAVY!r}:
            raise ImportError(f'{{name}} is blocked', name=name)
sys.meta_path.insert(0, Blocked())
"""


def run(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "module",
    [
        "provenance.types",
        "provenance.interfaces",
        "provenance.cli",
        "detector.policy",
        "generator.cli",
        "detector.cli",
        "registry.cli",
        "provenance.manifest.cli",
        "provenance.demo.cli",
        "provenance.fingerprint.models_cli",
        "provenance.fingerprint.embedders.descriptor.embedder",
    ],
)
def test_light_modules_load_nothing_heavy(module: str) -> None:
    loaded = run(f"import {module}, sys; print(*sys.modules)").split()
    assert not {*HEAVY, "c2pa", "sqlalchemy", "fastapi"} & set(loaded)


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
from provenance.cli import main
sys.argv = ['countermark', '--help']
try:
    main()
except SystemExit:
    pass
print('LOADED', *sys.modules)
"""
    out = run(code)
    assert "verify" in out
    loaded = out.partition("LOADED")[2].split()
    assert not {*HEAVY, "c2pa", "sqlalchemy", "fastapi"} & set(loaded)


BASE_MODULES = (
    "provenance.web",
    "provenance.manifest.signing",
    "provenance.watermark.codecs.dwt_dct_svd",
    "provenance.fingerprint.hashes.pdq",
    "registry.store",
    "registry.api",
    "detector.service",
    "detector.api",
    "detector.wiring",
)


@pytest.mark.parametrize("module", BASE_MODULES)
def test_the_base_install_imports_without_the_extras(module: str) -> None:
    run(f"{BLOCK}\nimport {module}")
