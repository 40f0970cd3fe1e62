"""R3: joins what the sources found with the registry.

A keyed mark is a search key, not an answer: it can be copied onto another picture. Only when the
picture also agrees with the record's perceptual hash does the record speak for it. A manifest that
comes back from the registry is a lead; it counts as intact only when the stripped file, given its
shell back, is the registered file byte for byte.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from detector.evidence.manifest import describe_report, read_one_at_a_time
from detector.evidence.registry import add_claim, with_notices
from provenance.errors import InputError, RecordGoneError, RecordNotFoundError
from provenance.fingerprint.similarity import (
    AGREE_MAX_BITS,
    HashMatch,
    hamming_distance,
    match_marked_picture,
)
from provenance.manifest.heal import heal
from provenance.types import (
    BindingState,
    Credential,
    Finding,
    Integrity,
    ManifestEvidence,
    MatchBasis,
    MatchTier,
    PerceptualHash,
    RegistryEvidence,
    Substitution,
    WatermarkEvidence,
)
from provenance.watermark.straighten import is_partial, straighten

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provenance.interfaces import Hasher, RecordStore
    from provenance.manifest.trust import TrustSettings
    from provenance.types import (
        Candidate,
        Evidence,
        RasterImage,
        RecordId,
        RegistryRecord,
        SoftBinding,
    )

__all__ = ["RegistryJoin", "heal_candidate"]

_CONFIRMED = (MatchTier.EXACT, MatchTier.COPY_STRONG, MatchTier.COPY_VERIFIED)


class RegistryJoin:
    """Asks the registry what the evidence so far means.

    Args:
        store: Answers the registry, or None while this installation has none.
        hasher: Answers the hasher whose hashes the records hold.
        trust: For manifests that come back from the registry.
    """

    def __init__(
        self,
        store: Callable[[], RecordStore | None],
        hasher: Callable[[], Hasher | None],
        trust: TrustSettings,
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._trust = trust

    def join(self, candidate: Candidate, evidence: Sequence[Evidence]) -> Sequence[Evidence]:
        """`evidence` with what the registry adds; answers all of it.

        Raises:
            RegistryError: The registry broke off.
        """
        # Taken once, and only if somebody asks: of large pictures it is no small work.
        query = cache(lambda: self._hash(candidate.raster))
        joined = self._join_records(candidate, evidence, query)
        marks = _naming_marks(evidence)
        mark_id = marks[0][0] if marks else None
        return [_compare_bindings(item, mark_id, query) for item in joined]

    def _join_records(
        self,
        candidate: Candidate,
        evidence: Sequence[Evidence],
        query: Callable[[], PerceptualHash | None],
    ) -> Sequence[Evidence]:
        store = self._store()
        return (
            evidence
            if store is None
            else _once_each(self._join_with(store, candidate, evidence, query))
        )

    def _join_with(
        self,
        store: RecordStore,
        candidate: Candidate,
        evidence: Sequence[Evidence],
        query: Callable[[], PerceptualHash | None],
    ) -> Sequence[Evidence]:
        marks = _naming_marks(evidence)
        if not marks and _confirmed_record(evidence) is None:
            return evidence
        joined = [
            *evidence,
            *(
                self._confirm(record_id, mark, store, candidate, query())
                for record_id, mark in marks
            ),
        ]
        confirmed = _confirmed_record(joined)
        if confirmed is None:
            return joined
        record = store.get(confirmed)
        joined = [_compare_credentials(e, record) for e in joined]
        if record.manifest_label not in _present_labels(evidence):
            mark_id = marks[0][0] if marks else None
            found = self._straight_hash(candidate.raster, marks, record) or query()
            joined.append(self._recover(candidate, record, mark_id=mark_id, query=found))
        return joined

    def _hash(self, raster: RasterImage | None) -> PerceptualHash | None:
        hasher = self._hasher()
        return None if hasher is None or raster is None else hasher.hash(raster)

    def _straight_hash(
        self,
        raster: RasterImage | None,
        marks: Sequence[tuple[RecordId, WatermarkEvidence]],
        record: RegistryRecord,
    ) -> PerceptualHash | None:
        """Of the picture as its mark says it was; None where that is how it is, or not known."""
        for record_id, mark in marks:
            if record_id == record.record_id and raster is not None and is_partial(raster, mark):
                size = (record.asset.width_px, record.asset.height_px)
                return self._hash(straighten(raster, mark, size))
        return None

    def _confirm(
        self,
        record_id: RecordId,
        mark: WatermarkEvidence,
        store: RecordStore,
        candidate: Candidate,
        query: PerceptualHash | None,
    ) -> RegistryEvidence:
        """What the registry says of a mark that names a record."""
        try:
            record = store.get(record_id)
        except RecordGoneError as gone:
            return RegistryEvidence(
                Finding.ABSENT,
                f"The mark is right and names record {record_id}, of which this registry keeps "
                f"nothing any more. {gone}",
                MatchBasis.WATERMARK,
                MatchTier.NO_RECORD,
            )
        except RecordNotFoundError:
            return RegistryEvidence(
                Finding.ABSENT,
                f"The mark is right, but record {record_id} is not in this registry, so it cannot "
                "be checked whether the mark was copied from another picture.",
                MatchBasis.WATERMARK,
                MatchTier.NO_RECORD,
            )
        match, reason = self._compare(record, mark, candidate.raster, query)
        evidence = RegistryEvidence(
            Finding.PRESENT,
            reason,
            MatchBasis.WATERMARK,
            match.tier,
            record_id,
            record.kind,
            distance_bits=match.distance_bits,
        )
        return with_notices(add_claim(evidence, record), record, store)

    def _compare(
        self,
        record: RegistryRecord,
        mark: WatermarkEvidence,
        raster: RasterImage | None,
        query: PerceptualHash | None,
    ) -> tuple[HashMatch, str]:
        recorded = record.fingerprints.perceptual_hash
        match = match_marked_picture(recorded, query)
        if match.tier is not MatchTier.TRANSPLANT or raster is None or not is_partial(raster, mark):
            return match, _describe(record, match)
        found = self._straight_hash(raster, [(record.record_id, mark)], record)
        straight = match_marked_picture(recorded, found)
        if straight.tier is MatchTier.COPY_VERIFIED:
            return straight, (
                f"The mark names record {record.record_id}, and the picture, turned back as the "
                f"mark says it was, agrees with it ({straight.distance_bits} of 256 bits of the "
                "perceptual hash differ)."
            )
        return HashMatch(MatchTier.UNCONFIRMED, match.distance_bits), (
            f"The mark names record {record.record_id} and says that the picture was cropped, "
            "turned or put into another since, so its fingerprint cannot confirm that the mark "
            "was not copied."
        )

    def _recover(
        self,
        candidate: Candidate,
        record: RegistryRecord,
        *,
        mark_id: RecordId | None,
        query: PerceptualHash | None,
    ) -> ManifestEvidence:
        """The manifest that this picture was delivered with, judged against these bytes."""
        healed = heal_candidate(candidate, record)
        if healed is not None:
            report = read_one_at_a_time(healed, record.asset.media_type, trust=self._trust)
            report = replace(report, credential=Credential.RECOVERED)
            evidence = describe_report(report, source="c2pa_recovered")
            return replace(
                evidence,
                substitution=Substitution.NONE,
                reason="The credentials were stripped without touching the picture; the registry "
                f"gave them back byte for byte. {evidence.reason}",
            )
        report = read_one_at_a_time(
            candidate.data,
            candidate.media_type or record.asset.media_type,
            trust=self._trust,
            manifest_store=record.manifest_store,
        )
        states = _judge_bindings(report.soft_bindings, mark_id, query)
        evidence = replace(
            describe_report(report, source="c2pa_recovered"),
            binding_states=states,
            substitution=Substitution.NONE,
        )
        if report.integrity is Integrity.INTACT:
            return evidence
        return replace(
            evidence,
            reason=f"The registry keeps the credentials that record {record.record_id} was "
            f"delivered with; {_bindings_sentence(states)}",
        )


def heal_candidate(candidate: Candidate, record: RegistryRecord) -> bytes | None:
    """The registered file, if the candidate is it without its metadata; None otherwise."""
    if candidate.media_type is not record.asset.media_type:
        return None
    try:
        healed = heal(
            candidate.data,
            record.asset.media_type,
            head=record.asset.shell_head,
            tail=record.asset.shell_tail,
        )
    except InputError:
        return None
    same = hashlib.sha256(healed).hexdigest() == record.asset.sha256
    return healed if same else None


def _naming_marks(evidence: Sequence[Evidence]) -> list[tuple[RecordId, WatermarkEvidence]]:
    """Records that verified marks name, and the marks."""
    return [
        (item.record_id, item)
        for item in evidence
        if isinstance(item, WatermarkEvidence)
        and item.finding is Finding.PRESENT
        and item.record_id is not None
    ]


def _describe(record: RegistryRecord, match: HashMatch) -> str:
    name = f"record {record.record_id}"
    measure = f"{match.distance_bits} of 256 bits of the perceptual hash differ"
    if match.tier is MatchTier.UNCONFIRMED:
        return (
            f"The mark names {name}, but the picture is too plain, or its fingerprint of another "
            "kind, so that it cannot be compared with it."
        )
    if match.tier is MatchTier.TRANSPLANT:
        return f"The mark names {name}, but this is not that picture ({measure})."
    return f"The mark names {name}, and the picture agrees with it ({measure})."


def _confirmed_record(evidence: Sequence[Evidence]) -> RecordId | None:
    hits = [
        e
        for e in evidence
        if isinstance(e, RegistryEvidence)
        and e.finding is Finding.PRESENT
        and e.tier in _CONFIRMED
        and not e.revoked  # such a record gives no credentials back either
    ]
    best = min(hits, key=_rank, default=None)
    return None if best is None else best.record_id


_RANKS = {tier: rank for rank, tier in enumerate(MatchTier)}


def _rank(item: RegistryEvidence) -> int:
    """Of its tier; lower is surer."""
    return len(_RANKS) if item.tier is None else _RANKS[item.tier]


_SURE = (MatchBasis.FILE_HASH, MatchBasis.PIXEL_HASH, MatchBasis.WATERMARK)


def _once_each(evidence: Sequence[Evidence]) -> Sequence[Evidence]:
    """Each record's likeness once, the surest; none where bytes, pixels or a mark confirm it.

    Two sources compare a picture by its looks: what both say of a record is said twice.
    """
    sure: set[RecordId | None] = set()
    best: dict[RecordId | None, RegistryEvidence] = {}
    for item in evidence:
        if not isinstance(item, RegistryEvidence):
            continue
        if item.basis in _SURE:
            sure |= {item.record_id} if item.tier in _CONFIRMED else set()
        elif item.record_id not in best or _rank(item) <= _rank(best[item.record_id]):
            best[item.record_id] = item  # of two alike the later, which was measured closer
    kept = [one for one in best.values() if one.record_id not in sure]
    return [
        item
        for item in evidence
        if not isinstance(item, RegistryEvidence)
        or item.record_id is None
        or item.basis in _SURE
        or any(item is one for one in kept)
    ]


def _compare_credentials(item: Evidence, record: RegistryRecord) -> Evidence:
    """A manifest in the file or beside it, held against the one that its record keeps."""
    if not isinstance(item, ManifestEvidence) or item.source == "c2pa_recovered":
        return item
    report = item.report
    known = {report.manifest_label, *(one.manifest_label for one in report.ingredients)}
    same = report.manifest_label is None or record.manifest_label in known
    found = Substitution.NONE if same else Substitution.EMBEDDED_DIFFERS
    return replace(item, substitution=found)


def _present_labels(evidence: Sequence[Evidence]) -> set[str | None]:
    """Of the manifests that came with the file, in it or beside it, and are bound to it."""
    return {
        item.report.manifest_label
        for item in evidence
        if isinstance(item, ManifestEvidence) and item.finding is Finding.PRESENT
    }


# -- soft bindings -----------------------------------------------------------------------------


def _compare_bindings(
    item: Evidence, mark_id: RecordId | None, query: Callable[[], PerceptualHash | None]
) -> Evidence:
    """A manifest with what its soft bindings are worth for this picture."""
    if not isinstance(item, ManifestEvidence) or item.binding_states:
        return item
    bindings = item.report.soft_bindings
    if not bindings:
        return item
    return replace(item, binding_states=_judge_bindings(bindings, mark_id, query()))


def _bindings_sentence(states: Sequence[BindingState]) -> str:
    """All soft bindings of a recovered manifest must match (C2PA 2.5, "Soft bindings")."""
    if BindingState.DISAGREES in states:
        return "one of its soft bindings disagrees with this picture."
    agreeing = states.count(BindingState.AGREES)
    rest = "" if agreeing == len(states) else "; the others could not be checked"
    return f"{agreeing} of its {len(states)} soft bindings agree with this picture{rest}."


def _judge_bindings(
    bindings: Sequence[SoftBinding], mark_id: RecordId | None, query: PerceptualHash | None
) -> tuple[BindingState, ...]:
    return tuple(_judge_binding(binding, mark_id, query) for binding in bindings)


def _judge_binding(
    binding: SoftBinding, mark_id: RecordId | None, query: PerceptualHash | None
) -> BindingState:
    version, star, value = binding.value.partition("*")
    if star and version.isdigit():
        if mark_id is None:
            return BindingState.NOT_EVALUATED
        return BindingState.AGREES if value == mark_id else BindingState.DISAGREES
    if query is None or not binding.alg.endswith(f".{query.algorithm.replace('-', '.')}"):
        return BindingState.NOT_EVALUATED
    try:
        bound = PerceptualHash(query.algorithm, binding.value, quality=100)
    except InputError:
        return BindingState.NOT_EVALUATED
    near = hamming_distance(bound, query) <= AGREE_MAX_BITS
    return BindingState.AGREES if near else BindingState.DISAGREES
