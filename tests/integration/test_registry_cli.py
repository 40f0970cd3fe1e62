"""``countermark registry`` as a user meets it: through the console script."""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import dataclass

import pytest

from provenance.cli import main
from provenance.config import load_settings
from provenance.testing.stores import build_hash, build_record, build_refusal
from registry.tables import HEAD_REVISION
from registry.wiring import open_registry


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@dataclass
class Answer:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(home, monkeypatch, capsys):
    """Runs the console script within this process: a new interpreter each time takes seconds."""
    for name in [name for name in os.environ if name.startswith("COUNTERMARK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COUNTERMARK_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["countermark", "registry", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Answer(int(ended.value.code or 0), out, err)

    yield run
    logging.captureWarnings(capture=False)


@pytest.fixture
def filled(home):
    """Two records and a refusal."""
    numbers = iter((b"\x01" * 8, b"\x02" * 8, b"\x03" * 8))
    store = open_registry(load_settings(environ={}, home=home))
    store._random_bytes = lambda _: next(numbers)
    for number in range(2):
        record_id = store.reserve().record_id
        parameters = {"seed": number, "prompt_hmac": "5ec2e7"}
        store.commit(
            build_record(record_id, parameters=parameters, perceptual_hash=build_hash(number))
        )
    store.refuse(build_refusal(store.reserve().record_id))
    store.close()


def test_list_makes_the_registry_on_first_use(run, home):
    answer = run("list", "--json")
    assert (answer.returncode, json.loads(answer.stdout), answer.stderr) == (0, [], "")
    assert (home / "registry.sqlite3").is_file()


def test_list_answers_newest_first(run, filled):
    answer = run("list", "--json", "--limit", "1")
    assert [record["record_id"] for record in json.loads(answer.stdout)] == ["02" * 8]
    table = run("list").stdout
    assert table.index("02" * 8) < table.index("01" * 8)
    assert "2 of 2 records" in table


def test_show_answers_a_record_without_the_hash_of_its_prompt(run, filled):
    answer = run("show", "01" * 8, "--json")
    assert answer.returncode == 0
    assert json.loads(answer.stdout)["parameters"] == {"seed": 0}
    plain = run("show", ("01" * 8).upper())
    assert "parameters.seed" in plain.stdout
    assert "5ec2e7" not in plain.stdout + answer.stdout


def test_show_answers_a_refusal_with_its_reason(run, filled):
    answer = json.loads(run("show", "03" * 8, "--json").stdout)
    assert answer["kind"] == "refused"
    assert "nsfw" in answer["reason"]


@pytest.mark.parametrize(
    ("record_id", "code", "message"),
    [("f" * 16, 3, "no record ffffffffffffffff"), ("hello", 3, "'hello' is not 16 hex digits")],
)
def test_show_answers_in_one_line_when_there_is_no_such_record(run, record_id, code, message):
    answer = run("show", record_id)
    assert (answer.returncode, answer.stdout) == (code, "")
    assert message in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_upgrade_says_where_the_registry_is(run, home):
    assert str(home / "registry.sqlite3") in run("upgrade").stdout
    assert json.loads(run("upgrade", "--json").stdout) == {
        "registry": str(home / "registry.sqlite3"),
        "migration": HEAD_REVISION,
    }


def test_commands_name_a_file_that_is_no_database(run, home):
    home.mkdir()
    (home / "registry.sqlite3").write_text("not a database at all\n" * 9)
    for command in ("list", "events", "upgrade"):
        answer = run(command)
        assert (answer.returncode, answer.stdout) == (4, "")
        assert "is no SQLite database" in answer.stderr
        assert answer.stderr.count("\n") == 1
