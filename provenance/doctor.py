"""``countermark doctor``: is this installation in order, and if not, what to do.

Packages contribute their checks by entry point (``countermark.checks``); a check that breaks
becomes a failing line itself, so that doctor always answers.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from importlib.metadata import PackageNotFoundError, entry_points, files, packages_distributions
from typing import TYPE_CHECKING

from provenance.errors import ProvenanceError
from provenance.plugins import load_backend
from provenance.types import HealthCheck

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_environment", "run_checks", "show_checks"]

OWN_NAMES = ("provenance", "registry", "generator", "detector")
"""Our import names; other distributions on public indexes use each of them too."""


def run_checks() -> tuple[HealthCheck, ...]:
    """All lines of all installed check providers, ours first."""
    lines: list[HealthCheck] = []
    for point in sorted(entry_points(group="countermark.checks"), key=_own_first):
        try:
            lines.extend(load_backend("countermark.checks", point.name)())
        except ProvenanceError as error:
            lines.append(HealthCheck(point.name, ok=False, detail=str(error), remedy="see above"))
        except Exception as error:  # noqa: BLE001  firewall: one broken check is one failing line
            detail = f"the check itself failed: {type(error).__name__}: {error}"
            lines.append(HealthCheck(point.name, ok=False, detail=detail, remedy="report this"))
    return tuple(lines)


def _own_first(point: object) -> tuple[bool, str]:
    name = str(getattr(point, "name", ""))
    return name != "environment", name


def show_checks(checks: Sequence[HealthCheck]) -> None:
    """Prints the lines as a table on standard output."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("check", overflow="fold")
    table.add_column("seen", overflow="fold")
    for check in checks:
        mark = "ok" if check.ok else ("optional" if check.optional else "FAIL")
        style = "green" if check.ok else ("yellow" if check.optional else "red")
        seen = check.detail if check.ok else f"{check.detail}\n-> {check.remedy}"
        table.add_row(f"[{style}]{mark}[/{style}]", check.name, seen)
    Console().print(table)


def check_environment() -> Sequence[HealthCheck]:
    """Python, ownership of our import names, one owner of ``cv2``, settings, home folder."""
    return (_check_python(), *_check_names(), *_check_cv2(), *_check_settings())


def _check_python() -> HealthCheck:
    found = ".".join(str(part) for part in sys.version_info[:3])
    return HealthCheck(
        "python", ok=sys.version_info >= (3, 11), detail=found, remedy="use Python 3.11 or newer"
    )


def _check_names() -> list[HealthCheck]:
    owners = packages_distributions()
    lines = []
    for name in OWN_NAMES:
        others = sorted(set(owners.get(name, [])) - {"countermark"})
        spec = importlib.util.find_spec(name)
        place = getattr(spec, "origin", None) or "missing"
        lines.append(
            HealthCheck(
                f"import name {name}",
                ok=not others and spec is not None and _is_ours(name),
                detail=f"also installed by {', '.join(others)}" if others else place,
                remedy=f"pip uninstall {' '.join(others) or name}; then reinstall countermark",
            )
        )
    return lines


def _is_ours(name: str) -> bool:
    """Whether the package that Python imports lies beside this one."""
    spec = importlib.util.find_spec(name)
    here = importlib.util.find_spec("provenance")
    if spec is None or here is None or not spec.origin or not here.origin:
        return False
    return spec.origin.rsplit(name, 1)[0] == here.origin.rsplit("provenance", 1)[0]


def _check_cv2() -> list[HealthCheck]:
    """Two OpenCV wheels in one environment overwrite each other's files."""
    wheels = [name for name in ("opencv-python", "opencv-python-headless") if _installed(name)]
    if not wheels:
        return []
    lines = [
        HealthCheck(
            "cv2 has one owner",
            ok=len(wheels) == 1,
            detail=" and ".join(wheels),
            remedy="pip uninstall -y opencv-python opencv-python-headless; "
            "pip install opencv-python",
        )
    ]
    try:
        importlib.import_module("cv2")
        loaded, detail = True, "loads"
    except ImportError as error:
        loaded, detail = False, str(error)
    remedy = (
        "install the system libraries libgl1 and libglib2.0-0, or on a server replace the wheel: "
        "pip uninstall -y opencv-python; pip install opencv-python-headless"
    )
    lines.append(HealthCheck("cv2 loads", ok=loaded, detail=detail, remedy=remedy))
    return lines


def _installed(distribution: str) -> bool:
    try:
        return files(distribution) is not None
    except PackageNotFoundError:
        return False


def _check_settings() -> list[HealthCheck]:
    from provenance.config import load_settings

    try:
        settings = load_settings()
    except ProvenanceError as error:
        return [HealthCheck("settings", ok=False, detail=str(error), remedy="correct the setting")]
    home = settings.home
    parent = home
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    writable = os.access(parent, os.W_OK)
    return [
        HealthCheck("settings", ok=True, detail="readable"),
        HealthCheck(
            "home folder",
            ok=writable,
            detail=str(home),
            remedy="make it writable, or set COUNTERMARK_HOME to a folder that is",
        ),
    ]
