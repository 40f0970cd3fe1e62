"""What a C2PA manifest shows, in layers that are never folded into one boolean."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from provenance.types.base import require

if TYPE_CHECKING:
    from provenance.types.marks import SoftBinding

__all__ = [
    "BindingState",
    "Credential",
    "History",
    "IngredientReport",
    "Integrity",
    "ManifestReport",
    "RubricReading",
    "SignerTrust",
    "SigningTime",
    "SourceClaim",
    "Substitution",
]


class Credential(StrEnum):
    """Where a C2PA manifest was found."""

    NONE = "none"
    EMBEDDED = "embedded"
    SIDECAR = "sidecar"
    REMOTE_NOT_FETCHED = "remote_not_fetched"
    RECOVERED = "recovered"
    MALFORMED = "malformed"


class Integrity(StrEnum):
    """Whether the bytes belong to the manifest."""

    INTACT = "intact"
    CONTENT_CHANGED = "content_changed"
    MANIFEST_ALTERED = "manifest_altered"
    NOT_CHECKABLE = "not_checkable"


class SignerTrust(StrEnum):
    """Who signed, judged by a dated list."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"
    INVALID_CERTIFICATE = "invalid_certificate"
    REVOKED = "revoked"


class SigningTime(StrEnum):
    """Whether the signature was made while the certificate was valid."""

    STAMPED_TRUSTED = "stamped_trusted"
    STAMPED_UNTRUSTED = "stamped_untrusted"
    UNSTAMPED_CURRENT = "unstamped_current"
    EXPIRED = "expired"


class History(StrEnum):
    """What is known of the ingredients."""

    CLEAN = "clean"
    DAMAGED_INGREDIENT = "damaged_ingredient"
    UNKNOWN_INGREDIENT = "unknown_ingredient"


class SourceClaim(StrEnum):
    """What a label says of a picture's making, folded from digitalSourceType and its kin."""

    FULLY_AI = "fully_ai"
    PARTLY_AI = "partly_ai"
    POSSIBLY_AI = "possibly_ai"
    CAPTURE = "capture"
    HUMAN = "human"
    NOT_AI = "not_ai"
    NO_CLAIM = "no_claim"


class BindingState(StrEnum):
    """Whether a soft binding fits the picture."""

    AGREES = "agrees"
    DISAGREES = "disagrees"
    NOT_EVALUATED = "not_evaluated"


class Substitution(StrEnum):
    """Whether a file carries the credentials that this registry knows its picture with.

    Members:
        NONE: It does, or they are part of the history of those that it carries, or it has none.
        EMBEDDED_DIFFERS: It carries others.
        NOT_EVALUATED: No record is surely of this picture.
    """

    NONE = "none"
    EMBEDDED_DIFFERS = "embedded_differs_from_registry"
    NOT_EVALUATED = "not_evaluated"


@dataclass(frozen=True, slots=True)
class RubricReading:
    """What the C2PA conformance programme's rubric calls one manifest by itself.

    Attributes:
        manifest_label: Which one; clean text.
        classes: The rubric's names, in its order.
    """

    manifest_label: str
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IngredientReport:
    """One ingredient of the manifest that speaks of the content.

    Attributes:
        relationship: ``parentOf``, ``componentOf`` or ``inputTo``; clean text.
        manifest_label: Of the ingredient's own active manifest; None when it has none.
        state: What is known of it.
    """

    relationship: str
    manifest_label: str | None
    state: History


@dataclass(frozen=True, slots=True)
class ManifestReport:
    """What a C2PA manifest store shows, in layers that are never folded into one boolean.

    Attributes:
        credential: Where it was found.
        integrity: Whether these bytes belong to it.
        signer: By the trust lists in force.
        signing_time: In time, expired, stamped.
        history: Ingredients.
        claim: Strongest source claim over active manifest and history; among statements that
            generative AI took part, the latest one, and likewise among those of capture and of a
            person's work.
        claim_path: Where that claim stands: manifest label, action, URI; for people.
        claim_vouched: Whether `signer` vouches for that claim: it stands in the active manifest,
            or in an intact ingredient whose own signer a list vouches for. Adding an ingredient
            says that it was used, not that what it says is so.
        parent_claim: Strongest source claim of the history alone: what the picture was before the
            step that this manifest tells of. None when the history says nothing.
        ingredients: Of the manifest that speaks of the content.
        ambiguous: Whether actions may be incomplete (gathered, or allActionsIncluded not true).
        signer_name: Organisation of the leaf; None unless `signer` is TRUSTED, because anybody
            can write any name into their own certificate.
        trust_list: Which list made it trusted; None otherwise.
        claim_generator: Name and version that the manifest gives; unverified unless trusted.
        manifest_label: Active manifest; None when unreadable.
        soft_bindings: Of the active manifest.
        codes: Validation failure codes, as C2PA appendix D names them.
        signed_at: Time of the time-stamp or claim, ISO 8601; None when absent.
        rubric: Class names of the conformance programme, a manifest an entry, the active first.
    """

    credential: Credential
    integrity: Integrity = Integrity.NOT_CHECKABLE
    signer: SignerTrust = SignerTrust.UNTRUSTED
    signing_time: SigningTime = SigningTime.UNSTAMPED_CURRENT
    history: History = History.CLEAN
    claim: SourceClaim = SourceClaim.NO_CLAIM
    claim_path: str | None = None
    claim_vouched: bool = True
    parent_claim: SourceClaim | None = None
    ingredients: tuple[IngredientReport, ...] = ()
    ambiguous: bool = False
    signer_name: str | None = None
    trust_list: str | None = None
    claim_generator: str | None = None
    manifest_label: str | None = None
    soft_bindings: tuple[SoftBinding, ...] = ()
    codes: tuple[str, ...] = ()
    signed_at: str | None = None
    rubric: tuple[RubricReading, ...] = ()

    def __post_init__(self) -> None:
        shown = self.signer_name is None or self.signer is SignerTrust.TRUSTED
        require(shown, "the name of an untrusted signer is never shown as fact")
