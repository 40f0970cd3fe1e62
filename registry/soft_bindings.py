"""Soft bindings as the resolution API speaks of them: names, values, and whether they fit. Pure.

A value is text: ``version*payload`` for a watermark of ours, 64 hex digits for a fingerprint. On
the wire it is the base64 of that text's UTF-8; manifests hold text, byte strings or lists of
integers, all of which are read as the same text.

Source: C2PA 2.5 "Soft bindings"; Soft Binding Resolution API 2.4.0; docs/howto/resolution.md.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provenance.errors import InputError
from provenance.fingerprint.similarity import AGREE_MAX_BITS, SEARCH_MAX_BITS, hamming_distance
from provenance.manifest.hostile import soft_binding_text
from provenance.types import BindingState, PerceptualHash, SoftBinding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "AlgNames",
    "BindingJudgement",
    "PictureBindings",
    "agreement",
    "canonical_binding",
    "check_alg",
    "decode_value",
    "encode_value",
    "judge_bindings",
    "parse_mark_value",
]

MAX_VALUE_CHARACTERS = 10_000
MAX_ALG_CHARACTERS = 200
MARK_VALUE_VERSION = "1"
"""What stands before the star in the watermark values that our manifests hold."""

_ALG = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)+")
"""Source: C2PA soft binding algorithm list, schema, pattern of `alg`."""


def encode_value(text: str) -> str:
    """A value as it is sent: base64 of its UTF-8."""
    return base64.b64encode(text.encode("utf-8")).decode("ascii")


def decode_value(wire: str) -> str:
    """The canonical text of a value that was sent.

    Takes both alphabets of base64, with and without padding, and a plus sign that a query turned
    into a space.

    Raises:
        InputError: It is no base64, or too long.
    """
    if len(wire) > MAX_VALUE_CHARACTERS * 2:
        raise InputError(f"the binding value is longer than {MAX_VALUE_CHARACTERS} characters")
    # A space at either end may be a plus sign too, so only line ends are cut off.
    folded = wire.strip("\r\n").replace(" ", "+").replace("-", "+").replace("_", "/").rstrip("=")
    try:
        raw = base64.b64decode(folded + "=" * (-len(folded) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(
            "the binding value is no base64 (of the value's text, in UTF-8)"
        ) from error
    return _text_of(raw)


def canonical_binding(binding: SoftBinding) -> SoftBinding:
    """A soft binding of a manifest under the text that a query for it has.

    Raises:
        InputError: Its algorithm is no name, or its value too long.
    """
    raw = binding.value.encode("utf-8", "surrogatepass")
    return SoftBinding(check_alg(binding.alg), _text_of(raw))


def _text_of(raw: bytes) -> str:
    text = soft_binding_text(list(raw))
    if text is None:
        raise InputError("the binding value is empty, or too long")
    return text


def check_alg(alg: str) -> str:
    """The name, if it is one.

    Raises:
        InputError: It is no reverse-domain name.
    """
    if len(alg) > MAX_ALG_CHARACTERS or not _ALG.fullmatch(alg):
        raise InputError("alg must be a reverse-domain name, like org.countermark.lattice.1")
    return alg


def parse_mark_value(value: str) -> str | None:
    """The payload of a watermark value of ours; None when it is none."""
    version, star, payload = value.partition("*")
    return payload if star and version == MARK_VALUE_VERSION and payload else None


@dataclass(frozen=True, slots=True)
class AlgNames:
    """The algorithms that this installation can compute itself.

    Attributes:
        namespace: Reverse domain of our own names.
        marks: Names of watermarks after the namespace, e.g. ``lattice.1``.
        hash_algorithm: The hasher's own name, e.g. ``pdq-1``; None without one.
    """

    namespace: str
    marks: tuple[str, ...]
    hash_algorithm: str | None

    @property
    def watermarks(self) -> tuple[str, ...]:
        """Full names."""
        return tuple(f"{self.namespace}.{one}" for one in self.marks)

    @property
    def fingerprint(self) -> str | None:
        """Full name, as manifests write it."""
        if self.hash_algorithm is None:
            return None
        return f"{self.namespace}.{self.hash_algorithm.replace('-', '.')}"

    def is_ours(self, alg: str) -> bool:
        """Whether a name stands under our reverse domain."""
        return alg.lower().startswith(f"{self.namespace.lower()}.")

    def normalise(self, binding: SoftBinding) -> SoftBinding:
        """A soft binding of our own manifests under today's namespace.

        Only for manifests of our records: in others' the namespace says whose algorithm it is.
        """
        names = (*self.watermarks, *((self.fingerprint,) if self.fingerprint else ()))
        for name in names:
            if binding.alg.endswith(name.removeprefix(self.namespace)):
                return SoftBinding(name, binding.value)
        return binding

    def parse_hash(self, value: str) -> PerceptualHash | None:
        """A fingerprint value of ours as a hash; None when it is none."""
        if self.hash_algorithm is None:
            return None
        try:
            # The quality is not in the value; who asks by a hash has seen the picture.
            return PerceptualHash(self.hash_algorithm, value.strip().lower(), quality=100)
        except InputError:
            return None


@dataclass(frozen=True, slots=True)
class PictureBindings:
    """What a picture itself says.

    Attributes:
        mark_alg: Full name of the watermark that was found; None without one.
        mark_value: Its payload; empty without one.
        names_record: Whether that payload is a record's id, not only the name of a key.
        hashes: Of the picture as it lies, then turned and mirrored; empty when it has none.
        straight_hash: Answers the hash of the picture as it was before it was cropped or turned,
            for a registered size in pixels; None where its mark does not say how it lies.
        searchable: Whether the hash is distinctive enough to be looked up.
    """

    mark_alg: str | None = None
    mark_value: str = ""
    names_record: bool = False
    hashes: tuple[PerceptualHash, ...] = ()
    straight_hash: Callable[[tuple[int, int]], PerceptualHash | None] | None = field(
        default=None, repr=False, compare=False
    )
    searchable: bool = False

    def as_bindings(self, names: AlgNames) -> tuple[SoftBinding, ...]:
        """What to ask a repository by."""
        found = []
        if self.mark_alg is not None and self.names_record:
            found.append(SoftBinding(self.mark_alg, f"{MARK_VALUE_VERSION}*{self.mark_value}"))
        if names.fingerprint is not None and self.searchable:
            found.append(SoftBinding(names.fingerprint, self.hashes[0].hex))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class BindingJudgement:
    """Whether one soft binding fits a picture.

    Attributes:
        binding: Which.
        state: Whether.
        score: How well, 0..100; 0 unless it agrees.
    """

    binding: SoftBinding
    state: BindingState
    score: int = 0


def judge_bindings(
    bindings: Sequence[SoftBinding],
    picture: PictureBindings,
    names: AlgNames,
    *,
    size: tuple[int, int] | None = None,
    holds_keys: bool = True,
) -> tuple[BindingJudgement, ...]:
    """Holds each soft binding of a manifest against a picture.

    Args:
        bindings: Of the manifest.
        picture: What the picture says.
        names: What can be computed; bindings of other algorithms are not evaluated.
        size: Width and height of the registered picture, pixels, where they are known.
        holds_keys: Whether our keys read the marks that the manifest may speak of. Of another
            installation's they do not, so that a mark that is not seen says nothing.
    """
    # One comparison with the picture that a mark named may be wide; a search may not.
    marked = any(_fits_mark(one, picture) for one in bindings)
    limit = AGREE_MAX_BITS if marked else SEARCH_MAX_BITS
    judged = []
    for one in bindings:
        if one.alg in names.watermarks and picture.mark_alg is None and not holds_keys:
            judged.append(BindingJudgement(one, BindingState.NOT_EVALUATED))
        else:
            judged.append(_judge(one, picture, names, limit, size))
    return tuple(judged)


def agreement(judged: Sequence[BindingJudgement]) -> int | None:
    """The lowest score, when there are soft bindings and *all* of them agree; else None."""
    if not judged or any(one.state is not BindingState.AGREES for one in judged):
        return None
    return min(one.score for one in judged)


def hash_score(distance_bits: int) -> int:
    """0..100, higher is more similar: share of the 256 bits that agree."""
    return round(100 * (256 - distance_bits) / 256)


def _fits_mark(binding: SoftBinding, picture: PictureBindings) -> bool:
    return binding.alg == picture.mark_alg and parse_mark_value(binding.value) == picture.mark_value


def _judge(
    binding: SoftBinding,
    picture: PictureBindings,
    names: AlgNames,
    limit: int,
    size: tuple[int, int] | None,
) -> BindingJudgement:
    if binding.alg in names.watermarks:
        # An unreadable mark and an absent one are the same here: the binding does not fit.
        fits = _fits_mark(binding, picture)
        state = BindingState.AGREES if fits else BindingState.DISAGREES
        return BindingJudgement(binding, state, 100 if fits else 0)
    if binding.alg != names.fingerprint:
        return BindingJudgement(binding, BindingState.NOT_EVALUATED)
    bound = names.parse_hash(binding.value)
    if bound is None or not picture.hashes:
        return BindingJudgement(binding, BindingState.NOT_EVALUATED)
    distance = min(hamming_distance(bound, one) for one in picture.hashes)
    if distance > limit and size is not None and picture.straight_hash is not None:
        straight = picture.straight_hash(size)
        if straight is not None:
            distance = min(distance, hamming_distance(bound, straight))
    if distance > limit:
        return BindingJudgement(binding, BindingState.DISAGREES)
    return BindingJudgement(binding, BindingState.AGREES, hash_score(distance))
