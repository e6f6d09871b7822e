"""Look at everything a lake stands on, and say what is wrong and what mends it. Changes nothing, holds no lock.

It works where the rest does not: on a table that cannot be opened, a warehouse that is gone, and a read-only disk.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from filelock import FileLock, Timeout

from lakeops.bronze.tables import get_current, get_truth, is_proven, list_half_rebuilt
from lakeops.contract import Contract, Contracts, load_contracts
from lakeops.delta import get_last_batch, open_table, scan_table
from lakeops.errors import LakeopsError
from lakeops.ledger import NAME, Entry, Ledger, load_ledger
from lakeops.paths import Lake
from lakeops.raw import compute_fingerprint
from lakeops.recovery.health import Health, examine_table
from lakeops.settings import Settings
from lakeops.warehouse import find_lock_holder

VERDICTS = ("ok", "warning", "wrong")
# Below either of them, the next big load may not fit.
LOW_SPACE_BYTES = 1 << 30
LOW_SPACE_SHARE = 0.02
NAMES_SHOWN = 5
REASON = '--reason "…"'


@dataclass(frozen=True)
class Finding:
    """What one check came to.

    Parameters
    ----------
    check : its name.
    verdict : one of VERDICTS.
    found : what was there.
    command : what mends it; empty if nothing needs to be.
    """

    check: str
    verdict: str
    found: str
    command: str = ""


@dataclass(frozen=True, eq=False)
class Place:
    """One Delta table of the lake: its name for people, its folder, the contract it serves, and as what."""

    name: str
    path: Path
    contract: Contract | None
    role: str  # truth, current, quarantine, record or gold


def list_places(lake: Lake, contracts: Contracts) -> list[Place]:
    """Return every Delta table the lake should have, and those of gold that it has."""
    places = []
    for contract in contracts.tables:
        truth, current = get_truth(lake, contract), get_current(lake, contract)
        places.append(Place(f"{contract.schema}.{truth.name}", truth, contract, "truth"))
        if truth != current:
            places.append(Place(contract.name, current, contract, "current"))
        places.append(Place(f"quarantine.{contract.table}", lake.quarantine(contract.table), contract, "quarantine"))
    places += [
        Place(f"ops.{record.name}", lake.ops(record.name), None, "record")
        for record in contracts.records
        if record.name != "quarantine"
    ]
    folder = lake.gold("x").parent
    models = sorted(folder.iterdir()) if folder.is_dir() else []
    return places + [Place(f"gold.{path.name}", path, None, "gold") for path in models if path.is_dir()]


def find_findings(settings: Settings, *, deep: bool = False) -> list[Finding]:
    """Check the lake, the warehouse and the machine.

    Parameters
    ----------
    deep : also read every data file and every raw file whole, and count the rows of each raw file.

    Raises
    ------
    ContractError : the contracts cannot be read; nothing can be said without them.
    """
    contracts = load_contracts(settings.models)
    lake = settings.lake
    findings = []
    places = list_places(lake, contracts)
    if not any((place.path / "_delta_log").is_dir() for place in places):
        findings.append(Finding("lake", "warning", f"nothing was loaded into {lake.folder} yet", "lakeops load"))
    else:
        healths = {place: examine_table(place.path, deep=deep) for place in places}
        findings += _check_lake(settings, contracts, healths, deep=deep)
    # A view on a table that is damaged answers again once the table is mended.
    is_damaged = any(finding.verdict == "wrong" for finding in findings)
    checked = _check_warehouse(settings, contracts)
    findings += [replace(f, command="") if is_damaged and f.check == "views" else f for f in checked]
    return [*findings, _check_lock(lake), _check_space(settings), *_check_versions(settings), _check_extension()]


def describe_findings(findings: list[Finding]) -> list[dict[str, Any]]:
    """Return findings for a program to read."""
    return [asdict(finding) for finding in findings]


def find_wrong_places(lake: Lake, contracts: Contracts) -> list[tuple[Place, str]]:
    """Return the tables that do not hold what was committed to them, as far as a quick look tells, each with why."""
    ledger = read_ledger(lake)
    healths = {place: examine_table(place.path) for place in list_places(lake, contracts)}
    return [(place, fault) for place, health in healths.items() if (fault := find_fault(place, health, ledger))]


def read_ledger(lake: Lake) -> Ledger | None:
    """Return the ledger; None if it cannot be read."""
    try:
        return load_ledger(lake)
    except (LakeopsError, OSError, pl.exceptions.PolarsError):
        return None


def find_fault(place: Place, health: Health, ledger: Ledger | None) -> str:
    """Return in a sentence why a table's readers do not get what was committed; nothing if they do.

    Parameters
    ----------
    ledger : None if it cannot be read; then nothing is held against it.
    """
    known = 0
    if ledger and place.contract and place.role != "current":  # a derived table heals by itself
        known = ledger.batches.get(place.contract.table, 0)
    if not health.is_there:
        is_left_over = place.path.is_dir() and any(place.path.iterdir())
        return "the table is gone" if known or is_left_over else ""
    if health.first_needed_broken is not None:
        return f"the log is damaged from version {health.first_needed_broken} on"
    if health.problem:
        return f"the log cannot be used: {health.problem}"
    if gone := [*health.missing, *(f"{name} ({fault})" for name, fault in health.damaged.items())]:
        rest = f" and {len(gone) - NAMES_SHOWN} more" if len(gone) > NAMES_SHOWN else ""
        return f"{len(gone)} data file(s) are missing or damaged: {', '.join(gone[:NAMES_SHOWN])}{rest}"
    if place.role == "truth" and known > (health.batch or 0):
        return f"batches up to {health.batch}, and the ledger knows of {known}"
    if place.role == "truth" and ledger and not is_proven(open_table(place.path), place.contract, ledger):
        return f"batches up to {health.batch}, the ledger knows of {known}, and the log no longer tells of the rest"
    if place.role == "truth" and ledger and known == health.batch:
        expected = count_expected(ledger, place.contract)
        if health.rows != expected:
            return f"{health.rows:,} rows in the log, {expected:,} in the ledger"
    return ""


def count_expected(ledger: Ledger, contract: Contract) -> int:
    """Return how many rows the ledger says a table's truth holds."""
    return sum(entry.rows_accepted + ledger.count_replayed(entry.source_file) for entry in list_live(ledger, contract))


def list_live(ledger: Ledger, contract: Contract) -> list[Entry]:
    """Return the entries of a table's files whose rows are in bronze now."""
    return [entry for entry in ledger.iter_live() if entry.table_name == contract.table]


def find_deficits(
    contract: Contract, ledger: Ledger, rows: pl.LazyFrame | None, batch: int, refused: pl.LazyFrame | None
) -> tuple[list[Entry], list[str]]:
    """Hold every row of a table against the ledger.

    Parameters
    ----------
    rows, batch : rows and last batch of the table's truth; None for no rows.
    refused : its quarantined records; None if they are not to be looked at: old ones may be gone by retention.

    Returns
    -------
    The files of which there is not exactly what the ledger says, and files of which there should be nothing.
    """
    held, quarantined = {}, {}
    if rows is not None:
        counts = rows.group_by("_source_file").agg(pl.len(), pl.col("_batch_id").min()).collect()
        held = {name: (count, first) for name, count, first in counts.iter_rows()}
    if refused is not None:
        counts = refused.group_by("source_file", "batch_id").len().collect()
        quarantined = {(name, batch_id): count for name, batch_id, count in counts.iter_rows()}
    deficits = []
    for entry in list_live(ledger, contract):
        expected = entry.rows_accepted + ledger.count_replayed(entry.source_file)
        count, first = held.pop(entry.source_file, (0, entry.rows_batch))
        is_right = count == expected and (first or 0) >= (entry.rows_batch or 0) and (entry.batch_id or 0) <= batch
        waits = entry.rows_quarantined if refused is None else quarantined.get((entry.source_file, entry.rows_batch), 0)
        if not is_right or waits != entry.rows_quarantined:
            deficits.append(entry)
    return deficits, sorted(held)


def _check_lake(
    settings: Settings, contracts: Contracts, healths: dict[Place, Health], *, deep: bool
) -> Iterator[Finding]:
    lake = settings.lake
    if (lake.folder / ".restoring").exists():
        yield Finding("lake", "wrong", "a restore was not finished", "the same lakeops restore-from again")
    if half := [contract.name for contract in list_half_rebuilt(lake, contracts)]:
        found = f"{', '.join(half)}: a rebuild was not finished"
        yield Finding("tables", "wrong", found, f"lakeops rebuild {' '.join(half)} {REASON}")
    ledger = read_ledger(lake)
    if ledger is None:
        yield Finding("ledger", "wrong", "the ledger cannot be read", f"lakeops repair ops.{NAME} {REASON}")
    faults = {place: find_fault(place, health, ledger) for place, health in healths.items()}
    for place, fault in faults.items():
        if fault:
            yield Finding("tables", "wrong", f"{place.name}: {fault}", f"lakeops repair {place.name} {REASON}")
    for place, health in healths.items():
        if health.broken_checkpoints or health.broken_history:
            parts = [*health.broken_checkpoints, *(f"version {version}" for version in health.broken_history)]
            found = f"{place.name}: readers do not need it, but it is damaged: {', '.join(parts[:NAMES_SHOWN])}"
            yield Finding("tables", "warning", found, f"lakeops repair {place.name} {REASON}")
        if ledger and place.role in ("truth", "current") and not faults[place] and place.contract:
            known = ledger.batches.get(place.contract.table, 0)
            if health.is_there and (health.batch or 0) != known and (place.role == "current") == (health.batch < known):
                found = f"{place.name}: batch {health.batch}, the ledger has {known}: a run was killed"
                yield Finding("tables", "warning", found, "lakeops load (heals by itself)")
    good = sum(not fault and healths[place].is_there for place, fault in faults.items())
    rows = sum(healths[place].rows or 0 for place in healths if place.role == "truth")
    if good == len(healths):
        yield Finding("tables", "ok", f"{good} tables: logs, files and rows agree; {rows:,} rows, as in the ledger")
    elif not any(faults.values()):
        found = f"{len(healths) - good} of {len(healths)} tables were not made yet"
        yield Finding("tables", "warning", found, "lakeops load")
    yield _describe_orphans(healths)
    if deep and ledger is not None:
        yield from _check_rows(lake, contracts, ledger, faults)
        yield from _check_raw(settings, ledger)


def _describe_orphans(healths: dict[Place, Health]) -> Finding:
    orphans = [orphan for health in healths.values() for orphan in health.orphans]
    if not orphans:
        return Finding("orphans", "ok", "no file that belongs to no version")
    found = f"{len(orphans):,} file(s) of {sum(size for _, size in orphans):,} bytes that belong to no version"
    return Finding("orphans", "ok", f"{found}: killed runs leave them, vacuum takes them away")


def _check_rows(lake: Lake, contracts: Contracts, ledger: Ledger, faults: dict[Place, str]) -> Iterator[Finding]:
    wrong = {place.contract.name for place, fault in faults.items() if fault and place.contract}
    files = 0
    for contract in contracts.tables:
        if contract.name in wrong:
            continue  # said already
        try:
            truth = open_table(get_truth(lake, contract))
            deficits, extra = find_deficits(contract, ledger, scan_table(truth), get_last_batch(truth), None)
        except (LakeopsError, OSError, pl.exceptions.PolarsError):
            continue  # not made yet
        files += len(list_live(ledger, contract)) - len(deficits)
        if deficits or extra:
            names = ", ".join([*(entry.source_file for entry in deficits), *extra][:NAMES_SHOWN])
            found = (
                f"{contract.name}: rows of {len(deficits) + len(extra)} file(s) are not those in the ledger: {names}"
            )
            yield Finding("rows", "wrong", found, f"lakeops repair {contract.name} {REASON}")
    yield Finding("rows", "ok", f"{files:,} file(s) hold row for row what the ledger says")


def _check_raw(settings: Settings, ledger: Ledger) -> Iterator[Finding]:
    same, gone, other = 0, [], []
    for entry in ledger.iter_live():
        path = settings.root / entry.source_file
        if not path.is_file():
            gone.append(entry.source_file)
        elif compute_fingerprint(path) != entry.file_sha256:
            other.append(entry.source_file)
        else:
            same += 1
    if other:
        yield Finding("raw", "warning", f"{len(other):,} file(s) have other bytes by now: {other[0]} …", "lakeops load")
    if gone:
        found = f"{len(gone):,} loaded file(s) are gone from raw, so bronze is all there is of them: {gone[0]} …"
        yield Finding("raw", "warning", found, "lakeops backup --to DIR")
    yield Finding("raw", "ok", f"{same:,} raw file(s) have the bytes that were loaded")


def _check_warehouse(settings: Settings, contracts: Contracts) -> Iterator[Finding]:
    rebuild = "lakeops rebuild warehouse"
    for path, name in ((settings.warehouse, "warehouse"), (settings.serving, "serving")):
        if not path.exists():
            # Before anything was published, it is only not there yet.
            verdict = "wrong" if settings.lake.gold("x").parent.is_dir() else "warning"
            yield Finding(name, verdict, f"there is no {path.name}", rebuild)
            continue
        try:
            with duckdb.connect(str(path), read_only=True) as connection:
                yield from _check_views(connection, settings, name, contracts)
        except duckdb.Error as error:
            holder = find_lock_holder(str(error))
            if holder:
                yield Finding(name, "warning", f"{holder[0]} (process {holder[1]}) holds it; not looked at")
            else:
                yield Finding(name, "wrong", f"cannot be opened: {str(error).splitlines()[0][:200]}", rebuild)


def _check_views(
    connection: duckdb.DuckDBPyConnection, settings: Settings, name: str, contracts: Contracts
) -> Iterator[Finding]:
    rows = connection.execute(
        "select schema_name || '.' || view_name, sql from duckdb_views() where not internal order by 1"
    ).fetchall()
    views = dict(rows)
    rebuild = "lakeops rebuild warehouse"
    if name == "warehouse" and (absent := sorted({c.name for c in contracts.tables} - views.keys())):
        yield Finding("views", "warning", f"{name}: missing: {', '.join(absent[:NAMES_SHOWN])}", "lakeops load")
    here = f"'{str(settings.lake.folder).replace(chr(39), chr(39) * 2)}/"
    elsewhere = [view for view, sql in views.items() if "delta_scan('" in sql and here not in sql]
    if elsewhere:
        found = f"{name}: {len(elsewhere)} view(s) look at another lake: {', '.join(elsewhere[:NAMES_SHOWN])}"
        yield Finding("views", "warning", found, "lakeops load" if name == "warehouse" else rebuild)
    silent = []
    for view in views:
        schema, _, table = view.partition(".")
        try:
            connection.execute(f'select 1 from "{schema}"."{table}" limit 1')
        except duckdb.Error as error:
            silent.append((view, str(error).splitlines()[0][:160]))
    if silent:
        found = f"{name}: {len(silent)} view(s) do not answer: {silent[0][0]}: {silent[0][1]}"
        yield Finding("views", "wrong", found, rebuild)
    else:
        yield Finding("views", "ok", f"{name}: {len(views)} views answer")


def _check_lock(lake: Lake) -> Finding:
    owner = lake.lock.with_suffix(".owner")
    if not lake.lock.exists():
        return Finding("lock", "ok", "nobody is at work on the lake")
    try:
        with FileLock(lake.lock, timeout=0):
            if owner.exists():
                said = owner.read_text(encoding="utf-8")
                return Finding("lock", "warning", f"{said} was killed", "lakeops load (heals by itself)")
            return Finding("lock", "ok", "nobody is at work on the lake")
    except Timeout:
        said = owner.read_text(encoding="utf-8") if owner.exists() else "a process that left no name"
        return Finding("lock", "warning", f"at work on the lake: {said}; what is said here may change")
    except OSError:
        return Finding("lock", "ok", "the lake is read-only: nobody can be at work on it")


def _check_space(settings: Settings) -> Finding:
    folder = next(path for path in (settings.lake.folder, *settings.lake.folder.parents) if path.exists())
    usage = shutil.disk_usage(folder)
    found = f"{usage.free / 1e9:,.1f} of {usage.total / 1e9:,.1f} GB are free"
    if usage.free < LOW_SPACE_BYTES or usage.free < usage.total * LOW_SPACE_SHARE:
        return Finding("disk", "warning", found, "free some space: runbooks/disk-full.md")
    return Finding("disk", "ok", found)


def _check_versions(settings: Settings) -> Iterator[Finding]:
    """Hold what is installed against constraints.txt, for the libraries that lakeops names itself."""
    file = settings.root / "constraints.txt"
    if not file.is_file():
        return
    pins = dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)$", file.read_text(encoding="utf-8"), re.MULTILINE))
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    needed = [re.split(r"[^A-Za-z0-9_.-]", text)[0] for text in importlib.metadata.requires("lakeops") or ()
              if "extra ==" not in text]  # fmt: skip
    other = []
    for name in sorted(needed):
        installed = importlib.metadata.version(name)
        if installed != pins.get(name.lower().replace("_", "-"), installed):
            other.append(f"{name} {installed}, not {pins[name.lower().replace('_', '-')]}")
    if other:
        yield Finding("versions", "warning", "; ".join(other), "make env")
    else:
        yield Finding("versions", "ok", f"{len(needed)} libraries as in constraints.txt")


def _check_extension() -> Finding:
    with duckdb.connect() as connection:
        row = connection.execute("select installed from duckdb_extensions() where extension_name = 'delta'").fetchone()
    if row and row[0]:
        return Finding("extension", "ok", f"DuckDB {duckdb.__version__} has its delta extension")
    return Finding("extension", "warning", "DuckDB lacks its delta extension", "lakeops load (installs it)")
