import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from provenance.errors import DeliveryError
from provenance.files import StagedFile, write_file_atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_staged_file_has_no_name_until_it_is_published(tmp_path: Path) -> None:
    staged = StagedFile(tmp_path / "a.png", b"bytes")
    assert "a.png" not in names(tmp_path)
    assert staged.publish() == tmp_path / "a.png"
    assert (tmp_path / "a.png").read_bytes() == b"bytes"
    staged.discard()
    assert names(tmp_path) == ["a.png"]


def test_discarded_bytes_leave_nothing(tmp_path: Path) -> None:
    StagedFile(tmp_path / "a.png", b"bytes").discard()
    with StagedFile(tmp_path / "b.png", b"bytes"):
        pass
    assert names(tmp_path) == []


def test_publishing_replaces_an_older_file_whole(tmp_path: Path) -> None:
    write_file_atomic(tmp_path / "a", b"old and long")
    write_file_atomic(tmp_path / "a", b"new", mode=0o600)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert names(tmp_path) == ["a"]


def test_publishing_new_leaves_the_first_file(tmp_path: Path) -> None:
    StagedFile(tmp_path / "a", b"first").publish_new()
    StagedFile(tmp_path / "a", b"second").publish_new()
    assert (tmp_path / "a").read_bytes() == b"first"
    assert names(tmp_path) == ["a"]


def test_a_pipe_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DeliveryError, match="no regular file"):
        write_file_atomic(tmp_path / "pipe", b"1")
    assert (tmp_path / "pipe").is_fifo()


def test_folders_are_made_and_a_folder_is_refused(tmp_path: Path) -> None:
    write_file_atomic(tmp_path / "x" / "y" / "a", b"1")
    with pytest.raises(DeliveryError, match="folder"):
        write_file_atomic(tmp_path / "x", b"1")
    with pytest.raises(DeliveryError, match="cannot be written"):
        write_file_atomic(tmp_path / "x" / "y" / "a" / "b", b"1")


def test_a_named_part_is_used_and_removed_where_unnamed_files_do_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provenance.files._UNNAMED", 0)
    with StagedFile(tmp_path / "a", b"1"):
        assert len(names(tmp_path)) == 1
    assert names(tmp_path) == []
    write_file_atomic(tmp_path / "a", b"2")
    assert names(tmp_path) == ["a"]


FULL_DISK = """
import resource, sys
from pathlib import Path
from provenance.errors import DeliveryError
from provenance.files import write_file_atomic
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_file_atomic(Path(sys.argv[1]), b"x" * 5000)
except DeliveryError as error:
    print(error)
"""


def test_a_write_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "a.png")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path.cwd(),
    )
    assert "a.png cannot be written" in done.stdout
    assert names(tmp_path) == []


KILLED = """
import os, sys
from pathlib import Path
from provenance.files import StagedFile
StagedFile(Path(sys.argv[1]), b"x" * 5000)
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="this system has no unnamed files")
def test_a_killed_process_leaves_nothing_staged(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.png")], check=False)
    assert done.returncode == -9
    assert names(tmp_path) == []
