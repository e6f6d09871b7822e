"""DuckDB's delta extension is installed by whichever command comes first, and by one at a time."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import duckdb_extension_delta
import pytest

INSTALL = """
import duckdb
from lakeops.warehouse import prepare_connection
connection = duckdb.connect()
print("ready", flush=True)
prepare_connection(connection)
connection.execute("load delta")
"""


def test_of_two_first_commands_one_waits_for_the_other(tmp_path: Path) -> None:
    wheel = Path(duckdb_extension_delta.__file__).parent / "extensions" / f"v{duckdb.__version__}"
    with (wheel / "delta.duckdb_extension").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        command = subprocess.Popen(
            [sys.executable, "-c", INSTALL], env=os.environ | {"HOME": str(tmp_path)}, stdout=subprocess.PIPE, text=True
        )
        assert command.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            command.wait(2)
        assert list(tmp_path.rglob("delta.*")) == []
    command.communicate(timeout=60)
    assert command.returncode == 0
    assert len(list(tmp_path.rglob("delta.duckdb_extension"))) == 1
