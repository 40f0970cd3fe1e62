"""C2PA validation status codes, sorted into what they are about. Pure.

Source: C2PA 2.5, appendix "Status codes"; plus `signingCredential.expired`, which the engine emits
and the appendix does not name. A code that stands in no table here counts as a failure of unknown
kind: never ignored, never guessed.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["FailureKind", "failure_kind", "is_hard_binding_match", "is_recorded_damage"]


class FailureKind(StrEnum):
    """What a failure code is about."""

    CONTENT = "content"
    MANIFEST = "manifest"
    CREDENTIAL = "credential"
    TIME = "time"
    INGREDIENT = "ingredient"
    UNKNOWN = "unknown"


_HARD_BINDINGS = ("dataHash", "boxesHash", "bmffHash", "collectionHash", "multiAssetHash")

_CONTENT = frozenset(
    f"assertion.{binding}.{problem}"
    for binding in _HARD_BINDINGS
    for problem in ("mismatch", "malformed", "unknownBox", "missingPart", "incorrectFileCount")
)
_CREDENTIAL_PREFIX = "signingCredential."
_TIME_PREFIX = "timeStamp."
_INGREDIENT_PREFIX = "ingredient."
_MANIFEST_PREFIXES = (
    "claim.",
    "claimSignature.",
    "assertion.",
    "manifest.",
    "algorithm.",
)
_OUTSIDE_VALIDITY = "claimSignature.outsideValidity"

_NOT_A_FAILURE_SUFFIXES = (
    ".match",
    ".validated",
    ".trusted",
    ".insideValidity",
    ".notRevoked",
    ".accessible",
    ".additionalExclusionsPresent",
)
"""Old ingredients record all codes in one list; these endings are successes."""


_UNKNOWN_PAST = ("ingredient.unknownProvenance", "manifest.inaccessible")


def failure_kind(code: str) -> FailureKind:
    """What a failure code is about."""
    if code in _CONTENT:
        return FailureKind.CONTENT
    if code.startswith(_CREDENTIAL_PREFIX) or code == _OUTSIDE_VALIDITY:
        return FailureKind.CREDENTIAL
    if code.startswith(_TIME_PREFIX):
        return FailureKind.TIME
    if code.startswith(_INGREDIENT_PREFIX):
        return FailureKind.INGREDIENT
    if code.startswith(_MANIFEST_PREFIXES):
        return FailureKind.MANIFEST
    return FailureKind.UNKNOWN


def is_hard_binding_match(code: str) -> bool:
    """Whether the success code says that the picture's bytes are the signed ones."""
    return any(code == f"assertion.{binding}.match" for binding in _HARD_BINDINGS)


def is_recorded_damage(code: str) -> bool:
    """Whether a code recorded at (or found in) an ingredient means that the ingredient is damaged.

    What the adder thought of a certificate or a time-stamp is no damage: it says whom they
    trusted on that day. Nor is a manifest that is kept elsewhere and was not fetched.
    """
    if code.endswith(_NOT_A_FAILURE_SUFFIXES) or code in _UNKNOWN_PAST:
        return False
    return failure_kind(code) not in (FailureKind.CREDENTIAL, FailureKind.TIME)
