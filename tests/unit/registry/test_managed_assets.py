"""What an operator does with an asset store, wherever it is."""

from __future__ import annotations

import hashlib
import logging
import sys

import pytest

from provenance.errors import BackendUnavailableError, ConfigError, DeliveryError
from provenance.testing.stores import keep_asset
from provenance.types import EncodedImage, MediaType
from registry.assets import LocalAssetStore
from registry.assets_remote import RemoteAssetStore, open_remote_assets

fsspec = pytest.importorskip("fsspec", reason="the extra countermark[storage] is not installed")

DATA = b"signed bytes"
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(params=["local", "file", "memory"])
def place(request, tmp_path):
    """A store, and a function that writes bytes behind its back."""
    folder = tmp_path / "assets"
    if request.param == "memory":
        system = fsspec.filesystem("memory")
        store = open_remote_assets(f"memory://{folder}")
        return store, lambda name, data: system.pipe_file(f"{folder}/{name}", data)

    def write(name, data):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)

    if request.param == "local":
        return LocalAssetStore(folder), write
    return open_remote_assets(folder.as_uri()), write


@pytest.fixture
def store(place):
    return place[0]


def keep(store, data=DATA):
    return keep_asset(store, EncodedImage(data, MediaType.PNG))


def test_what_is_kept_is_listed_and_can_be_removed(store):
    digests = {keep(store), keep(store, b"another")}
    assert set(store.digests()) == digests
    assert store.contains(DIGEST)
    assert store.remove(DIGEST)
    assert not store.contains(DIGEST)
    assert store.get(DIGEST) is None
    assert not store.remove(DIGEST)
    assert set(store.digests()) == digests - {DIGEST}


def test_what_is_no_digest_is_never_looked_for(store):
    for name in ("", "..", "../" * 8 + "etc/passwd", "A" * 64):
        assert not store.contains(name)
        assert not store.remove(name)
        assert store.get(name) is None


def test_damaged_bytes_are_there_but_not_answered(place, caplog):
    store, write = place
    write(f"{DIGEST[:2]}/{DIGEST}", b"other bytes")
    with caplog.at_level(logging.ERROR):
        assert store.get(DIGEST) is None
    assert DIGEST in caplog.text
    assert store.contains(DIGEST)


def test_only_files_in_their_place_are_listed(place):
    store, write = place
    keep(store)
    write("notes.txt", b"")
    write("ab/readme", b"")
    store.stage(EncodedImage(b"waits", MediaType.PNG))
    assert list(store.digests()) == [DIGEST]


def test_recovering_publishes_what_was_registered_and_clears_the_rest(store):
    for data in (DATA, b"of a dead process"):
        store.stage(EncodedImage(data, MediaType.PNG))
    assert store.recover(lambda _: False, abandoned_after_s=3600) == 0
    assert store.recover(lambda sha256: sha256 == DIGEST, abandoned_after_s=3600) == 1
    assert store.get(DIGEST) == DATA
    assert store.recover(lambda _: False, abandoned_after_s=-60) == 1
    assert store.recover(lambda _: False, abandoned_after_s=-60) == 0
    assert list(store.digests()) == [DIGEST]


def test_publishing_what_another_process_recovered_is_no_error(store):
    staged = store.stage(EncodedImage(DATA, MediaType.PNG))
    store.recover(lambda _: True, abandoned_after_s=3600)
    staged.publish()
    staged.discard()
    assert store.get(DIGEST) == DATA


# -- addresses -------------------------------------------------------------------------------------


def test_a_protocol_whose_library_is_missing_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(BackendUnavailableError, match="needs s3fs"):
        open_remote_assets("s3://bucket/folder")


def test_an_address_of_nothing_is_named():
    with pytest.raises(ConfigError, match="poem://x"):
        open_remote_assets("poem://x")


class Broken:
    """A storage library in trouble: each method raises what nobody has heard of."""

    def __getattr__(self, name):
        def fail(*_args, **_kwargs):
            raise LookupError("socket closed")

        return fail


def test_no_error_of_a_storage_library_leaves_the_store():
    store = RemoteAssetStore(Broken(), "bucket/folder")
    for act in (
        lambda: store.stage(EncodedImage(DATA, MediaType.PNG)),
        lambda: store.get(DIGEST),
        lambda: store.contains(DIGEST),
        lambda: store.remove(DIGEST),
        lambda: list(store.digests()),
    ):
        with pytest.raises(DeliveryError, match="LookupError: socket closed"):
            act()


@pytest.mark.parametrize("url", ["assets", "./assets", "/assets", "s3:/bucket"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ConfigError, match=r"registry\.assets_url"):
        open_remote_assets(url)
