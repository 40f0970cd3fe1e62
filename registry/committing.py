"""The last steps of every write path: a record is committed, then its bytes appear; or neither.

Shared by whoever registers pictures: the generator, and a person's attestation.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from provenance.interfaces import RecordStore, Staged
    from provenance.types import Delivery, RecordId, SealedInputs, SignedAsset

__all__ = ["commit_and_deliver", "release_reservation"]

log = logging.getLogger(__name__)


def commit_and_deliver(
    store: RecordStore,
    delivery: Delivery,
    sinks: Iterable[Callable[[SignedAsset], Staged]],
    *,
    kept: SealedInputs | None = None,
) -> None:
    """W8 and W9.

    Args:
        store: The registry.
        delivery: Record and signed bytes.
        sinks: Where the bytes go: each lays them ready.
        kept: The inputs, sealed, where they are kept.

    Raises:
        RegistryError: The record was not committed; nothing was delivered.
        DeliveryError: The bytes could not be staged; nothing was committed.
    """
    staged: list[Staged] = []
    try:
        for sink in sinks:
            staged.append(sink(delivery.asset))  # noqa: PERF401  what is staged must be discarded
        # W8: record, kept inputs and log leaf in one transaction.
        store.commit(delivery.record, kept)
        # W9: only now bytes leave.
        for one in staged:
            one.publish()
    finally:
        for one in staged:
            one.discard()


def release_reservation(store: RecordStore, record_id: RecordId) -> None:
    """Ends a reservation after an error; if that fails too, it expires by itself."""
    try:
        store.release(record_id)
    except Exception:  # noqa: BLE001  the first error is the one that the caller must see
        log.warning("reservation %s was not released; it will expire", record_id)
