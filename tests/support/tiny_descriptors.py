"""Small copy descriptors as ONNX and TorchScript files, with weights from a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

DIMENSIONS = 24


def _weights(seed: int) -> np.ndarray:
    """(24, 3 * 8 * 8): random directions over an 8x8 thumbnail."""
    return np.random.default_rng(seed).normal(size=(DIMENSIONS, 192)).astype(np.float32)


def write_onnx(path: Path, *, seed: int, raw: bool = False, side_px: int | str = "side") -> Path:
    """A model that averages to 8x8 and multiplies.

    Args:
        path: Where to.
        seed: Settles the weights.
        raw: Takes uint8 (N, H, W, 3), not float32 (N, 3, H, W).
        side_px: Side of the input; a name leaves it open.
    """
    from onnx import TensorProto, helper, numpy_helper, save

    sides = [f"{side_px}h", f"{side_px}w"] if isinstance(side_px, str) else [side_px, side_px]
    shape = ["n", *sides, 3] if raw else ["n", 3, *sides]
    nodes, entry = [], "picture"
    if raw:
        nodes.append(helper.make_node("Cast", [entry], ["real"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Transpose", ["real"], ["turned"], perm=[0, 3, 1, 2]))
        entry = "turned"
    nodes += [
        helper.make_node("Resize", [entry, "", "", "sizes"], ["small"], mode="linear"),
        helper.make_node("Flatten", ["small"], ["flat"]),
        helper.make_node("ReduceMean", ["flat", "axes"], ["mean"]),
        helper.make_node("Sub", ["flat", "mean"], ["centred"]),
        helper.make_node("MatMul", ["centred", "weights"], ["vector"]),
    ]
    # Only height and width: the batch is whatever it is.
    nodes[-5].attribute.append(helper.make_attribute("axes", [2, 3]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(
                "picture", TensorProto.UINT8 if raw else TensorProto.FLOAT, shape
            )
        ],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", DIMENSIONS])],
        [
            numpy_helper.from_array(np.array([8, 8], np.int64), "sizes"),
            numpy_helper.from_array(np.array([1], np.int64), "axes"),
            numpy_helper.from_array(_weights(seed).T.copy(), "weights"),
        ],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def write_torchscript(path: Path, *, seed: int) -> Path:
    """The same, as TorchScript over float32 (N, 3, H, W)."""
    import torch

    class Tiny(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.Parameter(torch.from_numpy(_weights(seed)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            small = torch.nn.functional.adaptive_avg_pool2d(x, (8, 8)).flatten(1)
            return (small - small.mean(1, keepdim=True)) @ self.weights.T

    example = torch.zeros(2, 3, 32, 32)
    torch.jit.save(torch.jit.trace(Tiny(), example, check_trace=False), str(path))
    return path
