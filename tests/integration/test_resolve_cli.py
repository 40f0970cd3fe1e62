"""``countermark resolve`` in this process; over a socket see `tests/e2e/test_resolve.py`."""

from __future__ import annotations

import json

import pytest
from resolution_world import World, png_of, resaved
from typer.testing import CliRunner

from provenance.config import load_settings
from provenance.errors import (
    ConfigError,
    FetchError,
    InputError,
    UnsupportedMediaTypeError,
)
from provenance.testing.pictures import natural_picture
from registry.resolve_cli import resolve_app
from registry.wiring import open_registry


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    environ = {"COUNTERMARK_WATERMARK_SIGNPOST": "acme.io/cm"}
    return World(tmp_path_factory.mktemp("home"), environ)


@pytest.fixture
def files(world, tmp_path):
    (tmp_path / "copy.jpg").write_bytes(resaved(world.stripped))
    (tmp_path / "other.png").write_bytes(png_of(natural_picture(300, 300, seed=5)))
    (tmp_path / "text.png").write_text("no picture")
    return tmp_path


def resolve(home, *words):
    environ = {"COUNTERMARK_HOME": str(home), "COLUMNS": "200"}
    answer = CliRunner().invoke(resolve_app, [str(word) for word in words], env=environ)
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    assert answer.exit_code == 0, answer.output
    return answer.output


def test_the_registry_of_this_installation_answers(world, files):
    home, out = world.settings.home, files / "copy.c2pa"
    text = resolve(home, files / "copy.jpg", "-o", out)
    assert f"{world.label} matches: all its soft bindings agree" in text
    assert "org.countermark.lattice.1: agrees" in text
    assert "signed over other bytes" in text
    assert out.read_bytes() == world.store


def test_json_holds_all_that_was_asked_and_found(world, files):
    answer = json.loads(resolve(world.settings.home, files / "copy.jpg", "--json"))
    assert [one["alg"] for one in answer["asked"]] == [
        "org.countermark.lattice.1",
        "org.countermark.pdq.1",
    ]
    (found,) = answer["manifests"]
    assert found["bytes"] == len(world.store)
    assert {one["state"] for one in found["soft_bindings"]} == {"agrees"}
    assert (answer["endpoint"], answer["out"], answer["problems"]) == (None, None, [])


def test_a_signpost_says_where_to_ask_and_is_not_followed(world, files, tmp_path):
    stranger = tmp_path / "stranger"
    open_registry(load_settings(environ={}, home=stranger)).close()
    text = resolve(stranger, files / "copy.jpg")
    assert "0 manifests found" in text
    assert "--endpoint https://acme.io/cm/v1" in text
    assert "--endpoint" not in resolve(stranger, files / "other.png")


def test_nothing_found_writes_nothing(world, files):
    out = files / "none.c2pa"
    with pytest.raises(InputError, match="is not written"):
        resolve(world.settings.home, files / "other.png", "-o", out)
    assert not out.exists()


def test_what_cannot_be_used_is_named(world, files):
    home = world.settings.home
    with pytest.raises(InputError, match="is a folder"):
        resolve(home, files / "copy.jpg", "-o", files)
    with pytest.raises(UnsupportedMediaTypeError, match=r"text\.png"):
        resolve(home, files / "text.png")
    with pytest.raises(InputError, match=r"none\.png"):
        resolve(home, files / "none.png")
    words = [files / "copy.jpg", "--endpoint", "https://cm.example.org", "--token-file"]
    with pytest.raises(ConfigError, match="cannot be read"):
        resolve(home, *words, files / "none")
    (files / "token").write_text("two words\n")
    with pytest.raises(ConfigError, match="one token"):
        resolve(home, *words, files / "token")


@pytest.mark.parametrize(
    ("words", "kind", "told"),
    [
        (["--endpoint", "http://127.0.0.1:9/v1"], FetchError, "only https"),
        (["--endpoint", "https://127.0.0.1:9/v1"], FetchError, "not on the public internet"),
        (["--endpoint", "https://127.0.0.1:9"], FetchError, "not on the public internet"),
        (["--endpoint", "https://name.invalid/v1"], FetchError, "no address"),
        (["--endpoint", "nonsense/v1"], FetchError, "no address"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--allow-private"], FetchError, "be reached"),
        ([], InputError, "no registry"),
    ],
)
def test_whom_it_does_not_ask(files, tmp_path, words, kind, told):
    home = tmp_path / "fresh"
    with pytest.raises(kind, match=told):
        resolve(home, files / "copy.jpg", *words)
    assert not home.exists()


def test_a_token_without_an_endpoint_is_a_mistake(files, tmp_path):
    environ = {"COUNTERMARK_HOME": str(tmp_path)}
    words = [str(files / "copy.jpg"), "--token-file", "x"]
    assert CliRunner().invoke(resolve_app, words, env=environ).exit_code == 2
