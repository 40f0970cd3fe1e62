import hashlib
import json

import numpy as np
import pytest
from tiny_clip import TINY, write_folder

from provenance.errors import BackendUnavailableError, ConfigError
from provenance.fingerprint.embedders.descriptor.embedder import WEIGHTS_FILE
from provenance.plugins import load_backend
from provenance.testing.embedders import EmbedderTests
from provenance.testing.pictures import natural_picture
from provenance.testing.twins_marks import ThumbnailEmbedder
from provenance.types import RasterImage, SpaceKind

DESCRIPTOR = "provenance.fingerprint.embedders.descriptor.embedder:load_embedder"


@pytest.fixture(scope="module")
def load():
    return load_backend("countermark.embedders", "open_clip")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("clip") / "tiny-clip", seed=1)


class TestThumbnailEmbedder(EmbedderTests):
    @pytest.fixture
    def embedder(self):
        return ThumbnailEmbedder()


class TestOpenClip(EmbedderTests):
    @pytest.fixture
    def embedder(self, load, folder):
        return load(folder=folder)

    def test_its_space_never_says_copy(self, embedder):
        assert embedder.space.kind is SpaceKind.SEMANTIC

    def test_names_folder_weights_and_preprocessing(self, embedder, folder):
        assert embedder.space_id.startswith("open_clip/tiny-clip@")
        assert "+p1-" in embedder.space_id
        assert str(folder.parent) not in embedder.space_id

    def test_answers_vectors_of_the_model_s_width(self, embedder, picture):
        assert embedder.encode(picture).vector.shape == (24,)


def test_other_weights_or_preprocessing_are_another_space(load, folder, tmp_path):
    again = load(folder=folder).space_id
    assert again == load(folder=folder).space_id
    other_weights = write_folder(tmp_path / "tiny-clip", seed=2)
    assert load(folder=other_weights).space_id != again
    (tmp_path / "second").mkdir()
    stretched = write_folder(
        tmp_path / "second" / "tiny-clip", seed=1, preprocess={"size": 32, "resize_mode": "squash"}
    )
    assert load(folder=stretched).space_id.split("+")[0] == again.split("+")[0]
    assert load(folder=stretched).space_id != again


@pytest.mark.parametrize("missing", ["open_clip_config.json", "open_clip_model.safetensors"])
def test_an_incomplete_folder_is_refused_never_filled_with_random_numbers(load, tmp_path, missing):
    folder = write_folder(tmp_path / "tiny", seed=1)
    (folder / missing).unlink()
    with pytest.raises(BackendUnavailableError, match=missing):
        load(folder=folder)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("open_clip_model.safetensors", b"not safetensors"),
        ("open_clip_config.json", b"{"),
        ("open_clip_config.json", b'{"model_cfg": {"embed_dim": 24}}'),
        ("open_clip_config.json", json.dumps({"model_cfg": TINY | {"embed_dim": 8}}).encode()),
    ],
    ids=["broken-weights", "broken-config", "config-without-towers", "weights-of-another-shape"],
)
def test_a_broken_folder_is_one_clear_error(load, tmp_path, file, content):
    folder = write_folder(tmp_path / "tiny", seed=1)
    (folder / file).write_bytes(content)
    with pytest.raises(BackendUnavailableError, match="cannot load"):
        load(folder=folder)


def test_without_a_hub_the_error_names_the_way_out(load, tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BackendUnavailableError, match="put open_clip_config"):
        load(cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "ViT-B-23"}, "did you mean 'ViT-B-32'"),
        ({"pretrained": "laion2b_s34b_b79"}, "did you mean 'laion2b_s34b_b79k'"),
        ({"pretrained": "/etc/hostname"}, "no weights"),
        ({"device": "abacus"}, "abacus"),
    ],
)
def test_unknown_names_are_refused(load, arguments, message):
    with pytest.raises(ConfigError, match=message):
        load(**arguments)


def test_a_registered_copy_is_found_again(load, folder):
    embedder = load(folder=folder)
    query = embedder.encode(natural_picture(200, 160, seed=4)).vector
    others = [embedder.encode(natural_picture(200, 160, seed=n)).vector for n in range(8)]
    assert max(range(8), key=lambda n: float(query @ others[n])) == 4


class TestDescriptor(EmbedderTests):
    @pytest.fixture
    def embedder(self):
        return load_backend("countermark.embedders", DESCRIPTOR)()

    def test_is_a_copy_space_named_by_its_weights(self, embedder):
        digest = hashlib.sha256(WEIGHTS_FILE.read_bytes()).hexdigest()
        assert embedder.space.kind is SpaceKind.COPY
        assert embedder.space_id.startswith(f"countermark-descriptor@{digest[:16]}+p2-")
        assert WEIGHTS_FILE.stat().st_size < 8_000_000
        assert digest in WEIGHTS_FILE.with_name("README.md").read_text()

    def test_turned_and_mirrored_copies_are_the_picture_itself(self, embedder):
        picture = natural_picture(160, 160, seed=6)
        wanted = embedder.encode(picture).vector
        for pixels in (np.rot90(picture.pixels), picture.pixels[:, ::-1], picture.pixels[::-1]):
            copy = RasterImage(np.ascontiguousarray(pixels))
            assert float(embedder.encode(copy).vector @ wanted) > 0.999

    def test_a_framed_copy_is_near(self, embedder, picture):
        sheet = np.full((200, 240, 3), 255, np.uint8)
        sheet[41:159, 45:195] = picture.pixels
        vectors = embedder.encode_batch([picture, RasterImage(sheet)])
        assert float(vectors[0].vector @ vectors[1].vector) > embedder.space.likely_min_cosine
