"""Named snapshots, as they are on record: which versions of which tables a name stands for."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from deltalake import DeltaTable

from lakeops.console import say
from lakeops.delta import open_table, read_frame
from lakeops.errors import UsageError
from lakeops.paths import Lake
from lakeops.timetravel.versions import read_times
from lakeops.warehouse import connect

NAME = "snapshots"


@dataclass(frozen=True)
class Snapshot:
    """A name for the versions of all tables of a lake at one moment.

    Parameters
    ----------
    versions : version by folder of the Delta table, relative to the lake.
    table_ids : Delta's id by the same: a table that was made anew has another, and other versions.
    """

    snapshot_id: str
    name: str
    reason: str
    done_by: str
    created_at: dt.datetime
    versions: dict[str, int]
    table_ids: dict[str, str]


def list_snapshots(lake: Lake) -> list[Snapshot]:
    """Return the snapshots that were not dropped, oldest first."""
    if not DeltaTable.is_deltatable(str(lake.ops(NAME))):
        return []
    rows = read_frame(open_table(lake.ops(NAME)))
    dropped = rows.filter(pl.col("event") == "dropped")["snapshot_id"].to_list()
    held = rows.filter((pl.col("event") == "created") & ~pl.col("snapshot_id").is_in(dropped))
    snapshots = []
    for (snapshot_id,), own in held.group_by("snapshot_id", maintain_order=True):
        first = own.row(0, named=True)
        snapshots.append(
            Snapshot(
                snapshot_id,
                first["name"],
                first["reason"],
                first["done_by"],
                first["recorded_at"],
                dict(own.select("path", "version").sort("path").iter_rows()),
                dict(own.select("path", "table_id").iter_rows()),
            )
        )
    return sorted(snapshots, key=lambda snapshot: (snapshot.created_at, snapshot.name))


def find_snapshot(lake: Lake, name: str) -> Snapshot:
    """Return the snapshot of that name.

    Raises
    ------
    UsageError : there is none; names those there are.
    """
    held = list_snapshots(lake)
    for snapshot in held:
        if snapshot.name == name:
            return snapshot
    raise UsageError(
        f"There is no snapshot {name!r}.",
        expected=", ".join(snapshot.name for snapshot in held) or "none was created yet",
        next_step="lakeops snapshot list",
    )


def pick_same_tables(lake: Lake, snapshot: Snapshot, paths: Iterable[str]) -> list[str]:
    """Return the tables that are still those a snapshot names; say which others are left out.

    A table that was made anew has other rows under the snapshot's version.

    Parameters
    ----------
    paths : folders relative to the lake, all of the snapshot.

    Raises
    ------
    BronzeCommitError : a table is gone.
    """
    same = []
    for path in paths:
        if is_same_table(lake, snapshot, path):
            same.append(path)
        else:
            say(f"warning: {path} is left out: it was made anew since {snapshot.name}, and what it was is gone")
    return same


def is_same_table(lake: Lake, snapshot: Snapshot, path: str) -> bool:
    """Tell whether a table, by its folder relative to the lake, still has what a snapshot names.

    A table that was made anew has another id. One whose log was repaired keeps it, and counts on from where the log
    broke: under the snapshot's version it has what was committed since.
    """
    if open_table(lake.folder / path).metadata().id != snapshot.table_ids[path]:
        return False
    committed = read_times(lake.folder / path).get(snapshot.versions[path])
    return committed is None or committed <= snapshot.created_at


def list_pinned(lake: Lake, serving: Path | None = None) -> dict[Path, set[int]]:
    """Return the versions of every Delta table that somebody still counts on: data files of these must stay.

    Parameters
    ----------
    serving : the file of views that readers open (`settings.serving`); its views are pinned to versions of gold.
    """
    pinned: dict[Path, set[int]] = {}
    for snapshot in list_snapshots(lake):
        for path, version in snapshot.versions.items():
            pinned.setdefault(lake.folder / path, set()).add(version)
    for path, version in (read_served(serving) if serving else {}).items():
        pinned.setdefault(path, set()).add(version)
    return pinned


def read_served(serving: Path) -> dict[Path, int]:
    """Return the version of every published table that readers see, by folder; nothing was published, nothing seen.

    Raises
    ------
    LockedError : another process holds the file for writing; readers stand in nobody's way.
    LakeopsError : it cannot be opened.
    """
    if not serving.exists():
        return {}
    with connect(serving, read_only=True) as connection:
        definitions = connection.execute("select sql from duckdb_views() where not internal").fetchall()
    found = {}
    for (definition,) in definitions:
        for path, version in re.findall(r"delta_scan\('((?:[^']|'')+)',\s*\(?\"?version\"?\s*=\s*(\d+)", definition):
            found[Path(path.replace("''", "'"))] = int(version)
    return found
