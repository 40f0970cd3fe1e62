"""The real codecs, on real JPEG, against the package whose marks they make."""

import io

import numpy as np
import pytest
from PIL import Image

from provenance.errors import CapacityError
from provenance.plugins import load_backend
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.types import (
    EncodedImage,
    Finding,
    MediaType,
    RasterImage,
    RecordId,
    WatermarkPayload,
)
from provenance.watermark.codecs import haar_blocks
from provenance.watermark.codecs.dwt_dct_svd import largest_singular_values
from provenance.watermark.marking import MarkReader, embed_mark
from provenance.watermark.payload import WatermarkKey

KEY = WatermarkKey(b"integration" * 3)


def encode_png(raster):
    out = io.BytesIO()
    Image.fromarray(raster.pixels).save(out, "PNG", compress_level=1)
    return EncodedImage(out.getvalue(), MediaType.PNG)


def decode(encoded):
    with Image.open(io.BytesIO(encoded.data)) as image:
        return RasterImage(np.asarray(image.convert("RGB")))


def resave(raster, quality):
    out = io.BytesIO()
    Image.fromarray(raster.pixels).save(out, "JPEG", quality=quality)
    return decode(EncodedImage(out.getvalue(), MediaType.JPEG))


def resave_75(raster):
    return resave(raster, 75)


def smooth_picture(seed):
    """What a small diffusion model draws: soft gradients and a few flat, saturated shapes."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:512, 0:512] / 512.0
    pixels = np.empty((512, 512, 3))
    for channel in range(3):
        low, across, down = random.uniform(0, 255, 3)
        pixels[..., channel] = low + (across - low) * columns + (down - low) * rows
    for _ in range(6):
        y, x, radius = random.uniform((0.1, 0.1, 0.05), (0.9, 0.9, 0.3))
        inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        pixels[inside] = (
            random.choice([0, 255, 128], 3) if random.random() < 0.5 else random.uniform(0, 255, 3)
        )
    return RasterImage(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def codec():
    return load_backend("countermark.codecs", "dwtDctSvd")()


def mark(raster, codec, number, encode=encode_png):
    return embed_mark(
        raster,
        WatermarkPayload(RecordId(f"{number:016x}")),
        key=KEY,
        codec=codec,
        encode=encode,
        decode=decode,
        stress=[resave_75],
    )


def test_ten_of_ten_pictures_are_read_after_png_and_nine_after_jpeg_75(codec):
    reader = MarkReader((codec,), (KEY,))
    after = {75: 0, 60: 0}
    for number in range(10):
        marked = mark(smooth_picture(number), codec, number)
        assert marked.info.psnr_db > 38.0
        assert reader.read(marked.raster).record_id == f"{number:016x}"
        for quality in after:
            answer = reader.read(resave(marked.raster, quality))
            assert answer.record_id in (None, f"{number:016x}")
            after[quality] += answer.finding is Finding.PRESENT
    assert after[75] == 10
    assert after[60] >= 8


def test_a_delivered_jpeg_is_marked_strongly_enough(codec):
    def encode_jpeg(raster):
        out = io.BytesIO()
        Image.fromarray(raster.pixels).save(out, "JPEG", quality=80)
        return EncodedImage(out.getvalue(), MediaType.JPEG)

    marked = mark(natural_picture(512, 384, seed=8), codec, 77, encode_jpeg)
    assert marked.sturdy
    assert marked.info.bit_accuracy >= 0.8
    assert MarkReader((codec,), (KEY,)).read(resave_75(marked.raster)).record_id == f"{77:016x}"


@pytest.mark.parametrize(
    "rgb", [(255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 0, 255), (255, 255, 0)]
)
def test_even_a_picture_of_one_colour_carries_its_mark(codec, rgb):
    """White cannot become bluer: the mark must darken red and green there instead."""
    marked = mark(flat_picture(256, 256, rgb=rgb), codec, 5)
    assert MarkReader((codec,), (KEY,)).read(marked.raster).record_id == f"{5:016x}"


def test_unmarked_pictures_are_not_said_to_be_marked(codec):
    reader = MarkReader((codec,), (KEY, WatermarkKey(b"second key" * 3)))
    for number in range(10):
        for raster in (smooth_picture(number), natural_picture(300, 256, seed=number)):
            answer = reader.read(raster)
            assert answer.finding in (Finding.ABSENT, Finding.UNREADABLE)
            assert answer.p_value is None


def test_a_picture_that_lost_its_colour_is_unreadable(codec):
    marked = mark(natural_picture(512, 512, seed=3), codec, 6)
    grey = np.repeat(marked.raster.pixels.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    answer = MarkReader((codec,), (KEY,)).read(RasterImage(grey))
    assert answer.finding is Finding.UNREADABLE
    assert "colourless" in answer.reason


@pytest.mark.parametrize(("width", "height"), [(257, 513), (519, 300), (260, 1025)])
def test_sizes_off_the_grid_in_both_orientations(codec, width, height):
    marked = mark(natural_picture(width, height, seed=width), codec, 9)
    assert (marked.raster.width_px, marked.raster.height_px) == (width, height)
    assert marked.sturdy


def test_a_small_picture_is_refused_never_skipped(codec):
    with pytest.raises(CapacityError, match="256 pixels"):
        mark(natural_picture(255, 400, seed=1), codec, 1)


# -- the same mark as the package ------------------------------------------------------------------


def package_bits(method, raster, blocks):
    bgr = np.ascontiguousarray(raster.pixels[..., ::-1])
    return method(wmLen=blocks, scales=[0, 36.0, 0]).decode(bgr)


@pytest.mark.parametrize("name", ["dwtDct", "dwtDctSvd"])
@pytest.mark.parametrize(("width", "height"), [(256, 256), (300, 261), (262, 347)])
def test_reads_what_the_package_reads(name, width, height):
    from imwatermark.dwtDctSvd import EmbedDwtDctSvd
    from imwatermark.maxDct import EmbedMaxDct

    method = {"dwtDct": EmbedMaxDct, "dwtDctSvd": EmbedDwtDctSvd}[name]
    codec = load_backend("countermark.codecs", name)()
    for seed in range(3):
        raster = natural_picture(width, height, seed=seed)
        ours = codec.extract(raster, strength=36.0)
        theirs = package_bits(method, raster, ours.size)
        differ = (ours > 0) != theirs
        # Rounding in another order decides values that lie exactly on a quantiser edge.
        assert np.abs(ours[differ]).max(initial=0.0) < 1e-6
        assert differ.mean() < 0.03


@pytest.mark.parametrize("name", ["dwtDct", "dwtDctSvd"])
def test_the_package_reads_our_marks_and_we_read_its_marks(name):
    from imwatermark.dwtDctSvd import EmbedDwtDctSvd
    from imwatermark.maxDct import EmbedMaxDct

    method = {"dwtDct": EmbedMaxDct, "dwtDctSvd": EmbedDwtDctSvd}[name]
    codec = load_backend("countermark.codecs", name)()
    raster = natural_picture(512, 512, seed=21)
    bits = np.random.default_rng(4).random(4096) < 0.5
    ours = codec.embed(raster, bits, strength=36.0)
    by_them = method(bits.astype(int).tolist(), wmLen=4096, scales=[0, 36, 0])
    theirs = by_them.encode(np.ascontiguousarray(raster.pixels[..., ::-1]))[..., ::-1]
    assert (package_bits(method, ours, 4096) == bits).mean() > 0.78
    assert ((codec.extract(RasterImage(theirs), strength=36.0) > 0) == bits).mean() > 0.75


def test_the_largest_singular_value_is_lapack_s():
    blocks = np.random.default_rng(1).normal(250, 30, (500, 4, 4))
    reference = np.linalg.svd(blocks, compute_uv=False)[:, 0]
    assert np.abs(largest_singular_values(blocks) - reference).max() < 1e-9


def test_strips_do_not_show():
    """A picture larger than one strip is read as if it were converted in one piece."""
    raster = natural_picture(1100, 1200, seed=2)
    whole = haar_blocks.read_blocks(raster, largest_singular_values)
    top = haar_blocks.read_blocks(RasterImage(raster.pixels[:600]), largest_singular_values)
    assert np.array_equal(whole[: top.size], top)


def test_reading_needs_neither_torch_nor_opencv():
    import subprocess
    import sys

    script = (
        "import sys, numpy as np\n"
        "from provenance.plugins import load_backend\n"
        "from provenance.types import RasterImage\n"
        "from provenance.watermark.marking import MarkReader\n"
        "from provenance.watermark.payload import WatermarkKey\n"
        "codecs = tuple(load_backend('countermark.codecs', n)() for n in ('dwtDctSvd', 'dwtDct'))\n"
        "MarkReader(codecs, (WatermarkKey(bytes(16)),)).read(\n"
        "    RasterImage(np.zeros((256, 256, 3), np.uint8)))\n"
        "sys.exit(sorted({'torch', 'cv2', 'imwatermark', 'PIL'} & set(sys.modules)).__repr__()\n"
        "    if {'torch', 'cv2', 'imwatermark'} & set(sys.modules) else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
