"""Signposts: a second, public mark that says which registry to ask about a picture.

Our own mark can be read by holders of its key alone. A signpost is the same mark under a key that
everybody knows, and its 64 bits are the name of a registry in letters, so it needs no table and no
network. Whoever reads it knows where to ask; whoever likes can write it, so it proves nothing.

Source: docs/spec/lattice-mark-1.md, section 9.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.errors import ConfigError
from provenance.interfaces import KeyGroupScheme
from provenance.types import (
    Finding,
    RecordId,
    SignpostEvidence,
    WatermarkEvidence,
    WatermarkPayload,
)
from provenance.watermark.payload import WatermarkKey
from provenance.watermark.traits import SharedTraits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.interfaces import WatermarkScheme
    from provenance.types import RasterImage

__all__ = [
    "MAX_NAME_LETTERS",
    "SIGNPOST_KEY",
    "SignpostReader",
    "SignpostedScheme",
    "check_registry_name",
    "describe_signpost",
    "name_of_payload",
    "payload_of_name",
    "put_signpost",
]

SIGNPOST_KEY = WatermarkKey(b"countermark/signpost/1")
"""The published key: these 22 letters, and not a secret."""

MAX_NAME_LETTERS = 12

_ALPHABET = "_abcdefghijklmnopqrstuvwxyz0123456789.-/"
"""Forty letters, the first one fills up: 40**12 is the most that 64 bits hold."""

_WORD = r"[a-z0-9]+(?:-+[a-z0-9]+)*"
_NAME = re.compile(rf"{_WORD}(?:\.{_WORD})+(?:/{_WORD})*")
"""A host name with a dot, and perhaps a path: nothing that reads as another kind of text."""

_SHARE = 0.5
"""Strength of a signpost against the mark below it. Being written last it takes the mark into
account, so half is enough: on photographs both read after JPEG at quality 50, for 0.4 dB."""


def check_registry_name(name: str) -> str:
    """The name, if a signpost can carry it.

    Raises:
        ConfigError: It is too long, or no host name with or without a path in small letters.
    """
    if len(name) > MAX_NAME_LETTERS:
        raise ConfigError(
            f"signpost {name!r} has {len(name)} letters, and {MAX_NAME_LETTERS} is the most that a "
            "mark holds; give the registry a shorter address, like acme.io/cm"
        )
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"signpost {name!r} must be a host name, with or without a path, of the letters a to z "
            "(small), digits, dots, hyphens and slashes, like cm.acme.org or acme.io/cm"
        )
    return name


def payload_of_name(name: str) -> WatermarkPayload:
    """What a signpost to a registry says.

    Raises:
        ConfigError: As `check_registry_name`.
    """
    number = 0
    for letter in check_registry_name(name).ljust(MAX_NAME_LETTERS, _ALPHABET[0]):
        number = number * len(_ALPHABET) + _ALPHABET.index(letter)
    return WatermarkPayload(RecordId(f"{number:016x}"))


def name_of_payload(payload: RecordId) -> str | None:
    """The registry that a signpost names; None for 64 bits that are no name."""
    number, letters = int(payload, 16), []
    for _ in range(MAX_NAME_LETTERS):
        number, place = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[place])
    name = "".join(reversed(letters)).rstrip(_ALPHABET[0])
    return name if not number and _NAME.fullmatch(name) else None


def describe_signpost(answer: WatermarkEvidence) -> SignpostEvidence | None:
    """What a reading under the published key means; None when there is no signpost.

    Args:
        answer: Of a scheme that was asked for `SIGNPOST_KEY` alone.
    """
    if answer.finding is Finding.PRESENT and answer.record_id is not None:
        name = name_of_payload(answer.record_id)
        if name is None:
            reason = "A signpost is there, but what it says is not the name of a registry."
            return SignpostEvidence(Finding.UNREADABLE, reason)
        reason = (
            f'A signpost in the picture says that the registry at "{name}" can tell more; the key '
            "of signposts is public, so anyone can write one."
        )
        return SignpostEvidence(Finding.PRESENT, reason, name, answer.p_value)
    if answer.finding is Finding.UNREADABLE and answer.key_id == SIGNPOST_KEY.key_id:
        reason = "A signpost seems to be there, but the registry that it names cannot be read."
        return SignpostEvidence(Finding.UNREADABLE, reason, p_value=answer.p_value)
    return None


@dataclass(frozen=True, slots=True)
class SignpostReader:
    """Reads signposts where there is no secret key to read marks with.

    Attributes:
        scheme: One that signposts are written with.
    """

    scheme: WatermarkScheme

    def read(self, raster: RasterImage, *, thorough: bool = False) -> SignpostEvidence | None:
        """The signpost of a picture; None when there is none.

        Args:
            raster: The picture.
            thorough: As for `marking.MarkReader.read`.
        """
        return describe_signpost(self.scheme.read(raster, (SIGNPOST_KEY,), thorough=thorough))


@dataclass(frozen=True, slots=True)
class SignpostedScheme(SharedTraits):
    """A scheme that writes a signpost beside each mark, and reads a mark only where both are there.

    So whoever embeds until the mark reads back delivers no picture without its signpost.

    Attributes:
        scheme: What writes and reads both.
        registry: What the signpost says.
    """

    scheme: KeyGroupScheme
    registry: str

    @property
    def _wrapped(self) -> KeyGroupScheme:
        return self.scheme

    def fits(self, width_px: int, height_px: int) -> bool:
        """See `interfaces.WatermarkScheme`."""
        return self.scheme.fits(width_px, height_px)

    def holds_record_id(self, width_px: int, height_px: int) -> bool:
        """See `interfaces.WatermarkScheme`."""
        return self.scheme.holds_record_id(width_px, height_px)

    def readings(self, keys: int) -> int:
        """See `interfaces.WatermarkScheme`."""
        return self.scheme.readings(keys)

    def embed(
        self,
        image: RasterImage,
        payload: WatermarkPayload | None,
        *,
        key: WatermarkKey,
        strength: float,
    ) -> RasterImage:
        """As the scheme, with a signpost over the mark.

        Whichever comes last is embedded in the knowledge of the other one and needs less strength.
        """
        marked = self.scheme.embed(image, payload, key=key, strength=strength)
        name = payload_of_name(self.registry)
        return self.scheme.embed(marked, name, key=SIGNPOST_KEY, strength=_SHARE * strength)

    def read(
        self,
        image: RasterImage,
        keys: Sequence[WatermarkKey],
        *,
        thorough: bool = False,
        rivals: int = 0,
    ) -> WatermarkEvidence:
        """What the mark says; UNREADABLE where its signpost cannot be read."""
        groups = (tuple(keys), (SIGNPOST_KEY,))
        mark, beside = self.scheme.read_groups(image, groups, thorough=thorough, rivals=rivals)
        signpost = describe_signpost(beside)
        if mark.finding is not Finding.PRESENT:
            return mark
        if signpost is None or signpost.registry != self.registry:
            reason = f"the mark can be read, but the signpost to {self.registry} cannot"
            return WatermarkEvidence(Finding.UNREADABLE, reason, self.name)
        return mark


def put_signpost(scheme: WatermarkScheme, registry: str) -> WatermarkScheme:
    """The scheme, with a signpost to a registry beside each mark; as it is for an empty name.

    Raises:
        ConfigError: The scheme writes no signposts, or none can carry the name.
    """
    if not registry:
        return scheme
    if not isinstance(scheme, KeyGroupScheme):
        raise ConfigError(
            f"codec {scheme.name} writes no signposts; use the codec lattice, or leave "
            "watermark.signpost empty"
        )
    return SignpostedScheme(scheme, check_registry_name(registry))
