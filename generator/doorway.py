"""What the doors for foreign clients share: run a job for a waiting client, read what it made."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import anyio
import numpy as np
from PIL import Image
from pydantic_core import PydanticSerializationError
from starlette.concurrency import run_in_threadpool

from generator.admission import checked_key
from generator.jobs import EventKind, JobOptions, JobState
from generator.studios import BUNDLED
from provenance.errors import (
    CancelledError,
    GenerationError,
    InputError,
    RecordNotFoundError,
)
from provenance.imaging import decode_image
from provenance.serving.request_log import note_records
from provenance.types import RasterImage, parse_record_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Self

    from fastapi import Request
    from pydantic import BaseModel

    from generator.admission import Admission
    from generator.jobs import Job, JobEvent
    from provenance.imaging import ImageLimits
    from provenance.interfaces import AssetStore, RecordStore
    from provenance.serving.access import Caller
    from provenance.types import GenerationRequest, RegistryRecord, RenderDefaults

__all__ = ["Doorway", "Order", "alpha_of", "mask_of", "read_object", "said_by"]

OPAQUE = 255


@dataclass(frozen=True, slots=True)
class Order:
    """What tells a retry from a new request.

    Attributes:
        key: The client's idempotency key; without one every request is new.
        sent: What the client sent, in a form that is the same when it sends it again.
    """

    key: str | None
    sent: bytes = field(repr=False)

    @classmethod
    def read(cls, request: Request, key: str | None, *parts: bytes) -> Self:
        """The order of a request.

        Args:
            request: Whose route counts: one key at two routes is a conflict.
            key: As it came.
            parts: What its body says, however it was wrapped.

        Raises:
            InputError: The key is empty or too long.
        """
        digests = (hashlib.sha256(part).hexdigest() for part in parts)
        return cls(checked_key(key), "\n".join((request.url.path, *digests)).encode())


def said_by(body: BaseModel) -> bytes:
    """What a body says, for `Order.read`.

    Raises:
        InputError: A text in it is none that can be written.
    """
    try:
        return body.model_dump_json().encode()
    except PydanticSerializationError as error:
        raise InputError("the body holds half a character (an unpaired surrogate)") from error


def read_object(data: bytes) -> dict[str, Any]:
    """A body that is parsed by hand.

    Raises:
        InputError: It is no JSON object, or one that is nested too deeply.
    """
    try:
        sent = json.loads(data)
    except ValueError as error:
        raise InputError("the body is no JSON") from error
    except RecursionError as error:
        raise InputError("the body is nested too deeply") from error
    if not isinstance(sent, dict):
        raise InputError("the body must be a JSON object")
    return sent


@dataclass(frozen=True, slots=True)
class Doorway:
    """What a door for foreign clients stands on.

    Attributes:
        admission: To the job service.
        records: The registry.
        assets: Delivered bytes; these doors hand them out, so they must be kept.
        defaults_of: Answers what suits a model, without loading it: the worker alone loads.
        default_model: What the operator calls the default; empty means the bundled model.
        allowed_models: What requests may name besides.
        max_batch: Most pictures of one request.
        limits: On input pictures.
    """

    admission: Admission
    records: RecordStore
    assets: AssetStore
    defaults_of: Callable[[str | None], RenderDefaults]
    default_model: str
    allowed_models: tuple[str, ...]
    max_batch: int
    limits: ImageLimits

    # -- models --------------------------------------------------------------------------------

    @property
    def default_name(self) -> str:
        """How clients see the default model: a hub id, or a folder's own name, never a path."""
        name = self.default_model or BUNDLED
        return PurePath(name).name if PurePath(name).is_absolute() else name

    @property
    def model_names(self) -> tuple[str, ...]:
        """What clients may name, the default first."""
        others = (name for name in self.allowed_models if name != self.default_model)
        return (self.default_name, *others)

    def resolve_model(self, name: str | None) -> str | None:
        """The model as requests name it.

        Raises:
            InputError: It is not offered.
        """
        if name is None or name == self.default_name:
            return None
        if name not in self.model_names:
            known = ", ".join(self.model_names)
            raise InputError(f"model {name[:200]!r} is not offered here; use one of {known}")
        return name

    # -- jobs ----------------------------------------------------------------------------------

    def check_count(self, pictures: int, asked: str) -> None:
        """Refuses more pictures than one request may ask for.

        Args:
            pictures: How many.
            asked: The field that says so, with its value, in the client's words.

        Raises:
            InputError: They are too many.
        """
        if pictures > self.max_batch:
            raise InputError(
                f"{asked} is more than the {self.max_batch} pictures that one request may ask for "
                "here; split it"
            )

    def submit(
        self,
        caller: Caller,
        requests: tuple[GenerationRequest, ...],
        order: Order,
        *,
        previews_every: int = 0,
    ) -> Job:
        """Queues a job; a retry of its order answers the job that stands.

        Raises:
            ProvenanceError: As `Admission.submit`.
        """
        options = JobOptions(previews_every=previews_every, fingerprint=order.sent)
        return self.admission.submit(caller, requests, idempotency_key=order.key, options=options)

    async def follow(self, job: Job, request: Request, order: Order) -> AsyncIterator[JobEvent]:
        """A job's events until it ends.

        These clients are told no id by which they could ask for a job later. So one that goes
        away cancels its job, unless its order has a key under which it can ask again.

        Raises:
            GenerationError: The service stops before the job has ended.
        """
        try:
            async for event in self.admission.jobs.events(job.id):
                if event is None:
                    if await request.is_disconnected():
                        await self._give_up(job, order)
                    continue
                yield event
                if event.kind.is_final:
                    return
        except (asyncio.CancelledError, GeneratorExit):
            # Who leaves in the middle of a stream has it torn down before it can be asked for.
            with anyio.CancelScope(shield=True):
                await self._give_up(job, order)
            raise
        await self._give_up(job, order)
        becomes = "is cancelled" if order.key is None else "goes on when it is back; send it again"
        raise GenerationError(f"the service stops; job {job.id} {becomes}")

    async def _give_up(self, job: Job, order: Order) -> None:
        if order.key is None:
            await run_in_threadpool(self.admission.jobs.cancel, job.id)

    def results(self, job: Job, event: JobEvent) -> tuple[RegistryRecord, ...]:
        """What an ended job delivered.

        Raises:
            ProvenanceError: What ended it, when it delivered nothing.
        """
        ended = self.admission.jobs.get(job.id)
        if not ended.results and event.kind is not EventKind.DONE:
            if ended.error is None and ended.state is JobState.CANCELLED:
                raise CancelledError("cancelled")  # before its first step
            raise ended.error or GenerationError("nothing was delivered; the log says why")
        note_records(record.record_id for record in ended.results)
        return ended.results

    def read(self, record_id: str) -> bytes:
        """The signed bytes of a record.

        Raises:
            RecordNotFoundError: They are gone.
        """
        record = self.records.get(parse_record_id(record_id))
        data = self.assets.get(record.asset.sha256)
        if data is None:
            raise RecordNotFoundError(f"the bytes of record {record_id} are not kept here")
        return data


# -- masks ---------------------------------------------------------------------------------------


def alpha_of(data: bytes, *, name: str, limits: ImageLimits) -> np.ndarray | None:
    """The transparency of a picture, (H, W) uint8, 0 is clear; None when it is opaque.

    Raises:
        InputError: It is no picture, or over a limit.
    """
    decode_image(data, name=name, limits=limits)  # refuses bombs and broken files in our words
    with Image.open(BytesIO(data)) as picture:
        if not picture.has_transparency_data:
            return None
        alpha = np.asarray(picture.convert("RGBA").getchannel("A"))
    return None if bool((alpha == OPAQUE).all()) else alpha


def mask_of(repaint: np.ndarray) -> RasterImage:
    """A mask whose white is painted anew, from (H, W) uint8."""
    return RasterImage(np.repeat(repaint[..., None], 3, axis=2))
