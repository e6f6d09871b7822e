"""What a command prints is whole for whoever reads it, and its exit code is its own, also when nobody reads."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from conftest import DAY, Project, sales
from lakeops.cli import _run
from lakeops.console import print_json, tell_apart
from lakeops.contract import Contracts
from lakeops.errors import UsageError
from lakeops.facts import find_untested
from lakeops.files import write_whole
from lakeops.generate import generate_data
from lakeops.report.tables import show_answer
from lakeops.report.travel import show_answers
from lakeops.statements import run_statements


def refuse(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def test_json_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({dt.date(2024, 4, 1): [float("nan"), float("inf"), 1.5], "nested": ({2.5: -float("inf")},)})
    read = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert read == {"2024-04-01": [None, None, 1.5], "nested": [{"2.5": None}]}


@pytest.mark.parametrize("as_json", [True, False])
def test_sql_prints_maps_and_numbers_that_are_none(
    as_json: bool, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    query = "select map([date '2024-04-01'], [1]) as a, 'nan'::double as b, [{'x': 'inf'::double}] as c"
    show_answers(run_statements(project.settings, query), 10, as_json=as_json)
    said = capsys.readouterr().out
    assert "2024-04-01" in said
    if as_json:
        ((answer,),) = (json.loads(said, parse_constant=refuse),)
        assert answer["rows"] == [{"a": {"2024-04-01": 1}, "b": None, "c": [{"x": None}]}]


def test_columns_of_one_name_are_all_printed(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    show_answers(run_statements(project.settings, "select 1 as a, 2 as a, 3 as a_2, 4 as b"), 10, as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["rows"] == [{"a": 1, "a_3": 2, "a_2": 3, "b": 4}]
    show_answer(["a", "a"], [(1, 2)], as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"a": 1, "a_2": 2}]
    assert tell_apart(["a", "b"]) == ["a", "b"]


def test_ctrl_c_is_answered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()

    @app.command()
    def wait() -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sys, "argv", ["lakeops"])
    with pytest.raises(SystemExit) as end:
        _run(app)
    assert end.value.code == 130
    assert "stopped; nothing is half-done" in capsys.readouterr().err


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_has_gone_does_not_stop_a_load(stream: str, project: Project) -> None:
    project.land("sales/a.csv", sales((1, DAY, "1.00")))
    project.land("sales/torn.csv", 'sale_id,sale_dt,amount\n1,2024-04-01,"1.00\n')
    reader, writer = os.pipe()
    os.close(reader)
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: writer}
    done = subprocess.run(
        [Path(sys.executable).parent / "lakeops", "load"],
        env=os.environ | {"LAKEOPS_ROOT": str(project.root)}, check=False, **streams,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == 11
    assert len(project.rows("sales")) == 1


@pytest.mark.parametrize("name", [".", "", "/", "folder", "file/x.html", "x" * 300])
def test_what_cannot_be_written_is_one_clear_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write_whole(Path(name), "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_folder_name_that_is_too_long_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be made"):
        generate_data(Contracts((), ()), tmp_path / ("x" * 300), 1, DAY, 1)


@pytest.mark.parametrize("text", ["", '{"nodes": {', "{}", None])
def test_a_manifest_that_dbt_is_writing_is_as_good_as_none(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    if text is not None:
        file.write_text(text)
    assert find_untested(file) is None
