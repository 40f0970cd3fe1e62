"""Times in the registry's tables, and what its modules load."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.dialects import postgresql, sqlite

from provenance.errors import RegistryError
from registry.tables import UtcDateTime

NOON = datetime(2026, 7, 1, 12, 0, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()])
def test_utc_date_time_answers_the_moment_that_it_was_given(dialect):
    in_paris = NOON.astimezone(timezone(timedelta(hours=2)))
    bound = UtcDateTime().process_bind_param(in_paris, dialect)
    back = UtcDateTime().process_result_value(bound, dialect)
    assert back == NOON
    assert back is not None
    assert back.utcoffset() == timedelta(0)


def test_utc_date_time_refuses_a_time_without_a_zone():
    with pytest.raises(RegistryError, match="no zone"):
        UtcDateTime().process_bind_param(NOON.replace(tzinfo=None), sqlite.dialect())


def test_store_loads_no_alembic_and_command_no_sqlalchemy():
    # Each verification opens the store, and each --help imports the command.
    script = "import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    for module, heavy in (
        ("registry.store", ("alembic", "torch", "cv2", "c2pa", "fastapi")),
        ("registry.cli", ("sqlalchemy", "numpy", "pydantic", "alembic")),
    ):
        answer = subprocess.run(
            [sys.executable, "-c", script.format(module=module, heavy=heavy)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert answer.stdout.strip() == "[]", module
