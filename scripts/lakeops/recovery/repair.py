"""Mend what can be proven: from a backup, from the other tables, or from raw files that have the bytes they had.

First a plan, which is what `--dry-run` prints: what the tables will hold once what is broken is out of the way, and
which raw files must be loaded again to bring them to what the ledger says. It is carried out only if every one of
these files is still there, byte for byte, and today's contract takes it. Whatever is taken out is moved aside in the
lake, and not deleted.
"""

from __future__ import annotations

import datetime as dt
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from deltalake import DeltaTable

from lakeops.bronze import Step, commit_load, distrust_models, get_next_batch, is_proven, plan_load
from lakeops.bronze.examine import examine_file
from lakeops.bronze.tables import get_current, get_rebuild_mark, get_truth, list_half_rebuilt
from lakeops.console import say
from lakeops.contract import Contract, Contracts, load_contracts
from lakeops.delta import commit, get_last_batch, get_parts, make_remove, open_table, scan_table
from lakeops.errors import BronzeCommitError, LakeopsError, LockedError, UsageError
from lakeops.lakehouse import lock_lake, open_lake
from lakeops.ledger import NAME, Entry, Ledger
from lakeops.maintenance import Operation, record_operations
from lakeops.paths import Lake
from lakeops.raw import compute_fingerprint, make_landing
from lakeops.recovery.backup import Generation, bring_back, hold_lake, pick_generation
from lakeops.recovery.doctor import Place, find_deficits, find_fault, list_places, read_ledger
from lakeops.recovery.health import LOG, Health, examine_table, read_entry
from lakeops.settings import Settings
from lakeops.warehouse import connect, drop_warehouse


@dataclass
class Mend:
    """What is to be done to one table.

    Parameters
    ----------
    place, health : the table, and what is wrong with it.
    fault : the same in a sentence.
    aside : log entries, or the whole table (""), to move aside.
    drop : data files to take out of the table's newest version.
    loses : what nobody can bring back, a sentence each; only of records, which no raw file stands behind.
    """

    place: Place
    health: Health
    fault: str
    aside: list[str] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)
    loses: list[str] = field(default_factory=list)

    def describe(self) -> list[str]:
        """Return what will be done, a sentence each."""
        said = []
        if self.aside == [""]:
            said.append("move the table aside and make it anew")
        elif self.aside:
            entries = [Path(name).name for name in self.aside if name.endswith(".json")]
            said.append(f"move {', '.join(entries)} aside")
        if self.drop:
            said.append(f"take {len(self.drop)} data file(s) out of the newest version")
        return [*said, *(f"LOST: {loss}" for loss in self.loses)]


@dataclass
class Repair:
    """A plan of all that is to be done.

    Parameters
    ----------
    mends : by table.
    reload : files to load again, from raw files that have the bytes they had.
    unproven : why tables are left as they are, a sentence each, with what would be lost.
    """

    mends: list[Mend] = field(default_factory=list)
    reload: list[Entry] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)

    def describe(self) -> list[str]:
        """Return what will be done, a sentence each."""
        said = [f"{mend.place.name}: {sentence}" for mend in self.mends for sentence in mend.describe()]
        return said + [f"{entry.table_name}: load {entry.source_file} again" for entry in self.reload]


def bring_files_back(settings: Settings, table: str | None, backup: Path, *, dry_run: bool) -> list[str]:
    """Bring back from the newest generation of a backup whatever of a table is missing, damaged or gone.

    Returns
    -------
    The files, relative to the lake.

    Raises
    ------
    UsageError : there is no such table or backup.
    BronzeCommitError : a file of the backup is not what it was, or the lake cannot be written.
    """
    lake, contracts = settings.lake, load_contracts(settings.models)
    generation = pick_generation(backup, None)
    wanted = []
    with lock_lake(lake):
        for place in _choose(list_places(lake, contracts), table):
            wanted += _list_wanted(lake, place, generation)
        for name in [] if dry_run else wanted:
            bring_back(backup, generation, name, lake.folder / name)
    return wanted


def set_checkpoints_aside(settings: Settings, table: str | None, *, dry_run: bool) -> list[str]:
    """Move damaged checkpoints aside: a checkpoint only sums up log entries, and all of these are there.

    Returns
    -------
    The checkpoints, relative to the lake.
    """
    lake, contracts = settings.lake, load_contracts(settings.models)
    names = []
    with lock_lake(lake):
        aside = lake.folder / f".damaged-{_now():%Y%m%dT%H%M%S}"
        for place in _choose(list_places(lake, contracts), table):
            health = examine_table(place.path)
            if not health.broken_checkpoints or health.first_needed_broken is not None:
                continue
            for name in [*health.broken_checkpoints, "_last_checkpoint"]:
                path = place.path / LOG / name
                names.append(path.relative_to(lake.folder).as_posix())
                if not dry_run:
                    _move_aside(lake, path, aside)
    return names


def plan_repair(settings: Settings, table: str | None) -> Repair:
    """Say what can be mended without a backup, and how; changes nothing.

    It holds the lake's lock: rows that a load brings after the ledger is read would look like rows to be taken out.

    Parameters
    ----------
    table : a table as the doctor names it (bronze.orders, quarantine.orders, ops.alerts, gold.fct_sales); None for all.

    Raises
    ------
    UsageError : there is no such table.
    BronzeCommitError : nothing can be proven, since the ledger cannot be read, or another table stands in the way.
    LockedError : a loader is at work.
    """
    with hold_lake(settings.lake):
        return _plan(settings, load_contracts(settings.models), table)


def _plan(settings: Settings, contracts: Contracts, table: str | None) -> Repair:
    lake = settings.lake
    ledger = read_ledger(lake)
    repair = Repair()
    places = list_places(lake, contracts)
    chosen = _choose(places, table)
    for place in chosen:
        health = examine_table(place.path, deep=True)
        fault = find_fault(place, health, ledger)
        if fault:
            repair.mends.append(_plan_mend(place, health, fault))
    _keep_proof(lake, contracts, repair)
    if ledger is None and [place.path.name for place in chosen] != [NAME]:
        raise BronzeCommitError(
            "The ledger cannot be read; nothing else can be proven without it.",
            where=str(lake.ops(NAME)),
            next_step=f'lakeops repair ops.{NAME} --reason "…", then what else the doctor says',
        )
    if ledger is not None:
        for contract in dict.fromkeys(place.contract.name for place in chosen if place.contract):
            _plan_reload(settings, contracts.get_table(contract), ledger, repair)
    mended = {mend.place.path for mend in repair.mends}
    others = [place for place in places if place.path not in mended and place.role != "gold"]
    blocking = [place.name for place in others if (h := examine_table(place.path)).is_there and h.version is None]
    if repair.mends and blocking:
        raise BronzeCommitError(
            "Another table cannot be opened, and must be mended first.",
            where=", ".join(blocking),
            found="\n            ".join(repair.unproven),
            next_step="lakeops repair without a name; if that proves too little: lakeops rebuild, with all of them",
        )
    return repair


def carry_out(settings: Settings, repair: Repair, brought: list[str], reason: str) -> list[str]:
    """Do what a plan says, and let the lake heal.

    Parameters
    ----------
    brought : files of the lake that were brought back or moved aside before the plan was made.

    Returns
    -------
    What was done, a sentence each.

    Raises
    ------
    BronzeCommitError : a step did not happen; the same command goes on there.
    """
    if repair.unproven and not (repair.mends or repair.reload or brought):
        return []  # all that is wrong stays so, and the lake may not be fit to be opened
    started = time.monotonic()
    lake = settings.lake
    try:
        with connect(settings.warehouse):  # if somebody holds it, that must be known before anything is taken out
            pass
    except LockedError:
        raise
    except LakeopsError as error:
        say(f"{error.what} It is made anew by the next run: {settings.warehouse}")
        drop_warehouse(settings.warehouse)
    half_rebuilt = {contract.table for contract in list_half_rebuilt(lake, load_contracts(settings.models))}
    with lock_lake(lake):
        aside = lake.folder / f".damaged-{_now():%Y%m%dT%H%M%S}"
        for mend in repair.mends:
            if mend.place.role == "truth":  # stopped before its files are loaded again, it would pass as whole
                get_rebuild_mark(lake, mend.place.contract).touch()
            _mend(lake, mend, aside)
    tables = {entry.table_name for entry in repair.reload if entry.table_name}
    tables |= half_rebuilt | {mend.place.contract.table for mend in repair.mends if mend.place.contract}
    with open_lake(settings, tables) as (contracts, ledger):
        read = {entry.table_name for entry in repair.reload}
        read |= {mend.place.contract.table for mend in repair.mends if mend.place.role in ("truth", "current")}
        read |= _list_read(lake, contracts, brought)
        for table in sorted(filter(None, read)):
            # They may have read what was damaged, and today's contract may refuse what it took then.
            distrust_models(lake, contracts, contracts.get_table(table), get_next_batch(lake, contracts))
        batches, refused = _reload(settings, contracts, ledger, repair.reload)
        operations = [
            Operation(
                "repair",
                table_name=mend.place.name,
                reason=reason,
                version_before=mend.health.version,
                details={"fault": mend.fault, "done": mend.describe()},
                seconds=time.monotonic() - started,
            )
            for mend in repair.mends
        ]
        if repair.reload:
            details = {"files": [entry.source_file for entry in repair.reload], "batches": batches}
            operations.append(Operation("reload", reason=reason, batch_id=max(batches, default=None), details=details))
        if brought:
            operations.append(Operation("repair", reason=reason, details={"files": brought}))
        if operations:
            record_operations(lake, contracts, operations, _now())
        for contract in list_half_rebuilt(lake, contracts):
            truth, quarantined = open_table(get_truth(lake, contract)), None
            if contract.table in half_rebuilt:  # else its quarantine was left alone, and old records may be gone
                quarantined = scan_table(open_table(lake.quarantine(contract.table)))
            rows, batch = scan_table(truth), get_last_batch(truth)
            if find_deficits(contract, ledger, rows, batch, quarantined) == ([], []):
                get_rebuild_mark(lake, contract).unlink()
    if refused:
        raise BronzeCommitError(
            "Not every file could be loaded again.",
            where="\n            ".join(f"{name}: {why}" for name, why in refused),
            next_step="lakeops doctor says what is still wrong, and what mends it",
        )
    return repair.describe()


def _list_read(lake: Lake, contracts: Contracts, brought: list[str]) -> set[str]:
    """Return the tables that models read and of which data or log came back."""
    folders = {
        path.relative_to(lake.folder).as_posix(): contract.table
        for contract in contracts.tables
        for path in (get_truth(lake, contract), get_current(lake, contract))
    }
    files = [name for name in brought if "checkpoint" not in name]
    return {table for folder, table in folders.items() if any(name.startswith(f"{folder}/") for name in files)}


def move_unreadable_aside(lake: Lake, contract: Contract) -> None:
    """Move a contract's tables that cannot be read, or that nobody can tell the files of, aside to be made anew.

    A mark is left that only the end of the rebuild takes away: after its first batch, half a table would pass as whole.
    """
    truth, current = get_truth(lake, contract), get_current(lake, contract)
    ledger = read_ledger(lake) or Ledger([])
    known = ledger.batches.get(contract.table, 0)
    with lock_lake(lake):
        aside = lake.folder / f".damaged-{_now():%Y%m%dT%H%M%S}"
        for path in dict.fromkeys((truth, current, lake.quarantine(contract.table))):
            health = examine_table(path, deep=True)
            is_whole = health.is_whole
            if path == truth and is_whole:  # an older copy holds rows that have left since
                is_whole = (health.batch or 0) >= known and is_proven(open_table(path), contract, ledger)
            elif path == current:  # derived from changes that are gone, it has rows that no record stands behind
                is_whole &= truth.is_dir()
            if is_whole:
                continue
            get_rebuild_mark(lake, contract).touch()
            if path.is_dir():
                _move_aside(lake, path, aside)
                say(f"{contract.name}: what cannot be read is in {aside}")


def _choose(places: list[Place], table: str | None) -> list[Place]:
    if table is None:
        return places
    chosen = [
        place
        for place in places
        if table == place.name or (place.contract and table in (place.contract.name, place.contract.table))
    ]
    if not chosen:
        raise UsageError(
            "There is no such table in the lake.",
            where=table,
            expected="a table as lakeops doctor names it",
            next_step="without a name, lakeops repair looks at all of them",
        )
    return chosen


def _keep_proof(lake: Lake, contracts: Contracts, repair: Repair) -> None:
    """Leave a ledger as it is that no log could tell again: moved aside, it would have old files load a second time."""
    for mend in [mend for mend in repair.mends if mend.place.path.name == NAME and mend.aside == [""]]:
        truths = [(contract, get_truth(lake, contract)) for contract in contracts.tables]
        untold = [
            contract.name
            for contract, path in truths
            if examine_table(path).is_whole and not is_proven(open_table(path), contract, Ledger([]))
        ]
        if untold:
            repair.mends.remove(mend)
            repair.unproven.append(
                f"{mend.place.name}: the logs of {', '.join(untold)} no longer tell of the first loads; with a backup: "
                f'lakeops repair {mend.place.name} --from DIR --reason "…"; without one, move {mend.place.path} away, '
                f'then: lakeops rebuild {" ".join(untold)} --reason "…"'
            )


def _plan_mend(place: Place, health: Health, fault: str) -> Mend:
    mend = Mend(place, health, fault)
    is_unreadable = bool(health.problem) or health.first_needed_broken == 0
    is_left_over = not health.is_there and place.path.is_dir()
    # Of a ledger with a hole, healing reads back only what came after its last batch.
    has_hole = place.path.name == NAME and bool(health.missing or health.damaged)
    if is_unreadable or is_left_over or has_hole or (place.role == "current" and fault):
        # What is derived from changes is derived anew, whole.
        mend.aside = [""]
        if place.role == "record":
            mend.loses.append(f"all that {place.name} held{_say_what_for(place)}")
        return mend
    if (first := health.first_needed_broken) is not None:
        files = sorted((place.path / LOG).glob("*.json"))
        mend.aside = [f"{LOG}/{name}" for name in (*health.broken_checkpoints, "_last_checkpoint")]
        mend.aside += [f"{LOG}/{file.name}" for file in files if file.stem.isdigit() and int(file.stem) >= first]
        if place.role == "record":
            mend.loses.append(f"what versions {first} and later of {place.name} added{_say_what_for(place)}")
    mend.drop = [*health.missing, *health.damaged]
    if mend.drop and place.role == "record":
        parts = get_parts(DeltaTable(str(place.path))).filter(pl.col("path").is_in(mend.drop))
        mend.loses.append(f"{int(parts['num_records'].sum()):,} rows of {place.name}{_say_what_for(place)}")
    return mend


def _say_what_for(place: Place) -> str:
    if place.path.name == NAME:
        return "; what was loaded is read back from the tables' logs, refusals are found again by the next load"
    if place.path.name == "touched_keys":
        return "; models may keep rows that left bronze, so afterwards: lakeops rebuild warehouse"
    return ""


def _list_wanted(lake: Lake, place: Place, generation: Generation) -> list[str]:
    """Return the files of a table that a generation can bring back; none if it is of another table of that name."""
    prefix = place.path.relative_to(lake.folder).as_posix() + "/"
    kept = {name: file for name, file in generation.files.items() if name.startswith(prefix)}
    health = examine_table(place.path, deep=True)
    if not health.is_there:
        return sorted(kept)
    wrong = {f"{prefix}{name}" for name in [*health.missing, *health.damaged]}
    wrong |= {f"{prefix}{LOG}/{name}" for name in health.broken_checkpoints}
    for name, file in kept.items():
        path = lake.folder / name
        if path.parent.name != LOG or path.suffix != ".json":
            continue
        if read_entry(path) is None:
            wrong.add(name)
        elif compute_fingerprint(path) != file.sha256:
            return []
    return sorted(wrong & kept.keys())


def _plan_reload(settings: Settings, contract: Contract, ledger: Ledger, repair: Repair) -> None:
    """Find the files of a table that must be loaded again, and prove that they can be."""
    lake = settings.lake
    mends = {mend.place.path: mend for mend in repair.mends if mend.place.contract == contract}
    truth, quarantine = get_truth(lake, contract), lake.quarantine(contract.table)
    rows, batch = _scan_what_stays(truth, mends.get(truth))
    refused = None
    if quarantine in mends or get_rebuild_mark(lake, contract).exists():
        refused, _ = _scan_what_stays(quarantine, mends.get(quarantine))
        refused = pl.LazyFrame(schema={"source_file": pl.String, "batch_id": pl.Int64}) if refused is None else refused
    deficits, extra = find_deficits(contract, ledger, rows, batch, refused)
    if extra:
        repair.unproven.append(
            f"{contract.name}: rows of {', '.join(extra[:3])} would be back that had left; only: "
            f'lakeops rebuild {contract.name} --reason "…"'
        )
        _leave(repair, contract)
        return
    lost = [(entry, why) for entry in deficits if (why := _find_obstacle(settings.root, contract, entry))]
    if lost:
        count = sum(entry.rows_accepted for entry, _ in lost)
        names = ", ".join(f"{entry.source_file} ({entry.rows_accepted:,} rows; {why})" for entry, why in lost[:5])
        repair.unproven.append(
            f"{contract.name}: {count:,} row(s) of {len(lost)} file(s) have no other source: {names}; with a backup: "
            f'lakeops repair {contract.name} --from DIR --reason "…"; to go on without them: '
            f'lakeops rebuild {contract.name} --reason "…"'
        )
        _leave(repair, contract)
        return
    repair.reload += deficits


def _leave(repair: Repair, contract: Contract) -> None:
    repair.mends = [mend for mend in repair.mends if mend.place.contract != contract]


def _find_obstacle(root: Path, contract: Contract, entry: Entry) -> str:
    path = root / entry.source_file
    if not path.is_file():
        return "the raw file is gone"
    if compute_fingerprint(path) != entry.file_sha256:
        return "the raw file has other bytes by now"
    step = Step(make_landing(path, entry.source_file, contract), "load", entry.file_sha256)
    with tempfile.TemporaryDirectory() as folder:
        refusal = examine_file(step, (), Path(folder), 0, _now()).refusal
    return refusal and f"today's contract refuses it: {refusal}"


def _scan_what_stays(path: Path, mend: Mend | None) -> tuple[pl.LazyFrame | None, int]:
    """Return the rows and the last batch a table will have once a mend is done; None for no rows at all."""
    if mend is not None and (mend.aside == [""] or not mend.health.is_there):
        return None, 0
    entries = [Path(name).stem for name in mend.aside] if mend else []
    first = min((int(stem) for stem in entries if stem.isdigit()), default=None)
    if first is None and not DeltaTable.is_deltatable(str(path)):
        return None, 0
    table = DeltaTable(str(path), version=first - 1) if first is not None else open_table(path)
    gone = set(mend.drop) if mend else set()
    parts = [path / name for name in get_parts(table)["path"] if name not in gone and (path / name).is_file()]
    rows = pl.scan_parquet(parts, missing_columns="insert", extra_columns="ignore", glob=False) if parts else None
    return rows, get_last_batch(table)


def _mend(lake: Lake, mend: Mend, aside: Path) -> None:
    path = mend.place.path
    for name in mend.aside:
        _move_aside(lake, path / name, aside)
    if mend.drop:
        table = open_table(path)
        sizes = dict(get_parts(table).select("path", "size_bytes").iter_rows())
        removes = [make_remove(name, sizes[name]) for name in mend.drop if name in sizes]
        last = get_last_batch(table)
        commit(table, [], removes, last, {"batch_id": last, "repaired": mend.drop})
        for name in mend.drop:
            _move_aside(lake, path / name, aside)


def _move_aside(lake: Lake, path: Path, aside: Path) -> None:
    if path.exists():
        target = aside / path.relative_to(lake.folder)
        aside.mkdir(mode=0o700, exist_ok=True)  # it may hold what the quarantine held
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)


def _reload(
    settings: Settings, contracts: Contracts, ledger: Ledger, entries: list[Entry]
) -> tuple[list[int], list[tuple[str, str]]]:
    """Load files again; returns the batches, and the files that were refused all the same, each with why."""
    if not entries:
        return [], []
    landings = [
        make_landing(settings.root / entry.source_file, entry.source_file, contracts.get_table(entry.table_name))
        for entry in entries
    ]
    fingerprints = {entry.source_file: compute_fingerprint(settings.root / entry.source_file) for entry in entries}
    plan = plan_load(landings, ledger, fingerprints, reload={entry.source_file for entry in entries})
    outcome = commit_load(
        plan, settings.lake, contracts, ledger,
        run_id=f"{_now():%Y%m%dT%H%M%S}-{os.getpid()}",
        clock=_now,
    )  # fmt: skip
    return outcome.batches, outcome.refused


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
