"""Whether there is anything to build, test and publish: what the last good run saw, held against what is there now.

A run that loaded nothing would build, test and publish the very same again, at the price of a whole dbt run. What a run
depends on is cheap to name: the dbt project, the versions of the tables the loader writes, how often each model was
built, and what readers follow. Where any of it differs, or is not known, everything is run.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import duckdb

from lakeops import __version__
from lakeops.contract import Contracts
from lakeops.delta import find_version
from lakeops.paths import Lake
from lakeops.settings import Settings
from lakeops.warehouse import connect

# Of dbt's folder, what no model, test or contract is made of.
_NO_SOURCE = ("target", "logs", "dbt_packages", "elementary", "analyses")
# Records that models and tests read, and that a run does not write itself.
_LOADERS_RECORDS = ("manifest_processed_files", "touched_keys", "quarantine_resolutions", "schema_history")


def describe_inputs(settings: Settings, contracts: Contracts) -> str:
    """Return a checksum of all that a build and its tests read."""
    facts = {
        "lakeops": __version__,
        "salt": os.environ.get("LAKEOPS_MASK_SALT"),
        "target": settings.target,
        "project": {str(file.relative_to(settings.dbt_project)): _hash(file) for file in _list_sources(settings)},
        "lake": {str(path): find_version(path) for path in _list_inputs(settings.lake, contracts)},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def is_standing(settings: Settings, inputs: str) -> bool:
    """Tell whether the last run that built, tested and published all saw these inputs, and its outputs are still there.

    Parameters
    ----------
    inputs : what `describe_inputs` says now.
    """
    if not settings.warehouse.is_file():
        return False
    with connect(settings.warehouse) as connection:
        known = "select count(*) from duckdb_tables() where schema_name = 'dbt_state' and table_name = 'standing'"
        if not connection.execute(known).fetchone()[0]:
            return False
        stood = connection.execute("select inputs, outputs from dbt_state.standing").fetchall()
        return stood == [(inputs, _describe_outputs(settings, connection))]


def remember_standing(settings: Settings, inputs: str) -> None:
    """Remember that everything was built from these inputs, held its tests, and is what readers see.

    Parameters
    ----------
    inputs : what `describe_inputs` said before the build began: what came since is not in it.
    """
    with connect(settings.warehouse) as connection:
        connection.execute("create or replace table dbt_state.standing (inputs varchar, outputs varchar)")
        connection.execute(
            "insert into dbt_state.standing values (?, ?)", [inputs, _describe_outputs(settings, connection)]
        )


def _describe_outputs(settings: Settings, connection: duckdb.DuckDBPyConnection) -> str:
    revisions = connection.execute("select model, revision, lake from dbt_state.revisions order by model").fetchall()
    published = connection.execute("select path, version from dbt_state.published order by path").fetchall()
    facts = {
        "revisions": revisions,
        "published": [(path, find_version(Path(path)), version) for path, version in published],
        "readers": settings.serving.stat().st_mtime_ns if settings.serving.is_file() else None,
    }
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _list_sources(settings: Settings) -> list[Path]:
    roots = [entry for entry in settings.dbt_project.iterdir() if entry.name not in _NO_SOURCE]
    files = [file for root in roots for file in (root.rglob("*") if root.is_dir() else [root])]
    return sorted(file for file in files if file.is_file() and not file.name.startswith("."))


def _list_inputs(lake: Lake, contracts: Contracts) -> list[Path]:
    tables = []
    for contract in contracts.tables:
        tables += [lake.bronze(contract.schema, contract.table), lake.quarantine(contract.table)]
        if contract.load.keeps_changes:
            tables.append(lake.bronze(contract.schema, f"{contract.table}_changes"))
    return [*tables, *(lake.ops(record) for record in _LOADERS_RECORDS)]


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
