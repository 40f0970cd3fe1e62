"""Marks with a signpost beside them: written, damaged, read, and what a verdict makes of them."""

import io
from dataclasses import replace

import numpy as np
import pytest
from deliveries import make_home
from PIL import Image

from detector.evidence.watermark import WatermarkSource
from detector.policy import STANDARD, choose_action, decide
from detector.schemas import view_verdict
from detector.wiring import build_detector
from generator.embedded.training.captions import Split, sample_spec
from generator.embedded.training.scenes import draw_scene
from generator.wiring import build_generator
from provenance.config import load_settings
from provenance.errors import ConfigError, ReadBackError
from provenance.imaging import decode_image, encode_image, open_candidate
from provenance.plugins import load_backend
from provenance.types import (
    Assurance,
    FilterAction,
    Finding,
    MediaType,
    Origin,
    RasterImage,
    RecordId,
    SignpostEvidence,
    WatermarkEvidence,
    WatermarkPayload,
)
from provenance.watermark.marking import MarkReader, embed_mark, measure_psnr_db
from provenance.watermark.payload import WatermarkKey
from provenance.watermark.signpost import (
    SIGNPOST_KEY,
    SignpostedScheme,
    SignpostReader,
    describe_signpost,
    payload_of_name,
)

KEY = WatermarkKey(bytes(range(32)))
OTHER = WatermarkKey(bytes(range(1, 33)))
PAYLOAD = WatermarkPayload(RecordId("3f2a9c0d11e87b46"))
LATTICE = load_backend("countermark.codecs", "lattice")()
REGISTRY = "acme.io/cm"
READER = MarkReader((LATTICE,), (KEY,))


def scene(number, side_px=512):
    spec = sample_spec(np.random.default_rng(number), Split.TEST)
    return RasterImage(draw_scene(spec, side_px=side_px))


PICTURE = scene(3)


def embed(picture, codec, media_type=MediaType.PNG):
    return embed_mark(
        picture,
        PAYLOAD,
        key=KEY,
        codec=codec,
        encode=lambda marked: encode_image(marked, media_type),
        decode=lambda encoded: decode_image(encoded.data),
    )


MARKED = embed(PICTURE, SignpostedScheme(LATTICE, REGISTRY), MediaType.JPEG)


def changed(change):
    image = change(Image.fromarray(MARKED.raster.pixels)).convert("RGB")
    return RasterImage(np.ascontiguousarray(np.asarray(image)))


def saved(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue()))


def read(raster, *, thorough=False):
    mark, beside = READER.read_beside(raster, (SIGNPOST_KEY,), thorough=thorough)
    return mark, describe_signpost(beside)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        lambda image: saved(image, 75),
        lambda image: image.resize((256, 256), Image.Resampling.BICUBIC),
    ],
    ids=["none", "jpeg75", "half"],
)
def test_mark_and_signpost_are_both_read(change):
    mark, signpost = read(changed(change))
    assert (mark.finding, mark.record_id) == (Finding.PRESENT, PAYLOAD.record_id)
    assert (signpost.finding, signpost.registry) == (Finding.PRESENT, REGISTRY)
    assert signpost.p_value < 1e-9


def test_a_signpost_is_found_where_the_mark_was_found():
    turned = changed(lambda image: image.transpose(Image.Transpose.ROTATE_90))
    mark, signpost = read(turned, thorough=True)
    assert mark.record_id == PAYLOAD.record_id
    assert signpost.registry == REGISTRY


def test_a_signpost_costs_little_quality():
    alone = LATTICE.embed(PICTURE, PAYLOAD, key=KEY, strength=1.0)
    both = SignpostedScheme(LATTICE, REGISTRY).embed(PICTURE, PAYLOAD, key=KEY, strength=1.0)
    assert measure_psnr_db(both, PICTURE) > measure_psnr_db(alone, PICTURE) - 1.5


def test_without_a_signpost_there_is_none():
    mark, signpost = read(embed(PICTURE, LATTICE).raster)
    assert mark.record_id == PAYLOAD.record_id
    assert signpost is None
    assert read(PICTURE)[1] is None
    flat = RasterImage(np.full((512, 512, 3), 90, dtype=np.uint8))
    assert read(flat)[1] is None


def test_looking_for_signposts_changes_nothing_about_the_mark():
    for raster in (PICTURE, MARKED.raster):
        assert read(raster)[0] == READER.read(raster)


def test_a_mark_without_its_signpost_is_not_delivered():
    class Blind(SignpostedScheme):
        def embed(self, image, payload, *, key, strength):
            return self.scheme.embed(image, payload, key=key, strength=strength)

    with pytest.raises(ReadBackError, match=r"the signpost to acme\.io/cm cannot"):
        embed(PICTURE, Blind(LATTICE, REGISTRY))


def test_a_signpost_that_is_found_first_ends_no_search():
    marked = LATTICE.embed(PICTURE, PAYLOAD, key=KEY, strength=1.25)
    turned = RasterImage(np.ascontiguousarray(np.rot90(marked.pixels)))
    name = payload_of_name("evil.co")
    mark, signpost = read(
        LATTICE.embed(turned, name, key=SIGNPOST_KEY, strength=0.8), thorough=True
    )
    assert mark.record_id == PAYLOAD.record_id
    assert signpost.registry == "evil.co"


def test_a_signpost_needs_no_key_to_be_read():
    assert SignpostReader(LATTICE).read(MARKED.raster).registry == REGISTRY
    source = WatermarkSource(lambda: None, signpost_reader=lambda: SignpostReader(LATTICE))
    data = MARKED.encoded.data
    mark, signpost = source.collect(open_candidate(data, name="a picture"))
    assert (mark.finding, signpost.registry) == (Finding.UNREADABLE, REGISTRY)


# -- verdicts ------------------------------------------------------------------------------------


def test_a_signpost_alone_is_the_weakest_hint():
    stranger = MarkReader((LATTICE,), (OTHER,))
    source = WatermarkSource(lambda: stranger)
    evidence = source.collect(open_candidate(MARKED.encoded.data, name="a picture"))
    assert [type(item) for item in evidence] == [WatermarkEvidence, SignpostEvidence]
    assert evidence[0].finding is Finding.ABSENT
    verdict = decide(evidence, STANDARD, {})
    assert (verdict.origin, verdict.assurance) == (Origin.MACHINE_MADE, Assurance.HINT)
    assert verdict.record_id is None
    assert choose_action(verdict, STANDARD)[0] is FilterAction.REVIEW
    assert "A watermark that anyone could copy" in verdict.reasons[0]
    assert any(f'"{REGISTRY}"' in reason for reason in verdict.reasons)
    shown = view_verdict(verdict, file="a.jpg", sha256="0" * 64).model_dump(mode="json")
    assert shown["evidence"][1] == {
        "source": "signpost",
        "finding": "present",
        "reason": evidence[1].reason,
        "registry": REGISTRY,
        "p_value": evidence[1].p_value,
    }


# -- from the setting to the answer ---------------------------------------------------------------


def test_a_deployment_writes_signposts_and_a_machine_without_keys_reads_them(tmp_path):
    settings = {"COUNTERMARK_WATERMARK_CODEC": "lattice"}
    home = make_home(
        tmp_path / "home", environ={**settings, "COUNTERMARK_WATERMARK_SIGNPOST": REGISTRY}
    )
    delivery = home.deliver("a signpost")
    assert delivery.record.parameters["signpost"] == REGISTRY
    (binding, *_) = delivery.asset.soft_bindings
    assert binding.alg == "org.countermark.lattice.1"
    assert binding.value == f"1*{delivery.record.record_id}"

    elsewhere = build_detector(load_settings(environ=settings, home=tmp_path / "elsewhere"))
    verdict = elsewhere.verify(delivery.asset.image.data, name="a picture")
    (signpost,) = (e for e in verdict.evidence if isinstance(e, SignpostEvidence))
    assert signpost.registry == REGISTRY


@pytest.mark.parametrize(
    ("codec", "name", "reason"),
    [
        ("lattice", "registry.acme.org", "12 is the most"),
        ("lattice", "Acme", "host name"),
        ("dwtDctSvd", REGISTRY, "writes no signposts"),
    ],
)
def test_a_signpost_that_cannot_be_written_is_refused_at_the_start(tmp_path, codec, name, reason):
    settings = load_settings(environ={}, home=tmp_path)
    settings = replace(settings, watermark=replace(settings.watermark, codec=codec, signpost=name))
    with pytest.raises(ConfigError, match=reason):
        build_generator(settings)
