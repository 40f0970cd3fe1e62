"""HTTP routes of the log: heads, proofs, leaves; and the signing on schedule."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse

from provenance.errors import ProvenanceError
from provenance.serving.access import needs
from provenance.types import Scope, parse_record_id
from registry.log_proofs import public_key_pem
from registry.log_schemas import (
    KEY_EXAMPLE,
    ConsistencyView,
    HeadView,
    InclusionView,
    LeafView,
    LeavesView,
)
from registry.signed_log import MAX_LEAVES, SignedLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["add_log_routes", "signing_heads"]

log = logging.getLogger(__name__)

MAX_PAUSE_S = 60.0
"""How long a head that is due may wait: a process asks that often whether another has signed."""


Size = Annotated[int | None, Query(ge=1, description="Of a signed head; the newest otherwise.")]


def add_log_routes(router: APIRouter, open_log: Callable[[], SignedLog]) -> None:
    """Adds the routes.

    Args:
        router: That of the registry.
        open_log: Answers the log; called by requests only.
    """
    ours: dict[str, Any] = {"tags": ["registry"], "dependencies": needs(Scope.REGISTRY)}

    @router.get("/v1/log/head", **ours)
    def read_log_head(
        fresh: Annotated[bool, Query(description="Sign a new one now.")] = False,
    ) -> HeadView:
        """The newest signed head of the log. Keep it: later heads must be consistent with it."""
        found = open_log().sign() if fresh else open_log().head()
        return HeadView.model_validate(found.to_json())

    @router.get(
        "/v1/log/key",
        **ours,
        response_class=PlainTextResponse,
        responses={200: {"content": {"text/plain": {"example": KEY_EXAMPLE}}}},
    )
    def read_log_key() -> str:
        """The public key (Ed25519, PEM) under which heads are signed. Pin it."""
        return public_key_pem(next(iter(open_log().keys.public.values())))

    @router.get("/v1/log/consistency", **ours)
    def prove_log_consistency(
        first: Annotated[int, Query(ge=1, description="Leaves of the earlier state.")],
        second: Size = None,
    ) -> ConsistencyView:
        """That the log at `second` leaves holds all that it held at `first`, unchanged."""
        return ConsistencyView.model_validate(open_log().prove_growth(first, second).to_json())

    @router.get("/v1/log/leaves", **ours)
    def read_log_leaves(
        start: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_LEAVES)] = 100,
    ) -> LeavesView:
        """Leaves from `start` on, for whoever keeps a copy of the log."""
        return LeavesView(
            leaves=[
                LeafView(
                    index=one.index,
                    kind=one.kind,
                    leaf=one.data.decode("ascii"),
                    leaf_hash=one.leaf_hash.hex(),
                )
                for one in open_log().leaves(start, limit)
            ]
        )

    @router.get("/v1/log/leaves/{index}/proof", **ours)
    def prove_log_leaf(index: int, size: Size = None) -> InclusionView:
        """That the leaf stands in the log."""
        return _inclusion(open_log().prove_leaf(index, size=size).to_json())

    @router.get("/v1/log/proof/{record_id}", **ours)
    def prove_log_record(record_id: str, size: Size = None) -> InclusionView:
        """That a record (or a refusal) stands in the log; of an erased one that it stood there."""
        proof = open_log().prove_record(parse_record_id(record_id), size=size)
        return _inclusion(proof.to_json())


def _inclusion(document: dict[str, Any]) -> InclusionView:
    return InclusionView.model_validate(document)


@asynccontextmanager
async def signing_heads(
    open_log: Callable[[], SignedLog],
    *,
    every_s: float,
    publish: Callable[[SignedLog], object] | None = None,
) -> AsyncIterator[None]:
    """Signs heads while the block runs, and brings them to where they are kept.

    Args:
        open_log: Answers the log.
        every_s: Seconds; 0 signs none.
        publish: Brings heads that are not there yet, signed here or elsewhere; None brings none.
    """
    if not every_s and publish is None:
        yield
        return
    task = asyncio.create_task(_work_on_schedule(open_log, every_s, publish))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _work_on_schedule(
    open_log: Callable[[], SignedLog],
    every_s: float,
    publish: Callable[[SignedLog], object] | None,
) -> None:
    said = ""
    while True:
        if every_s:
            try:
                await run_in_threadpool(lambda: open_log().sign_if_due(every_s))
            except ProvenanceError as error:
                log.error("no head of the log was signed: %s", error)  # noqa: TRY400  says it all
        if publish is not None:
            told, said = said, await run_in_threadpool(_publish, open_log, publish)
            if said and said != told:  # tried again every minute, told once
                log.error("%s", said)
        await asyncio.sleep(min(every_s or MAX_PAUSE_S, MAX_PAUSE_S))


def _publish(open_log: Callable[[], SignedLog], publish: Callable[[SignedLog], object]) -> str:
    """Answers what went wrong."""
    try:
        publish(open_log())
    except ProvenanceError as error:
        return str(error)
    return ""
