"""Each way in which columns change has one outcome, and a row in the schema history."""

from __future__ import annotations

import pytest

from conftest import DAY, Project, sales
from lakeops import report
from lakeops.errors import ContractError


def history(project: Project, table: str = "sales") -> list[tuple]:
    """Return what was written down since the table was created."""
    return project.sql(
        "select column_name, change, type_before, type_after, batch_id from schema_history"
        f" where table_name = '{table}' and recorded_at > (select min(recorded_at) from schema_history)"
        " order by recorded_at, column_name"
    )


def test_a_new_column_in_a_file_is_told_and_written_down_with_its_batch(project, capsys):
    project.land("sales/1.csv", sales((1, DAY, 1)))
    project.load()
    project.land("sales/2.csv", "sale_id,sale_dt,amount,note\n2,2024-04-01,2,hi\n")
    outcome = project.load()
    report.show_loads([outcome])
    assert "column taken in: bronze.sales.note, " in capsys.readouterr().err
    batch = outcome.batches[0]
    assert history(project) == [("note", "added", None, "varchar", batch)]
    project.load()
    assert len(history(project)) == 1


def test_a_column_added_to_the_contract_is_null_in_old_rows_and_a_reload_fills_it(project):
    project.land("sales/1.csv", "sale_id,sale_dt,amount,note\n1,2024-04-01,1,hi\n")
    project.change_contract("on_new_column: evolve", "on_new_column: ignore")
    project.load()
    project.change_contract(
        "          - {name: amount,",
        "          - {name: note, data_type: varchar}\n          - {name: amount,",
    )
    project.load()
    assert project.sql("select sale_id, note from bronze.sales") == [(1, None)]
    from lakeops import pipeline

    file = project.root / "data_raw" / "sales" / "1.csv"
    selection = pipeline.Selection(reload=(file,), reason="for the test", root=project.root)
    assert pipeline.run_load(project.settings, selection).batches
    assert project.sql("select sale_id, note from bronze.sales") == [(1, "hi")]
    assert history(project) == [("note", "added", None, "varchar", None)]


def test_a_wider_type_rewrites_the_table_and_keeps_every_value(project):
    project.land("sales/1.csv", sales((1, DAY, "1.25")))
    project.load()
    project.change_contract("decimal(12,2)", "decimal(14,4)")
    project.land("sales/2.csv", sales((2, DAY, "2.1234")))
    project.load()
    assert [str(row[2]) for row in project.rows("sales")] == ["1.2500", "2.1234"]
    assert history(project) == [("amount", "widened", "decimal(12,2)", "decimal(14,4)", None)]
    # The proof of what was loaded is still there, and nothing is loaded again.
    assert project.load().batches == []


def test_a_narrower_type_is_refused_before_anything_is_loaded(project):
    project.land("sales/1.csv", sales((1, DAY, 1)))
    project.load()
    before = project.versions()
    project.change_contract("decimal(12,2)", "decimal(6,2)")
    with pytest.raises(ContractError) as error:
        project.load()
    assert "shop.yml:" in error.value.where
    assert "sales.amount" in error.value.where
    assert project.versions() == before


def test_a_column_dropped_from_the_contract_keeps_its_data(project):
    project.land("sales/1.csv", sales((1, DAY, 1)))
    project.load()
    project.change_contract('          - {name: amount, data_type: "decimal(12,2)"}\n', "")
    project.land("sales/2.csv", "sale_id,sale_dt\n2,2024-04-01\n")
    project.load()
    assert project.sql("select sale_id, amount is null from bronze.sales order by 1") == [(1, False), (2, True)]
    assert history(project) == [("amount", "dropped", "decimal(12,2)", None, None)]


def test_a_renamed_column_is_known_by_its_alias(project):
    project.change_contract("on_new_column: evolve", "aliases: {amount: [total, sum]}")
    project.land("sales/1.csv", "sale_id,sale_dt,total\n1,2024-04-01,5\n")
    project.land("sales/2.csv", "sale_id,sale_dt,total,amount\n2,2024-04-01,5,5\n")
    outcome = project.load()
    assert [str(row[2]) for row in project.rows("sales")] == ["5.00"]
    assert "two of its names" in outcome.refused[0][1]


def test_what_does_not_fit_is_rescued_where_the_contract_says_so(project):
    project.change_contract("on_new_column: evolve", "on_new_column: rescue\n              on_bad_value: rescue")
    project.land("sales/1.csv", "sale_id,sale_dt,amount,note\n1,2024-04-01,five,hi\n2,2024-04-01,2,\nx,2024-04-01,3,\n")
    project.load()
    found = project.sql("select sale_id, amount, _rescued from bronze.sales order by 1")
    assert found[0][:2] == (1, None)
    import json

    assert json.loads(found[0][2]) == {"amount": "five", "note": "hi"}
    assert found[1][2] is None
    # A key is what a row is known by: without it there is nothing to rescue it into.
    assert project.sql("select source_row, column_name from quarantine") == [(4, "sale_id")]


def test_a_file_with_too_many_bad_rows_is_refused_with_its_gate(project):
    project.change_contract(
        "on_new_column: evolve",
        "max_quarantined: {percent: 10, min_rows: 2, reason: the sender once sent a file of another shop}",
    )
    project.land("sales/1.csv", sales(("x", DAY, 1), *((n, DAY, 1) for n in range(2))))
    project.land("sales/2.csv", sales(("x", DAY, 1), ("y", DAY, 1), *((n, DAY, 1) for n in range(2, 9))))
    outcome = project.load()
    assert len(project.rows("sales")) == 2
    (name, reason) = outcome.refused[0]
    assert name == "data_raw/sales/2.csv"
    assert "2 of 9 records are bad, over 10%" in reason
    assert "4 expectations evaluated, 3 passed, 1 failed" in reason
    assert "sale_id bad_value: 2 row(s)" in reason
    assert "line 2" in reason


def test_why_a_file_is_refused_quotes_nothing_personal(project):
    project.change_contract(
        'data_type: "decimal(12,2)"', 'data_type: "decimal(12,2)", config: {meta: {personal: true}}'
    )
    project.change_contract("on_new_column: evolve", "on_bad_value: refuse")
    project.land("sales/1.csv", sales((1, DAY, "jo@ex.org")))
    project.land("sales/2.csv", sales(("seven", DAY, 1)))
    reasons = dict(project.load().refused)
    assert "amount bad_value: 1 row(s), e.g. line 2" in reasons["data_raw/sales/1.csv"]
    assert "jo@ex.org" not in reasons["data_raw/sales/1.csv"]
    assert "seven" in reasons["data_raw/sales/2.csv"]
    assert "jo@ex.org" not in str(project.sql("from manifest_processed_files"))
