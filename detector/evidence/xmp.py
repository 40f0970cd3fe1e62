"""Reads the properties of an XMP packet: flat, bounded, and without entities.

Source: XMP part 1 §7 (RDF serialisation). Both spellings of a property, element and attribute,
come out alike; arrays yield one value per item.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

__all__ = ["XmpProperty", "parse_xmp"]

MAX_PROPERTIES = 4096
MAX_ELEMENTS = 20_000
"""Real packets with a long editing history have a few thousand."""
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


@dataclass(frozen=True, slots=True)
class XmpProperty:
    """One property value.

    Attributes:
        namespace: URI.
        name: Local name.
        value: Its text.
    """

    namespace: str
    name: str
    value: str = field(repr=False)


def parse_xmp(packet: bytes) -> list[XmpProperty] | None:
    """All property values of a packet in document order; None when it is not well-formed."""
    if not packet.startswith((b"\xfe\xff", b"\xff\xfe")):
        # Padding and NULs around the packet are no XML; UTF-16 packets are left to the parser.
        packet = packet[max(0, packet.find(b"<")) : packet.rfind(b">") + 1]
    try:
        # Entities and DTDs have no place in XMP, and are how an XML bomb is built.
        root = fromstring(packet, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError, RecursionError):
        return None
    values: list[XmpProperty] = []
    for value in _walk(root):
        values.append(value)
        if len(values) >= MAX_PROPERTIES:
            break
    return values


def _walk(root: Element) -> Iterator[XmpProperty]:
    for element in islice(root.iter(), MAX_ELEMENTS):
        for key, text in element.attrib.items():
            yield from _property(key, text)
        if element.tag.startswith(_RDF):
            continue
        if element.text and element.text.strip():
            yield from _property(element.tag, element.text)
        for item in element.iterfind(f"./*/{_RDF}li"):
            if item.text:
                yield from _property(element.tag, item.text)
        resource = element.get(f"{_RDF}resource")
        if resource:
            yield from _property(element.tag, resource)


def _property(tag: str, text: str) -> Iterator[XmpProperty]:
    namespace, _, name = tag.removeprefix("{").rpartition("}")
    if namespace and f"{{{namespace}}}" != _RDF:
        yield XmpProperty(namespace, name, text.strip())
