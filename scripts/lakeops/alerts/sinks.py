"""Where alerts go: a file, always; a webhook that takes Slack's form, if one is set."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable
from dataclasses import asdict
from http.client import HTTPException
from pathlib import Path

from lakeops.alerts.record import Alert

VARIABLE = "LAKEOPS_ALERT_WEBHOOK"
# A chat that does not answer must not hold up the night's run.
PATIENCE_SECONDS = 5.0
# More than a person reads in a message; the file has them all.
SHOWN = 20
_TITLES = {"opened": "new", "recovered": "over"}


def list_sinks(file: Path, target: str) -> dict[str, Callable[[list[Alert]], None]]:
    """Return the sinks that are set, by name; each raises OSError or ValueError if it cannot take what it is given."""
    sinks: dict[str, Callable[[list[Alert]], None]] = {"file": lambda alerts: write_lines(file, target, alerts)}
    if url := os.environ.get(VARIABLE):
        sinks["webhook"] = lambda alerts: post_message(url, format_message(target, alerts, file))
    return sinks


def write_lines(file: Path, target: str, alerts: list[Alert]) -> None:
    """Append alerts to a file, one JSON object a line."""
    lines = [json.dumps({"target": target, **asdict(alert)}, default=str, ensure_ascii=False) for alert in alerts]
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as out:
        out.write("".join(line + "\n" for line in lines))


def post_message(url: str, text: str) -> None:
    """Send a text as Slack's incoming webhooks take it; others (Mattermost, Teams' workflows, ntfy) know the form.

    Raises
    ------
    OSError : nobody answers, or the answer is a refusal.
    ValueError : the address cannot be used. It is not in the message: who knows it can write to the channel.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise ValueError(f"{VARIABLE} holds no http or https address")
    body = json.dumps({"text": text}).encode()
    try:
        request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"}, method="POST")
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            answer.read()
    except (HTTPException, ValueError) as error:
        raise ValueError(f"{VARIABLE}: {type(error).__name__}") from None


def format_message(target: str, alerts: list[Alert], file: Path) -> str:
    """Return one text for several alerts, grouped: what is new by kind, then what is over."""
    counts = {event: sum(alert.event == event for alert in alerts) for event in _TITLES}
    lines = [f"lakeops ({target}): " + ", ".join(f"{counts[event]} {_TITLES[event]}" for event in counts)]
    ordered = sorted(alerts, key=lambda alert: (alert.event, alert.kind))
    title = ""
    for alert in ordered[:SHOWN]:
        heading = f"{alert.kind.upper().replace('_', ' ')}, see runbooks/{alert.runbook}.md"
        heading = "OVER" if alert.event == "recovered" else heading if alert.runbook else alert.kind.upper()
        if heading != title:
            lines.append(heading)
            title = heading
        lines.append(f"• {alert.message}")
        if alert.event == "opened":
            lines += [f"    file: {alert.source_file}"] if alert.source_file and alert.kind != "refused" else []
            lines.append(f"    look: {alert.look}")
    if len(ordered) > SHOWN:
        lines.append(f"… and {len(ordered) - SHOWN} more in {file}")
    return "\n".join(lines)
