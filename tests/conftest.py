"""What tests share: small projects of their own, copies of this one, and the real sample."""

from __future__ import annotations

import atexit
import csv
import datetime as dt
import functools
import io
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, settings

from lakeops import pipeline
from lakeops.bronze import LoadOutcome
from lakeops.paths import Lake
from lakeops.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
# Build machines set it, users do not; with it, each of a thousand commands would compile the project anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
SHOP = """
sources:
  - name: shop
    schema: bronze
    tables:
      - name: sales
        config:
          meta:
            load:
              files: ["sales/**/*.csv"]
              format: csv
              key: [sale_id]
              business_date: sale_dt
              on_new_column: evolve
        columns:
          - {name: sale_id, data_type: bigint}
          - {name: sale_dt, data_type: date}
          - {name: amount, data_type: "decimal(12,2)"}
      - name: items
        config:
          meta:
            load: {files: ["items/**/*.csv"], format: csv, mode: merge, key: [item_id], sequence_by: [changed_at]}
        columns:
          - {name: item_id, data_type: bigint}
          - {name: name, data_type: varchar}
          - {name: changed_at, data_type: timestamp}
      - name: clicks
        config:
          meta:
            load: {files: ["clicks/**/*.jsonl"], format: jsonl, key: [click_id]}
        columns:
          - {name: click_id, data_type: bigint}
          - {name: page, data_type: varchar}
"""
LOADER_COLUMNS = ["_batch_id", "_ingested_at", "_source_file", "_source_row"]


DAY = dt.date(2024, 4, 1)
# Whole loads of drawn files: always the same ones; LAKEOPS_EXAMPLES asks for more, and for new ones each time.
WHOLE_LOADS = settings(
    deadline=None,
    derandomize="LAKEOPS_EXAMPLES" not in os.environ,
    max_examples=int(os.environ.get("LAKEOPS_EXAMPLES", "60")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def sales(*rows: tuple) -> str:
    """Return a file of sales with the given rows."""
    return _write_csv(("sale_id", "sale_dt", "amount"), rows)


def items(*rows: tuple) -> str:
    """Return a file of items with the given rows."""
    return _write_csv(("item_id", "name", "changed_at"), rows)


def _write_csv(header: tuple, rows: tuple) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    return out.getvalue()


PARSE_CACHE = Path("dbt", "target", "partial_parse.msgpack")
LONGEST_FIRST = ("docs", "warehouse", "functional", "integration", "unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first, each of which one worker takes whole: what is short fills the end."""
    items.sort(key=lambda item: LONGEST_FIRST.index(item.path.relative_to(ROOT / "tests").parts[0]))


@dataclass(frozen=True)
class Project:
    """A project of a test's own: contracts, landing zone, lake and warehouse in one folder."""

    root: Path

    @property
    def settings(self) -> Settings:
        return Settings(
            self.root, self.root / "data_raw", Lake(self.root / "lake"), self.root / "duckdb" / "warehouse.duckdb"
        )

    def land(self, name: str, text: str | bytes) -> Path:
        """Put a raw file in place, with a modification time no earlier file of that name had."""
        path = self.root / "data_raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.stat().st_mtime_ns if path.exists() else 0
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        if path.stat().st_mtime_ns == before:
            os.utime(path, ns=(before + 1, before + 1))
        return path

    def change_contract(self, old: str, new: str) -> None:
        """Replace a piece of the contracts' text."""
        file = self.root / "dbt" / "models" / "bronze" / "shop.yml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def load(self) -> LoadOutcome:
        return pipeline.run_load(self.settings)

    def keep(self) -> None:
        """Remember lake and warehouse as they are now, for `reset`."""
        for name in ("lake", "duckdb"):
            if (self.root / name).exists():
                shutil.copytree(self.root / name, self._kept / name)

    def reset(self) -> None:
        """Put lake and warehouse back to what they were when `keep` was called, at the same place."""
        for name in ("lake", "duckdb"):
            shutil.rmtree(self.root / name, ignore_errors=True)
            if (self._kept / name).exists():
                shutil.copytree(self._kept / name, self.root / name)

    @property
    def _kept(self) -> Path:
        return self.root.parent / "kept"

    def rows(self, table: str) -> list[tuple]:
        """Return the business columns of a bronze table, sorted."""
        frame = pl.read_delta(str(self.settings.lake.bronze("bronze", table)))
        return sorted(frame.drop(LOADER_COLUMNS).rows(), key=str)

    def sql(self, query: str) -> list[tuple]:
        """Ask the warehouse, as a process of its own would."""
        with duckdb.connect(str(self.settings.warehouse), read_only=True) as connection:
            return connection.execute(query).fetchall()

    def versions(self) -> dict[str, int]:
        """Return the newest version of every Delta table in the lake, by path."""
        return {
            str(log.parent.relative_to(self.root)): len(list(log.glob("*.json")))
            for log in (self.root / "lake").rglob("_delta_log")
        }


def make_project(root: Path, contracts: str = SHOP) -> Project:
    """Lay out a project with the given contracts and this repository's records."""
    models = root / "dbt" / "models"
    (models / "bronze").mkdir(parents=True)
    (root / "dbt" / "dbt_project.yml").write_text("name: test\n")
    (models / "bronze" / "shop.yml").write_text(contracts)
    shutil.copytree(ROOT / "dbt" / "models" / "ops", models / "ops", ignore=shutil.ignore_patterns("*.sql"))
    (root / "data_raw").mkdir()
    return Project(root)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with the contracts of a small shop."""
    return make_project(tmp_path / "project")


@dataclass(frozen=True)
class Clone:
    """A copy of this repository in which commands are typed as a user would."""

    root: Path

    def run(self, command: str, expect: int = 0, folder: str = ".", **variables: str) -> subprocess.CompletedProcess:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LAKEOPS_")}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.root / folder,
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        said = f"$ {command}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == expect, said
        assert "Traceback" not in done.stdout + done.stderr, said
        return done

    def query(self, sql: str, warehouse: str = "duckdb/warehouse.duckdb") -> list[list[str]]:
        """Ask in the plain command line, from the root, with no setting before it."""
        done = subprocess.run(
            [Path(sys.executable).parent / "duckdb", "-csv", "-noheader", warehouse],
            input=sql,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{sql}\n{done.stderr}"
        assert not done.stderr, f"{sql}\n{done.stderr}"
        return list(csv.reader(io.StringIO(done.stdout)))


def make_clone(root: Path) -> Clone:
    """Copy what git tracks, as a clone would have it, with the changes that are not committed yet.

    dbt's parse cache comes along, made once: without it every clone's first command would parse the project anew.
    """
    clone = _copy_what_git_tracks(root)
    cache = root / PARSE_CACHE
    cache.parent.mkdir()
    shutil.copy2(_parse_project(), cache)
    return clone


@functools.cache
def _parse_project() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="lakeops-parsed-")
    atexit.register(folder.cleanup)
    clone = _copy_what_git_tracks(Path(folder.name) / "lakeops")
    clone.run("dbt parse --no-write-json", folder="dbt")
    return clone.root / PARSE_CACHE


def _copy_what_git_tracks(root: Path) -> Clone:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / name, root / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return Clone(root)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone nobody has typed a command in yet."""
    return make_clone(tmp_path_factory.mktemp("clone") / "lakeops")


@pytest.fixture(scope="session")
def sample() -> Path:
    """The real input that nobody here wrote; it lies beside the repository, not in it."""
    folder = Path(os.environ.get("LAKEOPS_SAMPLE", ROOT.parent / "shared" / "retail_sample"))
    if not folder.is_dir():
        pytest.skip("shared/retail_sample does not lie beside this repository; LAKEOPS_SAMPLE names another place")
    return folder
