"""Every page of the runbooks is played on a real lake, and so are the schedules."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from docs import pages, scenes
from docs.pages import PageError, parse_page, play, read_page
from docs.stage import Stage, end_session, make_stage
from docs.test_runbooks import FILES, ROOT

SCHEDULE = ROOT / "scripts" / "schedule"
UNITS = sorted([*SCHEDULE.glob("*.service"), *SCHEDULE.glob("*.timer")])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return make_stage(tmp_path_factory.mktemp("runbooks") / "place")


@pytest.fixture
def stage(built: Stage):
    built.reset()
    yield built
    built.clear()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_page(stage: Stage, tmp_path: Path, file: Path) -> None:
    page = read_page(file)
    if page.scene:
        getattr(scenes, page.scene)(stage)
    play(page, stage.root, tmp_path)


def test_a_broken_command_in_a_page_is_found(stage: Stage, tmp_path: Path) -> None:
    file = ROOT / "runbooks" / "exit-10-contract.md"
    text = file.read_text(encoding="utf-8")
    scenes.misspelt_contract(stage)
    broken = parse_page(
        file.stem, text.replace("lakeops load --dry-run  # exit 10", "lakeops load --dryrun  # exit 10")
    )
    with pytest.raises(PageError, match="exit code 2, 10 is stated"):
        play(broken, stage.root, tmp_path)


def test_an_outcome_that_is_not_so_is_found(stage: Stage, tmp_path: Path) -> None:
    page = parse_page("page", "```sh\nlakeops load\n```\n\n```text\nnothing new: everything was committed; …\n```\n")
    with pytest.raises(PageError, match="this is not said"):
        play(page, stage.root, tmp_path)


def test_what_a_fence_sets_lasts_to_its_end_and_a_quote_may_go_over_lines(stage: Stage, tmp_path: Path) -> None:
    text = "```sh\nexport PLACE=dbt\ncd $PLACE\nls 'dbt_project.yml'\necho 'two\nlines' # why\nfalse  # exit 1\n```\n"
    play(parse_page("page", text + "```text\ndbt_project.yml\ntwo\nlines\n```\n"), stage.root, tmp_path)
    with pytest.raises(PageError, match="exit code 2, 0 is stated"):
        play(parse_page("page", text + "```sh\nls dbt_project.yml\n```\n"), stage.root, tmp_path)


@pytest.mark.parametrize(
    "text",
    ["```bash\nlakeops load\n```\n", "```text\nsaid\n```\n", "```sh\nlakeops load\n"],
    ids=["tag", "order", "open"],
)
def test_a_fence_that_cannot_be_played_is_found(text: str) -> None:
    with pytest.raises(PageError):
        parse_page("page", text)


def test_a_command_in_an_illustration_is_found() -> None:
    assert pages.find_disguised(parse_page("page", "```\n  lakeops load\nload: {mode: append}\n```\n")) != []


# --- schedules --------------------------------------------------------------------------------------------------------


def run_job(stage: Stage, *arguments: str, **variables: str) -> subprocess.Popen:
    """Start `scripts/schedule/run` with as little around it as cron gives."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "LAKEOPS_LOGS": "-"}
    return subprocess.Popen(
        [stage.root / "scripts" / "schedule" / "run", *arguments], cwd="/", env=environment | variables,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def finish(job: subprocess.Popen) -> str:
    """Return what a job said until its end."""
    said, _ = job.communicate(timeout=1200)
    return said


def test_a_job_waits_for_a_lock_and_lets_no_other_in(stage: Stage) -> None:
    scenes.held_warehouse(stage)
    job = run_job(stage, LAKEOPS_RETRY_SECONDS="5")
    stage.started.append(job)
    begun = [next(line for line in job.stdout if "once more in 5 s" in line)]
    second = run_job(stage)
    assert "another scheduled job is at work" in finish(second)
    assert second.returncode == 0
    end_session(stage.started.pop(0))
    said = "".join([*begun, finish(job)])
    assert "exit code 15; once more in 5 s (1 of 3)" in said
    assert job.returncode == 0, said
    stage.started.remove(job)


def test_what_waiting_does_not_mend_is_passed_on_at_once(stage: Stage) -> None:
    scenes.misspelt_contract(stage)
    job = run_job(stage)
    said = finish(job)
    assert job.returncode == 10
    assert "once more" not in said


def test_the_fourth_try_is_the_last(stage: Stage) -> None:
    scenes.moved_table(stage)
    job = run_job(stage, LAKEOPS_RETRY_SECONDS="0")
    said = finish(job)
    assert job.returncode == 12
    assert said.count("once more") == 3


def test_logs_are_by_day_and_old_ones_go(stage: Stage) -> None:
    scenes.misspelt_contract(stage)
    old = scenes.write(stage, "logs/incremental-2024-01-01.log", "long ago\n")
    subprocess.run(["touch", "-d", "40 days ago", str(old)], check=True)
    job = run_job(stage, LAKEOPS_LOGS="logs")
    assert finish(job) == ""
    (log,) = (stage.root / "logs").iterdir()
    assert log.name == f"incremental-{time.strftime('%Y-%m-%d', time.gmtime())}.log"
    assert log.read_text().rstrip().endswith("ends with exit code 10")


def test_a_job_that_there_is_not_is_refused(stage: Stage) -> None:
    job = run_job(stage, "weekly")
    assert "there is no such job: weekly" in finish(job)
    assert job.returncode == 2


def test_upkeep_does_all_its_steps_whatever_comes_of_one(stage: Stage) -> None:
    """Without dbt: a contract that cannot be read stops each of them."""
    scenes.misspelt_contract(stage)
    job = run_job(stage, "upkeep", LAKEOPS_BACKUP_DIR=str(stage.root.parent / "a backup"))
    said = finish(job)
    assert job.returncode == 10
    assert said.count("error: 'moed' is not known") >= 2


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_ones_that_systemd_takes(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed; Debian has it in the package systemd")
    for other in UNITS:
        (tmp_path / other.name).write_text(other.read_text().replace("/srv/lakeops", str(ROOT)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)],
        capture_output=True,
        text=True,
        check=False,
    )
    # An unknown setting is said, and not an error to it. Of units that are not ours we know nothing.
    said = [line for line in (done.stdout + done.stderr).splitlines() if unit.name in line]
    assert (done.returncode, said) == (0, []), done.stderr


def test_units_and_crontab_call_the_same_jobs() -> None:
    called = []
    for unit in SCHEDULE.glob("*.service"):
        parsed = read_unit(unit)
        if unit.stem == "lakeops-failed":
            continue
        called.append(parsed["Service"]["ExecStart"])
        assert parsed["Service"]["Type"] == "oneshot"
        assert "Install" not in parsed, "a timer starts it"
        timer = read_unit(unit.with_suffix(".timer"))
        assert timer["Timer"]["Persistent"] == "true"
        assert timer["Install"]["WantedBy"] == "timers.target"
    lines = [line for line in (SCHEDULE / "crontab").read_text().splitlines() if line and not line.startswith("#")]
    assert sorted(line.split(maxsplit=5)[5] for line in lines) == sorted(called)
    for command in called:
        program, *jobs = command.split()
        assert (ROOT / Path(program).relative_to("/srv/lakeops")).stat().st_mode & 0o111
        assert jobs in ([], ["upkeep"])


def test_the_weekly_unit_tells_that_it_failed() -> None:
    """The main job raises alerts of its own; upkeep and backup do not."""
    told = {unit.stem: read_unit(unit)["Unit"].get("OnFailure") for unit in SCHEDULE.glob("*.service")}
    assert told == {"lakeops-incremental": None, "lakeops-upkeep": "lakeops-failed.service", "lakeops-failed": None}


def read_unit(file: Path) -> configparser.ConfigParser:
    """Return a unit's sections."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string(file.read_text())
    return parser
