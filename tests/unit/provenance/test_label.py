import io

import pytest
from defusedxml import ElementTree
from PIL import Image

from provenance.errors import InputError
from provenance.imaging import encode_image
from provenance.manifest.label import build_xmp
from provenance.testing.pictures import flat_picture
from provenance.types import MediaType

EXT = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
XMP = "{http://ns.adobe.com/xap/1.0/}"


def fields(packet):
    root = ElementTree.fromstring(packet.decode("utf-8"))
    return {element.tag: element.text for element in root.iter() if element.text.strip()}


def test_packet_carries_the_iptc_fields():
    packet = build_xmp(ai_system="m", ai_system_version="v", creator_tool="countermark 1")
    assert fields(packet) == {
        EXT + "DigitalSourceType": (
            "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
        ),
        EXT + "AISystemUsed": "m",
        EXT + "AISystemVersionUsed": "v",
        XMP + "CreatorTool": "countermark 1",
    }


def test_packet_is_wrapped_as_xmp_asks():
    packet = build_xmp(ai_system="m")
    assert packet.startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'.encode())
    assert packet.endswith(b'<?xpacket end="r"?>')
    assert b"AIPrompt" not in packet


def test_markup_in_a_model_name_stays_text():
    name = "</Iptc4xmpExt:AISystemUsed><script>&\"'{properties} 模型"
    assert fields(build_xmp(ai_system=name))[EXT + "AISystemUsed"] == name


@pytest.mark.parametrize("name", ["a\x00b", "a\nb", "a\ud800b", "a\uffffb", "x" * 1001])
def test_text_that_xml_cannot_carry_is_refused(name):
    with pytest.raises(InputError, match="AISystemUsed"):
        build_xmp(ai_system=name)


def test_unknown_source_type_is_refused():
    with pytest.raises(InputError, match="digitalSourceType"):
        build_xmp(ai_system="m", digital_source_type="http://example.org/x")


@pytest.mark.parametrize("media_type", [MediaType.PNG, MediaType.JPEG, MediaType.WEBP])
def test_other_readers_find_the_packet(media_type):
    packet = build_xmp(ai_system="m", creator_tool="c")
    encoded = encode_image(flat_picture(32, 32, rgb=(9, 9, 9)), media_type, xmp=packet)
    opened = Image.open(io.BytesIO(encoded.data))
    found = opened.info.get("xmp") or opened.info.get("XML:com.adobe.xmp", "").encode("utf-8")
    assert fields(found) == fields(packet)
