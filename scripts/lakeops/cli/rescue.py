"""The commands of the bad day: look at the lake, keep a copy of it, and bring it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lakeops import console
from lakeops.errors import BronzeCommitError, LakeopsError, UsageError
from lakeops.settings import load_settings

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read")]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="<text>", help="Why; kept with your account and the time")
]


def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Also read every data file and raw file whole")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with lake, warehouse and machine, and what mends it.

    It changes nothing. Exit code 12 if anything is wrong.
    """
    from lakeops.recovery.doctor import describe_findings, find_findings

    findings = find_findings(load_settings(), deep=deep)
    if as_json:
        console.print_json(describe_findings(findings))
    else:
        rows = [(finding.verdict, finding.check, finding.found) for finding in findings]
        console.print_table(["verdict", "check", "found"], rows)
        for command in dict.fromkeys(finding.command for finding in findings if finding.command):
            console.say(f"to do: {command}")
    wrong = [finding for finding in findings if finding.verdict == "wrong"]
    if wrong:
        raise BronzeCommitError(
            f"{len(wrong)} thing(s) are wrong.",
            where="\n            ".join(finding.found for finding in wrong),
            next_step=wrong[0].command,
        )


def backup(
    to: Annotated[Path, typer.Option("--to", help="Folder of backups, on another disk; only what is new is copied")],
    list_them: Annotated[bool, typer.Option("--list", help="Only list what is in it")] = False,
    as_json: JsonOption = False,
) -> None:
    """Copy the lake as it is at one moment, verified by hash. Loads may go on meanwhile."""
    from dataclasses import asdict

    from lakeops.recovery.backup import back_up, load_generations

    if list_them:
        rows = [
            (g.name, *((None, None) if g.problem else (len(g.files), g.size_bytes)), g.problem or None)
            for g in load_generations(to)
        ]
        if as_json:
            names = ("generation", "files", "size_bytes", "problem")
            console.print_json([dict(zip(names, row, strict=True)) for row in rows])
        else:
            console.print_table(["generation", "files", "bytes"], [row[:3] for row in rows])
            for name, *_, problem in rows:
                if problem:
                    console.say(f"warning: generation {name} cannot be read: {problem}")
        return
    outcome = back_up(load_settings(), to)
    if as_json:
        console.print_json(asdict(outcome))
    else:
        console.say(
            f"generation {outcome.generation}: {outcome.files:,} files, {outcome.size_bytes:,} bytes; "
            f"{outcome.files_copied:,} files, {outcome.bytes_copied:,} bytes were new; {outcome.seconds:.1f} s"
        )


def restore_from(
    folder: Annotated[Path, typer.Argument(help="Folder of backups")],
    reason: ReasonOption,
    at: Annotated[
        str | None, typer.Option("--at", metavar="<generation>", help="Which one to take; the newest if none is named")
    ] = None,
) -> None:
    """Bring an empty or damaged lake back from a backup. What lies there now is moved aside, not deleted."""
    from lakeops.maintenance import check_reason
    from lakeops.recovery.backup import restore_backup

    generation, aside = restore_backup(load_settings(), folder, at, check_reason(reason))
    console.say(f"restored generation {generation.name}: {len(generation.files):,} files, verified")
    if aside:
        console.say(f"what lay there before is in {aside}; delete it when nobody needs it")
    console.say("next: lakeops load, which brings what came since; then lakeops rebuild warehouse")


def repair(
    table: Annotated[str | None, typer.Argument(help="A table as lakeops doctor names it; without one, all")] = None,
    reason: Annotated[
        str | None,
        typer.Option(
            "--reason", metavar="<text>", help="Why; kept with your account and the time; --dry-run needs none"
        ),
    ] = None,
    source: Annotated[Path | None, typer.Option("--from", help="Folder of backups to take files from first")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing")] = False,
) -> None:
    """Mend what can be proven to be right, and nothing else.

    It takes a backup's files, what the other tables prove, and raw files that have the bytes they were loaded with.
    What could be mended only with a loss is left as it is, and named: exit code 12.
    """
    from lakeops.maintenance import check_reason
    from lakeops.recovery.repair import bring_files_back, carry_out, plan_repair, set_checkpoints_aside

    settings = load_settings()
    reason = "" if dry_run else check_reason(reason or "")
    brought = bring_files_back(settings, table, source, dry_run=dry_run) if source else []
    if brought:
        console.say(f"{len(brought):,} file(s) from the backup: {', '.join(brought[:5])}")
    checkpoints = set_checkpoints_aside(settings, table, dry_run=dry_run)
    if checkpoints:
        console.say(f"damaged checkpoints set aside: {', '.join(checkpoints)}")
    brought += checkpoints
    if brought and dry_run:
        console.say("what is still wrong after that is planned then")
        return
    plan = plan_repair(settings, table)
    said = plan.describe() if dry_run else carry_out(settings, plan, brought, reason)
    for sentence in said:
        console.say(("would do: " if dry_run else "done: ") + sentence)
    if plan.unproven:
        raise BronzeCommitError(
            "Not everything can be mended without a loss; that was left as it is.",
            where="\n            ".join(plan.unproven),
            next_step='a backup: lakeops repair --from DIR --reason "…"; without one: lakeops rebuild TABLE --reason '
            '"…", which names each lost file',
        )
    if not said and not brought:
        console.say("nothing to repair: lakeops doctor --deep looks closer")
    elif not dry_run:
        console.say("next: make incremental, which brings the models up to date; then lakeops doctor --deep")


def rebuild(
    what: Annotated[list[str], typer.Argument(help="warehouse, or bronze tables")],
    reason: Annotated[str | None, typer.Option("--reason", metavar="<text>", help="Why; a table needs one")] = None,
) -> None:
    """Make the warehouse anew, or load bronze tables again from their raw files.

    A table is loaded whole; each raw file that is gone is named, and its rows are lost.
    """
    from lakeops import pipeline, report
    from lakeops.maintenance import check_reason

    settings = load_settings()
    if what != ["warehouse"]:
        outcomes = pipeline.run_rebuild(settings, what, check_reason(reason or ""))
        report.show_loads(outcomes)
        for outcome in outcomes:
            pipeline.raise_if_refused(outcome)
        console.say("next: make incremental, which brings the models up to date")
        return
    built = pipeline.run_rebuild_warehouse(settings, reason)
    report.show_run(built.loads, built.steps, built.published, built.seconds)
    pipeline.raise_if_failed(settings, built)


def drill(
    name: Annotated[str | None, typer.Argument(help="A drill, or all; without one they are listed")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the folder in which it was rehearsed")] = False,
    record: Annotated[bool, typer.Option("--record", help="Write the table for the runbooks and README")] = False,
) -> None:
    """Rehearse a disaster on a small generated lake.

    It says how the disaster is noticed and mended, how long that takes, and what is lost.
    """
    import datetime as dt
    import shutil
    import tempfile

    from lakeops import drill as rehearsals
    from lakeops.files import write_whole

    chosen = [one for one in rehearsals.DRILLS if name in ("all", one.name)]
    if name is None or not chosen:
        console.print_table(["drill", "disaster"], [(one.name, one.disaster) for one in rehearsals.DRILLS])
        if name is not None:
            raise UsageError("There is no such drill.", where=name, next_step="name one of the list, or all")
        return
    settings = load_settings()
    folder = Path(tempfile.mkdtemp(prefix="lakeops-drill-"))
    results = []
    try:
        console.say("making a small lake to play with …")
        stage = rehearsals.prepare_stage(settings, folder)
        for one in chosen:
            console.say(f"{one.name} …")
            results.append(rehearsals.run_drill(stage, one))
    finally:
        if keep:
            console.say(f"the project of the last drill: {folder / 'project'}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    console.print_table(
        ["drill", "detected by", "seconds", "rows lost", "outcome"],
        [
            (r.drill.name, r.detected_by, round(r.seconds, 1), r.rows_lost,
             f"skipped: {r.skipped}" if r.skipped else "FAILED" if r.problems else "as it should be")
            for r in results
        ],
    )  # fmt: skip
    if record:
        page, readme = settings.root / "runbooks" / "records" / "drills.md", settings.root / "README.md"
        write_whole(page, rehearsals.render_record(results, dt.datetime.now(dt.UTC).date()))
        write_whole(readme, rehearsals.replace_table(readme.read_text(encoding="utf-8"), results))
    failed = [f"{r.drill.name}: {problem}" for r in results for problem in r.problems]
    if failed:
        raise LakeopsError(
            "A drill did not end as it should.", where="\n".join(failed), next_step="lakeops drill NAME --keep"
        )


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(doctor)
    app.command()(backup)
    app.command("restore-from")(restore_from)
    app.command()(repair)
    app.command()(rebuild)
    app.command()(drill)
