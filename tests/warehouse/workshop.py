"""Carries out sequences of actions (see `landings.py`) on a clone of this repository, as fast as dbt allows.

Run as a program, this file is the master: it imports dbt and the loader and parses the project once, which costs
seconds, stays without DuckDB and without threads of its own making, and forks a worker for every sequence. The worker
keeps dbt and both warehouses open from build to build. One that is told to die does so by SIGKILL, with all it holds;
the next worker goes on after it.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from conftest import ROOT, make_clone
from warehouse.landings import Action, describe

# What the clone's contract has and ours has not: without them, there would be no deletes and nothing to replay.
DELETES = {"customers": "op = 'D'", "products": "op = 'D'", "stores": "op = 'D'"}
PAYMENTS = ["CARD", "CASH"]
MENDED_PAYMENTS = ["CARD", "CASH", "BARTER"]
# What the loader does to the lake, step by step.
LOADER_STEPS = ("append_touched_keys", "append", "commit", "refresh_current", "append_entries")
UNDO_STEPS = ("append_touched_keys", "commit", "refresh_current", "append_entries")
EVERYTHING = ("silver", "gold")
QUIET = ("--quiet", "--log-level", "none", "--log-level-file", "none", "--no-write-json")


class SequenceError(AssertionError):
    """An action did not come to its end; the message says which, and how to do the same by hand."""


class Workshop:
    """A clone in which sequences are carried out, each from an empty lake; use it as a context."""

    def __init__(self, folder: Path) -> None:
        self.root = Path(os.path.realpath(folder)) / "lakeops"
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Workshop:
        make_clone(self.root)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LAKEOPS_")}
        environment["PYTHONPATH"] = os.pathsep.join([str(self.root / "scripts"), str(ROOT / "tests")])
        with (self.root.parent / "said.txt").open("w") as said:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(self.root)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env=environment,
            )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    @property
    def models(self) -> list[str]:
        """Return the names of all models of silver and gold."""
        return sorted(file.stem for layer in EVERYTHING for file in (self.root / "dbt/models" / layer).rglob("*.sql"))

    def run(self, actions: list[Action]) -> list[dict[str, Any]]:
        """Carry out a sequence in an empty lake; returns what each action came to.

        Raises
        ------
        SequenceError : an action failed.
        """
        assert self._process
        try:
            self._process.stdin.write(json.dumps(actions) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise SequenceError(f"the workshop died; see {self.root.parent / 'said.txt'}")
        results = json.loads(answer)
        for number, result in enumerate(results):
            if "error" in result:
                raise SequenceError(f"{result['error']}\nin action {number + 1} of\n{describe(actions)}")
        return results


# From here on: inside the master and its workers.


class Master:
    """Keeps what is dear to make, and starts a worker for each sequence."""

    def __init__(self, root: Path) -> None:
        importlib.import_module("dbt.cli.main")
        self.root = root
        os.chdir(root)
        os.environ.update(LAKEOPS_ROOT=str(root), LAKEOPS_LAKE=str(root / "lake"))
        for name in ("polars", "pyarrow.parquet", "deltalake", "xlsxwriter", "lakeops.pipeline", "lakeops.dbt_plugin"):
            importlib.import_module(name)
        write_contract(root, PAYMENTS)
        self.manifest = parse(root)
        (start,) = self.work([("start",)])
        assert "error" not in start, start
        shutil.copytree(root / "lake", root / "kept" / "lake")
        shutil.copytree(root / "duckdb", root / "kept" / "duckdb")

    def run(self, actions: list[Action]) -> list[dict[str, Any]]:
        """Carry out a sequence from an empty lake, in which every model is built and has no rows."""
        for name in ("lake", "duckdb", "data_raw"):
            shutil.rmtree(self.root / name)
        for name in ("lake", "duckdb"):
            shutil.copytree(self.root / "kept" / name, self.root / name)
        for name in ("macros", "models"):
            shutil.copytree(ROOT / "dbt" / name, self.root / "dbt" / name, dirs_exist_ok=True)
        write_contract(self.root, PAYMENTS)
        return self.work(actions)

    def work(self, actions: list[Action]) -> list[dict[str, Any]]:
        """Have workers carry out actions, a new one after each that was killed."""
        results: list[dict[str, Any]] = []
        while len(results) < len(actions):
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(read)
                _run_worker(self, actions[len(results) :], write)
            os.close(write)
            with os.fdopen(read) as said:
                results += [json.loads(text) for text in said]
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if len(results) == len(actions) or (results and "error" in results[-1]):
                break
            if status != -signal.SIGKILL:
                return [*results, {"error": f"the worker ended with {status}"}]
            results.append({"killed": True})
        return results


def _run_worker(master: Master, actions: list[Action], write: int) -> None:
    status = 0
    try:
        worker = Worker(master)
        with os.fdopen(write, "w", buffering=1) as answers:
            for verb, *words in actions:
                try:
                    result = getattr(worker, verb.replace("-", "_"))(*words) or {}
                except BaseException:
                    result = {"error": traceback.format_exc()}
                print(json.dumps(result, default=str), file=answers, flush=True)
                if "error" in result:
                    break
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        sys.stderr.flush()
        os._exit(status)


def _name_project(root: Path) -> list[str]:
    return ["--project-dir", str(root / "dbt"), "--profiles-dir", str(root / "dbt")]


def parse(root: Path) -> Any:
    """Return dbt's manifest of the project as it is now."""
    from dbt.cli.main import dbtRunner

    # The static parser keeps threads, which a forked worker would wait for in vain.
    return dbtRunner().invoke(["parse", "--no-static-parser", *QUIET, *_name_project(root)]).result


def write_contract(root: Path, payments: list[str]) -> None:
    """Write the clone's contract: ours, with deletes, and with a rule for payments that is enforced."""
    path = Path("dbt/models/bronze/retail.yml")
    contract = yaml.safe_load((ROOT / path).read_text())
    tables = {table["name"]: table for table in contract["sources"][0]["tables"]}
    for name, condition in DELETES.items():
        tables[name]["config"]["meta"]["load"].update(delete_when=condition, on_new_column="ignore")
    (payment,) = [column for column in tables["orders"]["columns"] if column["name"] == "payment_method"]
    payment["data_tests"] = [{"accepted_values": {"arguments": {"values": payments}}}]
    (root / path).write_text(yaml.safe_dump(contract, sort_keys=False))


class Worker:
    """Carries out actions: a method for each verb."""

    def __init__(self, master: Master) -> None:
        from lakeops.settings import load_settings

        self.root = master.root
        self.manifest = master.manifest
        self.warehouse = self.root / "duckdb" / "warehouse.duckdb"
        # Of the same name: it stands in every compiled statement.
        self.other = self.root / "duckdb" / "full" / "warehouse.duckdb"
        self.environments: dict[Path, Any] = {}
        self._use(self.warehouse)
        self.settings = load_settings()

    def start(self) -> None:
        """Make the lake, and build everything from it while it is empty."""
        self.load()
        self.build()
        self.other.parent.mkdir()
        self.compare()

    def land(self, name: str, columns: list[str], rows: list[list[str | None]]) -> None:
        """Write a raw file."""
        path = self.root / "data_raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[path.suffix](path, columns, rows)

    def load(self, kill_at: int | None = None, **selection: Any) -> dict[str, Any]:
        """Run the loader."""
        from lakeops import pipeline

        with _die_at(kill_at, importlib.import_module("lakeops.bronze.load"), *LOADER_STEPS):
            outcome = pipeline.run_load(self.settings, pipeline.Selection(root=self.root, **selection))
        assert not outcome.refused, outcome.refused
        assert not outcome.unclaimed, outcome.unclaimed
        return {"batches": outcome.batches}

    def reload(self, name: str) -> dict[str, Any]:
        """Load a file again, and what else is new."""
        return self.load(reload=(self.root / "data_raw" / name,), reason="for the test")

    def rebuild(self, table: str) -> dict[str, Any]:
        """Load a table again, whole."""
        return self.load(rebuild=table)

    def lose(self, name: str) -> dict[str, Any]:
        """Do without a file, after its table was lost."""
        from lakeops import pipeline
        from lakeops.bronze.tables import get_truth
        from lakeops.contract import load_contracts

        contract = load_contracts(self.settings.models).get_table(Path(name).parts[0].removesuffix(Path(name).suffix))
        (self.root / "data_raw" / name).unlink()
        shutil.rmtree(get_truth(self.settings.lake, contract))
        (outcome,) = pipeline.run_rebuild(self.settings, [contract.table], "for the test")
        return {"lost": outcome.lost}

    def mend(self) -> None:
        """Let the contract accept what it kept in quarantine."""
        write_contract(self.root, MENDED_PAYMENTS)

    def replay(self, name: str) -> dict[str, Any]:
        """Load from quarantine what keeps the contract now."""
        from lakeops import pipeline

        replays = pipeline.run_replay(self.settings, None, f"data_raw/{name}")
        return {"replayed": sum(replay.replayed for replay in replays)}

    def discard(self, name: str) -> None:
        """Give up what is in quarantine."""
        from lakeops import pipeline

        pipeline.run_discard(self.settings, None, f"data_raw/{name}", "for the test")

    def undo(self, name: str, kill_at: int | None = None) -> dict[str, Any]:
        """Take a file's rows out, if any are there."""
        from lakeops.ledger import load_ledger
        from lakeops.recovery.undo import run_undo

        file = f"data_raw/{name}"
        if load_ledger(self.settings.lake).get_live(file) is None:
            return {}
        with _die_at(kill_at, importlib.import_module("lakeops.recovery.commit"), *UNDO_STEPS):
            return {"undone": sum(one.rows for one in run_undo(self.settings, file=file, reason="for the test"))}

    def snapshot(self, name: str) -> None:
        """Give the versions of all tables a name."""
        from lakeops.recovery.snapshots import create_snapshot

        create_snapshot(self.settings, name)

    def go_back(self, name: str) -> dict[str, Any]:
        """Bring all tables back to a snapshot."""
        from lakeops.recovery.snapshots import restore_snapshot

        done = restore_snapshot(self.settings, name, reason="for the test")
        return {"restored": [one.table for one in done.tables if one.differs]}

    def restore(self, table: str, name: str) -> dict[str, Any]:
        """Bring one table back to what it was at a snapshot."""
        from lakeops.bronze.tables import get_truth
        from lakeops.contract import load_contracts
        from lakeops.recovery.restore import run_restore
        from lakeops.timetravel import find_snapshot

        lake = self.settings.lake
        truth = get_truth(lake, load_contracts(self.settings.models).get_table(table))
        version = find_snapshot(lake, name).versions[truth.relative_to(lake.folder).as_posix()]
        done = run_restore(self.settings, f"bronze.{truth.name}", version=version, reason="for the test")
        return {"restored": [done.table] if done.differs else []}

    def build(self, select: str | None = None, kill_at: int | None = None, full: bool = False) -> dict[str, Any]:
        """Run dbt; returns why models recomputed every key, if they did."""
        from dbt.adapters.duckdb.environments.local import DuckDBCursorWrapper

        selected = [select] if select else EVERYTHING
        with _die_at(kill_at, DuckDBCursorWrapper, "execute"):
            return self._run_dbt(self.warehouse, "run", "--select", *selected, *(["--full-refresh"] if full else []))

    def trace(self) -> dict[str, Any]:
        """Run dbt; returns its statements in order, each as the model it was sent for and how it begins."""
        from dbt.adapters.duckdb.environments.local import DuckDBCursorWrapper

        execute, told = DuckDBCursorWrapper.execute, []

        def listen(cursor: Any, sql: str, bindings: Any = None) -> Any:
            told.append(sql)
            return execute(cursor, sql, bindings)

        DuckDBCursorWrapper.execute = listen
        self.build()
        DuckDBCursorWrapper.execute = execute
        return {"statements": [_shorten(sql) for sql in told]}

    def ask(self, sql: str) -> dict[str, Any]:
        """Read from the warehouse."""
        with self._open(self.warehouse) as connection:
            return {"answer": connection.execute(sql).fetchall()}

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a file of the dbt project, until the next sequence."""
        path = self.root / "dbt" / name
        text = path.read_text()
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new))
        self.manifest = parse(self.root)
        # What dbt prepares when it starts, views among it, may follow from the file.
        self._close(self.warehouse)
        self._close(self.other)

    def keep(self) -> None:
        """Remember the warehouse as it is."""
        self._close(self.warehouse)
        shutil.copy2(self.warehouse, self.warehouse.with_suffix(".kept"))

    def put_back(self) -> None:
        """Have the warehouse as it was."""
        self._close(self.warehouse)
        for leftover in self.warehouse.parent.glob(f"{self.warehouse.name}*"):
            leftover.unlink()
        shutil.copy2(self.warehouse.with_suffix(".kept"), self.warehouse)

    def compare(self, again: bool = False) -> dict[str, Any]:
        """Build everything anew in the other warehouse; returns rows compared, and the rows that differ by table."""
        if not again:
            with self._open(self.other) as connection:
                for schema in (*EVERYTHING, "dbt_state"):
                    connection.execute(f"drop schema if exists {schema} cascade")
            self._run_dbt(self.other, "run", "--select", *EVERYTHING)
        with self._open(self.warehouse) as mine, self._open(self.other) as full:
            tables = _list_tables(full)
            assert _list_tables(mine) == tables
            compared, differing = 0, {}
            for table in tables:
                # The calendar is the same 11,000 rows every time: compared, but nothing to boast of.
                if table != "gold.dim_date":
                    compared += full.execute(f"select count(*) from {table}").fetchone()[0]
                if different := _find_differences(mine, full, table):
                    differing[table] = different
            return {"tables": len(tables), "rows": compared, "differing": differing, "sales": _read_sales(mine)}

    def settle(self, command: str = "run") -> dict[str, Any]:
        """Build once more; returns the tables in which anything changed, be it only a revision."""
        with self._open(self.warehouse) as connection:
            before = _take_fingerprints(connection)
        self._run_dbt(self.warehouse, command, "--select", *EVERYTHING)
        with self._open(self.warehouse) as connection:
            after = _take_fingerprints(connection)
        return {"changed": sorted(table for table, of in {**before, **after}.items() if before.get(table) != of)}

    def _use(self, warehouse: Path) -> None:
        os.environ["LAKEOPS_WAREHOUSE"] = str(warehouse)

    def _run_dbt(self, warehouse: Path, *arguments: str) -> dict[str, Any]:
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager
        from dbt.cli.main import dbtRunner

        recomputed: list[str] = []

        def listen(event: Any) -> None:
            if "every key is recomputed" in event.info.msg:
                recomputed.append(event.info.msg)

        # dbt knows one warehouse at a time and would close the other: to load the extension anew costs half a second.
        DuckDBConnectionManager._ENV = self.environments.get(warehouse)
        self._use(warehouse)
        try:
            outcome = dbtRunner(manifest=self.manifest, callbacks=[listen]).invoke(
                [*arguments, *QUIET, *_name_project(self.root)]
            )
        finally:
            self._use(self.warehouse)
        self.environments[warehouse] = DuckDBConnectionManager._ENV
        failed = [f"{r.node.name}: {r.message}" for r in getattr(outcome.result, "results", None) or [] if r.message]
        assert outcome.success, f"dbt {' '.join(arguments)}: {outcome.exception or failed}"
        return {"recomputed": recomputed}

    def _close(self, warehouse: Path) -> None:
        if environment := self.environments.pop(warehouse, None):
            environment.close()

    @contextlib.contextmanager
    def _open(self, warehouse: Path) -> Any:
        import duckdb

        from lakeops.warehouse import prepare_connection

        with duckdb.connect(str(warehouse)) as connection:
            prepare_connection(connection)
            yield connection


@contextlib.contextmanager
def _die_at(at: int | None, owner: Any, *names: str) -> Iterator[None]:
    """Have the at-th call of all these functions not be made, but the process killed; afterwards they are themselves.

    A kill that was not reached must not wait for an action that was not to be killed.
    """
    kept = {name: getattr(owner, name) for name in names if at is not None}
    calls = itertools.count(1)

    def decorate(function: Callable) -> Callable:
        def call(*arguments: Any, **named: Any) -> Any:
            if next(calls) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)

        return call

    for name, function in kept.items():
        setattr(owner, name, decorate(function))
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(owner, name, function)


def _shorten(sql: str) -> str:
    """Return the model a statement was sent for, which dbt writes before it, and its first word."""
    model = re.search(r'"node_id": "model\.\w+\.(\w+)"', sql)
    words = re.sub(r"/\*.*?\*/", "", sql, flags=re.DOTALL).split()
    return f"{model[1] if model else ''}: {' '.join(words[:2]).lower()}"


def _list_tables(connection: Any) -> list[str]:
    found = connection.execute(
        "select table_schema || '.' || table_name from information_schema.tables"
        " where table_catalog = current_database() and table_schema in ('silver', 'gold') order by all"
    )
    return [name for (name,) in found.fetchall()]


def _describe_columns(connection: Any, table: str) -> dict[str, str]:
    """Return the types by column, without the one that says which build wrote a row."""
    columns = {row[0]: row[1] for row in connection.execute(f"describe {table}").fetchall()}
    columns.pop("_revision", None)
    return columns


def _find_differences(mine: Any, full: Any, table: str) -> list[str]:
    """Return rows, at most a few, and columns that only one of the two has."""
    columns = _describe_columns(full, table)
    if (present := _describe_columns(mine, table)) != columns:
        return [f"columns: {set(present.items()) ^ set(columns.items()) or 'in another order'}"]
    names = ", ".join(f'"{name}"' for name in columns)
    mine.register("theirs", full.execute(f"select {names} from {table}").to_arrow_table())
    rows = f"select {names} from {table}", f"select {names} from theirs"
    try:
        return [
            f"{whose}: {row}"
            for whose, (these, those) in {"incremental": rows, "full": rows[::-1]}.items()
            for row in mine.execute(f"{these} except all {those} limit 5").fetchall()
        ]
    finally:
        mine.unregister("theirs")


def _take_fingerprints(connection: Any) -> dict[str, Any]:
    """Return number and checksum of the rows of every table, revisions and all."""
    return {
        table: connection.execute(f"select count(*), sum(hash(t)::hugeint) from {table} as t").fetchone()
        for table in _list_tables(connection)
    }


def _read_sales(connection: Any) -> list[list[Any]]:
    """Return what `plain_python.py` can work out, too: each line's amounts, and what its keys point at."""
    return connection.execute("""
        select order_id, line_number, sales.date, quantity, gross, discount, net, tax, net_aud, rate_source,
            customers.customer_id, stores.store_id, stores.name, products.product_id, products.list_price
        from gold.fct_sales as sales
        join gold.dim_customer as customers using (customer_key)
        join gold.dim_store as stores using (store_key)
        join gold.dim_product as products using (product_key)
        order by all""").fetchall()


def _write_csv(path: Path, columns: list[str], rows: list[list[str | None]]) -> None:
    path.write_text("".join(",".join(field or "" for field in row) + "\n" for row in [columns, *rows]))


def _write_jsonl(path: Path, columns: list[str], rows: list[list[str | None]]) -> None:
    records = [dict(zip(columns, row, strict=True)) for row in rows]
    for record in records:
        record.update({name: int(record[name]) for name in ("event_id", "user_id") if record[name]})
        record["metadata"] = json.loads(record["metadata"])
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def _write_workbook(path: Path, columns: list[str], rows: list[list[str | None]]) -> None:
    import datetime as dt

    import xlsxwriter

    with xlsxwriter.Workbook(path) as book:
        # The same rows must be the same bytes: by default, the moment of writing stands in them.
        book.set_properties({"created": dt.datetime(2024, 1, 1)})  # noqa: DTZ001 - a workbook knows no zones
        sheet = book.add_worksheet()
        day_format = book.add_format({"num_format": "yyyy-mm-dd"})
        sheet.write_row(0, 0, columns)
        for number, (day, currency, rate) in enumerate(rows, start=1):
            sheet.write_datetime(number, 0, dt.datetime.fromisoformat(day), day_format)
            sheet.write_string(number, 1, currency)
            sheet.write_number(number, 2, float(rate))


def _write_parquet(path: Path, columns: list[str], rows: list[list[str | None]]) -> None:
    import datetime as dt
    from decimal import Decimal

    import pyarrow as pa
    import pyarrow.parquet as pq

    def type_of(name: str) -> tuple[pa.DataType, Callable[[str], Any]]:
        if name.endswith("_id") or name == "qty":
            return pa.int64(), int
        if name.endswith(("_at", "_ts")):
            return pa.timestamp("us", "UTC"), lambda text: dt.datetime.fromisoformat(f"{text}+00:00")
        if name == "ship_cost":
            return pa.decimal128(12, 2), Decimal
        return pa.string(), str

    arrays = {}
    for index, name in enumerate(columns):
        kind, read = type_of(name)
        arrays[name] = pa.array([None if row[index] is None else read(row[index]) for row in rows], kind)
    pq.write_table(pa.table(arrays), path)


WRITERS = {".csv": _write_csv, ".jsonl": _write_jsonl, ".xlsx": _write_workbook, ".parquet": _write_parquet}


def main() -> None:
    """Serve sequences, one line of JSON each, until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    master = Master(Path(sys.argv[1]))
    for text in sys.stdin:
        print(json.dumps(master.run(json.loads(text))), file=answers, flush=True)


if __name__ == "__main__":
    main()
