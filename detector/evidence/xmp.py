"""Reads the properties of an XMP packet: flat, bounded, and without entities.

Source: XMP part 1 §7 (RDF serialisation). Both spellings of a property, element and attribute,
come out alike; arrays yield one value per item.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError, TreeBuilder

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import XMLParser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

__all__ = ["XmpProperty", "parse_xmp"]

MAX_PROPERTIES = 4096
MAX_ELEMENTS = 20_000
"""Later ones are not read. Real packets with a long editing history have a few thousand."""
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
    if packet.startswith((b"<\0", b"\0<")):
        # UTF-16 without its mark, which XML asks for and some writers leave out.
        packet = (b"\xff\xfe" if packet[0] else b"\xfe\xff") + packet
    if not packet.startswith((b"\xfe\xff", b"\xff\xfe")):
        # Padding and NULs around the packet are no XML; UTF-16 packets are left to the parser.
        packet = packet[max(0, packet.find(b"<")) : packet.rfind(b">") + 1]
    try:
        root = _parse(packet)
    except (ParseError, DefusedXmlException, ValueError, LookupError, RecursionError):
        return None
    values: list[XmpProperty] = []
    for value in _walk(root):
        values.append(value)
        if len(values) >= MAX_PROPERTIES:
            break
    return values


class _FullError(Exception):
    """The tree has as many elements as it may."""


class _BoundedBuilder(TreeBuilder):
    """Builds a tree of no more elements than any real packet has, so that a bomb stops early."""

    def __init__(self) -> None:
        super().__init__()
        self.root: Element | None = None
        self._left = MAX_ELEMENTS

    def start(self, tag: str, attrs: dict[str, str], /) -> Element:
        """Begins an element.

        Raises:
            _FullError: It is one too many.
        """
        self._left -= 1
        if self._left < 0:
            raise _FullError
        element = super().start(tag, attrs)
        self.root = element if self.root is None else self.root
        return element


def _parse(packet: bytes) -> Element:
    """The packet's tree, or its first `MAX_ELEMENTS` elements.

    Raises:
        ParseError: Not well-formed, or empty.
    """
    builder = _BoundedBuilder()
    # Entities and DTDs have no place in XMP, and are how an XML bomb is built.
    parser = XMLParser(target=builder, forbid_dtd=True)
    try:
        parser.feed(packet)
        parser.close()
    except _FullError:
        pass
    if builder.root is None:
        raise ParseError("no element")
    return builder.root


def _walk(root: Element) -> Iterator[XmpProperty]:
    for element in root.iter():
        for key, text in element.attrib.items():
            yield from _property(key, text)
        if element.tag.startswith(_RDF):
            continue
        inner = [element, *element.iterfind(f"./*/{_RDF}li"), *element.iterfind(f"./{_RDF}value")]
        inner += element.iterfind(f"./{_RDF}Description/{_RDF}value")
        inner += element.iterfind(f"./{_RDF}Description[@{_RDF}value]")
        for item in inner:
            for said in (item.text, item.get(f"{_RDF}resource"), item.get(f"{_RDF}value")):
                if said and said.strip():
                    yield from _property(element.tag, said)


def _property(tag: str, text: str) -> Iterator[XmpProperty]:
    namespace, _, name = tag.removeprefix("{").rpartition("}")
    if namespace and f"{{{namespace}}}" != _RDF:
        yield XmpProperty(namespace, name, text.strip())
