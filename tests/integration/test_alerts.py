"""Alerts over a real lake and a real HTTP server: once per incident, none lost, and no load the worse for it."""

from __future__ import annotations

import datetime as dt
import json
import resource
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import duckdb
import pytest

from conftest import DAY, Project, sales
from lakeops import pipeline
from lakeops.alerts import Run, raise_alerts
from lakeops.alerts.record import list_open, read_alerts
from lakeops.delta import open_table, read_frame
from lakeops.errors import DbtError

REFUSED = (("data_raw/sales/torn.csv", "it ends in a quoted value"),)
BAD = Run("r1", 11, "1 raw file(s) were not loaded", refused=REFUSED)
GOOD = Run("r2", refused=())


def now(minute: int = 0) -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(minutes=minute)


@dataclass
class Chat:
    """An address that takes messages as Slack does, and can be told to fail."""

    url: str = ""
    status: int = 200
    texts: list[str] = field(default_factory=list)


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chat]:
    chat = Chat()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if chat.status == 200:
                chat.texts.append(body["text"])
            self.send_response(chat.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    chat.url = f"http://127.0.0.1:{server.server_port}/secret-path"
    monkeypatch.setenv("LAKEOPS_ALERT_WEBHOOK", chat.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield chat
    server.shutdown()
    server.server_close()


def read_lines(project: Project) -> list[dict[str, object]]:
    file = project.settings.lake.alerts
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_an_incident_is_told_once_and_once_more_when_it_is_over(project: Project, chat: Chat) -> None:
    project.land("sales/a.csv", sales((1, DAY, "1.00")))
    project.load()
    for minute, run in enumerate((BAD, BAD, GOOD, GOOD)):
        raise_alerts(project.settings, run, now(minute))
    assert [line["event"] for line in read_lines(project)] == ["opened", "recovered"]
    opened, over = chat.texts
    assert "data_raw/sales/torn.csv was not loaded: it ends in a quoted value" in opened
    assert "look: lakeops load --dry-run" in opened
    assert "runbooks/exit-11-raw-file-refused.md" in opened
    assert over.startswith("lakeops (dev): 0 new, 1 over")
    assert list_open(read_alerts(project.settings.lake)) == {}


def test_what_was_told_under_a_clock_that_was_ahead_is_over_once(project: Project) -> None:
    project.load()
    for minute, run in ((60 * 24, BAD), (0, GOOD), (1, GOOD), (2, BAD)):
        raise_alerts(project.settings, run, now(minute))
    assert [line["event"] for line in read_lines(project)] == ["opened", "recovered", "opened"]


def test_a_sink_that_is_down_gets_all_when_it_is_up_again(
    project: Project, chat: Chat, capsys: pytest.CaptureFixture[str]
) -> None:
    project.load()
    chat.status = 503
    raise_alerts(project.settings, BAD, now())
    said = capsys.readouterr().err
    assert "they go out with the next run" in said
    assert "secret-path" not in said, "who knows the address can write to the channel"
    assert (len(read_lines(project)), chat.texts) == (1, [])
    chat.status = 200
    raise_alerts(project.settings, GOOD, now(1))
    (text,) = chat.texts
    assert text.startswith("lakeops (dev): 1 new, 1 over")
    raise_alerts(project.settings, GOOD, now(2))
    assert len(chat.texts) == 1
    assert [line["event"] for line in read_lines(project)] == ["opened", "recovered"]


def test_nobody_listens_and_the_address_is_wrong(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.load()
    addresses = ("http://127.0.0.1:1/secret", "file:///secret", "secret", "http://127.0.0.1:x/secret")
    # As it comes out of a file that was edited elsewhere.
    for address in (*addresses, "http://127.0.0.1:1/secret\r", "http://127.0.0.1:1/sec ret", "http://[secret"):
        monkeypatch.setenv("LAKEOPS_ALERT_WEBHOOK", address)
        raise_alerts(project.settings, BAD, now())
        said = capsys.readouterr().err
        assert "the webhook took none" in said
        assert "secret" not in said
        assert "sec ret" not in said
    assert len(read_lines(project)) == 1


def test_a_file_that_cannot_be_written_gets_them_later(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.load()
    project.settings.lake.alerts.mkdir()
    raise_alerts(project.settings, BAD, now())
    assert "the file took none of 1" in capsys.readouterr().err
    project.settings.lake.alerts.rmdir()
    raise_alerts(project.settings, GOOD, now(1))
    assert [line["event"] for line in read_lines(project)] == ["opened", "recovered"]


def test_broken_contracts_are_told_too_and_once(project: Project, chat: Chat) -> None:
    project.load()
    project.change_contract("data_type: date", "data_type: dote")
    broken = Run("r1", 10, "A type is not known.", is_published=False)
    raise_alerts(project.settings, broken, now())
    raise_alerts(project.settings, broken, now(1))
    (text,) = chat.texts
    assert "exit code 10: A type is not known." in text


def test_before_there_is_a_lake_it_is_told_every_time(project: Project, chat: Chat) -> None:
    project.change_contract("data_type: date", "data_type: dote")
    broken = Run("r1", 10, "A type is not known.", is_published=False)
    raise_alerts(project.settings, broken, now())
    raise_alerts(project.settings, broken, now(1))
    assert len(chat.texts) == 2


def test_new_quarantine_names_its_file_and_is_over_when_the_file_is_mended(project: Project, chat: Chat) -> None:
    project.land("sales/a.csv", sales((1, DAY, "1.00")))
    project.load()
    project.land("sales/b.csv", sales((2, DAY, "word"), (3, DAY, "1.00")))
    project.load()
    # Another job, which found nothing to load: the one that did was killed, or was a typed `lakeops load`.
    project.land("sales/c.csv", sales((4, DAY, "1.00")))
    project.load()
    raise_alerts(project.settings, GOOD, now())
    (text,) = chat.texts
    assert "bronze.sales: 1 of 2 new records are in quarantine" in text
    assert "file: data_raw/sales/b.csv" in text
    assert "look: lakeops quarantine list --table bronze.sales" in text
    assert "word" not in text
    raise_alerts(project.settings, GOOD, now(1))
    assert len(chat.texts) == 1
    project.land("sales/b.csv", sales((2, DAY, "2.00"), (3, DAY, "1.00")))
    project.load()
    raise_alerts(project.settings, GOOD, now(2))
    assert "0 new, 1 over" in chat.texts[-1]


@contextmanager
def disk_full() -> Iterator[None]:
    """Let every write to a file fail, in whatever language: what a full disk does, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_at_every_run_until_it_can_be_remembered(
    project: Project, chat: Chat, capsys: pytest.CaptureFixture[str]
) -> None:
    project.load()
    full = Run("r1", 12, "The commit to a table did not happen.", is_published=False)
    with disk_full():
        raise_alerts(project.settings, full, now())
        raise_alerts(project.settings, full, now(1))
    assert "the record cannot be written" in capsys.readouterr().err
    assert ["exit code 12" in text for text in chat.texts] == [True, True]
    raise_alerts(project.settings, full, now(2))
    raise_alerts(project.settings, full, now(3))
    assert len(chat.texts) == 3
    raise_alerts(project.settings, GOOD, now(4))
    assert "0 new, 1 over" in chat.texts[-1]


def test_a_lake_that_may_not_be_written_is_told_of(project: Project, chat: Chat) -> None:
    project.load()
    (project.settings.lake.folder / ".alerts.lock").mkdir()
    raise_alerts(project.settings, BAD, now())
    raise_alerts(project.settings, BAD, now(1))
    assert ["torn.csv was not loaded" in text for text in chat.texts] == [True, True]


def test_a_record_that_cannot_be_read_keeps_nothing_back(project: Project, chat: Chat) -> None:
    project.load()
    (project.settings.lake.ops("alerts") / "_delta_log" / f"{0:020d}.json").write_text("{")
    raise_alerts(project.settings, BAD, now())
    raise_alerts(project.settings, BAD, now(1))
    assert ["torn.csv was not loaded" in text for text in chat.texts] == [True, True]


def test_what_duckdb_cannot_read_keeps_nothing_back(project: Project, chat: Chat) -> None:
    project.land("sales/a.csv", sales((1, DAY, "word"), (2, DAY, "1.00")))
    project.load()
    for part in project.settings.lake.quarantine("sales").glob("*.parquet"):
        part.unlink()
    raise_alerts(project.settings, BAD, now())
    raise_alerts(project.settings, BAD, now(1))
    (text,) = chat.texts
    assert "torn.csv was not loaded" in text


def test_a_refused_file_is_not_over_when_another_landing_zone_is_loaded(project: Project, chat: Chat) -> None:
    def run(folder: str, **changes: object) -> None:
        settings = replace(project.settings, raw=project.root / folder, **changes)
        with pipeline.record_run(settings, "incremental") as outcome:
            outcome.loads.append(pipeline.run_load(settings))
            outcome.published = []

    torn = project.land("sales/a.csv", 'sale_id,sale_dt,amount\n1,2024-04-01,"1.00\n')
    project.land("sales/b.csv", sales((1, DAY, "1.00")))
    shutil.copytree(project.root / "data_raw", project.root / "data_raw_increment", ignore=lambda *_: ["a.csv"])
    run("data_raw")
    run("data_raw_increment")
    run("data_raw", sample_files=1)
    (text,) = chat.texts
    assert "data_raw/sales/a.csv was not loaded" in text
    torn.unlink()
    run("data_raw")
    assert "0 new, 1 over" in chat.texts[-1]


def test_nightly_tests_that_cannot_start_are_told(
    project: Project, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LAKE", "ROOT", "TARGET", "TEST_SCOPE", "WAREHOUSE"):
        monkeypatch.setenv(f"LAKEOPS_{name}", "")  # running dbt sets them
    project.load()
    # The project of these tests has no profile, so dbt cannot run it.
    with pytest.raises(DbtError):
        pipeline.run_data_tests(project.settings)
    (text,) = chat.texts
    assert "lakeops test-data stopped with exit code 13: dbt parse could not run." in text
    raise_alerts(project.settings, GOOD, now(1))
    assert len(chat.texts) == 1, "a load says nothing of them"


def write_run_results(project: Project, command: str, run: str = "abc") -> None:
    results = project.root / "dbt" / "target" / "run_results.json"
    results.parent.mkdir(exist_ok=True)
    tests = [{"unique_id": "test.lakeops.x"}]
    results.write_text(json.dumps({"metadata": {"invocation_id": run}, "args": {"which": command}, "results": tests}))


def note_begun_run(project: Project, run: str) -> None:
    """Note a run as dbt/macros/dead_runs.sql does, in the warehouse that it begins on."""
    with duckdb.connect(str(project.settings.warehouse)) as connection:
        connection.execute("create schema if not exists dbt_state")
        connection.execute("create table if not exists dbt_state.begun_runs (run_id varchar)")
        connection.execute("insert into dbt_state.begun_runs values (?)", [run])


def test_tests_that_left_no_result_are_told(project: Project) -> None:
    project.load()
    note_begun_run(project, "abc")
    write_run_results(project, "test")
    raise_alerts(project.settings, GOOD, now())
    assert [line["kind"] for line in read_lines(project)] == ["dead_hook"]
    (project.root / "dbt" / "target" / "run_results.json").unlink()
    raise_alerts(project.settings, GOOD, now(1))
    assert [line["event"] for line in read_lines(project)] == ["opened", "recovered"]


def test_tests_that_ran_nowhere_or_on_another_warehouse_are_not_told(project: Project) -> None:
    project.load()
    note_begun_run(project, "abc")
    for command in ("compile", "generate"):
        write_run_results(project, command)
        raise_alerts(project.settings, GOOD, now())
    write_run_results(project, "test", "of another target")
    raise_alerts(project.settings, GOOD, now(1))
    assert read_lines(project) == []


def test_the_record_keeps_who_took_what(project: Project, chat: Chat) -> None:
    project.load()
    raise_alerts(project.settings, BAD, now())
    frame = read_frame(open_table(project.settings.lake.ops("alerts")))
    assert sorted(frame.select("event", "sinks").rows()) == [
        ("delivered", "file"), ("delivered", "webhook"), ("opened", "file,webhook"),
    ]  # fmt: skip
