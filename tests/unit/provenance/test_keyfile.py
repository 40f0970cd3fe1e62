import secrets
import stat
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from provenance.errors import ConfigError
from provenance.watermark.keyfile import make_key_file, read_key_file


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
        ("aa" * 4, 0o600, "has 4 bytes"),
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
