"""Facts as tables in a terminal."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lakeops.bronze import LoadOutcome, Plan, Replay
from lakeops.console import print_json, print_table, say, tell_apart

if TYPE_CHECKING:  # the generator and dbt take seconds to import, and most commands need neither
    from lakeops.generate import Summary
    from lakeops.publish import Published
    from lakeops.quality import Backtest, Question
    from lakeops.settings import Settings
    from lakeops.warehouse import DbtOutcome

# A person reads so many names; the records have the rest.
NAMED = 20


def show_plan(plan: Plan) -> None:
    """Print what a load would do, per file, and a line that counts what it would leave alone."""
    work = [step for step in plan.steps if step.action not in ("skip", "seen")]
    if work:
        print_table(
            ["action", "table", "file", "bytes", "why"],
            [
                (
                    step.action,
                    step.landing.contract.name if step.landing.contract else None,
                    step.landing.source_file,
                    step.landing.size_bytes,
                    step.reason,
                )
                for step in work
            ],
        )
    say(f"{len(work):,} file(s) to look at, {len(plan.steps) - len(work):,} unchanged. Nothing was written.")


def show_generated(summary: Summary) -> None:
    """Print what a call of the generator wrote: rows by source, defects by kind."""
    print_table(["source", "rows"], sorted(summary.rows.items()))
    planted = {kind: sum(caught.values()) for kind, caught in summary.defects.items()}
    say("planted defects: " + (", ".join(f"{count} {kind}" for kind, count in sorted(planted.items())) or "none"))
    if summary.scenarios:
        listed = ", ".join(f"{count} {name}" for name, count in summary.scenarios.items())
        say(f"scenarios, by entries in _scenarios.json: {listed}")
    say(
        f"{summary.first_day} to {summary.last_day} in {summary.out}: {summary.files} files, "
        f"{summary.files - summary.written} of them had the right bytes already"
    )


def show_loads(loads: list[LoadOutcome]) -> None:
    """Print what one or several loads did, per table and in all."""
    tallies = [tally for load in loads for tally in load.tables.values() if tally.version is not None]
    rows: dict[str, list[Any]] = {}
    for tally in tallies:
        row = rows.setdefault(tally.contract.name, [tally.contract.name, 0, 0, 0, 0, 0])
        counts = (tally.files_loaded, tally.rows_read, tally.rows_accepted, tally.rows_quarantined)
        row[1:] = [*(old + new for old, new in zip(row[1:5], counts, strict=True)), tally.version]
    if rows:
        print_table(["table", "files", "rows read", "accepted", "quarantined", "version"], list(rows.values()))
    warnings: dict[str, int] = {}
    for tally in tallies:
        for label, count in tally.warnings.items():
            name = f"{tally.contract.name}: {label}"
            warnings[name] = warnings.get(name, 0) + count
    for name, count in warnings.items():
        say(f"warning: {name}: {count:,} row(s) fail, and were loaded")
    for name in dict.fromkeys(f"{tally.contract.name}.{column}" for tally in tallies for column in tally.new_columns):
        say(f"column taken in: {name}, which its contract does not have; declare it there")
    for load in loads:
        batches = ", ".join(map(str, load.batches))
        done = f"loaded as batch {batches}" if batches else "nothing new: nothing was committed"
        say(f"{done}; {load.skipped:,} file(s) unchanged")
        for name, reason in load.duplicates[:NAMED]:
            say(f"not loaded: {name}: {reason}")
        if len(load.duplicates) > NAMED:
            say(f"not loaded: {len(load.duplicates) - NAMED:,} more; see manifest_processed_files, status duplicate")
        for name, reason in load.held[:NAMED]:
            say(f"not loaded: {name}: {reason}")
        if len(load.held) > NAMED:
            say(f"not loaded: {len(load.held) - NAMED:,} more; see manifest_processed_files, status held")
        for name, rows, why in load.lost:
            say(f"LOST: {rows:,} row(s) of {name}: {why}")
    if any(tally.rows_quarantined for tally in tallies):
        say("quarantined records: lakeops quarantine list; word for word: lakeops quarantine show")


def show_quarantine_groups(groups: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print how many quarantined records there are, by table, file, reason, batch and status."""
    if as_json:
        print_json(groups)
    elif groups:
        print_table(list(groups[0]), [tuple(group.values()) for group in groups])
    else:
        say("nothing is in quarantine")


def show_quarantine_records(records: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print quarantined records word for word, each with its place and what is wrong with it."""
    if as_json:
        print_json(records)
        return
    for record in records:
        print(f"{record['source_file']}:{record['source_row']}  {record['reason']}  {record['status']}")
        print(f"  {record['column_name'] or 'record'}: {record['detail']}")
        print(f"  | {record['raw_record']}")
    if not records:
        say("nothing is in quarantine")


def show_questions(questions: list[Question], *, as_json: bool) -> None:
    """Print the questions that can be asked, and what each means."""
    if as_json:
        print_json([asdict(question) for question in questions])
    else:
        print_table(["question", "meaning"], [(question.name, question.meaning) for question in questions])


def show_answer(columns: list[str], rows: list[tuple[Any, ...]], *, as_json: bool) -> None:
    """Print the rows that answer a question."""
    if as_json:
        names = tell_apart(columns)
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    elif rows:
        print_table(columns, rows)
    else:
        say("nothing")


def show_backtests(backtests: list[Backtest], *, as_json: bool) -> None:
    """Print how often each anomaly rule would have warned."""
    if as_json:
        print_json([asdict(test) | {"rule": test.rule.model_dump()} for test in backtests])
        return
    print_table(
        ["table", "measure", "column", "threshold", "on", "days", "judged", "warned", "largest below", "warned last"],
        [
            (
                test.table_name,
                test.rule.measure,
                test.rule.column,
                test.rule.threshold,
                "on" if test.rule.is_on else "off",
                test.days,
                test.judged,
                len(test.warned),
                None if test.largest is None else round(test.largest, 1),
                ", ".join(map(str, test.warned[-3:])) or None,
            )
            for test in backtests
        ],
    )
    if any(not test.rule.is_on for test in backtests):
        say("a rule that is off judges no day: write what this says of it under its key backtest to switch it on")


def show_replays(replays: list[Replay]) -> None:
    """Print what a replay did, per file."""
    if not replays:
        say("nothing is open in quarantine")
        return
    print_table(
        ["table", "file", "replayed", "still open", "problem"],
        [(r.table, r.source_file, r.replayed, r.still_open, r.problem or None) for r in replays],
    )


def show_run(
    loads: list[LoadOutcome], steps: list[DbtOutcome], published: list[Published] | None, seconds: dict[str, float]
) -> None:
    """Print what a run of the main job did: rows by table, models, tests, what was published, seconds by step."""
    show_loads(loads)
    for step in steps:
        counts = ", ".join(f"{count} {status}" for status, count in sorted(step.counts.items()))
        say(f"dbt {step.command}: {counts or 'nothing to do'}")
        for status, name, table, message, _ in step.problems:
            if status == "warn":
                say(f"  warn: {name} on {table}: {message.removesuffix(', configured to warn if != 0')}")
    if published == []:
        say("nothing to build: models, tests and what readers see stand as the last run left them")
    elif published is not None:
        changed = [table for table in published if table.changed]
        named = [f"{table.model} version {table.version} (+{table.written:,} -{table.removed:,})" for table in changed]
        unchanged = len(published) - len(changed)
        say(f"published: {', '.join(named) or 'nothing new'}; {unchanged} table(s) unchanged")
    spent = ", ".join(f"{name} {amount:.1f} s" for name, amount in seconds.items())
    say(f"time: {sum(seconds.values()):.1f} s ({spent})")


def collect_run(
    loads: list[LoadOutcome], steps: list[DbtOutcome], published: list[Published] | None, seconds: dict[str, float]
) -> dict[str, Any]:
    """Return what `show_run` prints, for a program to read; `published` is null where the gate stayed closed."""
    return {
        "batches": [batch for load in loads for batch in load.batches],
        "tables": {
            tally.contract.name: {
                "files": tally.files_loaded,
                "rows_read": tally.rows_read,
                "rows_accepted": tally.rows_accepted,
                "rows_quarantined": tally.rows_quarantined,
            }
            for load in loads
            for tally in load.tables.values()
        },
        "refused": [name for load in loads for name, _ in load.refused],
        "unclaimed": [name for load in loads for name in load.unclaimed],
        "dbt": [
            {"command": step.command, "counts": step.counts, "problems": [problem[:3] for problem in step.problems]}
            for step in steps
        ],
        "published": None if published is None else [asdict(table) for table in published],
        "seconds": seconds,
    }


def show_next_steps(settings: Settings, published: list[Published] | None) -> None:
    """Print where to look after a good run; of the tables that readers see, a fact says most."""
    models = [table.model for table in published or []]
    shown = next((model for model in models if model.startswith("fct_")), models[0] if models else None)
    query = f"from gold.{shown} limit 5" if shown else "show all tables"
    say(
        f"next: make status; {settings.ask('from data_quality_metrics')}; "
        f"for readers: {settings.ask(query, settings.serving)}"
    )


def show_status(facts: list[dict[str, Any]]) -> None:
    """Print the state of every bronze table."""
    print_table(
        ["table", "newest date", "last batch", "rows", "files", "versions", "quarantined", "hours ago", "freshness"],
        # What the contract allows stands in the JSON and in the report; here the verdict is enough.
        [tuple(fact.values())[:9] for fact in facts],
    )
