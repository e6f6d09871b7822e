"""Run queries once in a fresh DuckDB, and print what each took: `python ask.py '{"setup": […], "queries": {…}}'`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import duckdb

from lakeops.warehouse import prepare_connection


def main() -> None:
    """Print for each query wall and CPU seconds, the answer and, if wanted, what the plan says of the scans."""
    wanted = json.loads(sys.argv[1])
    said = {}
    with duckdb.connect() as connection:
        prepare_connection(connection)
        connection.execute("load delta")
        connection.execute("set delta_scan_explain_files_filtered = false")
        for statement in wanted["setup"]:
            connection.execute(statement)
        for name, query in wanted["queries"].items():
            cpu, wall = time.process_time(), time.perf_counter()
            answer = connection.execute(query).fetchall()
            taken = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
            said[name] = taken | {"answer": [[str(value) for value in row] for row in answer]}
        if wanted["plans"]:
            for name, query in wanted["queries"].items():
                said[name]["scans"] = read_scans(connection, query)
    print(json.dumps(said))


def read_scans(connection: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    """Return what the plan says of every scan of Delta: files and rows read, and filters."""
    plan = json.loads(connection.execute(f"explain (analyze, format json) {query}").fetchall()[0][-1])
    found: list[str] = []

    def walk(node: dict) -> None:
        facts = node.get("extra_info", {})
        if "Total Files Read" in facts:
            filters = facts.get("Filters", [])
            filters = [filters] if isinstance(filters, str) else filters
            table = Path(facts.get("Filename(s)", "?/?").split(", ")[0]).parent.name
            found.append(
                f"{table}: files read {facts['Total Files Read']}, rows out {node.get('operator_cardinality', 0):,},"
                f" filters {' and '.join(filters) or 'none'}"
            )
        for child in node.get("children", []):
            walk(child)

    walk(plan)
    return sorted(found)


if __name__ == "__main__":
    main()
