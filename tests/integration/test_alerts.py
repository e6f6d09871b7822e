"""Alerts over a real lake and a real HTTP server: once per incident, none lost, and no load the worse for it."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conftest import DAY, Project, sales
from lakeops.alerts import Run, raise_alerts
from lakeops.alerts.record import list_open, read_alerts
from lakeops.delta import open_table, read_frame

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
    for address in ("http://127.0.0.1:1/x", "file:///etc/passwd", "no address"):
        monkeypatch.setenv("LAKEOPS_ALERT_WEBHOOK", address)
        raise_alerts(project.settings, BAD, now())
        assert "the webhook took none" in capsys.readouterr().err
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


def test_tests_that_left_no_result_are_told(project: Project) -> None:
    project.load()
    results = project.root / "dbt" / "target" / "run_results.json"
    results.parent.mkdir()
    results.write_text(json.dumps({"metadata": {"invocation_id": "abc"}, "results": [{"unique_id": "test.lakeops.x"}]}))
    raise_alerts(project.settings, GOOD, now())
    assert [line["kind"] for line in read_lines(project)] == ["dead_hook"]
    results.unlink()
    raise_alerts(project.settings, GOOD, now(1))
    assert [line["event"] for line in read_lines(project)] == ["opened", "recovered"]


def test_the_record_keeps_who_took_what(project: Project, chat: Chat) -> None:
    project.load()
    raise_alerts(project.settings, BAD, now())
    frame = read_frame(open_table(project.settings.lake.ops("alerts")))
    assert sorted(frame.select("event", "sinks").rows()) == [
        ("delivered", "file"), ("delivered", "webhook"), ("opened", "file,webhook"),
    ]  # fmt: skip
