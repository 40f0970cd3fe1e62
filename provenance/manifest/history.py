"""Walks the manifests of a store: what they say of the picture's making, and of its past. Pure.

The picture's own past are the ingredients that it was made *of* (parentOf, componentOf). What was
only put into a model (inputTo: prompts, references, weights) is not part of the picture.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from provenance.manifest.codes import is_recorded_damage
from provenance.manifest.hostile import clean_text, mapping_of, text_of, values_of
from provenance.manifest.source_types import classify_source_type
from provenance.types import History, IngredientReport, SourceClaim

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

__all__ = ["ClaimFinding", "Walk", "content_manifest_label", "walk_claims"]

MAX_MANIFESTS = 100
"""The most in one real file seen is 30 (Google)."""
_MAX_INGREDIENTS = 200
_MAX_ASSERTIONS = 500
_MAX_ACTIONS = 2000

_STRENGTH = (
    SourceClaim.FULLY_AI,
    SourceClaim.PARTLY_AI,
    SourceClaim.POSSIBLY_AI,
    SourceClaim.CAPTURE,
    SourceClaim.HUMAN,
    SourceClaim.NOT_AI,
)
"""Strongest first. One generative step anywhere in the picture's past outweighs the camera."""
_GENERATIVE = (SourceClaim.FULLY_AI, SourceClaim.PARTLY_AI)
_CLAIMS = (SourceClaim.CAPTURE, SourceClaim.HUMAN)

_STANDARD_ACTION_PREFIXES = ("c2pa.", "font.")
_METADATA_LABELS = ("stds.iptc", "stds.exif", "c2pa.metadata", "cawg.metadata")


@dataclass(frozen=True, slots=True)
class ClaimFinding:
    """One statement on how the picture was made.

    Attributes:
        claim: What it says, as far as it concerns this picture.
        path: Manifest label, place, value; clean text.
        is_vouched: Whether the signer of the active manifest, or another trusted one, says so.
        depth: Steps back into the past: 0 for the manifest that speaks of the content.
    """

    claim: SourceClaim
    path: str
    is_vouched: bool = True
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Walk:
    """What the walk found.

    Attributes:
        strongest: None when nothing is said anywhere.
        parent_claim: The strongest of what the past says; None when it says nothing.
        ingredients: Of the manifest that speaks of the content.
        history: Worst state of any ingredient that the picture was made of.
        ambiguous: Whether the active manifest may leave actions out.
    """

    strongest: ClaimFinding | None
    parent_claim: SourceClaim | None
    ingredients: tuple[IngredientReport, ...]
    history: History
    ambiguous: bool


@dataclass(frozen=True, slots=True)
class _Visit:
    label: str
    is_component: bool
    is_damaged: bool
    is_vouched: bool
    depth: int = 0


def walk_claims(
    report: Mapping[str, Any], updates: Collection[str] = (), trusted: Collection[str] = ()
) -> Walk:
    """Walks from the active manifest through all that the picture was made of.

    Args:
        report: The engine's ``json()`` view; untrusted.
        updates: Labels of the update manifests.
        trusted: Labels of the ingredients' manifests whose own signers a list vouches for.
    """
    manifests = mapping_of(report.get("manifests"))
    active = text_of(report.get("active_manifest"))
    findings: list[ClaimFinding] = []
    states: set[History] = set()
    start = _Visit(active or "", is_component=False, is_damaged=False, is_vouched=True)
    queue = deque([start] if active else [])
    seen: set[tuple[str, bool]] = set()
    while queue and len(seen) < MAX_MANIFESTS:
        visit = queue.popleft()
        if (visit.label, visit.is_component) in seen:
            continue
        seen.add((visit.label, visit.is_component))
        manifest = mapping_of(manifests.get(visit.label))
        findings.extend(_findings(manifest, visit))
        for ingredient in _own_past(manifest):
            state = _ingredient_state(ingredient)
            states.add(state)
            findings.extend(_ingredient_findings(ingredient, visit))
            child = ingredient.get("active_manifest")
            if isinstance(child, str):
                is_component = visit.is_component or ingredient.get("relationship") != "parentOf"
                is_damaged = visit.is_damaged or state is History.DAMAGED_INGREDIENT
                is_vouched = visit.is_vouched and child in trusted and not is_damaged
                # An update manifest tells of the same picture as its parent.
                depth = visit.depth + (visit.label not in updates)
                queue.append(_Visit(child, is_component, is_damaged, is_vouched, depth))
    content = mapping_of(manifests.get(content_manifest_label(report, updates) or ""))
    before = min((f for f in findings if f.depth), key=_strength, default=None)
    return Walk(
        strongest=min(findings, key=_strength, default=None),
        parent_claim=before.claim if before else None,
        ingredients=tuple(_describe_ingredients(content)),
        history=_worst(states),
        # A walk that was cut short may have missed actions as well.
        ambiguous=bool(queue) or _is_ambiguous(content),
    )


def _strength(finding: ClaimFinding) -> tuple[int, bool, int, int]:
    # "In part" with a signer behind it outweighs "wholly" from anybody: it is true of either.
    is_generative = finding.claim in _GENERATIVE
    is_hearsay = is_generative and not finding.is_vouched
    # Of two generative steps the latest tells how this picture was made: whoever edits with AI
    # what AI had made says "edited", and the history says the rest. Likewise with a photograph
    # that a person worked over.
    if is_generative:
        return 0, is_hearsay, finding.depth, _STRENGTH.index(finding.claim)
    if finding.claim in _CLAIMS:
        return 2, False, finding.depth, _STRENGTH.index(finding.claim)
    group = 1 if finding.claim is SourceClaim.POSSIBLY_AI else 3
    return group, False, 0, 0


def content_manifest_label(report: Mapping[str, Any], updates: Collection[str]) -> str | None:
    """Label of the manifest that speaks of the content: past update manifests, to their parent.

    Source: C2PA 2.5 "Update Manifests": no hard binding, exactly one parentOf ingredient.

    Args:
        report: The engine's ``json()`` view; untrusted.
        updates: Labels of the update manifests, as the engine tells them by their box type.
    """
    manifests = mapping_of(report.get("manifests"))
    label = report.get("active_manifest")
    for _ in range(MAX_MANIFESTS):
        if not isinstance(label, str) or label not in updates:
            break
        own = list(_own_past(mapping_of(manifests.get(label))))
        label = own[0].get("active_manifest") if len(own) == 1 else None
    return label if isinstance(label, str) and label not in updates else None


# -- statements --------------------------------------------------------------------------------


def _findings(manifest: Mapping[str, Any], visit: _Visit) -> Iterator[ClaimFinding]:
    for place, text in _statements(manifest):
        claim = classify_source_type(text)
        if claim is None:
            continue
        finding = _fold(claim, visit, place, text)
        if finding is not None:
            yield finding
    if _has_disclosure(manifest):
        finding = _fold(SourceClaim.POSSIBLY_AI, visit, "c2pa.ai-disclosure", "")
        if finding is not None:
            yield finding


def _ingredient_findings(ingredient: Mapping[str, Any], visit: _Visit) -> Iterator[ClaimFinding]:
    for key in ("digital_source_type", "digitalSourceType"):
        text = ingredient.get(key)
        claim = classify_source_type(text) if isinstance(text, str) else None
        if claim is None:
            continue
        is_component = visit.is_component or ingredient.get("relationship") != "parentOf"
        inside = replace(visit, is_component=is_component, depth=visit.depth + 1)
        finding = _fold(claim, inside, "ingredient", str(text))
        if finding is not None:
            yield finding


def _fold(claim: SourceClaim, visit: _Visit, place: str, text: str) -> ClaimFinding | None:
    """What a statement made in this manifest means for the whole picture; None: nothing."""
    if claim not in _STRENGTH:
        return None
    generative = claim in (SourceClaim.FULLY_AI, SourceClaim.PARTLY_AI, SourceClaim.POSSIBLY_AI)
    if visit.is_component:
        # A generated component makes the picture partly generated; a photographed component does
        # not make it a photograph.
        if not generative:
            return None
        if claim is SourceClaim.FULLY_AI:
            claim = SourceClaim.PARTLY_AI
    if visit.is_damaged and not generative:
        return None
    where = " in a damaged ingredient" if visit.is_damaged else ""
    path = clean_text(f"{visit.label}{where}: {place} {text}".strip())
    return ClaimFinding(claim, path, visit.is_vouched, visit.depth)


def _statements(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for action in _actions(manifest):
        for key in ("digitalSourceType", "digital_source_type"):
            if isinstance(action.get(key), str):
                yield clean_text(str(action.get("action"))), action[key]
    for assertion in values_of(manifest.get("assertions"), limit=_MAX_ASSERTIONS):
        label = str(assertion.get("label"))
        if label.startswith(_METADATA_LABELS):
            for key, value in mapping_of(assertion.get("data")).items():
                if key.lower().endswith("digitalsourcetype") and isinstance(value, str):
                    yield clean_text(label), value


def _actions(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    left = _MAX_ACTIONS
    for data in _action_assertions(manifest):
        for action in values_of(mapping_of(data.get("data")).get("actions"), limit=left):
            left -= 1
            yield action


def _action_assertions(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for assertion in values_of(manifest.get("assertions"), limit=_MAX_ASSERTIONS):
        if str(assertion.get("label")).startswith("c2pa.actions"):
            yield assertion


def _has_disclosure(manifest: Mapping[str, Any]) -> bool:
    return any(
        str(assertion.get("label")).startswith("c2pa.ai-disclosure")
        for assertion in values_of(manifest.get("assertions"), limit=_MAX_ASSERTIONS)
    )


def _is_ambiguous(manifest: Mapping[str, Any]) -> bool:
    """Source: C2PA conformance programme, asset rubrics, ``ambiguousActions``."""
    assertions = list(_action_assertions(manifest))
    complete = [
        assertion.get("created") is True
        and mapping_of(assertion.get("data")).get("allActionsIncluded") is True
        for assertion in assertions
    ]
    custom = any(
        not (text_of(action.get("action")) or "").startswith(_STANDARD_ACTION_PREFIXES)
        for action in _actions(manifest)
    )
    return not complete or not all(complete) or custom


# -- ingredients -------------------------------------------------------------------------------


def _describe_ingredients(manifest: Mapping[str, Any]) -> Iterator[IngredientReport]:
    for ingredient in values_of(manifest.get("ingredients"), limit=_MAX_INGREDIENTS):
        yield IngredientReport(
            relationship=clean_text(str(ingredient.get("relationship"))),
            manifest_label=text_of(ingredient.get("active_manifest")),
            state=_ingredient_state(ingredient),
        )


def _own_past(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for ingredient in values_of(manifest.get("ingredients"), limit=_MAX_INGREDIENTS):
        if ingredient.get("relationship") != "inputTo":
            yield ingredient


def _ingredient_state(ingredient: Mapping[str, Any]) -> History:
    if any(is_recorded_damage(code) for code in _recorded_codes(ingredient)):
        return History.DAMAGED_INGREDIENT
    if not isinstance(ingredient.get("active_manifest"), str):
        return History.UNKNOWN_INGREDIENT
    return History.CLEAN


def _recorded_codes(ingredient: Mapping[str, Any]) -> Iterator[str]:
    """Failures that whoever added the ingredient wrote down, in the new form and in the old one."""
    results = mapping_of(ingredient.get("validation_results"))
    yield from _codes(mapping_of(results.get("activeManifest")).get("failure"))
    for delta in values_of(results.get("ingredientDeltas"), limit=_MAX_INGREDIENTS):
        yield from _codes(mapping_of(delta.get("validationDeltas")).get("failure"))
    for status in values_of(ingredient.get("validation_status"), limit=_MAX_ASSERTIONS):
        if status.get("success") is not True and isinstance(status.get("code"), str):
            yield status["code"]


def _codes(failures: Any) -> Iterator[str]:
    for failure in values_of(failures, limit=_MAX_ASSERTIONS):
        if isinstance(failure.get("code"), str):
            yield failure["code"]


def _worst(states: set[History]) -> History:
    for state in (History.DAMAGED_INGREDIENT, History.UNKNOWN_INGREDIENT):
        if state in states:
            return state
    return History.CLEAN
