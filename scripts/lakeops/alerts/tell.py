"""Compare what is wrong with what was told, tell the difference, and remember it."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from filelock import FileLock

from lakeops.alerts.evidence import collect_evidence, name_files
from lakeops.alerts.record import Alert, append_alerts, list_open, list_owed, read_alerts
from lakeops.alerts.rules import Evidence, Finding, Run, find_over, find_problems
from lakeops.alerts.sinks import list_sinks
from lakeops.console import say
from lakeops.settings import Settings

LOCK_PATIENCE_SECONDS = 30.0


def raise_alerts(settings: Settings, run: Run, now: dt.datetime) -> list[Alert]:
    """Tell what a run brought to light and what is over, and what an earlier run could not deliver.

    Returns
    -------
    What is new. Nothing is raised: a run is not worse because nobody could be told of it, and what no sink took is
    owed and goes out with the next run. What the lake cannot remember (its disk is full, or it may not be written) is
    told all the same, and again at every run: better than never.
    """
    told: list[Alert] | None = None
    is_held = is_known = False
    with ExitStack() as held:
        with _go_on("the record cannot be locked"):
            settings.lake.folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(settings.lake.folder / ".alerts.lock", timeout=LOCK_PATIENCE_SECONDS))
            is_held = True
        with _go_on("what was told before cannot be read"):
            told = read_alerts(settings.lake)
            is_known = True
        return _tell(settings, run, now, told or [], can_remember=is_held and is_known)


def plan_alerts(
    run: Run, evidence: Evidence | None, open_: dict[str, Alert], sinks: str, now: dt.datetime
) -> tuple[list[Finding], list[Alert]]:
    """Return what opens an incident, and the alerts for those that are over. Pure."""
    found = find_problems(run, evidence, {name: alert.tolerated for name, alert in open_.items()})
    over = find_over({name: alert.kind for name, alert in open_.items()}, found, run, evidence)
    recovered = [
        replace(
            open_[name],
            alert_id=uuid.uuid4().hex,
            event="recovered",
            message=f"{open_[name].message} (over; open since {open_[name].raised_at:%Y-%m-%d %H:%M} UTC)",
            sinks=sinks,
            run_id=run.run_id,
            raised_at=now,
        )
        for name in over
    ]
    return [finding for finding in found if finding.incident not in open_], recovered


def _tell(settings: Settings, run: Run, now: dt.datetime, told: list[Alert], *, can_remember: bool) -> list[Alert]:
    open_ = list_open(told)
    sinks = list_sinks(settings.lake.alerts, settings.target)
    names = ",".join(sinks)
    evidence, files = None, {}
    with _go_on("the lake could not be asked"):
        evidence = collect_evidence(settings, now)
    # The record is read by time: what is told now follows all that was told, also under a clock that was ahead.
    now = max([now, *(alert.raised_at + dt.timedelta(microseconds=1) for alert in told)])
    new, recovered = plan_alerts(run, evidence, open_, names, now)
    checks = {check.key: check for check in evidence.checks} if evidence else {}
    keys = {finding.incident: finding.incident.partition(":")[2] for finding in new}
    with _go_on("the files that failing rows came from are not known"):
        files = name_files(settings, run, [checks[key] for key in keys.values() if key in checks])
    opened = [_open(settings, finding, files.get(keys[finding.incident]), names, run, now) for finding in new]
    news = [*opened, *recovered]
    # Without a record there is no lake yet, or what is wrong with it is the very thing to tell.
    remembers = can_remember and (settings.lake.ops("alerts") / "_delta_log").is_dir()
    if news and remembers:
        remembers = False
        with _go_on("the record cannot be written, and the next run tells all of it again"):
            append_alerts(settings.lake, news)
            remembers = True
    if news:
        say(f"alerts: {len(opened)} new, {len(recovered)} over; all of them: {settings.lake.alerts}")
    for name, send in sinks.items():
        owed = list_owed([*told, *news], name)
        if _send(name, send, owed) and remembers:
            with _go_on(f"the record cannot be written, and the {name} gets the same again"):
                taken = [replace(alert, event="delivered", sinks=name, raised_at=now) for alert in owed]
                append_alerts(settings.lake, taken)
    return news


@contextmanager
def _go_on(lack: str) -> Iterator[None]:
    """Say what cannot be had, and go on without: whatever it fails at, what there is to tell must go out."""
    try:
        yield
    except Exception as error:
        say(f"warning: alerts: {lack}: {_shorten(error)}")


def _open(settings: Settings, finding: Finding, files: str | None, sinks: str, run: Run, now: dt.datetime) -> Alert:
    return Alert(
        uuid.uuid4().hex,
        "opened",
        finding.incident,
        finding.kind,
        finding.message,
        finding.table_name,
        finding.check_name,
        files or finding.source_file,
        finding.runbook,
        settings.ask(finding.look) if finding.is_query else finding.look,
        finding.tolerated,
        sinks,
        run.run_id,
        now,
    )


def _send(name: str, send: Callable[[list[Alert]], None], alerts: list[Alert]) -> bool:
    """Tell whether a sink took the alerts; why it did not is said without its address, which is a secret."""
    if not alerts:
        return False
    try:
        send(alerts)
    except (OSError, ValueError) as error:
        say(
            f"warning: alerts: the {name} took none of {len(alerts)}; they go out with the next run ({_shorten(error)})"
        )
        return False
    return True


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
