"""dbt in our own process: what ends it by hand ends the command, and what comes after a publish does not undo it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Project
from lakeops import pipeline, publish
from lakeops.settings import Settings
from lakeops.warehouse import connect, run_dbt

PROFILE = """
t:
  target: dev
  outputs:
    dev:
      type: duckdb
      path: "{{ env_var('LAKEOPS_WAREHOUSE') }}"
      plugins: [{module: pressed_keys}]
"""
# dbt asks it when it connects.
PLUGIN = """
import signal
from dbt.adapters.duckdb.plugins import BasePlugin

class Plugin(BasePlugin):
    def configure_connection(self, conn):
        signal.raise_signal(signal.SIGINT)
"""


@pytest.fixture
def settings(project: Project, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The small project; what running dbt sets in the environment is gone after the test."""
    for name in ("LAKE", "ROOT", "TARGET", "TEST_SCOPE", "WAREHOUSE"):
        monkeypatch.setenv(f"LAKEOPS_{name}", "")
    return project.settings


def test_ctrl_c_ends_the_run_and_nobody_is_alerted(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    (settings.dbt_project / "dbt_project.yml").write_text("name: t\nprofile: t\nmodel-paths: [ours]\n")
    (settings.dbt_project / "profiles.yml").write_text(PROFILE)
    (settings.dbt_project / "ours").mkdir()
    (settings.dbt_project / "ours" / "m.sql").write_text("select 1 as n")
    (settings.root / "pressed_keys.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(settings.root)
    settings.warehouse.parent.mkdir()
    with pytest.raises(KeyboardInterrupt), pipeline.record_run(settings, "incremental"):
        list(run_dbt(settings, ("run",)))
    assert not settings.lake.alerts.exists()


def test_a_warehouse_that_is_locked_after_the_publish_is_a_warning(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    holders = []

    def publish_and_lock(*_: object) -> list[publish.Published]:
        holder = subprocess.Popen(
            [Path(sys.executable).parent / "duckdb", settings.warehouse], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        holders.append(holder)
        holder.stdin.write(b"select 'ready';\n")
        holder.stdin.flush()
        while b"ready" not in holder.stdout.readline():
            pass
        return []

    # What comes before has tests of its own, and takes a whole project.
    monkeypatch.setattr(pipeline, "_build_and_test", lambda *_: {})
    monkeypatch.setattr(publish, "publish_gold", publish_and_lock)
    outcome = pipeline.IncrementalOutcome([pipeline.run_load(settings)])
    outcome.loads[0].batches.append(1)
    with connect(settings.warehouse):
        pass
    try:
        pipeline.build_and_publish(settings, outcome)
    finally:
        for holder in holders:
            holder.communicate(b".quit\n")
    assert outcome.published == []
    said = capsys.readouterr().err
    assert "warning: the next run builds all of it again: The warehouse is locked." in said
    assert "warning: table_partitions is not up to date: The warehouse is locked." in said
