"""Gives a stripped picture of ours its credentials back."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from detector.joining import heal_candidate
from provenance.errors import InputError
from provenance.types import Assurance, MatchTier, RegistryEvidence

if TYPE_CHECKING:
    from provenance.interfaces import RecordStore
    from provenance.types import Candidate, RegistryRecord, Verdict

__all__ = ["Recovery", "RecoveryKind", "recover_file", "recover_store"]


class RecoveryKind(StrEnum):
    """What came back.

    WHOLE: the candidate is the delivered file already. HEALED: it was stripped without touching
    the picture and is the delivered file again, byte for byte. SIDECAR: the manifest store as a
    file of its own, which is all that a picture that was encoded anew can get.
    """

    WHOLE = "whole"
    HEALED = "healed"
    SIDECAR = "sidecar"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was recovered for a picture.

    Attributes:
        kind: What came back.
        record: Whose picture it is.
        data: The file to write.
    """

    kind: RecoveryKind
    record: RegistryRecord
    data: bytes = field(repr=False)


def recover_file(candidate: Candidate, verdict: Verdict, store: RecordStore) -> Recovery:
    """The delivered file itself, byte for byte.

    Args:
        candidate: The picture.
        verdict: On this candidate; only a registered answer names a record surely enough.
        store: The registry.

    Raises:
        InputError: The picture is not registered here, or was encoded anew; names the remedy.
    """
    record = _confirmed_record(candidate, verdict, store)
    if candidate.sha256 == record.asset.sha256:
        return Recovery(RecoveryKind.WHOLE, record, candidate.data)
    healed = heal_candidate(candidate, record)
    if healed is None:
        raise InputError(
            f"{candidate.name} is record {record.record_id}, but was encoded anew, so its bytes "
            "cannot be healed; name an output that ends in .c2pa to get its manifest store as a "
            "file beside it"
        )
    return Recovery(RecoveryKind.HEALED, record, healed)


def recover_store(candidate: Candidate, verdict: Verdict, store: RecordStore) -> Recovery:
    """The manifest store that the picture was delivered with, as a file of its own.

    Args:
        candidate: The picture.
        verdict: As in `recover_file`.
        store: The registry.

    Raises:
        InputError: The picture is not registered here.
    """
    record = _confirmed_record(candidate, verdict, store)
    return Recovery(RecoveryKind.SIDECAR, record, record.manifest_store)


def _confirmed_record(candidate: Candidate, verdict: Verdict, store: RecordStore) -> RegistryRecord:
    transplanted = any(
        isinstance(item, RegistryEvidence) and item.tier is MatchTier.TRANSPLANT
        for item in verdict.evidence
    )
    sure = verdict.assurance is Assurance.REGISTERED and not transplanted
    if not sure or verdict.record_id is None:
        raise InputError(
            f"{candidate.name}: no record of this registry is surely this picture "
            f"(verify answers {verdict.origin} / {verdict.assurance}), so nothing can be recovered"
        )
    return store.get(verdict.record_id)
