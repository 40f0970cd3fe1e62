"""The class names that the C2PA conformance programme's rubric gives a manifest. Pure.

A second vocabulary beside our own, letter for letter that of the programme: it judges each manifest
by itself, looks at no past and at no signature, and compares source types exactly. Ours walks the
whole history and folds spellings.

Source: c2pa-org/conformance-public, ``asset-rubrics/asset-rubric-signals-local.yml`` of 2026-08-06,
over the crJSON view of one manifest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provenance.manifest.hostile import items_of, mapping_of, text_of, values_of
from provenance.manifest.source_types import C2PA_BASE, IPTC_BASE
from provenance.types import RubricReading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["RUBRIC_DATE", "classify_manifest", "read_rubric"]

RUBRIC_DATE = "2026-08-06"

_MAX_MANIFESTS = 100
_MAX_ITEMS = 2000

_INCEPTION = ("c2pa.created", "c2pa.opened")
_NON_EDITORIAL = frozenset(
    f"c2pa.{name}"
    for name in (
        "converted",
        "published",
        "repackaged",
        "transcoded",
        "resized.proportional",
        "enhanced",
        "edited.metadata",
        "watermarked",
        "watermarked.bound",
        "watermarked.unbound",
        "redacted",
    )
)
_GENERATIVE = frozenset(
    {
        IPTC_BASE + "trainedAlgorithmicMedia",
        IPTC_BASE + "compositeWithTrainedAlgorithmicMedia",
        IPTC_BASE + "compositeSynthetic",
        C2PA_BASE + "trainedAlgorithmicData",
    }
)
_POSSIBLY_GENERATIVE = frozenset({IPTC_BASE + "digitalArt", IPTC_BASE + "composite"})

_BY_INCEPTION: tuple[tuple[str, frozenset[str]], ...] = (
    ("blankCanvas", frozenset({C2PA_BASE + "empty"})),
    (
        "capturedMedia",
        frozenset({IPTC_BASE + "digitalCapture", IPTC_BASE + "computationalCapture"}),
    ),
    ("capturedMediaStitched", frozenset({IPTC_BASE + "compositeCapture"})),
    ("compositionMayContainGenAI", frozenset({IPTC_BASE + "composite"})),
    ("fullyGenAIMedia", frozenset({IPTC_BASE + "trainedAlgorithmicMedia"})),
    ("nonGenAIDigitalCreation", frozenset({IPTC_BASE + "digitalCreation"})),
    ("partlyGenAICreation", frozenset({IPTC_BASE + "compositeWithTrainedAlgorithmicMedia"})),
    ("screenCaptureMayContainGenAI", frozenset({IPTC_BASE + "screenCapture"})),
)


def read_rubric(crjson: Mapping[str, Any], active: str | None) -> tuple[RubricReading, ...]:
    """The classes of every manifest of a store, the active one first.

    Args:
        crjson: The engine's crJSON view; untrusted.
        active: Label of the active manifest.
    """
    manifests = list(values_of(crjson.get("manifests"), limit=_MAX_MANIFESTS))
    manifests.sort(key=lambda one: one.get("label") != active)  # stable: the others keep order
    return tuple(
        RubricReading(text_of(one.get("label")) or "", classify_manifest(one)) for one in manifests
    )


def classify_manifest(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """All classes that apply to one manifest (crJSON), in the order of the rubric."""
    return (*_inception(manifest), *_transformations(manifest))


def _inception(manifest: Mapping[str, Any]) -> Iterator[str]:
    begun = {
        action.get("digitalSourceType")
        for action in _actions(manifest)
        if action.get("action") in _INCEPTION and isinstance(action.get("digitalSourceType"), str)
    }
    for name, types in _BY_INCEPTION:
        if begun & types:
            yield name
    if any(one.get("activeManifest") is None for one in _ingredients(manifest)):
        yield "mediaUnknownProvenance"


def _transformations(manifest: Mapping[str, Any]) -> Iterator[str]:
    actions = list(_actions(manifest))
    names = [str(action["action"]) for action in actions if isinstance(action.get("action"), str)]
    if _is_ambiguous(manifest, names, len(actions)):
        yield "ambiguousActions"
    if any(name in _NON_EDITORIAL for name in names):
        yield "nonEditorial"
    said = {
        action["digitalSourceType"]
        for action in actions
        if isinstance(action.get("action"), str)
        and action["action"] not in _INCEPTION
        and action["action"] not in _NON_EDITORIAL
        and isinstance(action.get("digitalSourceType"), str)
    }
    if said & _GENERATIVE:
        yield "perceptibleGenAI"
    if said - _GENERATIVE:
        yield "perceptibleNonGenAI"
    if said & _POSSIBLY_GENERATIVE:
        yield "perceptiblePossiblyGenAI"


def _is_ambiguous(manifest: Mapping[str, Any], names: list[str], actions: int) -> bool:
    data = _actions_assertion(manifest)
    gathered = values_of(mapping_of(manifest.get("claim.v2")).get("gathered_assertions"), limit=500)
    return (
        actions == 0
        or data.get("allActionsIncluded") is not True
        or any(not name.startswith("c2pa.") or name == "c2pa.unknown" for name in names)
        or any("c2pa.actions" in str(one.get("url")) for one in gathered)
    )


def _actions_assertion(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping_of(mapping_of(manifest.get("assertions")).get("c2pa.actions.v2"))


def _actions(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for action in items_of(_actions_assertion(manifest).get("actions"))[:_MAX_ITEMS]:
        if isinstance(action, dict):
            yield action


def _ingredients(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    # The rubric looks at the first one; one that is unknown is unknown in any place.
    for name, data in mapping_of(manifest.get("assertions")).items():
        if name.startswith("c2pa.ingredient.v3") and isinstance(data, dict):
            yield data
