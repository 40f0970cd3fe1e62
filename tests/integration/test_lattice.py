"""The lattice codec on pictures, through what pictures go through."""

import io

import numpy as np
import pytest
from PIL import Image

from generator.embedded.training.captions import Split, sample_spec
from generator.embedded.training.scenes import draw_scene
from provenance.errors import CapacityError, ReadBackError
from provenance.imaging import decode_image, encode_image
from provenance.interfaces import WatermarkCodec, WatermarkScheme
from provenance.plugins import load_backend
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.types import Finding, MediaType, RasterImage, RecordId, WatermarkPayload
from provenance.watermark.codecs.lattice_cells import find_cells
from provenance.watermark.marking import MarkReader, embed_mark, resave
from provenance.watermark.payload import WatermarkKey
from provenance.watermark.quality import measure_psnr_db

KEY = WatermarkKey(bytes(range(32)))
OTHER = WatermarkKey(bytes(range(1, 33)))
PAYLOAD = WatermarkPayload(RecordId("3f2a9c0d11e87b46"))
CODEC = load_backend("countermark.codecs", "lattice")()
PICTURE = RasterImage(draw_scene(sample_spec(np.random.default_rng(3), Split.TEST), side_px=512))


def mark(picture=PICTURE, payload=PAYLOAD, key=KEY, strength=1.0):
    return CODEC.embed(picture, payload, key=key, strength=strength)


MARKED = mark()


def changed(change):
    """The marked picture after a change of its Pillow image."""
    image = change(Image.fromarray(MARKED.pixels))
    return RasterImage(np.ascontiguousarray(np.asarray(image.convert("RGB"))))


def saved(image, fmt="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return Image.open(io.BytesIO(buffer.getvalue()))


def cropped(image, share):
    side = round(image.width * (1 - share) ** 0.5)
    left, top = round((image.width - side) * 0.4), round((image.height - side) * 0.7)
    return image.crop((left, top, left + side, top + side))


def screenshot(image):
    page = Image.new("RGB", (900, 700), (236, 239, 241))
    page.paste(image.resize((563, 563), Image.Resampling.BILINEAR), (201, 67))
    return page


def test_is_a_scheme_and_no_raw_codec():
    assert isinstance(CODEC, WatermarkScheme)
    assert not isinstance(CODEC, WatermarkCodec)


def test_is_hard_to_see():
    assert measure_psnr_db(MARKED, PICTURE) > 41


def test_the_same_arguments_make_the_same_picture():
    assert np.array_equal(mark().pixels, MARKED.pixels)
    other = mark(payload=WatermarkPayload(RecordId("3f2a9c0d11e87b47")))
    assert not np.array_equal(other.pixels, MARKED.pixels)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        lambda image: saved(image, quality=50),
        lambda image: saved(image, "WEBP", quality=75),
        lambda image: image.resize((256, 256), Image.Resampling.BICUBIC),
        lambda image: image.resize((1024, 1024), Image.Resampling.BICUBIC),
        lambda image: image.convert("L"),
        lambda image: image.point(lambda level: min(255, round(level * 1.3))),
    ],
    ids=["none", "jpeg50", "webp75", "half", "double", "grey", "bright"],
)
def test_a_fast_reading_survives(change):
    answer = CODEC.read(changed(change), [KEY])
    assert answer.finding is Finding.PRESENT
    assert answer.record_id == PAYLOAD.record_id
    assert answer.p_value < 1e-9
    assert 0.5 < answer.margin <= 1
    assert answer.key_id == KEY.key_id


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda image: image.rotate(-7, Image.Resampling.BICUBIC), {"rotation_deg": 7}),
        (
            lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            {"mirrored": True},
        ),
        (lambda image: image.transpose(Image.Transpose.ROTATE_270), {"rotation_deg": 90}),
        (lambda image: cropped(image, 0.5), {"scale": 2**0.5}),
        (lambda image: saved(cropped(image, 0.25), quality=60), {"scale": (4 / 3) ** 0.5}),
        (lambda image: image.resize((563, 512), Image.Resampling.BICUBIC), {"stretch": 1.1}),
        (screenshot, {}),
    ],
    ids=["turned", "mirrored", "quarter turn", "crop", "crop jpeg", "stretched", "screenshot"],
)
def test_a_thorough_reading_undoes_geometry_and_tells_it(change, told):
    answer = CODEC.read(changed(change), [KEY], thorough=True)
    assert answer.record_id == PAYLOAD.record_id
    for name, value in told.items():
        found = getattr(answer.geometry, name)
        if name == "rotation_deg":
            found = (found + 180) % 360 - 180
        assert found == pytest.approx(value, rel=0.02, abs=0.3)


def test_a_frame_is_told_from_the_picture_in_it():
    answer = CODEC.read(changed(screenshot), [KEY])
    region = answer.region
    assert (region.left_px, region.top_px) == pytest.approx((201, 67), abs=2)
    assert (region.width_px, region.height_px) == pytest.approx((563, 563), abs=3)


@pytest.mark.parametrize("thorough", [False, True])
def test_unmarked_pictures_and_foreign_keys_find_nothing(thorough):
    for picture in (PICTURE, MARKED):
        answer = CODEC.read(picture, [OTHER], thorough=thorough)
        assert answer.finding is Finding.ABSENT
        assert answer.record_id is None
        assert answer.p_value > 1e-6


def test_one_of_several_keys_is_found_beside_other_codecs():
    codecs = (load_backend("countermark.codecs", "dwtDctSvd")(), CODEC)
    answer = MarkReader(codecs, (OTHER, KEY)).read(MARKED)
    assert (answer.codec, answer.record_id, answer.key_id) == (
        "lattice",
        PAYLOAD.record_id,
        KEY.key_id,
    )
    # Words of the other codec count, too.
    assert answer.p_value >= 6 * 2.0**-32


@pytest.mark.parametrize("size", [(256, 256), (300, 900), (900, 300), (2048, 1365)])
def test_any_size_and_aspect_carries_it(size):
    marked = mark(natural_picture(*size, seed=5))
    assert CODEC.read(marked, [KEY]).record_id == PAYLOAD.record_id


def test_every_slot_reads_back():
    for digit in "0123456789abcdef":
        payload = WatermarkPayload(RecordId(f"00000000abcdef0{digit}"))
        marked = mark(natural_picture(256, 256, seed=8), payload)
        assert CODEC.read(marked, [KEY]).record_id == payload.record_id


def test_small_pictures_are_refused_with_a_remedy():
    with pytest.raises(CapacityError, match=r"at least 256 .*255x300: render it larger"):
        mark(natural_picture(255, 300, seed=1))
    with pytest.raises(CapacityError, match="give a payload"):
        mark(payload=None)


@pytest.mark.parametrize("rgb", [(0, 0, 0), (255, 255, 255), (90, 120, 200)])
def test_a_flat_picture_is_unreadable_not_absent(rgb):
    answer = CODEC.read(flat_picture(300, 300, rgb=rgb), [KEY])
    assert answer.finding is Finding.UNREADABLE
    assert "flat" in answer.reason


def test_a_tiny_picture_is_unreadable():
    answer = CODEC.read(natural_picture(40, 500, seed=1), [KEY], thorough=True)
    assert answer.finding is Finding.UNREADABLE


def other_scene(seed, side=512):
    return Image.fromarray(
        draw_scene(sample_spec(np.random.default_rng(seed), Split.TEST), side_px=side)
    )


def collage(image):
    """The marked picture at the lower left of four."""
    page = Image.new("RGB", (1024, 1024))
    for seed, corner in ((21, (0, 0)), (22, (512, 0)), (23, (512, 512))):
        page.paste(other_scene(seed), corner)
    page.paste(image, (0, 512))
    return page


def sheet(image):
    """Two pictures with white between and around."""
    page = Image.new("RGB", (828, 424), "white")
    page.paste(image.resize((384, 384), Image.Resampling.BICUBIC), (20, 20))
    page.paste(other_scene(24, 384), (424, 20))
    return page


@pytest.mark.parametrize(
    ("change", "box"),
    [(collage, (0, 512, 512, 512)), (sheet, (20, 20, 384, 384))],
    ids=["collage", "sheet"],
)
def test_the_part_that_carries_the_mark_is_told(change, box):
    answer = CODEC.read(changed(change), [KEY], thorough=True)
    assert answer.record_id == PAYLOAD.record_id
    region = answer.region
    found = (region.left_px, region.top_px, region.width_px, region.height_px)
    assert found == pytest.approx(box, abs=64)


def test_cells_are_found_and_a_plain_picture_has_none():
    assert find_cells(PICTURE) == []
    cells = find_cells(changed(collage))
    assert len(cells) == 4
    # Even sky at a cell's edge counts as its border.
    assert any((one.left_px, one.top_px) == pytest.approx((0, 512), abs=2) for one in cells)


def test_the_embedder_goes_on_until_the_mark_endures_what_it_should():
    made = embed_mark(
        PICTURE,
        PAYLOAD,
        key=KEY,
        codec=CODEC,
        encode=lambda raster: encode_image(raster, MediaType.PNG),
        decode=lambda encoded: decode_image(encoded.data),
    )
    assert made.info.ssim >= 0.975
    assert made.info.margin > 0.5
    if made.sturdy:
        for how in CODEC.endures:
            assert CODEC.read(resave(made.raster, how), [KEY]).record_id == PAYLOAD.record_id
    gentlest = mark(strength=CODEC.strengths[0])
    lasting = [
        all(CODEC.read(resave(one, how), [KEY]).record_id for how in CODEC.endures)
        for one in (gentlest, made.raster)
    ]
    assert lasting[1] >= lasting[0]


def test_a_flat_picture_is_not_delivered_as_marked():
    """A mark that would show is refused, and one that cannot be read back, too."""
    flat = flat_picture(512, 512, rgb=(90, 90, 90))
    with pytest.raises(ReadBackError, match="nothing is delivered"):
        embed_mark(
            flat,
            PAYLOAD,
            key=KEY,
            codec=CODEC,
            encode=lambda raster: encode_image(raster, MediaType.JPEG, quality=15),
            decode=lambda encoded: decode_image(encoded.data),
        )
