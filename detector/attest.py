"""Signs a person's claim into a picture and registers it: the write path of `countermark attest`.

The picture passes through the reader path first (R1 to R4); what shows a machine's part is refused.
Then come the writer's own steps, under its numbers: W2 reserve, W6 fingerprint, W7 sign, W8 commit,
W9 deliver. W3 to W5 are left out: no pixel changes, and no mark of ours goes in, because a mark
says that this service made the picture.

NOTE: unlike the generator this keeps neither the delivered bytes nor the shell that heals a
stripped file: the metadata around somebody's own photograph may hold names and places.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector.attesting import find_blind_spot, find_machine_evidence, list_doubts
from detector.service import Depth
from provenance.errors import (
    AttestationRefusedError,
    ImageDecodeError,
    InputError,
    UnsupportedMediaTypeError,
)
from provenance.fingerprint.taking import take_fingerprints
from provenance.manifest.asset_info import describe_asset
from provenance.manifest.attestation import Attestation, AttestedClaim
from provenance.manifest.certificates import name_holder
from provenance.manifest.claims import (
    IngredientState,
    Relationship,
    bind_fingerprint,
    describe_parent,
)
from provenance.manifest.heal import remove_stores
from provenance.manifest.ingredients import examine_ingredient
from provenance.types import (
    WRITABLE_MEDIA_TYPES,
    Delivery,
    EncodedImage,
    RecordKind,
    RegistryRecord,
)
from registry.committing import commit_and_deliver, release_reservation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from detector.service import DetectorService
    from provenance.fingerprint.words.making import WordMaker
    from provenance.imaging import ImageLimits
    from provenance.interfaces import Embedder, Hasher, RecordStore, Staged
    from provenance.manifest.claims import Ingredient, SoftwareAgent, TrainingUse
    from provenance.manifest.signing import ManifestSigner
    from provenance.manifest.source_types import DigitalSourceType
    from provenance.types import (
        Candidate,
        MediaType,
        RasterImage,
        RecordId,
        Reservation,
        SignedAsset,
        Verdict,
    )

__all__ = ["AttestTerms", "Attested", "Attester"]

log = logging.getLogger(__name__)

_TITLE = "attested picture"
"""Shown by viewers in place of a file name, which is the person's own business."""


@dataclass(frozen=True, slots=True)
class AttestTerms:
    """What every attestation of this installation says alike.

    Attributes:
        generator: Name and version of the program: claim_generator_info.
        namespace: Reverse domain of our own names.
        training_use: What the claimant allows training sets to do.
    """

    generator: SoftwareAgent
    namespace: str
    training_use: TrainingUse


@dataclass(frozen=True, slots=True)
class Attested:
    """What `Attester.attest` answers.

    Attributes:
        delivery: Record and signed bytes.
        claim: Who claims what.
        parent: What the file's own credentials were worth.
        doubts: What speaks for a machine, but too weakly to refuse.
    """

    delivery: Delivery
    claim: AttestedClaim
    parent: IngredientState
    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attester:
    """Examines, signs, registers, delivers.

    Attributes:
        detector: Reads the picture; must ask all of `detector.attesting.REQUIRED_SOURCES`.
        open_store: Opens the registry, and makes it where there is none.
        hasher: That of the records.
        embedder: None where none is configured.
        signer: Holds the claimant's own key.
        terms: What every attestation says alike.
        limits: On the picture.
        clock: The time now, UTC.
        keeps_thumbnail: Whether a small grey picture is kept, so that copies can be verified.
        words: Makes the keypoint words that are kept with it; None keeps none.
        further_embedders: Those whose vectors are written beside that of `embedder`.
    """

    detector: DetectorService
    open_store: Callable[[], RecordStore]
    hasher: Hasher
    embedder: Embedder | None
    signer: ManifestSigner
    terms: AttestTerms
    limits: ImageLimits
    clock: Callable[[], datetime]
    keeps_thumbnail: bool = True
    words: WordMaker | None = None
    further_embedders: Sequence[Embedder] = ()

    def attest(
        self,
        candidate: Candidate,
        source: DigitalSourceType,
        stage: Callable[[SignedAsset], Staged],
    ) -> Attested:
        """Signs the claim that `candidate` is a `source`; delivered whole or not at all.

        Args:
            candidate: The picture.
            source: How the claimant says that it was made.
            stage: Lays the signed bytes ready.

        Raises:
            InputError: The picture cannot be read, examined or carry credentials.
            AttestationRefusedError: The evidence says that a machine took part.
            ManifestError: Signing or its read-back failed.
            RegistryError: The registry could not be asked or written.
            DeliveryError: The bytes could not be staged.
        """
        media_type, raster = _require_writable(candidate)
        original = EncodedImage(candidate.data, media_type)
        # R2 to R4.
        verdict = self.detector.examine(candidate, depth=Depth.COMPLETE)
        _require_no_machine(candidate, source, verdict)
        ingredient = examine_ingredient(original, relationship=Relationship.PARENT, title=_TITLE)
        claim = AttestedClaim(source, name_holder(self.signer.signer.certificate_chain_pem))
        store = self.open_store()
        # W2: the record's id; no mark carries it, but it is unguessable and unique all the same.
        reservation = store.reserve()
        with _released_on_error(store, reservation):
            delivery = self._sign(original, raster, ingredient, claim, reservation.record_id)
            commit_and_deliver(store, delivery, [stage])
        log.info("attested record %s", reservation.record_id)
        return Attested(delivery, claim, ingredient.state, list_doubts(verdict.evidence))

    def _sign(
        self,
        original: EncodedImage,
        raster: RasterImage,
        ingredient: Ingredient,
        claim: AttestedClaim,
        record_id: RecordId,
    ) -> Delivery:
        # W6
        prints = take_fingerprints(
            raster,
            hasher=self.hasher,
            embedder=self.embedder,
            further_embedders=self.further_embedders,
            keeps_thumbnail=self.keeps_thumbnail,
            words=self.words,
        )
        found = prints.perceptual_hash
        has_past = ingredient.state is not IngredientState.NONE
        # W7
        asset = self.signer.attest(
            EncodedImage(remove_stores(original.data, original.media_type), original.media_type),
            Attestation(
                source=claim.source,
                generator=self.terms.generator,
                when=self.clock(),
                parent=ingredient if has_past else None,
                soft_bindings=()
                if found is None
                else (bind_fingerprint(self.terms.namespace, found),),
                training_use=self.terms.training_use,
                namespace=self.terms.namespace,
            ),
        )
        record = RegistryRecord(
            record_id=record_id,
            kind=RecordKind.ATTESTED,
            created_at=self.clock(),
            asset=describe_asset(asset, keep_shell=False, limits=self.limits),
            model=None,
            parameters={**claim.to_parameters(), **describe_parent(ingredient)},
            safety=None,
            watermark=None,
            fingerprints=prints,
            manifest_label=asset.manifest_label,
            manifest_store=asset.manifest_store,
            claim_generator=f"{self.terms.generator.name} {self.terms.generator.version}",
            time_stamped=asset.time_stamped,
        )
        return Delivery(record, asset)


def _require_writable(candidate: Candidate) -> tuple[MediaType, RasterImage]:
    name, media_type = candidate.name, candidate.media_type
    if media_type is None or media_type not in WRITABLE_MEDIA_TYPES:
        raise UnsupportedMediaTypeError(
            f"{name} is {media_type or 'no image'}, which cannot be attested; save it as PNG, JPEG "
            "or WebP first"
        )
    if candidate.raster is None:
        raise ImageDecodeError(f"{candidate.decode_problem}; attest an undamaged picture")
    if candidate.frames > 1:
        raise InputError(
            f"{name} has {candidate.frames} frames, of which only the first can be examined; "
            "attest a still picture"
        )
    return media_type, candidate.raster


def _require_no_machine(candidate: Candidate, source: DigitalSourceType, verdict: Verdict) -> None:
    blind = find_blind_spot(verdict.evidence)
    if blind is not None:
        raise InputError(
            f"{candidate.name} cannot be attested, because not all evidence could be read "
            f"({blind}); try again, or see countermark doctor"
        )
    reason = find_machine_evidence(verdict.evidence)
    if reason is not None:
        raise AttestationRefusedError(
            f"{candidate.name} is not attested as {source.term}, because the evidence says that a "
            f"machine took part: {reason.rstrip('.')}; countermark verify shows all of it"
        )


@contextmanager
def _released_on_error(store: RecordStore, reservation: Reservation) -> Iterator[None]:
    try:
        yield
    except BaseException:
        release_reservation(store, reservation.record_id)
        raise
