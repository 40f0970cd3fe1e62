"""`provenance.watermark` as a newcomer uses it."""

import doctest
import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms

import provenance.watermark
from provenance.errors import (
    BackendUnavailableError,
    CapacityError,
    ConfigError,
    ImageDecodeError,
    ImageTooLargeError,
    InputError,
    UnknownBackendError,
)
from provenance.imaging import ImageLimits, encode_image
from provenance.testing.pictures import flat_picture, natural_picture
from provenance.types import Finding, MarkGeometry, MarkRegion, MediaType, WatermarkEvidence
from provenance.watermark import WatermarkKey, detect, detect_many, embed
from provenance.watermark.wording import describe_reading

KEY = WatermarkKey(bytes(range(32)))
OTHER = WatermarkKey(bytes(range(1, 33)))
STRIPE = "provenance.testing.twins_marks:StripeCodec"
PAYLOAD = "3f2a9c0d11e87b46"
PICTURE = natural_picture(96, 64, seed=4)


def mark(picture=PICTURE, **options):
    return embed(picture, key=KEY, codec=STRIPE, **options)


def read(picture, key=KEY, **options):
    return detect(picture, keys=[key], codec=STRIPE, **options)


def as_bytes(picture=PICTURE, **options):
    out = io.BytesIO()
    Image.fromarray(picture.pixels).save(out, "PNG", **options)
    return out.getvalue()


def test_the_example_of_the_package_is_true():
    assert doctest.testmod(provenance.watermark).failed == 0


def test_every_name_is_there_and_no_other():
    for name in provenance.watermark.__all__:
        assert getattr(provenance.watermark, name).__class__
    with pytest.raises(AttributeError, match="no attribute 'imbed'"):
        _ = provenance.watermark.imbed


def test_importing_the_package_is_cheap():
    code = "import provenance.watermark, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {"numpy", "scipy", "PIL", "torch", "cv2", "c2pa"} & set(done.stdout.split())
    assert not loaded


@pytest.mark.parametrize(
    "given",
    [
        lambda folder: PICTURE,
        lambda folder: PICTURE.pixels.copy(),
        lambda folder: Image.fromarray(PICTURE.pixels),
        lambda folder: as_bytes(),
        lambda folder: folder / "p.png",
        lambda folder: str(folder / "p.png"),
    ],
    ids=["raster", "array", "pillow", "bytes", "path", "text"],
)
def test_a_picture_may_be_given_as_anything_that_holds_one(given, tmp_path):
    (tmp_path / "p.png").write_bytes(as_bytes())
    marked = mark(given(tmp_path), payload=PAYLOAD)
    assert (marked.payload, marked.evidence.record_id) == (PAYLOAD, PAYLOAD)
    assert marked.sturdy
    assert read(marked.image.data).record_id == PAYLOAD
    assert read(given(tmp_path)).finding is Finding.ABSENT
    assert read(marked.raster, OTHER).finding is Finding.ABSENT


def test_a_payload_is_drawn_anew_for_every_picture():
    first, second = mark(), mark()
    assert len(first.payload) == 16
    assert first.payload != second.payload


def test_a_mark_is_saved_under_a_name_of_its_format(tmp_path):
    marked = mark()
    marked.save(tmp_path / "new" / "a.png")
    assert read(tmp_path / "new" / "a.png").record_id == marked.payload
    with pytest.raises(InputError, match=r"a\.jpg does not end like image/png"):
        marked.save(tmp_path / "a.jpg")


def test_orientation_is_applied_once_and_a_profile_for_rgb_kept():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    for given in (
        as_bytes(exif=exif, icc_profile=srgb),
        Image.open(io.BytesIO(as_bytes(exif=exif, icc_profile=srgb))),
    ):
        with Image.open(io.BytesIO(mark(given).image.data)) as saved:
            assert saved.size == (64, 96)
            assert not saved.getexif()
            assert saved.info["icc_profile"] == srgb


def test_a_profile_for_other_numbers_is_left_out():
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    with Image.open(io.BytesIO(mark(as_bytes(icc_profile=lab)).image.data)) as saved:
        assert "icc_profile" not in saved.info


@pytest.mark.parametrize("media_type", [MediaType.JPEG, MediaType.WEBP])
def test_profiles_are_written_in_every_format(media_type):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    encoded = encode_image(PICTURE, media_type, icc_profile=profile)
    with Image.open(io.BytesIO(encoded.data)) as saved:
        assert saved.info["icc_profile"] == profile


@pytest.mark.parametrize("payload", ["3f2a", PAYLOAD + "0", "g" * 16, "", "0x2a9c0d11e87b46"])
def test_a_payload_that_is_none_is_refused(payload):
    with pytest.raises(InputError, match="16 hex digits"):
        mark(payload=payload)


def test_a_payload_that_is_a_number_is_refused():
    with pytest.raises(InputError, match="16 hex digits"):
        mark(payload=0x3F2A9C0D11E87B46)


@pytest.mark.parametrize("quality", [0, -5, 101, "92", None, 50.5])
@pytest.mark.parametrize("media_type", [MediaType.JPEG, MediaType.WEBP])
def test_a_quality_that_is_none_is_refused(quality, media_type):
    with pytest.raises(InputError, match=r"quality .* is outside 1\.\.100"):
        mark(quality=quality, media_type=media_type)


def test_a_format_may_be_named_by_its_media_type(tmp_path):
    marked = mark(media_type="image/png")
    assert marked.image.media_type is MediaType.PNG
    marked.save(tmp_path / "marked.png")


@pytest.mark.parametrize(
    ("width", "media_type"), [(16_384, MediaType.WEBP), (65_501, MediaType.JPEG)]
)
def test_a_format_that_cannot_hold_the_picture_is_named(width, media_type, tmp_path):
    path = tmp_path / "wide.png"
    Image.effect_noise((width, 64), 60).save(path)
    with pytest.raises(ImageTooLargeError, match=rf"wide\.png is {width}x64 .*{media_type} holds"):
        mark(path, media_type=media_type)
    assert read(mark(path).image.data).finding is Finding.PRESENT


@pytest.mark.parametrize("key", ["aa" * 32, b"k" * 32, "photos.key"])
def test_what_is_easily_taken_for_a_key_is_refused(key):
    with pytest.raises(InputError, match=r"no watermark key; WatermarkKey\(secret\)"):
        embed(PICTURE, key=key, codec=STRIPE)
    for keys in (key, [key], [KEY, key]):
        with pytest.raises(InputError, match="no watermark key"):
            detect(PICTURE, keys=keys, codec=STRIPE)


@pytest.mark.parametrize(
    ("codec", "error"),
    [
        ("os:system", BackendUnavailableError),
        ("math:pi", BackendUnavailableError),
        ("os:getcwd", UnknownBackendError),
    ],
)
def test_what_is_no_codec_is_told(codec, error):
    with pytest.raises(error, match=codec):
        embed(PICTURE, key=KEY, codec=codec)


def test_letters_of_a_payload_may_be_large():
    assert mark(payload=PAYLOAD.upper()).payload == PAYLOAD


def test_what_is_too_small_too_flat_or_too_lossy_is_named(tmp_path):
    Image.fromarray(natural_picture(100, 100, seed=1).pixels).save(tmp_path / "small.png")
    with pytest.raises(CapacityError, match=r"small\.png is 100x100 pixels.*lattice.*needs 256"):
        embed(tmp_path / "small.png", key=KEY)
    Image.fromarray(flat_picture(300, 300, rgb=(0, 0, 0)).pixels).save(tmp_path / "flat.png")
    with pytest.raises(CapacityError, match=r"flat\.png: the lattice mark.*quality 10.*too flat"):
        embed(tmp_path / "flat.png", key=KEY, media_type=MediaType.JPEG, quality=10)


@pytest.mark.parametrize("given", [b"text", b"", 3, None, "missing.png", np.zeros((4, 4))])
def test_what_is_no_picture_is_an_input_error(given):
    with pytest.raises(InputError):
        read(given)


def test_a_damaged_pillow_image_is_an_input_error():
    damaged = Image.open(io.BytesIO(as_bytes()[:-400]))
    with pytest.raises(ImageDecodeError, match="Pillow image"):
        read(damaged)


def test_no_key_and_no_codec_are_told():
    with pytest.raises(ConfigError, match="key"):
        detect(PICTURE, keys=[], codec=STRIPE)
    with pytest.raises(UnknownBackendError, match="lattice"):
        detect(PICTURE, keys=[KEY], codec="latice")
    with pytest.raises(ConfigError, match="key"):  # at once, not with the first answer
        detect_many([PICTURE], keys=[], codec=STRIPE)
    with pytest.raises(InputError, match="several"):
        detect_many("photo.jpg", keys=[KEY], codec=STRIPE)


@pytest.mark.parametrize("workers", [1, 2])
def test_many_are_answered_in_order_and_a_bad_one_loses_no_other(tmp_path, workers):
    marks = [mark(natural_picture(64, 48 + n, seed=n)) for n in range(9)]
    pictures = [one.image.data for one in marks]
    pictures[4] = b"text"
    pictures[6] = tmp_path / "missing.png"
    pictures[7] = Image.open(io.BytesIO(pictures[7]))
    pictures[8] = Image.open(io.BytesIO(as_bytes()[:-400]))
    answers = list(detect_many(iter(pictures), keys=[KEY], codec=STRIPE, workers=workers))
    assert isinstance(answers[4], InputError)
    assert "missing.png" in str(answers[6])
    assert isinstance(answers[8], ImageDecodeError)
    for n in (0, 1, 2, 3, 5, 7):
        assert answers[n].record_id == marks[n].payload
    assert list(detect_many([], keys=[KEY], codec=STRIPE)) == []


def test_no_more_than_two_pictures_a_worker_are_taken():
    taken = []

    def pictures():
        for n in range(100):
            taken.append(n)
            yield PICTURE

    answers = detect_many(pictures(), keys=[KEY], codec=STRIPE, workers=2)
    next(answers)
    assert len(taken) <= 4
    answers.close()


def test_a_program_without_a_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from provenance.errors import BackendUnavailableError\n"
        "from provenance.watermark import WatermarkKey, detect_many\n"
        "try:\n"
        "    list(detect_many(['a.png'] * 3, keys=[WatermarkKey(bytes(32))], workers=2))\n"
        "except BackendUnavailableError as error:\n"
        "    print('told:', error)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert "told:" in done.stdout
    assert "__main__" in done.stdout


def test_limits_hold_for_each_picture():
    limits = ImageLimits(max_pixels=100)
    with pytest.raises(ImageTooLargeError):
        read(as_bytes(), limits=limits)
    (answer,) = detect_many([as_bytes()], keys=[KEY], codec=STRIPE, limits=limits)
    assert isinstance(answer, ImageTooLargeError)


def test_a_reading_is_told_in_one_line():
    found = WatermarkEvidence(
        Finding.PRESENT,
        "our mark",
        p_value=2.5e-9,
        margin=0.5,
        geometry=MarkGeometry(
            mirrored=True, rotation_deg=350.0, scale=1.414, stretch=1.1, shear=-0.02
        ),
        region=MarkRegion(5, 6, 70, 80),
    )
    assert describe_reading(found) == (
        "our mark; chance of a false report at most 2.5e-09; margin 50%; since it was marked: "
        "mirrored, turned 10.0° counter-clockwise, scale 1.41, width stretched by 1.10, "
        "sheared by -0.02; found in 70x80 pixels at (5, 6)"
    )
    untouched = MarkGeometry(
        mirrored=False, rotation_deg=359.98, scale=1.001, stretch=0.999, shear=0.0
    )
    plain = WatermarkEvidence(Finding.PRESENT, "our mark", geometry=untouched)
    assert describe_reading(plain) == "our mark"
    assert describe_reading(WatermarkEvidence(Finding.ABSENT, "no mark", p_value=0.7)) == "no mark"
