import os
from pathlib import Path

import pytest

from provenance.errors import DeliveryError
from provenance.types import EncodedImage, MediaType
from registry.assets import LocalAssetStore

IMAGE = EncodedImage(b"signed bytes", MediaType.PNG)


@pytest.fixture
def store(tmp_path: Path) -> LocalAssetStore:
    return LocalAssetStore(tmp_path / "assets")


def files_of(store_folder: Path) -> list[Path]:
    return [p for p in store_folder.rglob("*") if p.is_file()]


def digest_of(staged_folder: Path) -> str:
    (part,) = (staged_folder / ".staged").iterdir()
    return part.name.partition(".")[0]


def test_bytes_are_found_once_they_are_published(store: LocalAssetStore, tmp_path: Path) -> None:
    staged = store.stage(IMAGE)
    digest = digest_of(tmp_path / "assets")
    assert store.get(digest) is None
    staged.publish()
    staged.discard()
    assert store.get(digest) == IMAGE.data


def test_discarded_bytes_leave_nothing(store: LocalAssetStore, tmp_path: Path) -> None:
    store.stage(IMAGE).discard()
    assert files_of(tmp_path) == []


def test_recovering_publishes_what_was_registered(store: LocalAssetStore, tmp_path: Path) -> None:
    staged = store.stage(IMAGE)
    digest = digest_of(tmp_path / "assets")
    store.recover(lambda sha256: sha256 == digest, abandoned_after_s=3600)
    assert store.get(digest) == IMAGE.data
    staged.publish()  # the process was not dead after all
    staged.discard()
    assert store.get(digest) == IMAGE.data


def test_recovering_clears_away_only_what_is_old(store: LocalAssetStore, tmp_path: Path) -> None:
    store.stage(IMAGE)
    (part,) = files_of(tmp_path)
    store.recover(lambda _: False, abandoned_after_s=3600)
    assert part.exists()
    os.utime(part, (0, 0))
    store.recover(lambda _: False, abandoned_after_s=3600)
    assert files_of(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "assets").write_text("in the way")
    with pytest.raises(DeliveryError, match="assets"):
        LocalAssetStore(tmp_path / "assets").stage(IMAGE)
