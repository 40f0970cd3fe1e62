"""What a scheduler remembers between two steps, as plain numbers; and a scheduler put back there.

Kept is what differs from a new scheduler of the same configuration: the places reached, the
model's last answers (multi-step solvers), the half-done step (Heun). Tables that follow from the
configuration are made anew. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from provenance.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    NumberArrays = dict[str, npt.NDArray[Any]]
    Layout = dict[str, Any]

__all__ = ["capture_state", "from_array", "restore_state", "to_array"]

_NOT_STATE = frozenset({"_internal_dict", "step"})
"""The configuration, and the method that `generator.pipelines.stepping` lays over the class's."""

_BYTES_ONLY = {torch.bfloat16: torch.int16}
"""Number formats that numpy lacks, with one of the same width that it has."""


def to_array(tensor: torch.Tensor) -> tuple[npt.NDArray[Any], Layout]:
    """A copy of a tensor in main memory, and what the numbers alone don't say of it."""
    layout: Layout = {
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "strides": list(tensor.stride()),
    }
    plain = tensor.detach().to("cpu", copy=True).contiguous()
    if tensor.dtype in _BYTES_ONLY:
        plain = plain.view(_BYTES_ONLY[tensor.dtype])
    return plain.numpy(), layout


def from_array(array: npt.NDArray[Any], layout: Layout, *, device: Any = "cpu") -> torch.Tensor:
    """What `to_array` was given, on `device`.

    The order in memory comes back too: convolutions over latents in another order take other
    kernels, which round otherwise.
    """
    kind = getattr(torch, layout["dtype"])
    tensor = torch.from_numpy(np.array(array))
    tensor = tensor.view(kind) if kind in _BYTES_ONLY else tensor
    same_order = torch.empty_strided(tuple(tensor.shape), layout["strides"], dtype=kind)
    return same_order.copy_(tensor).to(device)


def capture_state(
    scheduler: Any, *, pick: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[NumberArrays, str]:
    """The state as arrays by name, and JSON that says where each belongs.

    Args:
        scheduler: After a step.
        pick: Answers one picture's part of a tensor that holds those of a whole batch.

    Raises:
        InputError: The scheduler keeps something that is no number.
    """
    fresh = vars(type(scheduler).from_config(scheduler.config))
    arrays: NumberArrays = {}
    state = {
        name: _encode(value, f"scheduler.{name}", arrays, pick)
        for name, value in vars(scheduler).items()
        if name not in _NOT_STATE and not (name in fresh and _same(value, fresh[name]))
    }
    return arrays, json.dumps(state)


def restore_state(
    scheduler: Any, arrays: Mapping[str, npt.NDArray[Any]], state: str, *, device: Any
) -> None:
    """Puts a scheduler of the same configuration where `capture_state` found the other one.

    Raises:
        InputError: The state is not one of this kind of scheduler.
    """
    fresh = vars(type(scheduler).from_config(scheduler.config))
    try:
        kept = {k: _decode(v, arrays, device) for k, v in json.loads(state).items()}
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError("the checkpoint's scheduler state is damaged; take another one") from error
    # Some attributes appear with the first step only; but none hides what the class itself has.
    hidden = sorted(name for name in kept if hasattr(type(scheduler), name))
    if hidden:
        raise InputError(
            f"the checkpoint's scheduler state would replace {hidden[0]!r} of "
            f"{type(scheduler).__name__}: it is damaged, or of another version; take another one"
        )
    for name, value in {**fresh, **kept}.items():
        if name not in _NOT_STATE:
            setattr(scheduler, name, value)


def _encode(
    value: Any, name: str, arrays: NumberArrays, pick: Callable[[torch.Tensor], torch.Tensor]
) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.Tensor):
        arrays[name], layout = to_array(pick(value))
        return {"tensor": name, "layout": layout, "cpu": value.device.type == "cpu"}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        arrays[name] = np.array(value)
        return {"array": name}
    if isinstance(value, list | tuple | deque):
        kind = type(value).__name__
        parts = [_encode(one, f"{name}.{i}", arrays, pick) for i, one in enumerate(value)]
        return {kind: parts, "maxlen": getattr(value, "maxlen", None)}
    raise InputError(
        f"this scheduler keeps {name.removeprefix('scheduler.')} ({type(value).__name__}), which "
        "cannot be written to a checkpoint; choose another scheduler"
    )


def _decode(value: Any, arrays: Mapping[str, npt.NDArray[Any]], device: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        place = "cpu" if value["cpu"] else device
        return from_array(arrays[value["tensor"]], value["layout"], device=place)
    if "array" in value:
        found = np.array(arrays[value["array"]])
        return found if found.ndim else found[()]
    for kind, make in (("list", list), ("tuple", tuple)):
        if kind in value:
            return make(_decode(one, arrays, device) for one in value[kind])
    parts = [_decode(one, arrays, device) for one in value["deque"]]
    return deque(parts, maxlen=value["maxlen"])


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        same_kind = one.dtype == other.dtype and one.shape == other.shape
        return same_kind and torch.equal(one.cpu(), other.cpu())
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, list | tuple | deque):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
