"""``countermark jobs``: list, show, cancel; works beside a running service, on the same rows."""

# Typer reads these annotations at run time, so nothing here is imported for typing alone.
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry.cli import AsJson

if TYPE_CHECKING:
    from registry.jobs import JobStore, StoredJob

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Look at the service's jobs, and cancel them.")

JobId = Annotated[str, typer.Argument(metavar="ID", help="24 hex digits.")]


@app.command("list")
def list_command(
    limit: Annotated[int, typer.Option(help="At most this many, newest first.", min=1)] = 20,
    as_json: AsJson = False,
) -> None:
    """List the newest jobs; what they ask for is not told."""
    from provenance.cli import print_json, print_line

    jobs = _open_jobs()
    found = jobs.list_jobs(limit=limit)
    if as_json:
        print_json([_view(job) for job in found])
        return
    for job in found:
        made = job.created_at.strftime("%Y-%m-%d %H:%M:%S")
        steps = f"{job.steps_done}/{job.steps_total} steps"
        print_line(f"{job.id}  {made}  {job.state:<9}  {len(job.pictures)} pictures  {steps}")
    print_line(f"{len(found)} jobs, {jobs.count_waiting()} wait")


@app.command("show")
def show_command(job_id: JobId, as_json: AsJson = False) -> None:
    """Show where a job stands, and what it delivered."""
    _print(_open_jobs().get(job_id), as_json=as_json)


@app.command("cancel")
def cancel_command(job_id: JobId, as_json: AsJson = False) -> None:
    """Cancel a job: at once when it waits, within seconds when it runs."""
    _print(_open_jobs().cancel(job_id), as_json=as_json)


def _open_jobs() -> "JobStore":
    from provenance.config import load_settings
    from registry.jobs import JobStore
    from registry.wiring import open_registry

    return JobStore(open_registry(load_settings()).engine)


def _print(job: "StoredJob", *, as_json: bool) -> None:
    from provenance.cli import print_json, print_line

    view = _view(job)
    if as_json:
        print_json(view)
        return
    for name, value in view.items():
        if name != "pictures":
            print_line(f"{name:<16}  {'-' if value in (None, '') else value}")
    for picture in view["pictures"]:
        name = f"picture {picture['number']}"
        print_line(f"{name:<16}  {picture['state']}  {picture['record_id'] or ''}")


def _view(job: "StoredJob") -> dict[str, Any]:
    def told(moment: Any) -> str | None:
        return None if moment is None else moment.isoformat()

    return {
        "id": job.id,
        "state": job.state.value,
        "created_at": told(job.created_at),
        "started_at": told(job.started_at),
        "finished_at": told(job.finished_at),
        "model": job.model,
        "api_key_id": job.api_key_id,
        "steps_done": job.steps_done,
        "steps_total": job.steps_total,
        "attempts": job.attempts,
        "cancel_requested": job.cancel_requested,
        "error": None if job.error is None else job.error["detail"],
        "pictures": [
            {
                "number": picture.number,
                "seed": picture.seed,
                "state": picture.state.value,
                "record_id": picture.record_id,
            }
            for picture in job.pictures
        ],
    }
