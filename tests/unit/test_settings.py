"""Where a command works, and how it names that to people."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakeops.settings import load_settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("target", "warehouse", "serving"),
    [
        ("dev", "duckdb/warehouse.duckdb", "duckdb/serving.duckdb"),
        ("prod", "duckdb/warehouse_prod.duckdb", "duckdb/serving_prod.duckdb"),
    ],
)
def test_a_hint_names_the_files_of_the_target(
    monkeypatch: pytest.MonkeyPatch, target: str, warehouse: str, serving: str
) -> None:
    monkeypatch.setenv("LAKEOPS_ROOT", str(ROOT))
    monkeypatch.setenv("LAKEOPS_TARGET", target)
    settings = load_settings()
    assert settings.ask("from t") == f'duckdb -readonly {warehouse} "from t"'
    assert settings.ask("from t", settings.serving) == f'duckdb -readonly {serving} "from t"'


def test_a_hint_can_be_typed_whatever_the_file_is_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAKEOPS_ROOT", str(ROOT))
    elsewhere = tmp_path / "my lake.duckdb"
    assert load_settings(warehouse=elsewhere).ask("from t") == f"duckdb -readonly '{elsewhere}' \"from t\""
