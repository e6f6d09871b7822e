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

from lakeops.errors import UsageError
from lakeops.warehouse import connect

INSTALL = """
import duckdb
from lakeops.warehouse import prepare_connection
connection = duckdb.connect()
print("ready", flush=True)
prepare_connection(connection)
connection.execute("load delta")
"""


@pytest.mark.parametrize("home", ["", "/proc/nobody"], ids=["none", "one that cannot be written"])
def test_an_account_without_a_home_is_one_clear_error(home: str, tmp_path: Path) -> None:
    for name in ("dbt/models", "data_raw"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "dbt" / "dbt_project.yml").write_text("name: test\n")
    done = subprocess.run(
        [Path(sys.executable).parent / "lakeops", "quarantine", "list"],
        env=os.environ | {"HOME": home, "LAKEOPS_ROOT": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "DuckDB cannot keep its delta extension" in done.stderr
    assert "set HOME to such a folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("below", ["file", "file/folder"])
def test_a_warehouse_below_a_file_is_one_clear_error(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="warehouse cannot be made"), connect(tmp_path / below / "warehouse.duckdb"):
        pass


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
