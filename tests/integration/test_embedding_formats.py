"""What an embedder sees of files of every kind: the picture upright, on white, its first frame."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from provenance.imaging import decode_image
from provenance.testing.pictures import natural_picture
from provenance.testing.twins_marks import ThumbnailEmbedder

PICTURE = Image.fromarray(natural_picture(96, 64, seed=5).pixels)


def save(image, kind, **options):
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def oriented():
    """Stored turned by a quarter; EXIF says how to turn it back (6: by 90 degrees clockwise)."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return save(PICTURE.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)


def with_alpha():
    """Transparent outside a picture that is pasted on white."""
    sheet = Image.new("RGBA", (PICTURE.width, PICTURE.height), (255, 0, 0, 0))
    sheet.paste(PICTURE, (0, 0))
    sheet.putalpha(Image.linear_gradient("L").resize(PICTURE.size).point(lambda v: 255))
    return save(sheet, "PNG")


def hidden_under_alpha():
    """All transparent: what a viewer shows is white."""
    sheet = PICTURE.convert("RGBA")
    sheet.putalpha(0)
    return save(sheet, "PNG")


def animated():
    others = [Image.fromarray(natural_picture(96, 64, seed=n).pixels) for n in (6, 7)]
    return save(PICTURE, "WEBP", save_all=True, append_images=others, lossless=True)


def sixteen_bits():
    grey = np.asarray(PICTURE.convert("L"), dtype=np.uint16) * 257
    return save(Image.fromarray(grey), "PNG")


FILES = {
    "PNG": lambda: save(PICTURE, "PNG"),
    "JPEG": lambda: save(PICTURE, "JPEG", quality=90),
    "CMYK JPEG": lambda: save(PICTURE.convert("CMYK"), "JPEG", quality=95),
    "EXIF orientation": oriented,
    "alpha": with_alpha,
    "animation": animated,
    "16 bits, grey": sixteen_bits,
    "palette": lambda: save(PICTURE.quantize(256), "PNG"),
}


@pytest.fixture(params=["thumbnail", "countermark-descriptor"])
def embedder(request):
    if request.param == "thumbnail":
        return ThumbnailEmbedder()
    descriptor = pytest.importorskip("provenance.fingerprint.embedders.descriptor.embedder")
    if not descriptor.WEIGHTS_FILE.exists():
        pytest.skip("the descriptor's weights are not shipped with this version")
    return descriptor.load_embedder()


@pytest.mark.parametrize("kind", FILES)
def test_the_same_picture_in_another_kind_of_file_is_the_same(embedder, kind):
    wanted = embedder.encode(decode_image(FILES["PNG"]())).vector
    found = embedder.encode(decode_image(FILES[kind]()))
    assert found is not None
    assert float(found.vector @ wanted) > 0.9


def test_what_is_all_transparent_shows_nothing(embedder):
    assert embedder.encode(decode_image(hidden_under_alpha())) is None
