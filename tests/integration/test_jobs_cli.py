"""``countermark jobs`` on the rows that a service left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from job_store_suite import a_job
from typer.testing import CliRunner

from provenance.config import load_settings
from provenance.errors import RecordNotFoundError
from registry.jobs import JobStore
from registry.jobs_cli import app
from registry.wiring import open_registry


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobStore:
    monkeypatch.setenv("COUNTERMARK_HOME", str(tmp_path))
    return JobStore(open_registry(load_settings(environ={}, home=tmp_path)).engine)


def run(*words: str) -> str:
    answer = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert answer.exit_code == 0
    return answer.output


def test_jobs_are_listed_shown_and_cancelled_without_what_they_ask_for(jobs: JobStore) -> None:
    job = jobs.add(a_job(7, 8), max_queue=9)
    listed = run("list")
    assert job.id in listed
    assert "1 wait" in listed
    assert json.loads(run("list", "--json"))[0]["id"] == job.id
    shown = run("show", job.id)
    assert "queued" in shown
    assert "a tree" not in shown + listed
    cancelled = json.loads(run("cancel", job.id, "--json"))
    assert cancelled["state"] == "cancelled"
    assert [picture["seed"] for picture in cancelled["pictures"]] == [7, 8]
    assert "picture 1" in run("show", job.id)


def test_an_unknown_job_is_an_error(jobs: JobStore) -> None:
    with pytest.raises(RecordNotFoundError, match="no job"):
        run("show", "0" * 24)
