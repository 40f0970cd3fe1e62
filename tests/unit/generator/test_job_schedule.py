from datetime import UTC, datetime, timedelta

from generator.job_schedule import choose_jobs
from registry.jobs import WaitingJob

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def waiting(*jobs: tuple[str, str | None, str, int], age_s: float = 10) -> list[WaitingJob]:
    """Oldest first, one second apart."""
    first = NOW - timedelta(seconds=age_s)
    return [
        WaitingJob(name, first + timedelta(seconds=n), model, key, pictures)
        for n, (name, model, key, pictures) in enumerate(jobs)
    ]


def chosen(jobs: list[WaitingJob], *, loaded: str | None = None, batch_size: int = 4) -> str:
    found = choose_jobs(jobs, loaded_model=loaded, batch_size=batch_size, now=NOW)
    return "".join(job.id for job in found)


def test_nothing_is_chosen_when_nothing_waits() -> None:
    assert chosen([]) == ""


def test_the_oldest_job_leads_and_its_like_fill_the_batch() -> None:
    jobs = waiting(
        ("a", None, "x", 1), ("b", None, "y", 1), ("c", None, "x", 2), ("d", None, "x", 2)
    )
    assert chosen(jobs) == "ac"
    assert chosen(jobs, batch_size=5) == "acd"
    assert chosen(jobs, batch_size=1) == "a"


def test_a_job_larger_than_a_batch_runs_alone() -> None:
    assert chosen(waiting(("a", None, "x", 9), ("b", None, "x", 1))) == "a"


def test_jobs_of_the_loaded_model_pass_others() -> None:
    jobs = waiting(("a", "one", "x", 1), ("b", "two", "y", 1), ("c", "two", "y", 1))
    assert chosen(jobs, loaded="two") == "bc"
    assert chosen(jobs, loaded="three") == "a"


def test_the_oldest_job_is_not_starved() -> None:
    jobs = waiting(("a", "one", "x", 1), ("b", "two", "y", 1), age_s=61)
    assert chosen(jobs, loaded="two") == "a"


def test_models_change_as_rarely_as_patience_allows() -> None:
    jobs = waiting(
        *((str(n), "one" if n % 2 else "two", "x" if n % 2 else "y", 1) for n in range(8))
    )
    loaded, changes, order = "one", 0, []
    while jobs:
        taken = choose_jobs(jobs, loaded_model=loaded, batch_size=2, now=NOW)
        changes += taken[0].model != loaded
        loaded = taken[0].model
        order += [job.id for job in taken]
        jobs = [job for job in jobs if job not in taken]
    assert changes == 1
    assert order == ["1", "3", "5", "7", "0", "2", "4", "6"]
