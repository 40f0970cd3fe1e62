"""The manifest as data: what we say of a picture, before anything is signed. Pure.

Everything that goes into a manifest is built here and checked here, because the C2PA engine signs
many things that the specification forbids: an unknown digitalSourceType, a soft binding without
blocks, keys of our own without a namespace, actions in the gathered list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from provenance.errors import InputError, ManifestError
from provenance.manifest.source_types import DigitalSourceType, is_known_source_type
from provenance.types import SoftBinding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from provenance.types import EncodedImage, ModelRef, Parameters, PerceptualHash, SafetyReport

__all__ = [
    "DEFAULT_NAMESPACE",
    "SPEC_VERSION",
    "Claim",
    "ClaimShape",
    "Ingredient",
    "IngredientState",
    "Relationship",
    "SoftwareAgent",
    "TrainingUse",
    "bind_fingerprint",
    "build_manifest",
    "created_assertion",
    "describe_agent",
    "describe_binding",
    "describe_generator",
    "describe_ingredients",
    "describe_parent",
    "describe_time",
    "describe_training_use",
    "ingredient_label",
    "model_identifier",
    "validate_manifest",
]

DEFAULT_NAMESPACE = "org.countermark"
"""Reverse domain of our own keys and soft-binding names; a setting changes it."""

SPEC_VERSION = "2.4.0"
"""Version of the C2PA specification that `build_manifest` follows; in claim_generator_info."""

_NAMESPACE = re.compile(r"[a-z][a-z0-9-]*(\.[a-z0-9][a-z0-9-]*)+")
# Source: C2PA soft binding algorithm list, schema, pattern of `alg` (reverse domain names).
_ALG = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)+")
_HEX_SHA256 = re.compile(r"[0-9a-f]{64}")
_SAFE_INTEGER = 2**53
"""JSON readers in browsers lose digits beyond it, so larger integers are written as text."""
_MAX_TEXT = 10_000
_SPEC_PARAMETERS = frozenset(
    {"description", "ingredients", "ingredient", "ingredientIds", "name", "redacted"}
)
"""Keys of an action's parameters that C2PA 2.5 defines; all others must be namespaced."""


class TrainingUse(StrEnum):
    """What the owner allows a training set to do. Source: CAWG training and data mining 1.1."""

    ALLOWED = "allowed"
    NOT_ALLOWED = "notAllowed"
    CONSTRAINED = "constrained"


class ClaimShape(StrEnum):
    """How the picture came to be, which decides the manifest's first action.

    Source: C2PA 2.5 "Actions": `c2pa.created` needs a digitalSourceType; `c2pa.opened` refers to
    a parentOf ingredient instead.

    Members:
        CREATED: It is new; other pictures may have guided it (inputTo).
        OPENED: It is an edited version of another picture (parentOf).
    """

    CREATED = "created"
    OPENED = "opened"

    @property
    def source_type(self) -> DigitalSourceType:
        """What the model's part in it is called."""
        if self is ClaimShape.CREATED:
            return DigitalSourceType.TRAINED_ALGORITHMIC_MEDIA
        return DigitalSourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA


class Relationship(StrEnum):
    """What an ingredient is to the picture. Source: C2PA 2.5 "Ingredient"."""

    PARENT = "parentOf"
    INPUT = "inputTo"


class IngredientState(StrEnum):
    """What an ingredient's own credentials were worth when it was taken in.

    Members:
        NONE: It has none.
        CLEAN: They are intact.
        DAMAGED: They do not validate, or cannot be read at all.
        REMOTE: They are kept elsewhere and were not fetched.
    """

    NONE = "none"
    CLEAN = "clean"
    DAMAGED = "damaged"
    REMOTE = "remote"


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A picture that the new one was made from; see `provenance.manifest.ingredients`.

    Attributes:
        relationship: What it is to the picture.
        image: The bytes as they came.
        title: Shown by viewers; never a stranger's file name.
        state: What its credentials are worth.
        manifest_label: Its own active manifest; None when there is none that can be read.
        is_readable: Whether the engine reads such a file, so that its credentials come along.
            Otherwise the manifest describes it.
    """

    relationship: Relationship
    image: EncodedImage = field(repr=False)
    title: str
    state: IngredientState
    manifest_label: str | None = None
    is_readable: bool = True


def describe_parent(ingredient: Ingredient) -> dict[str, str]:
    """Parameters of a record whose picture was made from another one."""
    facts = {"parent_state": ingredient.state.value}
    if ingredient.manifest_label is not None:
        facts["parent_manifest"] = ingredient.manifest_label
    return facts


@dataclass(frozen=True, slots=True)
class SoftwareAgent:
    """A program that did an action."""

    name: str
    version: str

    def __post_init__(self) -> None:
        if not self.name or not self.version:
            raise InputError("a software agent needs a name and a version")


@dataclass(frozen=True, slots=True)
class Claim:
    """Everything that one manifest says.

    Attributes:
        generator: The service that signs: claim_generator_info.
        when: When the picture was rendered, UTC.
        model: The model that rendered it.
        pipeline: The program that ran the model: softwareAgent of `c2pa.created`.
        watermark: Soft binding of the invisible watermark; None for an unmarked picture.
        watermark_agent: The codec; given exactly when `watermark` is.
        fingerprints: Soft bindings of fingerprints (the perceptual hash).
        parameters: Seed, steps and the like under plain names; they get the namespace here.
        prompt_hash: Keyed hash of the prompt, hex; None leaves it out.
        prompt: The prompt itself: personal data, so only where the operator opted in.
        safety: What the safety checker measured.
        training_use: Entry of the training-mining assertion.
        namespace: Reverse domain for our own keys.
        title: Shown by viewers; None leaves it out.
        shape: Which actions are written.
        ingredients: What it was made from. OPENED needs one parent; CREATED has none, and takes
            no ingredient with credentials: those belong to a picture that is edited.
        visible_label: The text that was drawn onto the picture, if any.
    """

    generator: SoftwareAgent
    when: datetime
    model: ModelRef
    pipeline: SoftwareAgent
    watermark: SoftBinding | None = None
    watermark_agent: SoftwareAgent | None = None
    fingerprints: tuple[SoftBinding, ...] = ()
    parameters: Parameters = field(default_factory=dict)
    prompt_hash: str | None = None
    prompt: str | None = field(default=None, repr=False)
    safety: SafetyReport | None = None
    training_use: TrainingUse = TrainingUse.NOT_ALLOWED
    namespace: str = DEFAULT_NAMESPACE
    title: str | None = None
    shape: ClaimShape = ClaimShape.CREATED
    ingredients: tuple[Ingredient, ...] = ()
    visible_label: str | None = None

    def __post_init__(self) -> None:
        if not _NAMESPACE.fullmatch(self.namespace):
            raise InputError(
                f"namespace {self.namespace!r} must be a reverse domain, like {DEFAULT_NAMESPACE}"
            )
        if self.when.utcoffset() is None or self.when.utcoffset():
            raise InputError("claim time must be in UTC")
        if (self.watermark is None) != (self.watermark_agent is None):
            raise InputError("a watermark binding and the codec that wrote it go together")
        if self.prompt_hash is not None and not _HEX_SHA256.fullmatch(self.prompt_hash):
            raise InputError("prompt_hash must be 64 hex digits, a keyed hash of the prompt")
        self._check_ingredients()
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))

    def _check_ingredients(self) -> None:
        parents = [i for i in self.ingredients if i.relationship is Relationship.PARENT]
        if len(parents) != (self.shape is ClaimShape.OPENED):
            raise InputError("an edited picture has exactly one parent, a created one has none")
        signed = any(i.state is not IngredientState.NONE for i in self.ingredients)
        if self.shape is ClaimShape.CREATED and signed:
            raise InputError(
                "a picture with Content Credentials cannot be the input of a new creation: edit "
                "it instead, so that its history goes on"
            )

    @property
    def soft_bindings(self) -> tuple[SoftBinding, ...]:
        """All of them, in the order of the manifest: watermark first."""
        return (() if self.watermark is None else (self.watermark,)) + self.fingerprints


def build_manifest(claim: Claim) -> dict[str, Any]:
    """The manifest definition for the engine, checked.

    Source: C2PA 2.5 "Actions", "Soft Bindings", "AI Disclosure"; CAWG training and data mining.

    Raises:
        ManifestError: The claim would make a manifest that the specification forbids.
    """
    definition: dict[str, Any] = {
        "claim_generator_info": [describe_generator(claim.generator)],
        "assertions": list(_assertions(claim)),
    }
    if claim.title is not None:
        definition["title"] = claim.title
    validate_manifest(definition)
    return definition


def describe_generator(generator: SoftwareAgent) -> dict[str, str]:
    """An entry of claim_generator_info."""
    return {
        "name": generator.name,
        "version": generator.version,
        "specVersion": SPEC_VERSION,
    }


def bind_fingerprint(namespace: str, found: PerceptualHash) -> SoftBinding:
    """The soft binding of a perceptual hash, named as readers of ours expect it."""
    return SoftBinding(f"{namespace}.{found.algorithm.replace('-', '.')}", found.hex)


def describe_ingredients(
    ingredients: Sequence[Ingredient],
) -> tuple[tuple[dict[str, Any], EncodedImage | None], ...]:
    """Each ingredient as the engine takes it, with the file that it shall read, if it can.

    Source: C2PA 2.5 "Ingredient"; appendix "Status codes", `manifest.inaccessible.malformed`.
    """
    described = []
    for number, one in enumerate(ingredients):
        definition: dict[str, Any] = {
            "title": one.title,
            "format": one.image.media_type.value,
            "relationship": one.relationship.value,
            "label": ingredient_label(number),
        }
        if not one.is_readable and one.state is IngredientState.DAMAGED:
            definition["validation_results"] = _UNREADABLE
        described.append((definition, one.image if one.is_readable else None))
    return tuple(described)


_UNREADABLE = {
    "activeManifest": {
        "success": [],
        "informational": [],
        "failure": [
            {
                "code": "manifest.inaccessible.malformed",
                "explanation": "the manifest store of this ingredient cannot be read",
            }
        ],
    },
    "specVersion": SPEC_VERSION,
}


def ingredient_label(number: int) -> str:
    """Ties an action to its ingredient; the engine puts a hashed URI in its place."""
    return f"ingredient_{number}"


def model_identifier(model: ModelRef) -> str:
    """The model as a package URL.

    Source: package-url specification, types ``huggingface`` (namespace/name@commit) and
    ``generic``; each part percent-encoded.
    """
    version = quote(model.revision, safe="")
    if "/" in model.name and not model.revision.startswith("sha256:"):
        return f"pkg:huggingface/{quote(model.name, safe='/')}@{version}"
    return f"pkg:generic/{quote(model.name, safe='')}@{version}"


def _assertions(claim: Claim) -> Iterable[dict[str, Any]]:
    yield created_assertion(
        "c2pa.actions.v2", {"allActionsIncluded": True, "actions": list(_actions(claim))}
    )
    for binding in claim.soft_bindings:
        yield describe_binding(binding)
    yield created_assertion(
        "c2pa.ai-disclosure",
        {
            "modelType": "c2pa.types.model",
            "modelName": claim.model.name,
            "modelIdentifier": model_identifier(claim.model),
            # A person wrote the prompt; nobody looked at the result before it was signed.
            "contentProfile": {"humanOversightLevel": "prompt_guided"},
        },
    )
    yield describe_training_use(claim.training_use)


def describe_binding(binding: SoftBinding) -> dict[str, Any]:
    """The assertion of a soft binding."""
    # Text, because the engine cannot write a byte string from JSON; readers fold all forms.
    data = {"alg": binding.alg, "blocks": [{"scope": {}, "value": binding.value}]}
    return created_assertion("c2pa.soft-binding", data)


def describe_training_use(use: TrainingUse) -> dict[str, Any]:
    """The assertion on what training sets may do. Source: CAWG training and data mining 1.1."""
    kinds = ("ai_generative_training", "ai_training", "ai_inference", "data_mining")
    entries = {f"cawg.{kind}": {"use": use.value} for kind in kinds}
    return created_assertion("cawg.training-mining", {"entries": entries})


def created_assertion(label: str, data: dict[str, Any]) -> dict[str, Any]:
    """An assertion that speaks for the signer."""
    # Without "created" the engine puts it among the gathered assertions, which C2PA 2.4 and later
    # forbid for actions.
    return {"label": label, "created": True, "data": data}


def _actions(claim: Claim) -> Iterable[dict[str, Any]]:
    when = describe_time(claim.when)
    parents, inputs = (_ids_of(claim, one) for one in (Relationship.PARENT, Relationship.INPUT))
    if claim.shape is ClaimShape.OPENED:
        yield {"action": "c2pa.opened", "when": when, "parameters": {"ingredientIds": parents}}
    yield {
        "action": "c2pa.created" if claim.shape is ClaimShape.CREATED else "c2pa.edited",
        "when": when,
        "digitalSourceType": str(claim.shape.source_type),
        "softwareAgent": describe_agent(claim.pipeline),
        "parameters": ({"ingredientIds": inputs} if inputs else {}) | _parameters(claim),
    }
    if claim.visible_label is not None:
        yield {
            "action": "c2pa.edited",
            "when": when,
            "softwareAgent": describe_agent(claim.generator),
            "parameters": {
                "description": "A label for people was drawn onto the picture.",
                f"{claim.namespace}.visible_label": claim.visible_label,
            },
        }
    if claim.watermark_agent is not None:
        yield {
            "action": "c2pa.watermarked.bound",
            "when": when,
            "softwareAgent": describe_agent(claim.watermark_agent),
        }


def describe_time(when: datetime) -> str:
    """The time of an action; RFC 3339, UTC, whole seconds."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _ids_of(claim: Claim, relationship: Relationship) -> list[str]:
    return [
        ingredient_label(number)
        for number, one in enumerate(claim.ingredients)
        if one.relationship is relationship
    ]


def describe_agent(agent: SoftwareAgent) -> dict[str, str]:
    """The softwareAgent of an action."""
    return {"name": agent.name, "version": agent.version}


def _parameters(claim: Claim) -> dict[str, Any]:
    model = claim.model
    values: dict[str, Any] = {name: _scalar(value) for name, value in claim.parameters.items()}
    values |= {
        "model.name": model.name,
        "model.revision": model.revision,
        "model.weights_sha256": model.weights_sha256,
        "model.licence": model.licence,
        "model.family": model.family or None,
        "prompt_hmac_sha256": claim.prompt_hash,
        "prompt": claim.prompt,
    }
    if claim.safety is not None:
        values |= _safety(claim.safety)
    prefix = claim.namespace
    return {f"{prefix}.{name}": value for name, value in values.items() if value is not None}


def _safety(report: SafetyReport) -> dict[str, Any]:
    return {
        "safety.checker": report.checker,
        "safety.version": report.version,
        "safety.policy": report.policy.value,
        "safety.decision": "flagged" if report.flagged else "passed",
        # A map, not a list: concept names are the checker's own and may hold dots.
        "safety.scores": {concept: round(score, 6) for concept, score in report.scores.items()},
        "safety.thresholds": dict(report.thresholds),
    }


def _scalar(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _SAFE_INTEGER:
        return str(value)
    return value


# -- rules that the engine does not check --------------------------------------------------------


def validate_manifest(definition: Mapping[str, Any]) -> None:
    """Checks a manifest definition against the rules that the engine leaves to us.

    Raises:
        ManifestError: Names the assertion or the action, and the rule.
    """
    info = definition.get("claim_generator_info") or [{}]
    if not info[0].get("name") or not info[0].get("specVersion"):
        raise ManifestError("claim_generator_info needs name and specVersion")
    assertions: Sequence[Mapping[str, Any]] = definition.get("assertions") or []
    for assertion in assertions:
        if assertion.get("created") is not True:
            raise ManifestError(
                f"assertion {assertion.get('label')} must be marked as created: gathered "
                "assertions do not speak for the signer"
            )
    bindings = [a["data"] for a in assertions if a["label"].startswith("c2pa.soft-binding")]
    for binding in bindings:
        _check_soft_binding(binding)
    actions = [a["data"] for a in assertions if a["label"].startswith("c2pa.actions")]
    if len(actions) != 1:
        raise ManifestError(f"a manifest needs one actions assertion, not {len(actions)}")
    _check_actions(actions[0], has_soft_binding=bool(bindings))


def _check_soft_binding(data: Mapping[str, Any]) -> None:
    alg = data.get("alg")
    if not isinstance(alg, str) or not _ALG.fullmatch(alg):
        raise ManifestError(
            f"soft binding alg {alg!r} must be a reverse-domain name, like "
            f"{DEFAULT_NAMESPACE}.pdq.1"
        )
    blocks = data.get("blocks")
    if not isinstance(blocks, list) or not blocks:
        raise ManifestError(f"soft binding {alg} has no blocks")
    for block in blocks:
        if not isinstance(block.get("scope"), dict):
            raise ManifestError(f"soft binding {alg}: each block needs a scope")
        value = block.get("value")
        if not isinstance(value, str) or not value or len(value) > _MAX_TEXT:
            raise ManifestError(f"soft binding {alg}: each block needs a value, as text")


def _check_actions(data: Mapping[str, Any], *, has_soft_binding: bool) -> None:
    if data.get("allActionsIncluded") is not True:
        raise ManifestError("allActionsIncluded must be true: we list all that we did")
    actions: Sequence[Mapping[str, Any]] = data.get("actions") or []
    names = [action.get("action") for action in actions]
    starts = [name for name in names if name in ("c2pa.created", "c2pa.opened")]
    if len(starts) != 1 or names[0] != starts[0]:
        raise ManifestError("the first action, and no other, must be c2pa.created or c2pa.opened")
    if names[0] == "c2pa.created" and "digitalSourceType" not in actions[0]:
        raise ManifestError("c2pa.created needs a digitalSourceType")
    if names[0] == "c2pa.opened":
        _check_opened(actions)
    if "c2pa.watermarked.bound" in names and not has_soft_binding:
        raise ManifestError("c2pa.watermarked.bound needs a c2pa.soft-binding in the same manifest")
    for action in actions:
        _check_action(action)


def _check_opened(actions: Sequence[Mapping[str, Any]]) -> None:
    if "digitalSourceType" in actions[0]:
        raise ManifestError("c2pa.opened takes no digitalSourceType: its parent has its own")
    parents = (actions[0].get("parameters") or {}).get("ingredientIds") or []
    if len(parents) != 1:
        raise ManifestError("c2pa.opened must refer to exactly one parentOf ingredient")


def _check_action(action: Mapping[str, Any]) -> None:
    name = action.get("action")
    source_type = action.get("digitalSourceType")
    if source_type is not None and not is_known_source_type(str(source_type)):
        raise ManifestError(
            f"action {name}: {source_type!r} is not a digitalSourceType of the IPTC or C2PA list"
        )
    for key, value in (action.get("parameters") or {}).items():
        namespaced = "." in key and not key.startswith("c2pa.")
        if key not in _SPEC_PARAMETERS and not namespaced:
            raise ManifestError(f"action {name}: parameter {key!r} must carry a namespace")
        if isinstance(value, str) and len(value) > _MAX_TEXT:
            raise ManifestError(f"action {name}: parameter {key!r} is too long to sign")
