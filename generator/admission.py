"""Every door to the job service: what a caller's key allows, and whose jobs are whose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Header

from generator.jobs import JobOptions
from provenance.errors import InputError, ProvenanceError, RecordNotFoundError
from provenance.serving.request_log import note_job
from provenance.types import Scope

if TYPE_CHECKING:
    from datetime import date

    from generator.jobs import Job, JobService
    from provenance.interfaces import ApiKeyStore
    from provenance.serving.access import Caller
    from provenance.types import ApiKey, GenerationRequest

__all__ = ["Admission", "IdempotencyKey", "checked_key"]

PLAIN = JobOptions()
MAX_KEY_CHARACTERS = 255

IdempotencyKey = Annotated[
    str | None,
    Header(
        description="Any text of yours, new for each request. A retry with the same key and body "
        "answers the same job and never makes a second picture.",
        examples=["7b1c5f0e-order-1182"],
    ),
]
"""The header of every route that makes pictures."""


def checked_key(key: str | None) -> str | None:
    """The idempotency key as it came.

    Raises:
        InputError: It is empty or too long.
    """
    if key is not None and not 1 <= len(key) <= MAX_KEY_CHARACTERS:
        raise InputError(
            f"Idempotency-Key has {len(key)} characters; send 1 to {MAX_KEY_CHARACTERS}"
        )
    return key


@dataclass(frozen=True, slots=True)
class Admission:
    """Submits and shows jobs in the name of a caller.

    Attributes:
        jobs: Runs them.
        keys: Counts pictures by key.
    """

    jobs: JobService
    keys: ApiKeyStore

    def submit(
        self,
        caller: Caller,
        requests: tuple[GenerationRequest, ...],
        *,
        idempotency_key: str | None = None,
        options: JobOptions = PLAIN,
    ) -> Job:
        """Queues a job and counts its pictures.

        Pictures count when they are accepted, whatever becomes of them then: one that the safety
        policy refuses was rendered all the same. A retry that answers an earlier job counts none.

        Raises:
            QuotaExceededError: The key has too few pictures left today; nothing is queued.
            ProvenanceError: As `JobService.submit`; nothing is counted.
        """
        counted = self._count(caller, len(requests), idempotency_key)
        try:
            job = self.jobs.submit(
                requests,
                idempotency_key=idempotency_key,
                api_key_id=caller.key_id,
                options=options,
            )
        except ProvenanceError:
            self._uncount(counted)
            raise
        if not job.is_new:  # the same request came twice at once, and the other one was first
            self._uncount(counted)
        note_job(job.id)
        return job

    def _count(self, caller: Caller, pictures: int, idempotency_key: str | None) -> _Counted | None:
        key = caller.key
        if key is None:
            return None
        if idempotency_key is not None and self.jobs.knows_key(key.id, idempotency_key):
            return None
        return _Counted(key, pictures, self.keys.spend_pictures(key, pictures))

    def _uncount(self, counted: _Counted | None) -> None:
        if counted is not None:
            self.keys.return_pictures(counted.key, counted.pictures, spent_on=counted.day)

    def find(self, caller: Caller, job_id: str) -> Job:
        """A job that the caller may see.

        Raises:
            RecordNotFoundError: There is none, or it belongs to another key.
        """
        job = self.jobs.get(job_id)
        if not _may_see(caller, job):
            raise RecordNotFoundError(f"no job {job_id[:40]!r}; it may be long finished")
        return job


@dataclass(frozen=True, slots=True)
class _Counted:
    """Pictures that were taken from a key's allowance of a day."""

    key: ApiKey
    pictures: int
    day: date


def _may_see(caller: Caller, job: Job) -> bool:
    """Jobs of a key are that key's; a job of nobody is for who knows its unguessable id."""
    if not job.api_key_id:
        return True
    key = caller.key
    return key is not None and (key.id == job.api_key_id or Scope.ADMIN in key.scopes)
