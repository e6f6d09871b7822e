"""What happened to a table, commit by commit, in people's words."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lakeops.delta import APPLICATION, get_folder, get_parts, open_table, read_actions

# Delta's names for what was done, where nobody says it better.
_WORDS = {
    "CREATE TABLE": "create",
    "CREATE OR REPLACE TABLE": "create anew",
    "ADD COLUMN": "add columns",
    "WRITE": "write",
    "DELETE": "delete",
    "UPDATE": "update",
    "MERGE": "merge",
    "OPTIMIZE": "optimize",
    "VACUUM START": "vacuum begins",
    "VACUUM END": "vacuum ends",
    "RESTORE": "restore (not by lakeops)",
    "FSCK": "drop missing files",
    "SET TBLPROPERTIES": "set properties",
    "UNKNOWN": "insert",  # so DuckDB signs
}


@dataclass(frozen=True)
class Commit:
    """One version of a table.

    Parameters
    ----------
    committed_at : UTC.
    operation : in people's words.
    batch_id : batch it belongs to; None if it is none of a load, undo or restore.
    rows_in, rows_out : rows that joined and left; None where the log no longer tells.
    rows : rows of this version.
    files_added, files_removed : data files.
    done_by : program, and account where the commit names one.
    """

    version: int
    committed_at: dt.datetime | None
    operation: str
    batch_id: int | None
    rows_in: int | None
    rows_out: int | None
    rows: int | None
    files_added: int
    files_removed: int
    done_by: str


def read_history(path: Path) -> list[Commit]:
    """Return the versions of a table, newest first, as far as its log goes back.

    Raises
    ------
    BronzeCommitError : there is no table, or its log cannot be read.
    """
    table = open_table(path)
    logs = {int(file.stem): file for file in (get_folder(table) / "_delta_log").glob("*.json") if file.stem.isdecimal()}
    if not logs:
        return []
    held = _count_rows(path, min(logs) - 1)
    commits = []
    for version in sorted(logs):
        commit, held = _read_commit(version, logs[version], held)
        if held is None:  # the log was trimmed; a checkpoint may tell
            held = _count_rows(path, version)
            commit = replace(commit, rows=_sum(held))
        commits.append(commit)
    return commits[::-1]


def _count_rows(path: Path, version: int) -> dict[str, int] | None:
    """Return the rows of each data file of a version; None if nobody can tell any more."""
    if version < 0:
        return {}
    try:
        parts = get_parts(DeltaTable(str(path), version=version))
    except DeltaError:
        return None
    return dict(parts.select("path", "num_records").iter_rows())


def _read_commit(version: int, file: Path, held: dict[str, int] | None) -> tuple[Commit, dict[str, int] | None]:
    info: dict[str, Any] = {}
    added: dict[str, int | None] = {}
    removed: list[str] = []
    for action in read_actions(file):
        if "commitInfo" in action:
            info = action["commitInfo"]
        elif "add" in action:
            stats = json.loads(action["add"].get("stats") or "{}")
            added[action["add"]["path"]] = stats.get("numRecords")
        elif "remove" in action:
            removed.append(action["remove"]["path"])
    rows_before = _sum(held)
    after = None if held is None else {**{p: n for p, n in held.items() if p not in removed}, **added}
    rows = _sum(after)
    proof = json.loads(info[APPLICATION]) if APPLICATION in info else {}
    change = None if rows is None or rows_before is None else rows - rows_before
    rows_in, rows_out = _tell_rows(info, proof, change)
    moment = info.get("timestamp")
    commit = Commit(
        version,
        dt.datetime.fromtimestamp(moment / 1000, dt.UTC) if moment is not None else None,
        _name_operation(info, proof),
        proof.get("batch_id"),
        rows_in,
        rows_out,
        rows,
        len(added),
        len(removed),
        _name_author(info, proof),
    )
    return commit, after


def _sum(held: dict[str, int | None] | None) -> int | None:
    return None if held is None or None in held.values() else sum(held.values())


def _tell_rows(info: dict[str, Any], proof: dict[str, Any], change: int | None) -> tuple[int | None, int | None]:
    metrics = info.get("operationMetrics") or {}
    joined = None
    if "rows_joined" in proof:
        joined = proof["rows_joined"]
    elif "undone" in proof:
        joined = 0
    elif proof.get("entries"):
        joined = sum(e["rows_accepted"] for e in proof["entries"] if e["status"] in ("loaded", "replayed"))
    elif "written" in proof:
        joined = proof["written"]
    elif info.get("operation") == "UPDATE":
        joined = int(metrics.get("num_updated_rows") or 0)
    elif info.get("operation") == "MERGE":
        joined = sum(int(metrics.get(f"num_target_rows_{what}") or 0) for what in ("inserted", "updated"))
    if change is None:
        return joined, None
    joined = max(change, 0) if joined is None else max(joined, change)
    return joined, joined - change


def _name_operation(info: dict[str, Any], proof: dict[str, Any]) -> str:
    if "undone" in proof:
        return f"undo: {proof['undone']}"
    if "restored" in proof:
        return f"restore to version {proof['to_version']}: {proof['restored']}"
    if proof.get("derived"):
        return "derive from changes"
    if proof.get("healed"):
        return "heal"
    if proof.get("replaced"):
        return "replace"
    if "model" in proof:
        return "publish"
    if entries := proof.get("entries"):
        statuses = [entry["status"] for entry in entries]
        if "replayed" in statuses:
            return "replay from quarantine"
        restated = statuses.count("superseded")
        return f"load {statuses.count('loaded')} file(s)" + (f", {restated} restated" if restated else "")
    if "operation" in proof:  # upkeep names its own
        return str(proof["operation"])
    if "batch_id" in proof:
        return "append"
    if "widened" in info:
        return f"widen {info['widened']}"
    name = info.get("operation", "UNKNOWN")
    mode = str((info.get("operationParameters") or {}).get("mode", "")).lower()
    if name == "WRITE" and mode in ("append", "overwrite"):
        return {"append": "append", "overwrite": "overwrite"}[mode]
    predicate = (info.get("operationParameters") or {}).get("predicate")
    words = _WORDS.get(name, name.lower())
    return f"{words} where {predicate}" if predicate and name in ("DELETE", "UPDATE") else words


def _name_author(info: dict[str, Any], proof: dict[str, Any]) -> str:
    if proof:
        return f"lakeops ({proof['done_by']})" if proof.get("done_by") else "lakeops"
    return str(info.get("engineInfo") or info.get("clientVersion") or "unknown")
