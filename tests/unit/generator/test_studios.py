import pytest

from generator.studios import StudioPool, open_checker
from provenance.errors import InputError
from provenance.testing.twins_generation import GradientPipeline, LuminanceChecker


class Loader:
    def __init__(self) -> None:
        self.loaded: list[str | None] = []

    def __call__(self, name: str | None) -> GradientPipeline:
        self.loaded.append(name)
        return GradientPipeline(name or "bundled")


def pool(default: str | None = None, allowed: tuple[str, ...] = ()) -> tuple[StudioPool, Loader]:
    loader = Loader()
    made = StudioPool(
        loader, lambda _: LuminanceChecker(), default_model=default, allowed_models=allowed
    )
    return made, loader


def test_the_default_is_loaded_once() -> None:
    studios, loader = pool()
    assert studios.open(None) is studios.open(None)
    assert studios.open("bundled") is studios.open(None)
    assert loader.loaded == [None]


def test_another_model_replaces_the_one_in_memory() -> None:
    studios, loader = pool(default="a/b", allowed=("c/d", "bundled"))
    studios.open(None)
    studios.open("c/d")
    studios.open("a/b")
    studios.open("bundled")
    assert loader.loaded == ["a/b", "c/d", "a/b", None]


@pytest.mark.parametrize("name", ["x/y", "/etc", ""])
def test_what_is_not_offered_is_refused_before_anything_is_loaded(name: str) -> None:
    studios, loader = pool(default="a/b", allowed=("c/d",))
    with pytest.raises(InputError, match=r"is not offered here.*one of c/d"):
        studios.resolve(name)
    assert loader.loaded == []


def test_the_default_of_the_machine_is_not_told_to_strangers() -> None:
    studios, _ = pool(default="/srv/private/model")
    with pytest.raises(InputError) as caught:
        studios.resolve("x/y")
    assert "/srv" not in str(caught.value)


def test_the_bundled_model_can_be_named_as_the_default() -> None:
    studios, loader = pool(default="bundled")
    studios.open(None)
    studios.open("bundled")
    assert loader.loaded == [None]


def test_the_models_own_checker_must_exist_when_it_is_asked_for(tmp_path) -> None:
    with pytest.raises(InputError, match="brings no safety checker"):
        open_checker("stable-diffusion", GradientPipeline(), thresholds={}, cache_dir=tmp_path)


def test_a_checker_can_be_named_by_module(tmp_path) -> None:
    checker = open_checker(
        "drawn_backend:load_strict_checker", GradientPipeline(), thresholds={}, cache_dir=tmp_path
    )
    assert checker.name == "luminance"
