"""What upkeep did or would do, as tables in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakeops.console import print_table, say

if TYPE_CHECKING:
    from lakeops.settings import Settings
    from lakeops.timetravel import Snapshot
    from lakeops.upkeep import Cost, Job, Optimized, Restorable, Vacuumed
    from lakeops.warehouse import Explained


def show_optimized(done: list[Optimized], *, dry_run: bool) -> None:
    """Print per table what became of its files; of many, only where something did."""
    shown = [one for one in done if one.files_after != one.files_before or one.version is not None] or done[:1]
    if len(done) == 1 or shown[0].version is not None or shown[0].files_after != shown[0].files_before:
        print_table(
            ["table", "files", "then", "bytes", "then", "version", "seconds", "why"],
            [
                (o.table, o.files_before, o.files_after, o.bytes_before, None if dry_run else o.bytes_after, o.version,
                 round(o.seconds, 2), o.why)
                for o in shown
            ],
        )  # fmt: skip
    count = sum(one.version is not None or (dry_run and one.files_after != one.files_before) for one in done)
    say(f"{count} of {len(done)} table(s) {'to be laid out anew; nothing was written' if dry_run else 'laid out anew'}")


def show_vacuumed(done: list[Vacuumed]) -> None:
    """Print per table which files go, and from which version on it can be read then."""
    shown = [one for one in done if one.files]
    if shown:
        print_table(
            ["table", "old files", "orphans", "bytes", "of files", "keeps hours", "readable from", "then"],
            [
                (
                    o.table,
                    len(o.old),
                    len(o.orphans),
                    o.bytes,
                    o.files_before,
                    o.retain_hours,
                    o.oldest_before,
                    o.oldest,
                )
                for o in shown
            ],
        )
    files, size = sum(len(one.files) for one in done), sum(one.bytes for one in done)
    applied = all(one.applied for one in done)
    tense = "deleted" if applied else "could be deleted"
    say(f"{files:,} file(s), {size:,} bytes {tense} in {len(shown)} of {len(done)} table(s)")
    if files and not applied:
        say("nothing was deleted; to delete: the same command with --apply")


def show_jobs(jobs: list[Job], *, dry_run: bool) -> None:
    """Print what was due, and what it saved."""
    if jobs:
        print_table(
            ["operation", "table", "files less", "bytes less", "why"],
            [(job.operation, job.table or "warehouse", job.saved_files, job.saved_bytes, job.why) for job in jobs],
        )
    if dry_run:
        say(f"{len(jobs)} job(s) due; nothing was done")
    else:
        say(f"{len(jobs)} job(s) done" if jobs else "nothing is due")


def show_restorable(found: list[Restorable], snapshots: list[Snapshot]) -> None:
    """Print per table from which version on, and since when, it can be read as it was."""
    print_table(
        ["table", "from version", "to", "since (UTC)", "also"],
        [
            (
                one.table,
                one.ranges[-1][0] if one.ranges else None,
                one.ranges[-1][1] if one.ranges else None,
                f"{one.since:%Y-%m-%d %H:%M:%S}" if one.since else None,
                ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in one.ranges[:-1]) or None,
            )
            for one in found
        ],
    )
    for snapshot in snapshots:
        say(f"snapshot {snapshot.name} of {snapshot.created_at:%Y-%m-%d %H:%M:%S} UTC: {len(snapshot.versions)} tables")


def show_explained(settings: Settings, explained: Explained) -> None:
    """Print per table how many files a query read, why, and what to write so that it reads fewer."""
    if explained.scans:
        print_table(
            ["table", "read", "of files", "why"],
            [(scan.table, scan.read, scan.files, scan.why) for scan in explained.scans],
        )
    else:
        say("the query reads no Delta table; silver and gold in the warehouse are DuckDB's own tables")
    for scan in explained.scans:
        if scan.instead:
            say(f"{scan.table}: {scan.instead}")
        if not scan.is_known:
            say(f"{scan.table or 'a table'}: which files were read is not known, so none is in table_partitions")
    if explained.rows.height:
        say(f"file by file: {settings.ask('from table_partitions')}")


def show_cost(cost: Cost) -> None:
    """Print disk by layer and table, growth, seconds by step, the slowest models and tests, and what could be saved."""
    layers: dict[str, list[int]] = {}
    for table in cost.tables:
        sums = layers.setdefault(table.layer, [0, 0, 0, 0])
        for place, size in enumerate((table.live, table.retained, table.orphaned, table.log)):
            sums[place] += size
    headers = ["bytes live", "for time travel", "orphaned", "log"]
    print_table(["layer", *headers], [(layer, *sums) for layer, sums in sorted(layers.items())])
    print()
    print_table(
        ["table", "files", *headers, "growth a day", "smaller than raw"],
        [
            (t.table, t.files, t.live, t.retained, t.orphaned, t.log, None if t.growth is None else round(t.growth),
             f"{t.compression:.1f} x" if t.compression else None)
            for t in sorted(cost.tables, key=lambda table: -table.total)
        ],
    )  # fmt: skip
    print()
    print_table(["hours of retention", "bytes freed by vacuum"], list(cost.savings.items()))
    if cost.steps:
        print()
        print_table(
            [f"step of the main job, {cost.runs} run(s)", "median seconds"],
            [("all of it" if name == "seconds" else name, round(value, 2)) for name, value in cost.steps.items()],
        )
    for what, slow in (("model", cost.models), ("test", cost.tests)):
        if slow:
            print()
            print_table(
                [f"slowest {what}s", "median seconds", "of a month"],
                [(name, round(median, 2), round(total, 1)) for name, median, total in slow],
            )
    say(f"and {cost.duckdb:,} bytes of DuckDB files, which can be built again at any time")
