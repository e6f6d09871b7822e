"""The wrapper for Elementary: it hangs together, and a package hub that cannot be reached is one line."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from conftest import ROOT, Clone
from lakeops.settings import TARGETS

WRAPPER = ROOT / "dbt" / "elementary"
# A `dbt` that behaves as the real one does without a network.
DEAF = "#!/bin/sh\necho 'Traceback (most recent call last): ConnectionError hub.getdbt.com'\nexit 1\n"
HEARING = '#!/bin/sh\necho "$(basename $0) $*" >> ../../said\ntest "$1" != build || exit ${FAILING:-0}\n'


def make_programs(folder: Path, **programs: str) -> Path:
    folder.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def run(clone: Clone, programs: Path, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [clone.root / "dbt" / "elementary" / "make_report", programs],
        env={"PATH": "/usr/bin:/bin", **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_package_and_program_are_of_one_version() -> None:
    packages = yaml.safe_load((WRAPPER / "packages.yml").read_text())["packages"]
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["elementary"]
    assert packages[0] == {"local": ".."}
    assert extra == [f"elementary-data=={packages[1]['version']}"]


def test_profile_knows_every_target_as_ours_does() -> None:
    theirs = yaml.safe_load((WRAPPER / "profiles.yml").read_text())["lakeops"]["outputs"]
    ours = yaml.safe_load((ROOT / "dbt" / "profiles.yml").read_text())["lakeops"]["outputs"]
    assert list(theirs) == list(ours) == list(TARGETS)
    for target in TARGETS:
        assert theirs[target]["path"] == ours[target]["path"].replace("'../duckdb", "'../../duckdb")
        assert theirs[target]["plugins"] == ours[target]["plugins"]


def test_main_project_needs_no_package() -> None:
    assert not (ROOT / "dbt" / "packages.yml").exists()


def test_hub_out_of_reach_is_one_line(clone: Clone, tmp_path: Path) -> None:
    done = run(clone, make_programs(tmp_path / "bin", dbt=DEAF))
    assert done.returncode == 13
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: dbt's package hub (hub.getdbt.com) cannot be reached, and Elementary comes from there."
        " Nothing else needs it. What was said: dbt/elementary/logs/deps.log"
    ]
    assert "Traceback" in (clone.root / "dbt" / "elementary" / "logs" / "deps.log").read_text()


@pytest.mark.parametrize(("failing", "code"), [("0", 0), ("1", 0), ("2", 13)])
def test_tests_that_fail_are_reported_and_a_build_that_cannot_run_is_said(
    clone: Clone, tmp_path: Path, failing: str, code: int
) -> None:
    (clone.root / "said").unlink(missing_ok=True)
    done = run(clone, make_programs(tmp_path / "bin", dbt=HEARING, edr=HEARING), FAILING=failing)
    assert done.returncode == code, done.stderr
    said = (clone.root / "said").read_text()
    assert said.startswith("dbt deps\ndbt build")
    assert ("edr report" in said) == (code == 0)
