import secrets
import stat
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from provenance.errors import ConfigError, DeliveryError
from provenance.watermark.keyfile import (
    MAX_KEYS,
    make_key_file,
    read_key_file,
    rotate_key_file,
)
from provenance.watermark.payload import WatermarkKey


def count_up(n: int) -> bytes:
    return bytes(range(n))


def test_a_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "watermark.key"
    first = make_key_file(path, random_bytes=count_up)
    again = make_key_file(path, random_bytes=lambda n: b"\1" * n)
    assert first == again
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_retired_keys_stay_readable_behind_the_current_one(tmp_path: Path) -> None:
    path = tmp_path / "watermark.key"
    path.write_text("aa" * 32 + "\n" + "bb" * 32 + "\n")
    path.chmod(0o600)
    current, retired = read_key_file(path)
    assert (current.secret[0], retired.secret[0]) == (0xAA, 0xBB)


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("aa" * 32, 0o644, "chmod 600"),
        ("", 0o600, "is empty"),
        ("zz" * 32, 0o600, "line 1, is not hex"),
        ("aa" * 4, 0o600, r"watermark\.key, key 1, has 4 bytes"),
        ("aa" * 32 + "\n" + "aa" * 15, 0o600, r"watermark\.key, key 2, has 15 bytes"),
    ],
)
def test_an_unusable_file_says_what_to_do(
    tmp_path: Path, text: str, mode: int, expected: str
) -> None:
    path = tmp_path / "watermark.key"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=expected):
        read_key_file(path)


def test_a_missing_file_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"watermark\.key_file"):
        read_key_file(tmp_path / "none.key")


def test_the_secret_is_never_shown(tmp_path: Path) -> None:
    (key,) = make_key_file(tmp_path / "k", random_bytes=count_up)
    assert count_up(32).hex() not in repr(key)
    assert count_up(32).hex() not in key.key_id


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    path = tmp_path / "watermark.key"
    with ProcessPoolExecutor(4) as pool:
        found = list(pool.map(make_and_read, [path] * 8))
    assert len(set(found)) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["watermark.key"]


def make_and_read(path: Path) -> str:
    return make_key_file(path, random_bytes=secrets.token_bytes)[0].key_id


# -- rotation ------------------------------------------------------------------------------------


def rotate(path: Path) -> tuple[WatermarkKey, ...]:
    return rotate_key_file(path, random_bytes=secrets.token_bytes)


def test_rotation_puts_a_fresh_key_before_the_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "watermark.key"
    (first,) = rotate(path)
    second, retired = rotate(path)
    assert retired == first != second
    assert read_key_file(path) == (second, first)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_rotation_ends_at_the_limit_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "watermark.key"
    path.write_text("".join(f"{number:064x}\n" for number in range(MAX_KEYS)))
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="15 is the most; take out a line"):
        rotate(path)
    assert path.read_bytes() == before


def test_a_file_of_too_many_keys_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "watermark.key"
    path.write_text("".join(f"{number:064x}\n" for number in range(MAX_KEYS + 1)))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="holds 16 keys"):
        read_key_file(path)


def test_rotation_refuses_what_reading_refuses(tmp_path: Path) -> None:
    path = tmp_path / "watermark.key"
    path.write_text("aa" * 4)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="has 4 bytes"):
        rotate(path)
    assert path.read_text() == "aa" * 4


def test_rotation_goes_through_a_link(tmp_path: Path) -> None:
    (first,) = make_key_file(tmp_path / "secret" / "k", random_bytes=count_up)
    link = tmp_path / "watermark.key"
    link.symlink_to(tmp_path / "secret" / "k")
    rotate(link)
    assert link.is_symlink()
    assert read_key_file(tmp_path / "secret" / "k")[1] == first


def test_a_folder_that_cannot_be_made_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file in the way")
    with pytest.raises(DeliveryError, match="cannot be"):
        rotate(tmp_path / "keys" / "watermark.key")


def test_no_key_is_lost_when_several_rotate_at_once(tmp_path: Path) -> None:
    path = tmp_path / "watermark.key"
    with ProcessPoolExecutor(4) as pool:
        made = list(pool.map(_rotate, [path] * 8))
    assert sorted(made) == sorted(key.key_id for key in read_key_file(path))


def _rotate(path: Path) -> str:
    return rotate(path)[0].key_id
