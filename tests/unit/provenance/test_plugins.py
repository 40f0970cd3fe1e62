import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from provenance import plugins
from provenance.errors import BackendUnavailableError, ConfigError, UnknownBackendError
from provenance.plugins import available_backends, load_backend


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path with two real (small) distributions that claim backends."""
    (tmp_path / "stripes.py").write_text("class Codec:\n    pass\n")
    (tmp_path / "broken.py").write_text("import a_module_that_nobody_has\n")
    for name, points in {
        "one": "stripes = stripes:Codec\nshared = stripes:Codec\nbroken = broken:Codec\n"
        "gone = stripes:Missing\n",
        "two": "shared = stripes:Codec\n",
    }.items():
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[countermark.test_codecs]\n{points}")
    monkeypatch.syspath_prepend(tmp_path)
    plugins._entry_points.cache_clear()
    yield tmp_path
    plugins._entry_points.cache_clear()
    sys.modules.pop("stripes", None)


GROUP = "countermark.test_codecs"


def test_a_backend_of_another_distribution_is_found(installed: Path) -> None:
    assert load_backend(GROUP, "stripes").__name__ == "Codec"
    assert "stripes" in available_backends(GROUP)


def test_module_and_attribute_need_no_distribution(installed: Path) -> None:
    assert load_backend(GROUP, "stripes:Codec").__name__ == "Codec"


def test_two_owners_of_one_name_are_an_error_that_names_both(installed: Path) -> None:
    with pytest.raises(UnknownBackendError, match=r"one.*two|two.*one"):
        load_backend(GROUP, "shared")


def test_an_unknown_name_answers_the_nearest(installed: Path) -> None:
    with pytest.raises(UnknownBackendError, match="did you mean 'stripes'"):
        load_backend(GROUP, "stripe")


def test_a_module_that_does_not_import_is_unavailable(installed: Path) -> None:
    with pytest.raises(BackendUnavailableError, match="a_module_that_nobody_has"):
        load_backend(GROUP, "broken")


def test_a_missing_attribute_is_a_configuration_error(installed: Path) -> None:
    with pytest.raises(ConfigError, match="has no Missing"):
        load_backend(GROUP, "gone")


def test_a_missing_extra_answers_the_install_line(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (installed / "needs_torch.py").write_text("import torch\n")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'countermark\[generate\]'"):
        load_backend(GROUP, "needs_torch:Codec")


def test_every_entry_point_of_ours_loads_what_it_names() -> None:
    from importlib.metadata import distribution

    groups = {p.group for p in distribution("countermark").entry_points} - {"console_scripts"}
    for point in distribution("countermark").entry_points:
        if point.group in groups:
            assert point.load() is not None, point
