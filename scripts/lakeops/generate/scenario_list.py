"""`_scenarios.json`: what the scenarios of all calls did to a folder, by file and, where it matters, by row."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lakeops.generate.defect_list import read_rows, render_list

# The leading _ says that it is no landing: no contract claims it.
SCENARIOS_FILE = "_scenarios.json"
# Marks the rows of a frame that a scenario made, as scenario:what; no file carries it.
MARK = "_mark"


@dataclass(frozen=True)
class Trace:
    """What a scenario did to one file or row.

    Parameters
    ----------
    scenario : the switch, without its dashes.
    table, file : where; the path is relative to the output folder.
    line : as in `_defects.json`; None for what concerns the file, or a row that is no longer there.
    what : the details.
    key : the row's key.
    """

    scenario: str
    table: str
    file: str
    line: int | None
    what: dict[str, Any] = field(hash=False)
    key: dict[str, Any] = field(default_factory=dict, hash=False)


def merge_scenarios(out: Path, files: Collection[str], traces: Sequence[Trace]) -> bytes | None:
    """Return the new content of `_scenarios.json`; None if there is nothing to say, and no such file to correct.

    Parameters
    ----------
    out : folder of the raw files.
    files : what this call wrote; earlier entries for these files are replaced.
    traces : what the scenarios of this call did.

    Raises
    ------
    UsageError : the file that stands there is not such a list.
    """
    told = {trace.file for trace in traces} | set(files)
    # A file that an outage kept back has its entry as long as it is missing, any other as long as it is there.
    kept = [
        row
        for row in read_scenarios(out)
        if row["file"] not in told and (out / row["file"]).is_file() != (row["scenario"] == "outage")
    ]
    if not (kept or traces or (out / SCENARIOS_FILE).is_file()):
        return None
    rows = sorted([*kept, *map(vars, traces)], key=lambda row: (row["file"], row["scenario"], row["line"] or 0))
    counts = json.dumps(Counter(row["scenario"] for row in rows), sort_keys=True)
    return render_list([f'"by_scenario": {counts}'], rows)


def read_scenarios(out: Path) -> list[dict[str, Any]]:
    """Return the rows of `_scenarios.json` in `out`; none if there is no such file."""
    return read_rows(out / SCENARIOS_FILE, "The list of scenarios cannot be read.")
