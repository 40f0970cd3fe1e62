"""NovelAI signs its pictures: an Ed25519 signature over the pixels and the settings beside them.

The one generator outside C2PA whose statement can be checked with a published key, offline.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from detector.evidence.generators.finding import making_of
from detector.evidence.settings import read_settings
from detector.evidence.signals import as_plain, parse_json_object
from provenance.types import Finding, MetadataEvidence, SourceClaim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.evidence.signals import Signals
    from provenance.types import RasterImage

__all__ = ["novelai_evidence"]

_PUBLIC_KEY = base64.b64decode("Y2JcQAOhLwzwSDUJPNgL04nS0Tbqm7cSRc4xk0vRMic=")
"""Source: github.com/NovelAI/novelai-image-metadata at 08e636a5, ``nai_sig.py``."""


_MAX_CHECKS = 4
"""Settings whose signature is checked; each check reads all pixels. Real files hold one, twice."""


def novelai_evidence(signals: Signals, raster: RasterImage | None) -> Iterator[MetadataEvidence]:
    """The settings that NovelAI writes, and whether its signature covers these very pixels.

    Args:
        signals: The file's texts: PNG ``Software``, ``Source``, ``Comment``, or the EXIF
            ``UserComment`` of a WebP and the text in alpha, which wrap the same.
        raster: The decoded picture; without it nothing can be verified.
    """
    checked: list[tuple[dict[str, Any], bool]] = []
    for place, comment, source in _comments(signals):
        is_signed = next((right for seen, right in checked if seen == comment), None)
        if is_signed is None:
            may_check = raster is not None and len(checked) < _MAX_CHECKS
            is_signed = may_check and raster is not None and _is_signed(comment, raster)
            checked.append((comment, is_signed))
        claim = _claim(comment)
        yield MetadataEvidence(
            Finding.PRESENT,
            "NovelAI's signature over these very pixels and settings is right."
            if is_signed
            else f"{place} holds what NovelAI writes, but no signature of it covers these "
            "pixels; anyone can write it.",
            tool="NovelAI",
            version=source,
            place=place,
            claim=claim,
            making=making_of(claim),
            settings=read_settings({"model": source, **comment}),
            signed_by="NovelAI" if is_signed else None,
        )


def _comments(signals: Signals) -> Iterator[tuple[str, dict[str, Any], str | None]]:
    """(place, settings, model name) for each copy of the settings."""
    by_key = {text.key: text.text for text in signals.texts}
    software = by_key.get("Software", "")
    for text in signals.texts:
        data = text.json if text.key in ("Comment", "UserComment") else None
        if data is None:
            continue
        # In EXIF the model's name stands where other containers name the program.
        source = data.get("Source", by_key.get("Source"))
        if source is None and software.startswith("NovelAI "):
            source = software
        inner = parse_json_object(data["Comment"]) if isinstance(data.get("Comment"), str) else data
        named = str(source).startswith("NovelAI") or software.startswith("NovelAI")
        if inner is not None and (named or "signed_hash" in inner):
            shown = as_plain(source)
            yield text.place, inner, None if shown is None else str(shown)


def _claim(comment: dict[str, Any]) -> SourceClaim:
    kind = str(comment.get("request_type", ""))
    started = "Img2Img" in kind or "Infill" in kind
    return SourceClaim.PARTLY_AI if started else SourceClaim.FULLY_AI


def _is_signed(comment: dict[str, Any], raster: RasterImage) -> bool:
    if "signed_hash" not in comment:
        return False
    # The signature covers a run of bytes without its shape: the size in the settings pins it.
    if (comment.get("width"), comment.get("height")) != (raster.width_px, raster.height_px):
        return False
    settings = {key: value for key, value in comment.items() if key != "signed_hash"}
    # The signer serialises with Python's defaults; another spelling would not verify.
    message = raster.pixels.tobytes() + json.dumps(settings).encode("utf-8")
    try:
        signature = base64.b64decode(str(comment["signed_hash"]), validate=True)
        Ed25519PublicKey.from_public_bytes(_PUBLIC_KEY).verify(signature, message)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
