"""Damaged and hostile files raise nothing but our errors, quickly, in little memory."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.fuzz.__main__ import MAX_MEMORY_MB, MAX_SECONDS

INPUTS = 5_000


@pytest.mark.slow
def test_five_thousand_damaged_files_are_answered() -> None:
    """In a process of its own, whose size is that of the readers."""
    command = [sys.executable, "-m", "benchmarks.fuzz", "--inputs", str(INPUTS), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    result = json.loads(done.stdout)
    assert result["failures"] == []
    assert result["inputs"] == INPUTS
    assert result["slowest_ms"] < 1000 * MAX_SECONDS, result["slowest"]
    assert result["memory_mb"] < MAX_MEMORY_MB
    # What is fed reaches the readers: neither all refused nor all read.
    assert result["answers"]["metadata present"] > INPUTS // 10
    assert result["answers"]["metadata unreadable"] > INPUTS // 10
    assert done.returncode == 0
