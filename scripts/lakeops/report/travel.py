"""What tables were, what became of them, and what was mended, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lakeops.console import print_json, print_table, say, tell_apart, write_json

if TYPE_CHECKING:
    from lakeops.recovery.restore import Restored
    from lakeops.recovery.snapshots import RestoredLake
    from lakeops.recovery.undo import Undone
    from lakeops.statements import Answer
    from lakeops.timetravel import Commit, Difference, Page, Snapshot

# A cell of a table for people; all of it is in the JSON.
_WIDTH = 40
_NAMED = 3


def show_history(commits: list[Commit], *, as_json: bool = False) -> None:
    """Print the versions of a table, newest first."""
    if as_json:
        print_json([asdict(commit) for commit in commits])
        return
    print_table(
        ["version", "time (UTC)", "operation", "batch", "rows in", "rows out", "rows", "files +", "files -", "by"],
        [
            (
                commit.version,
                f"{commit.committed_at:%Y-%m-%d %H:%M:%S}" if commit.committed_at else None,
                _cut(commit.operation, 2 * _WIDTH),
                commit.batch_id,
                commit.rows_in,
                commit.rows_out,
                commit.rows,
                commit.files_added,
                commit.files_removed,
                commit.done_by,
            )
            for commit in commits
        ],
    )


def show_page(page: Page, *, as_json: bool = False) -> None:
    """Print rows of a table as it was."""
    if as_json:
        print_json({"version": page.version, "total": page.total, "sql": page.sql, "rows": page.rows})
        return
    if page.rows:
        print_table(list(page.rows[0]), [tuple(_show(value) for value in row.values()) for row in page.rows])
    say(f"version {page.version}: {len(page.rows):,} of {page.total:,} row(s)")
    say(f'all of them: duckdb -c "{page.sql}"')


def show_difference(found: Difference, *, as_json: bool = False) -> None:
    """Print what became of rows: the summary first, then column by column, then some of them."""
    if as_json:
        print_json(asdict(found))
        return
    by = f"by {', '.join(found.key)}" if found.key else "by all columns (the table has no key)"
    print(
        f"{found.table}, version {found.version_before} to {found.version_after}, {by}: "
        f"{found.added:,} added, {found.removed:,} removed, {found.changed:,} changed; "
        f"{found.rows_before:,} rows before, {found.rows_after:,} after"
    )
    for label, names in (("new columns", found.new_columns), ("columns gone", found.gone_columns)):
        if names:
            print(f"{label}: {', '.join(names)}")
    if found.columns:
        print()
        print_table(["column", "rows changed"], list(found.columns.items()))
    for what in ("added", "removed"):
        if rows := found.samples.get(what):
            print(f"\n{what}, {len(rows)} of {getattr(found, what):,}:")
            print_table(list(rows[0]), [tuple(_show(value) for value in row.values()) for row in rows])
    if changed := found.samples.get("changed"):
        print(f"\nchanged, {len(changed)} of {found.changed:,}:")
        key = list(changed[0]["key"])
        print_table(
            [*key, "column", "before", "after"],
            [
                (*(_show(row["key"][name]) for name in key), column, _show(value), _show(row["after"][column]))
                for row in changed
                for column, value in row["before"].items()
            ],
        )


def show_snapshots(snapshots: list[Snapshot], *, as_json: bool = False) -> None:
    """Print the named snapshots."""
    if as_json:
        print_json([asdict(snapshot) for snapshot in snapshots])
    elif snapshots:
        print_table(
            ["name", "created (UTC)", "by", "tables", "reason"],
            [(s.name, f"{s.created_at:%Y-%m-%d %H:%M:%S}", s.done_by, len(s.versions), s.reason) for s in snapshots],
        )
    else:
        say("there are no snapshots; lakeops snapshot create NAME makes one")


def show_snapshot(snapshot: Snapshot, newest: dict[str, int], *, as_json: bool = False) -> None:
    """Print the versions a snapshot stands for, beside those of now."""
    if as_json:
        print_json(asdict(snapshot) | {"newest": newest})
        return
    say(f"{snapshot.name}: {snapshot.created_at:%Y-%m-%d %H:%M:%S} UTC, by {snapshot.done_by}")
    print_table(
        ["table", "version", "newest"],
        [(path, version, newest.get(path)) for path, version in snapshot.versions.items()],
    )


def show_snapshot_difference(found: list[Difference], *, as_json: bool = False) -> None:
    """Print per table what became of its rows since a snapshot."""
    if as_json:
        print_json([asdict(one) for one in found])
        return
    moved = [one for one in found if one.added or one.removed or one.changed or one.new_columns]
    if moved:
        print_table(
            ["table", "version then", "now", "rows then", "rows now", "added", "removed", "changed"],
            [
                (o.table, o.version_before, o.version_after, o.rows_before, o.rows_after, o.added, o.removed, o.changed)
                for o in moved
            ],
        )
    say(f"{len(moved)} of {len(found)} table(s) differ")


def show_undone(undone: list[Undone], *, dry_run: bool) -> None:
    """Print which rows left bronze, and what follows from it."""
    print_table(
        ["table", "files", "rows out", "batch", "version"],
        [(one.table, len(one.files), one.rows, one.batch_id, one.version) for one in undone],
    )
    for one in undone:
        for name in one.files[:_NAMED]:
            say(f"{one.table}: {name}" + (" (only what was replayed from quarantine)" if one.is_replay else ""))
        if len(one.files) > _NAMED:
            say(f"{one.table}: {len(one.files) - _NAMED:,} more")
    if dry_run:
        say("nothing was changed; --reason … instead of --dry-run does it")
        return
    say("the files wait: lakeops load --reload FILE --reason … loads one again; so does one that arrives changed")
    say("silver, gold and readers follow with: lakeops incremental")


def show_restored(restored: list[Restored], *, dry_run: bool) -> None:
    """Print what came back and what left."""
    differing = [one for one in restored if one.differs]
    if not differing:
        say("nothing differs: nothing " + ("would be" if dry_run else "was") + " changed")
        return
    print_table(
        ["table", "to version", "rows back", "rows away", "files back", "files away", "batch", "version"],
        [
            (
                one.table,
                one.to_version,
                one.rows_back,
                one.rows_away,
                len(one.files_back),
                len(one.files_away),
                one.batch_id,
                one.version,
            )
            for one in differing
        ],
    )
    for one in differing:
        for name in one.files_away[:_NAMED]:
            say(f"{one.table}: {name} waits until it is asked for (lakeops load --reload)")
        if len(one.files_away) > _NAMED:
            say(f"{one.table}: {len(one.files_away) - _NAMED:,} more wait")
    if dry_run:
        say("nothing was changed; --reason … instead of --dry-run does it")


def show_restored_lake(done: RestoredLake, *, dry_run: bool) -> None:
    """Print what bringing back a snapshot did."""
    show_restored(done.tables, dry_run=dry_run)
    if done.quarantined:
        say(f"quarantine: {done.quarantined:,} record(s) and decisions about them came back or left")
    for name in done.newer:
        say(f"{name}: was not there yet; it stays as it is")


def show_answers(answers: Iterator[Answer], limit: int, *, as_json: bool = False) -> None:
    """Print the results of SQL statements, each as soon as it is there; as JSON, all of them at the end."""
    kept = []
    for answer in answers:
        if as_json:
            columns = tell_apart(answer.columns)
            rows = [dict(zip(columns, row, strict=True)) for row in answer.rows]
            kept.append({"statement": answer.statement, "rows": rows, "note": answer.note or None})
            continue
        if answer.columns:
            print_table(answer.columns, [tuple(_show(value) for value in row) for row in answer.rows[:limit]])
        if len(answer.rows) > limit:
            say(f"{limit:,} of {len(answer.rows):,} row(s); --limit or --json shows more")
        if answer.note:
            say(answer.note)
    if as_json:
        print_json(kept)


def _show(value: Any) -> Any:
    if isinstance(value, dict | list):
        value = write_json(value)
    # Keys are no amounts: a thousands separator in them would have to be taken out again.
    return None if value is None else _cut(str(value), _WIDTH)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
