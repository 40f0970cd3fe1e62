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
        "gone = stripes:Missing\nno-module = :Codec\nno-attribute = stripes\n"
        "extras = stripes : Codec [fancy]\n",
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
    for name in ("stripes", "broken"):
        sys.modules.pop(name, None)


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


@pytest.mark.parametrize(
    "defect",
    [
        "def broken(:",
        "raise ValueError('not today')",
        "raise RuntimeError",
        "raise AttributeError('half a module')",
        "import sys; sys.exit(3)",
        "1 / 0",
        "def __getattr__(name): raise KeyError(name)",
    ],
)
def test_whatever_a_module_raises_is_unavailability_that_names_it(
    installed: Path, defect: str
) -> None:
    (installed / "broken.py").write_text(defect + "\n")
    for name in ("broken", "broken:Codec"):
        with pytest.raises(BackendUnavailableError, match=rf"backend '{name}' \(broken:Codec\)"):
            load_backend(GROUP, name)


@pytest.mark.parametrize(
    "name",
    [
        *(":", ":x", "stripes:", "a b:c", "stripes:Codec:x", ".stripes:Codec", "stripes:.Codec"),
        *("stripes.:Codec", "stripes:Codec()", "../stripes:Codec", " : "),
    ],
)
def test_a_malformed_module_and_attribute_is_told_with_an_example(
    installed: Path, name: str
) -> None:
    with pytest.raises(UnknownBackendError, match="is no module:attribute, such as") as caught:
        load_backend(GROUP, name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", ["no-module", "no-attribute"])
def test_a_malformed_entry_point_is_told(installed: Path, name: str) -> None:
    with pytest.raises(UnknownBackendError, match=f"'{name}': .* is no module:attribute"):
        load_backend(GROUP, name)


def test_an_entry_point_may_have_spaces_and_extras(installed: Path) -> None:
    assert load_backend(GROUP, "extras").__name__ == "Codec"


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
