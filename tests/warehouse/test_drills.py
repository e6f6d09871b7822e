"""Each disaster that is rehearsed ends as it should: with all rows, or without those that were said to be lost."""

from __future__ import annotations

import pytest

from conftest import ROOT
from lakeops.drill import DRILLS, Drill, Stage, prepare_stage, run_drill
from lakeops.paths import Lake
from lakeops.settings import Settings


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    folder = tmp_path_factory.mktemp("drills")
    settings = Settings(ROOT, folder / "none", Lake(folder / "none"), folder / "none.duckdb")
    return prepare_stage(settings, folder / "stage")


@pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.name)
def test_the_commands_of_the_runbook_mend_it(stage: Stage, drill: Drill):
    result = run_drill(stage, drill)
    if result.skipped:
        pytest.skip(result.skipped)
    assert not result.problems, "\n".join(result.problems)
    assert (result.rows_lost > 0) == bool(drill.loses)


@pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.name)
def test_the_commands_stand_in_the_runbook(drill: Drill):
    page = (ROOT / "runbooks" / f"{drill.runbook}.md").read_text(encoding="utf-8")
    for command in drill.mend:
        if command.startswith("lakeops"):
            words = command.split()[1]
            assert f"lakeops {words}" in page or f"make {words}" in page, f"{command} is not in {drill.runbook}"


def test_the_record_is_of_these_drills():
    page = (ROOT / "runbooks" / "records" / "drills.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for drill in DRILLS:
        assert f"| {drill.disaster} |" in page, "run make drill"
        assert f"| {drill.disaster} |" in readme, "run make drill"
        assert "FAILED" not in page
