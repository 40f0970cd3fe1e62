"""The asset store on a real S3 protocol, with moto's server; skipped where it isn't installed."""

from __future__ import annotations

import hashlib
import secrets

import pytest

from provenance.errors import DeliveryError
from provenance.testing.stores import AssetStoreTests, keep_asset
from provenance.types import EncodedImage, MediaType
from registry.assets_remote import open_remote_assets

pytest.importorskip("s3fs", reason="s3fs is not installed")
moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")

DATA = b"signed bytes"
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def client():
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        yield client
    server.stop()


@pytest.fixture
def folder():
    return secrets.token_hex(4)


class TestS3AssetStore(AssetStoreTests):
    @pytest.fixture
    def asset_store(self, client, folder):
        return open_remote_assets(f"s3://bucket/{folder}")


def test_what_is_kept_is_listed_recovered_and_removed(client, folder):
    store = open_remote_assets(f"s3://bucket/{folder}")
    keep_asset(store, EncodedImage(DATA, MediaType.PNG))
    staged = store.stage(EncodedImage(b"of a dead process", MediaType.PNG))
    assert list(store.digests()) == [DIGEST]
    assert store.recover(lambda _: False, abandoned_after_s=3600) == 0
    assert store.recover(lambda _: True, abandoned_after_s=3600) == 1
    staged.publish()  # the process was not dead after all
    assert len(list(store.digests())) == 2
    assert store.remove(DIGEST)
    assert not store.contains(DIGEST)
    assert not store.remove(DIGEST)


def test_damaged_bytes_are_there_but_not_answered(client, folder):
    store = open_remote_assets(f"s3://bucket/{folder}")
    client.put_object(Bucket="bucket", Key=f"{folder}/{DIGEST[:2]}/{DIGEST}", Body=b"others")
    assert store.get(DIGEST) is None
    assert store.contains(DIGEST)


def test_a_bucket_that_is_not_there_is_our_own_error(client):
    with pytest.raises(DeliveryError, match="nowhere"):
        open_remote_assets("s3://nowhere/folder").stage(EncodedImage(DATA, MediaType.PNG))
