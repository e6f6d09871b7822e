"""Any mix of loads, undos, restores, snapshots, upkeep and accidents: bronze is what plain Python says it must be.

The model knows no Delta and no batch: only which file brought which rows, and what was put away by hand.
"""

from __future__ import annotations

import copy
import os
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from conftest import DAY, Project, items, make_project, sales
from lakeops import pipeline
from lakeops.bronze.tables import get_truth
from lakeops.contract import load_contracts
from lakeops.delta import scan_table
from lakeops.errors import UsageError
from lakeops.recovery.restore import run_restore
from lakeops.recovery.snapshots import create_snapshot, restore_snapshot
from lakeops.recovery.undo import run_undo
from lakeops.timetravel import open_version
from lakeops.upkeep import list_restorable, optimize_table, vacuum_tables

KEYS = {"sales": "sale_id", "items": "item_id"}
TABLES = tuple(KEYS)
Content = tuple[tuple, ...]


@dataclass
class Table:
    """What one bronze table must be.

    Parameters
    ----------
    live : by file, which load brought its rows, and the rows.
    latest : what the ledger saw of a file last; that is not what lies there now.
    undone : by file, the content that waits; undone_content : the same whatever the file is called.
    """

    is_append: bool
    live: dict[str, tuple[int, Content]] = field(default_factory=dict)
    latest: dict[str, Content] = field(default_factory=dict)
    undone: dict[str, Content] = field(default_factory=dict)
    undone_content: set[Content] = field(default_factory=set)

    def load(self, number: int, raw: dict[str, Content], asked: str | None) -> None:
        """Load what lies there."""
        waiting = {
            name
            for name, content in raw.items()
            if name != asked
            and (
                self.undone.get(name) == content
                or (self.is_append and name not in self.live and content in self.undone_content)
            )
        }
        leaving = {
            name
            for name, content in raw.items()
            if name in self.live and name not in waiting and (self.live[name][1] != content or name == asked)
        }
        held = {content: name for name, (_, content) in self.live.items() if name not in leaving}
        for name, content in sorted(raw.items()):
            self.latest[name] = content
            if name in waiting or (name in self.live and name not in leaving):
                continue
            self.live.pop(name, None)
            if self.is_append and held.get(content, name) != name:
                continue
            self.live[name] = (number, content)
            held[content] = name
            self.undone.pop(name, None)
            self.undone_content.discard(content)

    def put_away(self, name: str) -> None:
        """Take a file's rows out."""
        _, content = self.live.pop(name)
        self.undone[name] = content
        self.undone_content.add(content)

    def restore(self, then: dict[str, tuple[int, Content]]) -> None:
        """Have the rows of an earlier moment."""
        for name in sorted({*self.live, *then}):
            if self.live.get(name) == then.get(name):
                continue
            if name in self.live:
                self.put_away(name)
            elif name in self.latest:
                self.undone[name] = self.latest[name]
                self.undone_content.add(self.latest[name])
            if name in then:
                self.undone_content.discard(then[name][1])
                if self.undone.get(name) == then[name][1]:
                    self.undone.pop(name)
        self.live = dict(then)

    def compute_rows(self) -> Counter[tuple]:
        """Return the rows that SQL must see."""
        rows = [
            (number, name, line, row) for name, (number, rows) in self.live.items() for line, row in enumerate(rows)
        ]
        good = [one for one in rows if is_good(one[3])]
        if self.is_append:
            return Counter((row[0], Decimal(row[2])) for *_, row in good)
        ordered = sorted(good, key=lambda one: (one[3][2], *one[:3]))
        return Counter({row[0]: row[:2] for *_, row in ordered}.values())

    def count_bad(self) -> int:
        """Return how many records are open in quarantine."""
        return sum(not is_good(row) for _, rows in self.live.values() for row in rows)


def is_good(row: tuple) -> bool:
    return row[0] != "x"


@dataclass
class Lake:
    """A project, and the model of what it must hold."""

    project: Project
    tables: dict[str, Table] = field(default_factory=lambda: {name: Table(name == "sales") for name in TABLES})
    raw: dict[str, dict[str, Content]] = field(default_factory=lambda: {name: {} for name in TABLES})
    loads: int = 0
    moments: list[tuple[str, int, dict]] = field(default_factory=list)
    snapshots: dict[str, dict[str, dict]] = field(default_factory=dict)
    last_batch: int = 0

    def land(self, table: str, number: int, rows: Content) -> None:
        self.raw[table][f"{table}/{number}.csv"] = rows
        self.project.land(f"{table}/{number}.csv", (sales if table == "sales" else items)(*rows))

    def load(self, asked: str | None = None) -> None:
        """Load, a second time too: then nothing may be new."""
        path = self.project.root / "data_raw" / (asked or "")
        selection = pipeline.Selection(reload=(path,), reason="test", root=self.project.root)
        outcome = pipeline.run_load(self.project.settings, selection if asked else pipeline.EVERYTHING)
        if outcome.batches:
            assert min(outcome.batches) > self.last_batch
            self.last_batch = max(outcome.batches)
        self.loads += 1
        for name, table in self.tables.items():
            table.load(self.loads, self.raw[name], asked)
        assert pipeline.run_load(self.project.settings).batches == []

    def undo(self, table: str, pick: int) -> None:
        live = sorted(self.tables[table].live)
        if not live:
            return
        name = live[pick % len(live)]
        self._note_batches(run_undo(self.project.settings, file=f"data_raw/{name}", reason="test"))
        self.tables[table].put_away(name)

    def undo_load(self, pick: int) -> None:
        loads = sorted({number for table in self.tables.values() for number, _ in table.live.values()})
        if not loads:
            return
        number = loads[pick % len(loads)]
        chosen = [(t, name) for t in self.tables.values() for name, (of, _) in sorted(t.live.items()) if of == number]
        of_table = next(name for name, table in self.tables.items() if table is chosen[0][0])
        (batch,) = self.project.sql(
            "select arg_max(coalesce(rows_batch_id, batch_id), entry_id) from manifest_processed_files"
            f" where status in ('loaded', 'restored') and table_name = '{of_table}'"
            f" and source_file = 'data_raw/{chosen[0][1]}'"
        )[0]
        self._note_batches(run_undo(self.project.settings, batch=batch, reason="test"))
        for table, name in chosen:
            table.put_away(name)

    def restore(self, table: str, pick: int) -> None:
        moments = [moment for moment in self.moments if moment[0] == table]
        if not moments:
            return
        _, version, live = moments[pick % len(moments)]
        name = table if self.tables[table].is_append else f"bronze.{table}_changes"
        done = run_restore(self.project.settings, name, version=version, reason="test")
        self._note_batches([done] if done.batch_id else [])
        self.tables[table].restore(live)

    def spoil(self, table: str, key: int) -> None:
        """Somebody deletes rows, and it is found out: as it was right before."""
        found = self._describe(table)
        key_column = KEYS[table]
        places = {self.project.settings.lake.bronze("bronze", table), self._get_truth(table)}
        for path in places:
            DeltaTable(str(path)).delete(f"{key_column} <= {key}")
        name = table if self.tables[table].is_append else f"bronze.{table}_changes"
        done = run_restore(self.project.settings, name, version=found, reason="test")
        self._note_batches([done] if done.batch_id else [])

    def snapshot(self) -> None:
        name = f"s{len(self.snapshots)}"
        create_snapshot(self.project.settings, name)
        self.snapshots[name] = {table: copy.deepcopy(of.live) for table, of in self.tables.items()}

    def go_back(self, pick: int) -> None:
        if not self.snapshots:
            return
        name = sorted(self.snapshots)[pick % len(self.snapshots)]
        done = restore_snapshot(self.project.settings, name, reason="test")
        self._note_batches([one for one in done.tables if one.batch_id])
        for table, live in self.snapshots[name].items():
            self.tables[table].restore(live)

    def optimize(self, table: str) -> None:
        """Lay a table out anew, by its key."""
        for path in {self.project.settings.lake.bronze("bronze", table), self._get_truth(table)}:
            optimize_table(self.project.settings, f"bronze.{path.name}", (KEYS[table],))

    def vacuum(self, table: str) -> None:
        """Delete whatever nothing needs; what is said to be readable then is read, and nothing else restored."""
        settings, truth = self.project.settings, self._get_truth(table)
        names = tuple(f"bronze.{path.name}" for path in {settings.lake.bronze("bronze", table), truth})
        vacuum_tables(settings, names, 0, apply=True, force=True)
        (held,) = list_restorable(settings, (f"bronze.{truth.name}",))
        for first, last in held.ranges:
            for version in range(first, last + 1):
                scan_table(open_version(truth, version)).collect()
        self.moments = [one for one in self.moments if one[0] != table or held.covers(one[1])]

    def check(self) -> None:
        """Compare the lake with the model, and remember where it stands."""
        for name, table in self.tables.items():
            assert self.read(name) == table.compute_rows(), name
            self.moments.append((name, self._describe(name), copy.deepcopy(table.live)))
        opened = self.project.sql("select table_name, count(*) from quarantine where status = 'open' group by all")
        assert dict(opened) == {name: of.count_bad() for name, of in self.tables.items() if of.count_bad()}

    def read(self, name: str) -> Counter[tuple]:
        key, value = {"sales": ("sale_id", "amount"), "items": ("item_id", "name")}[name]
        return Counter(self.project.sql(f"select {key}, {value} from bronze.{name}"))

    def _note_batches(self, done: list) -> None:
        for batch in {one.batch_id for one in done}:
            assert batch > self.last_batch
            self.last_batch = batch

    def _get_truth(self, table: str) -> Path:
        contracts = load_contracts(self.project.settings.models)
        return get_truth(self.project.settings.lake, contracts.get_table(table))

    def _describe(self, table: str) -> int:
        return DeltaTable(str(self._get_truth(table))).version()


SMALL = st.integers(0, 3)
TABLE = st.sampled_from(TABLES)
SALE = st.tuples(st.one_of(st.integers(1, 4), st.just("x")), st.just(str(DAY)), st.integers(1, 3))
ITEM = st.tuples(
    st.one_of(st.integers(1, 3), st.just("x")),
    st.sampled_from(["a", "b"]),
    st.sampled_from([f"2024-04-0{day}T00:00:00" for day in (1, 2)]),
)
LAND = st.one_of(
    st.tuples(st.just("land"), st.just("sales"), SMALL, st.lists(SALE, min_size=1, max_size=3).map(tuple)),
    st.tuples(st.just("land"), st.just("items"), SMALL, st.lists(ITEM, min_size=1, max_size=3).map(tuple)),
)
MEND = st.one_of(
    st.tuples(st.just("undo"), TABLE, SMALL),
    st.tuples(st.just("undo_load"), SMALL),
    st.tuples(st.just("restore"), TABLE, st.integers(0, 9)),
    st.tuples(st.just("spoil"), TABLE, SMALL),
    st.tuples(st.just("snapshot")),
    st.tuples(st.just("go_back"), SMALL),
    st.tuples(st.just("reload"), TABLE, SMALL),
    st.tuples(st.just("optimize"), TABLE),
    st.tuples(st.just("vacuum"), TABLE),
)
# What lands is loaded, and then one thing is mended.
ROUNDS = st.lists(st.tuples(st.lists(LAND, max_size=2), st.lists(MEND, min_size=1, max_size=2)), min_size=2, max_size=5)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_project(tmp_path_factory.mktemp("mix") / "project")
    project.load()
    project.keep()
    return project


@settings(
    max_examples=int(os.environ.get("LAKEOPS_EXAMPLES", "5")),
    derandomize="LAKEOPS_EXAMPLES" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(ROUNDS)
def test_any_mix_keeps_the_promises(empty: Project, rounds: list):
    empty.reset()
    for file in sorted(empty.root.glob("data_raw/*/*.csv")):
        file.unlink()
    lake = Lake(empty)
    for landings, mendings in rounds:
        for _, *words in landings:
            lake.land(*words)
        lake.load()
        lake.check()
        for verb, *words in mendings:
            if verb == "reload":
                name = f"{words[0]}/{words[1]}.csv"
                if name in lake.raw[words[0]]:
                    lake.load(name)
            else:
                getattr(lake, verb)(*words)
            note(f"{verb} {words}")
            lake.check()
            lake.load()
            lake.check()
    for pick in range(len(lake.snapshots)):
        lake.go_back(pick)
        lake.check()


def test_an_undo_of_nothing_is_refused(empty: Project):
    empty.reset()
    with pytest.raises(UsageError):
        run_undo(empty.settings, batch=1, reason="test")
