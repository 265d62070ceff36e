"""Some damaged files of every kind: each is read or refused in a line, and nothing else."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="reads in copies of a process")
@pytest.mark.slow
def test_damaged_files_of_every_kind(tmp_path: Path) -> None:
    """In a process of its own, as one with threads can't be copied safely."""
    command: list[str | Path] = [sys.executable, ROOT / "benchmarks" / "fuzz.py", "--files", "12", "--dry"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run([*command, "--keep", tmp_path], check=True, env=environment, capture_output=True, text=True)
    rows = [ast.literal_eval(line) for line in run.stdout.splitlines() if line.startswith("{")]
    assert [line for line in run.stdout.splitlines() if not line.startswith("{")] == []
    assert len(rows) == 10
    for row in rows:
        assert row["read"] + row["refused"] == row["files"] == 12, row
    assert sum(row["read"] for row in rows) > 10
