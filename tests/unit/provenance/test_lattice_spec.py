"""docs/spec/lattice-mark-1.md is right and enough: a writer made from its text alone.

Nothing of the project is used before the last tests, which hold the specification's numbers, the
writer below and the codec against each other.
"""

import hashlib
import hmac
import json
import re
from pathlib import Path

import numpy as np
import pytest

from provenance.manifest.claims import DEFAULT_NAMESPACE
from provenance.plugins import load_backend
from provenance.types import Finding, RasterImage, RecordId, WatermarkPayload
from provenance.watermark.codecs.lattice_carrier import make_carrier, slot_of
from provenance.watermark.payload import WatermarkKey
from provenance.watermark.signpost import SIGNPOST_KEY, name_of_payload, payload_of_name

SPEC = Path(__file__).parents[3] / "docs" / "spec" / "lattice-mark-1.md"
VECTORS = json.loads(re.search(r"```json\n(.*?)```", SPEC.read_text("utf-8"), re.DOTALL)[1])
GENERATORS = (0o463, 0o535, 0o733, 0o745)


class Written:
    """One mark, step by step as the specification says."""

    def __init__(self, secret: bytes, record_id: str) -> None:
        self.secret, self.id = secret, bytes.fromhex(record_id)
        # 2 and 3
        ring = [
            (d, a)
            for d in range(26)
            for a in range(-25, 26)
            if 21 <= d * d + a * a <= 600 and (d > 0 or a > 0)
        ]
        self.points = np.array(ring)[self.order("lattice/points", 908)]
        self.slot = int(record_id[-1], 16)
        name = f"lattice/slot/{self.slot}"
        self.pilots = self.phases("lattice/pilots", 84)
        self.slot_pilots = self.phases(f"{name}/pilots", 24)
        self.data = self.phases(f"{name}/data", 455)
        orders = [self.order(f"{name}/order/{turn}", 384) for turn in (0, 1)]
        self.carries = np.concatenate(orders)[:455]
        self.flips = bits_of(self.draw(f"{name}/flips", 48))
        # 4
        tag = hmac.new(self.derive("tag"), self.id, hashlib.sha256).digest()[:4]
        self.word = self.id + tag
        self.coded = encode(bits_of(self.word))
        start = hashlib.shake_256(self.derive("lattice/start") + self.id).digest(4)
        self.start = np.frombuffer(start, "<u2") * (128 / 65536)
        # 5
        data = self.data + np.pi * (self.coded ^ self.flips)[self.carries]
        self.phase = np.concatenate([self.pilots, self.slot_pilots, data])
        self.amplitude = np.hypot(*self.points[:563].T) ** -0.6
        self.amplitude[:108] *= 1.25

    def derive(self, purpose: str) -> bytes:
        message = b"countermark/watermark/v1/" + purpose.encode() + b"\x01"
        return hmac.new(self.secret, message, hashlib.sha256).digest()

    def draw(self, purpose: str, count: int) -> bytes:
        return hashlib.shake_256(self.derive(purpose)).digest(count)

    def phases(self, purpose: str, count: int) -> np.ndarray:
        return np.frombuffer(self.draw(purpose, 4 * count), "<u4") * (2 * np.pi / 2**32)

    def order(self, purpose: str, count: int) -> np.ndarray:
        return np.argsort(np.frombuffer(self.draw(purpose, 8 * count), "<u8"), kind="stable")

    def picture(self) -> np.ndarray:
        """(512, 512) grey levels of the test picture."""
        tile = np.zeros((128, 128))
        down, across = np.mgrid[:128, :128]
        for (d, a), size, phase in zip(self.points, self.amplitude, self.phase, strict=False):
            place = d * (down - self.start[0]) + a * (across - self.start[1])
            tile += size * np.cos(2 * np.pi * place / 128 + phase)
        tile *= 16 / np.sqrt(np.square(self.amplitude).sum() / 2)
        return np.tile(np.rint(128 + tile), (4, 4))


def bits_of(data: bytes) -> np.ndarray:
    return np.unpackbits(np.frombuffer(data, np.uint8))


def encode(word: np.ndarray) -> np.ndarray:
    coded = []
    for step in range(96):
        for generator in GENERATORS:
            tapped = [word[(step - j) % 96] for j in range(9) if generator >> (8 - j) & 1]
            coded.append(sum(int(bit) for bit in tapped) % 2)
    return np.array(coded)


def describe(one: Written) -> dict:
    """What a test vector says of a mark."""
    picture, lines = one.picture(), []
    down, across = np.mgrid[:512, :512]
    for index in (0, 1, 84, 108, 562):
        d, a = one.points[index]
        line = (picture * np.exp(-2j * np.pi * (d * down + a * across) / 128)).mean()
        lines.append([int(d), int(a), round(abs(line), 3), round(np.angle(line) % (2 * np.pi), 3)])
    return {
        "secret": one.secret.hex(),
        "key_id": one.derive("key-id").hex()[:16],
        "derive_lattice_points": one.derive("lattice/points").hex(),
        "id": one.id.hex(),
        "slot": one.slot,
        "first_points": one.points[:4].tolist(),
        "points_sha256": hashlib.sha256(one.points.astype(np.int8).tobytes()).hexdigest(),
        "first_pilot_phases": one.pilots[:4].round(5).tolist(),
        "first_slot_pilot_phases": one.slot_pilots[:4].round(5).tolist(),
        "first_data_phases": one.data[:4].round(5).tolist(),
        "first_carried_bits": one.carries[:8].tolist(),
        "flips": np.packbits(one.flips).tobytes().hex(),
        "word": one.word.hex(),
        "coded": np.packbits(one.coded).tobytes().hex(),
        "start": one.start.tolist(),
        "lines": lines,
    }


def of_vector(vector: dict) -> Written:
    return Written(bytes.fromhex(vector["secret"]), vector["id"])


both = pytest.mark.parametrize("vector", VECTORS, ids=["private", "signpost"])


@both
def test_the_text_makes_the_numbers(vector):
    made = describe(of_vector(vector))
    lines, wanted = made.pop("lines"), dict(vector)
    assert np.allclose(lines, wanted.pop("lines"), atol=2e-3)
    assert made == wanted


@both
def test_the_codec_draws_what_the_text_draws(vector):
    key, record_id = WatermarkKey(bytes.fromhex(vector["secret"])), RecordId(vector["id"])
    text, carrier = of_vector(vector), make_carrier(key)
    assert key.key_id == vector["key_id"]
    assert slot_of(record_id) == vector["slot"]
    assert np.array_equal(np.concatenate([carrier.points, carrier.empty]), text.points)
    waves = carrier.waves(text.slot, text.coded.astype(np.bool_), tuple(text.start))
    turned = text.phase - 2 * np.pi * (text.points[:563] @ text.start) / 128
    ours = text.amplitude * np.exp(1j * turned)
    assert np.abs(waves / waves.std() - ours / ours.std()).max() < 1e-3


@both
def test_the_codec_reads_what_the_text_writes(vector):
    grey = of_vector(vector).picture().astype(np.uint8)
    answer = load_backend("countermark.codecs", "lattice")().read(
        RasterImage(np.stack([grey] * 3, axis=-1)), [WatermarkKey(bytes.fromhex(vector["secret"]))]
    )
    assert (answer.finding, answer.record_id) == (Finding.PRESENT, vector["id"])


@both
def test_the_codec_writes_what_the_text_reads(vector):
    text, codec = of_vector(vector), load_backend("countermark.codecs", "lattice")()
    grey = RasterImage(np.full((512, 512, 3), 128, np.uint8))
    key, payload = WatermarkKey(text.secret), WatermarkPayload(RecordId(vector["id"]))
    marked = codec.embed(grey, payload, key=key, strength=codec.strengths[-1])
    lines = np.fft.fft2(marked.pixels[..., 0].astype(float))[::4, ::4]
    found = lines[text.points[:563, 0] % 128, text.points[:563, 1] % 128]
    turned = text.phase - 2 * np.pi * (text.points[:563] @ text.start) / 128
    assert np.cos(np.angle(found) - turned).min() > 0.5


def test_the_names_are_those_of_the_text():
    codec, text = load_backend("countermark.codecs", "lattice")(), SPEC.read_text("utf-8")
    assert f"`{codec.alg}`" in text
    assert f"`{DEFAULT_NAMESPACE}.{codec.alg}`" in text
    assert f"`{SIGNPOST_KEY.secret.decode()}`" in text
    assert f"`{SIGNPOST_KEY.key_id}`" in text
    assert payload_of_name("acme.io/cm").record_id == VECTORS[1]["id"]
    assert name_of_payload(RecordId(VECTORS[1]["id"])) == "acme.io/cm"
