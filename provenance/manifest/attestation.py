"""A person's signed claim that no generative AI made a picture: the manifest as data. Pure.

The statement is the signer's own; nothing here can find out whether it is true. What is checked
before it is signed lies with the caller (`detector.attest`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from provenance.errors import InputError
from provenance.manifest.claims import (
    DEFAULT_NAMESPACE,
    Ingredient,
    Relationship,
    SoftwareAgent,
    TrainingUse,
    created_assertion,
    describe_agent,
    describe_binding,
    describe_generator,
    describe_time,
    describe_training_use,
    ingredient_label,
    validate_manifest,
)
from provenance.manifest.source_types import DigitalSourceType, classify_source_type
from provenance.types import RecordKind, SourceClaim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from provenance.types import RegistryRecord, Scalar, SoftBinding

__all__ = [
    "ATTESTABLE",
    "Attestation",
    "AttestedClaim",
    "build_attestation",
    "parse_source_type",
    "read_attested",
]

ATTESTABLE: Mapping[str, DigitalSourceType] = MappingProxyType(
    {
        one.term: one
        for one in (
            DigitalSourceType.DIGITAL_CAPTURE,
            DigitalSourceType.DIGITAL_CREATION,
            DigitalSourceType.HUMAN_EDITS,
            DigitalSourceType.DIGITAL_ART,
            DigitalSourceType.COMPOSITE_CAPTURE,
        )
    }
)
"""What a person can say of a picture, by short name: all of them exclude generative AI, but for
`digitalArt`, which is retired and leaves it open; a record here says what was meant."""

_SOURCE_KEY, _CLAIMANT_KEY = "digital_source_type", "claimant"
"""Parameters of an attested record."""


def parse_source_type(text: str) -> DigitalSourceType:
    """The term that `text` names: a short name in any case, or the full URI.

    Raises:
        InputError: It is none of those that a person can sign; lists them.
    """
    folded = text.strip().rpartition("/")[2].lower()
    for term, source in ATTESTABLE.items():
        if term.lower() == folded:
            return source
    known = ", ".join(ATTESTABLE)
    raise InputError(f"source type {text[:80]!r} is none that can be attested; use one of {known}")


@dataclass(frozen=True, slots=True)
class Attestation:
    """What a person signs of a picture whose pixels stay as they are.

    Attributes:
        source: How they say that it was made.
        generator: The program that writes the manifest: claim_generator_info.
        when: When it is signed, UTC.
        parent: The file as it came, where it carried credentials; None where it had none.
        soft_bindings: Of fingerprints; a picture that is attested carries no mark of ours.
        training_use: Entry of the training-mining assertion.
        namespace: Reverse domain for our own names.
    """

    source: DigitalSourceType
    generator: SoftwareAgent
    when: datetime
    parent: Ingredient | None = None
    soft_bindings: tuple[SoftBinding, ...] = ()
    training_use: TrainingUse = TrainingUse.NOT_ALLOWED
    namespace: str = field(default=DEFAULT_NAMESPACE)

    def __post_init__(self) -> None:
        if self.source.term not in ATTESTABLE:
            raise InputError(f"source type {self.source.term!r} is none that can be attested")
        if self.when.utcoffset() is None or self.when.utcoffset():
            raise InputError("the time of an attestation must be in UTC")
        if self.parent is not None and self.parent.relationship is not Relationship.PARENT:
            raise InputError("what is attested is the parent of its attestation")

    @property
    def ingredients(self) -> tuple[Ingredient, ...]:
        return () if self.parent is None else (self.parent,)

    @property
    def claim(self) -> SourceClaim:
        """What a reader of the manifest makes of the term."""
        return classify_source_type(self.source) or SourceClaim.NO_CLAIM


def build_attestation(attestation: Attestation) -> dict[str, Any]:
    """The manifest definition for the engine, checked.

    Source: C2PA 2.5 "Actions": `c2pa.created` needs a digitalSourceType; over a file with
    credentials it is `c2pa.opened`, which takes none, and `c2pa.edited.metadata` carries it: the
    content stays as it is.

    Raises:
        ManifestError: The manifest would be one that the specification forbids.
    """
    actions = {"allActionsIncluded": True, "actions": list(_actions(attestation))}
    definition: dict[str, Any] = {
        "claim_generator_info": [describe_generator(attestation.generator)],
        "assertions": [
            created_assertion("c2pa.actions.v2", actions),
            *(describe_binding(one) for one in attestation.soft_bindings),
            describe_training_use(attestation.training_use),
        ],
    }
    validate_manifest(definition)
    return definition


def _actions(attestation: Attestation) -> Iterator[dict[str, Any]]:
    when = describe_time(attestation.when)
    if attestation.parent is not None:
        parents = {"ingredientIds": [ingredient_label(0)]}
        yield {"action": "c2pa.opened", "when": when, "parameters": parents}
    yield {
        "action": "c2pa.created" if attestation.parent is None else "c2pa.edited.metadata",
        "when": when,
        "digitalSourceType": str(attestation.source),
        "softwareAgent": describe_agent(attestation.generator),
        "parameters": {
            "description": "The signer states how the picture was made; its pixels were not "
            "touched.",
            f"{attestation.namespace}.attested": attestation.source.term,
        },
    }


# -- the record --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AttestedClaim:
    """What an attested record keeps: who claims what.

    Attributes:
        source: How they say that it was made.
        claimant: Name in their certificate.
    """

    source: DigitalSourceType
    claimant: str

    @property
    def claim(self) -> SourceClaim:
        """CAPTURE or HUMAN: whoever attests excludes generative AI, `digitalArt` or not."""
        said = classify_source_type(self.source)
        return SourceClaim.CAPTURE if said is SourceClaim.CAPTURE else SourceClaim.HUMAN

    def to_parameters(self) -> dict[str, Scalar]:
        """As the record's parameters hold it."""
        return {_SOURCE_KEY: self.source.term, _CLAIMANT_KEY: self.claimant}


def read_attested(record: RegistryRecord) -> AttestedClaim | None:
    """Who claims what, of an attested record; None of any other, or where it does not say."""
    if record.kind is not RecordKind.ATTESTED:
        return None
    source = ATTESTABLE.get(str(record.parameters.get(_SOURCE_KEY)))
    claimant = record.parameters.get(_CLAIMANT_KEY)
    if source is None or not isinstance(claimant, str) or not claimant:
        return None
    return AttestedClaim(source, claimant)
