"""Labels of the standards: IPTC, China's GB 45438, services' credit lines, camera tags.

Each rule takes a file's signals and yields what it recognises. All of it is unsigned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.evidence.aigc import china_aigc_label
from detector.evidence.generators.finding import making_of
from detector.evidence.signals import as_plain
from provenance.manifest.source_types import classify_source_type
from provenance.types import Finding, Making, MetadataEvidence, SourceClaim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.evidence.signals import Signals

__all__ = ["LABEL_RULES"]

IPTC_EXTENSION = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"

_MEANING = {
    SourceClaim.FULLY_AI: "made by generative AI",
    SourceClaim.PARTLY_AI: "made in part by generative AI",
    SourceClaim.POSSIBLY_AI: "possibly made with generative AI",
    SourceClaim.CAPTURE: "captured by a camera or scanner",
    SourceClaim.HUMAN: "made by a person",
    SourceClaim.NOT_AI: "made by software without generative AI",
    SourceClaim.NO_CLAIM: "of no stated origin",
}


def digital_source_type(signals: Signals) -> Iterator[MetadataEvidence]:
    """IPTC ``DigitalSourceType``: the term decides, an unknown term claims nothing.

    Source: IPTC Photo Metadata Standard 2025.1, "Digital Source Type".
    """
    for place, item in signals.xmp:
        if item.namespace != IPTC_EXTENSION or item.name != "DigitalSourceType":
            continue
        claim = classify_source_type(item.value)
        where = f"{place} Iptc4xmpExt:DigitalSourceType"
        if claim is None:
            yield MetadataEvidence(
                Finding.PRESENT,
                "The IPTC digital source type is a word that the vocabulary does not know.",
                place=where,
            )
        else:
            yield MetadataEvidence(
                Finding.PRESENT,
                f"An IPTC label calls the picture {_MEANING[claim]}; anyone can write it.",
                place=where,
                claim=claim,
                making=_making(item.value, claim),
            )


def _making(term: str, claim: SourceClaim) -> Making | None:
    is_enhanced = term.strip().rstrip("/").lower().endswith("algorithmicallyenhanced")
    return Making.ENHANCED if is_enhanced else making_of(claim)


def iptc_ai_fields(signals: Signals) -> Iterator[MetadataEvidence]:
    """IPTC 2025.1 ``AISystemUsed`` and its kin, unless a digital source type already decides.

    The fields name a system, not how much of the picture it made, so alone they claim a part.

    Source: IPTC Photo Metadata Standard 2025.1, "AI System Used" and following.
    """
    fields = {
        item.name: (place, item.value)
        for place, item in signals.xmp
        if item.namespace == IPTC_EXTENSION and item.name in _AI_FIELDS and item.value
    }
    if not fields.keys() - {"AIPromptWriterName"}:
        return
    classified = any(
        True for evidence in digital_source_type(signals) if evidence.claim != "no_claim"
    )
    first = min(fields, key=_AI_FIELDS.index)
    claim = SourceClaim.NO_CLAIM if classified else SourceClaim.PARTLY_AI
    values = {name: value for name, (_, value) in fields.items()}
    version = as_plain(values.get("AISystemVersionUsed"))
    tool = as_plain(values.get("AISystemUsed"))
    private = {
        key: values[name][:MAX_PRIVATE_CHARACTERS]
        for name, key in (
            ("AIPromptInformation", "prompt"),
            ("AIPromptWriterName", "prompt_writer"),
        )
        if name in values
    }
    yield MetadataEvidence(
        Finding.PRESENT,
        "IPTC fields name an AI system that was used; anyone can write them.",
        tool=None if tool is None else str(tool),
        version=None if version is None else str(version),
        place=f"{fields[first][0]} Iptc4xmpExt:{first}",
        claim=claim,
        making=making_of(claim),
        private=private,
    )


_AI_FIELDS = ("AISystemUsed", "AISystemVersionUsed", "AIPromptInformation", "AIPromptWriterName")
MAX_PRIVATE_CHARACTERS = 2000

_CREDITS = {
    "Made with Google AI": ("Google AI", SourceClaim.FULLY_AI),
    "Edited with Google AI": ("Google AI", SourceClaim.PARTLY_AI),
    "Imagined with AI": ("Meta AI", SourceClaim.FULLY_AI),
}
"""Whole credit lines. Source: IPTC, "Generative AI images" news of 2024 and 2025."""


def credit_line(signals: Signals) -> Iterator[MetadataEvidence]:
    """The credit line of services' generators and editors, in XMP or IPTC-IIM."""
    lines = [
        (f"{place} photoshop:Credit", item.value)
        for place, item in signals.xmp
        if item.namespace == PHOTOSHOP and item.name == "Credit"
    ]
    lines += [(text.place, text.text) for text in signals.texts if text.key == "Credit"]
    for place, value in lines:
        if value.strip() not in _CREDITS:
            continue
        tool, claim = _CREDITS[value.strip()]
        yield MetadataEvidence(
            Finding.PRESENT,
            f"The credit line calls the picture {_MEANING[claim]} ({tool}); anyone can write it.",
            tool=tool,
            place=place,
            claim=claim,
            making=making_of(claim),
        )


def camera_tags(signals: Signals) -> Iterator[MetadataEvidence]:
    """EXIF make and model. Shown, never proof, and their text is not repeated unasked.

    A make that holds a workflow or a service's name is left to the rules for generators.
    """
    by_key = {text.key: text for text in signals.texts if text.key in ("Make", "Model")}
    make, model = by_key.get("Make"), by_key.get("Model")
    if make is None or model is None or not make.text or not model.text:
        return
    # EXIF makes and models are a few words; node graphs and parameters are not.
    if max(len(make.text), len(model.text)) > 64 or "{" in make.text + model.text:
        return
    yield MetadataEvidence(
        Finding.PRESENT,
        "EXIF names a camera; it is unsigned and proves neither a camera nor its absence.",
        place=make.place,
        private={"make": make.text, "model": model.text},
    )


_PERSONAL_KEYS = {
    "Artist": "artist",
    "Author": "author",
    "Copyright": "copyright",
    "CameraOwnerName": "camera_owner",
    "BodySerialNumber": "body_serial",
    "LensSerialNumber": "lens_serial",
    "GPSPosition": "gps_position",
    "By-line": "author",
}
_PERSONAL_XMP = {"creator": "creator", "rights": "rights"}


def personal_data(signals: Signals) -> Iterator[MetadataEvidence]:
    """Names, serial numbers and positions: said to be there, repeated only when asked for."""
    fields = [(t.place, _PERSONAL_KEYS.get(t.key), t.text) for t in signals.texts]
    fields += [(place, _PERSONAL_XMP.get(i.name), i.value) for place, i in signals.xmp]
    kept = [(place, name, text) for place, name, text in fields if name and text.strip()]
    private = {name: text.strip()[:MAX_PRIVATE_CHARACTERS] for _, name, text in reversed(kept)}
    if kept:
        yield MetadataEvidence(
            Finding.PRESENT,
            "The file holds data that may point at a person; it is not repeated unasked.",
            place=kept[0][0],
            private=private,
        )


LABEL_RULES = (
    digital_source_type,
    iptc_ai_fields,
    china_aigc_label,
    credit_line,
    camera_tags,
    personal_data,
)
