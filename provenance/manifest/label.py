"""The unsigned second carrier: an XMP packet with the IPTC fields for generated pictures. Pure.

Anyone can write it or strip it, so it proves nothing; but search engines and editors read it, and
it stays where a manifest is dropped. Never the prompt, never a person's name.
"""

from __future__ import annotations

import unicodedata
from xml.sax.saxutils import escape

from provenance.errors import InputError
from provenance.manifest.source_types import DigitalSourceType, is_known_source_type

__all__ = ["build_xmp"]

_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
{properties}
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""
"""Source: XMP part 1 (ISO 16684-1) §7.3: packet wrapper; "r" because nobody edits it in place."""

_MAX_CHARACTERS = 1000
"""Keeps the packet far below the 65 502 bytes that one JPEG segment holds (XMP part 3 §1.1.3)."""


def build_xmp(
    *,
    ai_system: str,
    ai_system_version: str | None = None,
    creator_tool: str | None = None,
    digital_source_type: str = DigitalSourceType.TRAINED_ALGORITHMIC_MEDIA,
) -> bytes:
    """A whole XMP packet, UTF-8.

    Source: IPTC Photo Metadata Standard 2025.1: "Digital Source Type", "AI System Used", "AI
    System Version Used" (namespace Iptc4xmpExt).

    Args:
        ai_system: Name of the model.
        ai_system_version: Its revision or digest.
        creator_tool: Name and version of the program.
        digital_source_type: Full URI of an IPTC or C2PA term.

    Raises:
        InputError: Unknown digital source type, or a text that XML cannot carry.
    """
    if not is_known_source_type(digital_source_type):
        raise InputError(
            f"{digital_source_type!r} is not a digitalSourceType of the IPTC or C2PA list"
        )
    values = {
        "Iptc4xmpExt:DigitalSourceType": str(digital_source_type),
        "Iptc4xmpExt:AISystemUsed": ai_system,
        "Iptc4xmpExt:AISystemVersionUsed": ai_system_version,
        "xmp:CreatorTool": creator_tool,
    }
    properties = "\n".join(
        f"   <{name}>{_escape(name, value)}</{name}>" for name, value in values.items() if value
    )
    return _PACKET.format(properties=properties).encode("utf-8")


def _escape(name: str, value: str) -> str:
    # XML 1.0 has no way to write control characters and surrogates, not even escaped.
    if any(unicodedata.category(c) in ("Cc", "Cs") or c in "\ufffe\uffff" for c in value):
        raise InputError(f"{name} holds a control character, which XMP cannot carry")
    if len(value) > _MAX_CHARACTERS:
        raise InputError(f"{name} has {len(value)} characters; at most {_MAX_CHARACTERS} fit")
    return escape(value)
