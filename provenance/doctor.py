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

from provenance.errors import ConfigError, ProvenanceError
from provenance.plugins import load_backend
from provenance.types import HealthCheck

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.text import Text

    from provenance.config import Settings

__all__ = ["check_backends", "check_environment", "run_checks", "show_checks"]

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
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("check", overflow="fold")
    table.add_column("seen", overflow="fold")
    for check in checks:
        mark = "ok" if check.ok else ("optional" if check.optional else "FAIL")
        style = "green" if check.ok else ("yellow" if check.optional else "red")
        remedy = f"\n-> {check.remedy}" if check.remedy and not check.ok else ""
        table.add_row(Text(mark, style=style), _plain(check.name), _plain(check.detail + remedy))
    Console().print(table)


def _plain(text: str) -> Text:
    """As it stands: brackets of a path or an install line are no markup, and nothing steers."""
    from rich.text import Text

    return Text("".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text))


def check_environment() -> Sequence[HealthCheck]:
    """Python, our import names, one owner of ``cv2``, settings, home, backends, key, anchors."""
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
    return [
        HealthCheck("settings", ok=True, detail="readable"),
        _check_home(settings),
        *check_backends(settings),
        _check_watermark_key(settings),
        *_check_anchors(settings),
    ]


def _check_home(settings: Settings) -> HealthCheck:
    parent = settings.home
    # Not Path.exists, which raises below a folder that may not be entered.
    while not _may(parent, os.F_OK) and parent != parent.parent:
        parent = parent.parent
    return HealthCheck(
        "home folder",
        ok=parent.is_dir() and _may(parent, os.W_OK | os.X_OK),
        detail=str(settings.home),
        remedy="make it writable, or set COUNTERMARK_HOME to a folder that is",
    )


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def check_backends(settings: Settings) -> list[HealthCheck]:
    """Can all backends that the settings name be imported? One line, or one for each defect.

    Nothing is built: weights stay where they are.
    """
    failing = []
    for setting, group, name in _named_backends(settings):
        try:
            backend = load_backend(group, name)
            problem = (
                "" if callable(backend) else f"{name!r} is a {type(backend).__name__}, no backend"
            )
        except ProvenanceError as error:
            problem = str(error)
        if problem:
            remedy = f"correct {setting} in the settings, or install what the backend needs"
            failing.append(HealthCheck(setting, ok=False, detail=problem, remedy=remedy))
    names = ", ".join(dict.fromkeys(name for _, _, name in _named_backends(settings)))
    return failing or [HealthCheck("backends", ok=True, detail=names)]


def _named_backends(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Setting, entry point group and name."""
    yield "generator.pipeline", "countermark.pipelines", settings.generator.pipeline
    if settings.safety.checker != "auto":  # no backend of its own: it depends on the model
        yield "safety.checker", "countermark.safety_checkers", settings.safety.checker
    yield "watermark.codec", "countermark.codecs", settings.watermark.codec
    for name in settings.watermark.read_codecs:
        yield "watermark.read_codecs", "countermark.codecs", name
    yield "manifest.signer", "countermark.signers", settings.manifest.signer
    yield "fingerprint.hasher", "countermark.hashers", settings.fingerprint.hasher
    if settings.fingerprint.embedder:
        yield "fingerprint.embedder", "countermark.embedders", settings.fingerprint.embedder
    for name in settings.fingerprint.further_embedders:
        yield "fingerprint.further_embedders", "countermark.embedders", name
    for name in settings.detector.sources:
        yield "detector.sources", "countermark.evidence_sources", name


def _check_watermark_key(settings: Settings) -> HealthCheck:
    from provenance.watermark.keyfile import read_key_file

    name = "watermark key"
    try:
        keys = read_key_file(settings.watermark_key_file)
    except ConfigError as error:
        # Only the key in the home folder is made on first use, not one that the settings name.
        if isinstance(error.__cause__, FileNotFoundError) and not settings.watermark.key_file:
            return HealthCheck(name, ok=True, detail="none yet; made on first use")
        what, _, remedy = str(error).partition("; ")
        otherwise = "correct watermark.key_file, or restore the file from a backup"
        return HealthCheck(name, ok=False, detail=what, remedy=remedy or otherwise)
    retired = f", {len(keys) - 1} retired" if len(keys) > 1 else ""
    return HealthCheck(name, ok=True, detail=f"{settings.watermark_key_file}{retired}")


def _check_anchors(settings: Settings) -> list[HealthCheck]:
    """The operator's own PEM files; without them there is no line."""
    from provenance.manifest.wiring import build_trust

    own = (*settings.detector.trust_anchors, *settings.detector.tsa_anchors)
    if not own:
        return []
    name = "trust anchors"
    try:
        build_trust(settings)
    except ConfigError as error:
        remedy = "correct detector.trust_anchors or detector.tsa_anchors"
        return [HealthCheck(name, ok=False, detail=str(error), remedy=remedy)]
    return [HealthCheck(name, ok=True, detail=", ".join(own))]
