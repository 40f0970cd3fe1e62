"""The descriptor's own arithmetic against torch, on random weights."""

import numpy as np
import pytest

from provenance.errors import BackendUnavailableError
from provenance.fingerprint.embedders.descriptor.embedder import prepare
from provenance.fingerprint.embedders.descriptor.inference import NumpyNetwork
from provenance.fingerprint.embedders.descriptor.weights import read_weights, write_weights
from provenance.testing.pictures import natural_picture


def _random_network(widths, blocks):
    import torch

    from provenance.fingerprint.embedders.descriptor.training.network import DescriptorNetwork

    torch.manual_seed(3)
    network = DescriptorNetwork(widths, blocks)
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            if part.affine:
                torch.nn.init.uniform_(part.weight, 0.5, 1.5)
                torch.nn.init.normal_(part.bias, 0, 0.3)
            torch.nn.init.normal_(part.running_mean, 0, 0.2)
            torch.nn.init.uniform_(part.running_var, 0.5, 1.5)
    return network.eval()


@pytest.mark.parametrize("side_px", [96, 160])
def test_numpy_and_torch_compute_the_same(tmp_path, side_px):
    import torch

    from provenance.fingerprint.embedders.descriptor.training.export import describe, fold

    blocks = (1, 0, 2)
    network = _random_network((8, 12, 16), blocks)
    write_weights(tmp_path / "w.safetensors", fold(network, blocks), describe(blocks, (8, 12, 16)))
    kept = read_weights(tmp_path / "w.safetensors")
    picture = prepare(natural_picture(200, 150, seed=1), side_px)
    both = np.stack([picture, picture[::-1]])
    ours = NumpyNetwork(kept.tensors, kept.metadata)(both)
    with torch.inference_mode():
        theirs = network(torch.from_numpy(both).permute(0, 3, 1, 2)).numpy()
    # Half precision of the file is the only difference.
    assert (ours * theirs).sum(axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert np.abs(ours - theirs).max() < np.abs(theirs[0] - theirs[1]).max()


def test_the_file_is_read_back_as_written_and_by_the_format_s_own_library(tmp_path):
    from safetensors.numpy import load_file

    values = {"b": np.arange(6, dtype=np.float32).reshape(2, 3) / 3, "a": np.ones(1, np.float32)}
    write_weights(tmp_path / "w.safetensors", values, {"blocks": "1"})
    kept = read_weights(tmp_path / "w.safetensors")
    theirs = load_file(tmp_path / "w.safetensors")
    assert kept.metadata == {"blocks": "1"}
    assert set(kept.tensors) == {"a", "b"}
    for name, value in theirs.items():
        assert np.array_equal(value.astype(np.float32), kept.tensors[name])
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 40, (2).to_bytes(8, "little") + b"[]", (5).to_bytes(8, "little") + b'{"a":'],
)
def test_a_broken_file_is_one_clear_error(tmp_path, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(BackendUnavailableError, match=r"w\.safetensors"):
        read_weights(path)


def test_missing_tensors_are_one_clear_error():
    with pytest.raises(BackendUnavailableError, match="stem"):
        NumpyNetwork({}, {"blocks": "1,1"})
