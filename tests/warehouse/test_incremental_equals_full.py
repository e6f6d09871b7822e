"""Incremental silver and gold equal a full refresh from bronze, row for row, after every step of a troubled week."""

from __future__ import annotations

import pytest

from conftest import Clone

HEADERS = {
    "customers": "customer_id,natural_key,first_name,last_name,email,phone,address_line1,address_line2,city,"
    "state_region,postcode,country_code,latitude,longitude,birth_date,join_ts,is_vip,gdpr_consent",
    "products": "product_id,sku,name,category,subcategory,current_price,currency,is_discontinued,introduced_dt,"
    "discontinued_dt",
    "stores": "store_id,store_code,name,channel,region,state,latitude,longitude,open_dt,close_dt",
    "orders": "order_id,order_ts,order_dt_local,customer_id,store_id,channel,payment_method,coupon_code,shipping_fee,"
    "currency",
    "order_lines": "order_id,line_number,product_id,qty,unit_price,line_discount_pct,tax_pct",
    "sensors": "sensor_ts,store_id,shelf_id,temperature_c,humidity_pct,battery_mv",
    "suppliers": "supplier_id,supplier_code,name,country_code,lead_time_days,preferred",
}


def customer(key: int, name: str = "Jo", consent: bool = True) -> str:
    person = f"{key},N,{name},Li,jo@example.org,None,1 A St,,Perth,WA,0800,AU,1,2,1990-01-01"
    return f"{person},2024-01-01T00:00:00,True,{consent}"


def product(key: int, price: str) -> str:
    return f"{key},SKU{key},Tea,Food,Drinks,{price},AUD,False,2020-01-01,"


def store(key: int) -> str:
    return f"{key},S{key},Shop,Retail,WA,WA,1,2,2020-01-01,"


def order(key: int, day: str, customer_id: int = 1, store_id: int = 1, currency: str = "AUD") -> str:
    return f"{key},{day}T10:00:00,{day},{customer_id},{store_id},Web,CARD,,1.00,{currency}"


def line(order_id: int, number: int = 1, product_id: int = 1, quantity: int = 2) -> str:
    return f"{order_id},{number},{product_id},{quantity},10.1111,0.1250,0.1000"


def reading(moment: str, store_id: int = 1, temperature: str = "20.5") -> str:
    return f"{moment},{store_id},SHELF-1,{temperature},50,3600"


D1, D2, D3 = "2024-03-25", "2024-03-26", "2024-03-27"
# What lands, step by step: (what it is, {file: rows}). The same name with other rows is a restated file.
STEPS = [
    (
        "a first day",
        {
            "customers.csv": [customer(1), customer(2, consent=False)],
            "products.csv": [product(1, "10"), product(2, "20")],
            "stores.csv": [store(1)],
            f"orders/order_dt={D1}/a.csv": [order(1, D1), order(2, D1, customer_id=2), order(3, D1, customer_id=9)],
            f"order_lines/order_dt={D1}/a.csv": [line(1), line(1, 2, 2), line(2), line(3, 1, 9), line(7)],
            f"sensors/store_id=1/{D1}.csv": [reading(f"{D1}T10:00:00"), reading(f"{D1}T10:30:00", temperature="99")],
        },
    ),
    (
        "a new day, a duplicated order, a header that comes after its line",
        {
            f"orders/order_dt={D2}/a.csv": [order(4, D2, currency="USD"), order(1, D1, customer_id=2), order(7, D1)],
            f"order_lines/order_dt={D2}/a.csv": [line(4), line(4, 2)],
        },
    ),
    (
        "a late file for the first day, and a late customer, product and store that facts had pointed at in vain",
        {
            f"orders/order_dt={D1}/late.csv": [order(5, D1, store_id=4)],
            f"order_lines/order_dt={D1}/late.csv": [line(5), line(3, 2, quantity=-1)],
            f"customers/effective_dt={D2}/a.csv": [customer(9)],
            f"products/effective_dt={D2}/a.csv": [product(9, "5"), product(1, "12")],
            f"stores/effective_dt={D2}/a.csv": [store(4)],
        },
    ),
    (
        "restated files: lines changed, added and gone; an order gone; a dead sensor; the duplicate taken back",
        {
            f"order_lines/order_dt={D1}/a.csv": [line(1, quantity=5), line(2), line(2, 2), line(7)],
            f"orders/order_dt={D1}/a.csv": [order(1, D1), order(3, D1, customer_id=9)],
            f"orders/order_dt={D2}/a.csv": [order(4, D2, currency="USD"), order(7, D1)],
            f"sensors/store_id=1/{D1}.csv": [reading(f"{D1}T12:00:00")],
        },
    ),
    (
        "a restated dimension: a customer and a price version gone, an older price version in between",
        {
            "customers.csv": [customer(1, "Jane")],
            f"products/effective_dt={D2}/a.csv": [product(9, "5")],
            f"products/effective_dt={D1}/b.csv": [product(1, "11")],
        },
    ),
    (
        "nothing that silver or gold would show, only another table",
        {"suppliers.csv": ["1,S1,Best Tea,AU,3,True"]},
    ),
]


def land(clone: Clone, files: dict[str, list[str]]) -> None:
    for name, rows in files.items():
        path = clone.root / "data_raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([HEADERS[name.split("/")[0].removesuffix(".csv")], *rows]) + "\n")
    clone.run("lakeops load")


def find_differences(clone: Clone) -> list[list[str]]:
    """Return the tables, and in how many rows, that differ from a build of its own from the same lake."""
    full = clone.root / "duckdb" / "full.duckdb"
    full.unlink(missing_ok=True)
    # A target folder of its own: dbt would parse everything anew whenever the warehouse is another one.
    places = {"LAKEOPS_WAREHOUSE": str(full), "LAKEOPS_LAKE": str(clone.root / "lake")}
    clone.run("dbt run --target-path target/full", folder="dbt", **places)
    tables = clone.query(
        "select schema_name || '.' || table_name from duckdb_tables() where schema_name in ('silver', 'gold')"
    )
    assert len(tables) == 21
    compared = []
    for (table,) in tables:
        # _revision is the build that wrote a row: the one thing in which builds differ.
        columns = "*" if table == "gold.dim_date" else "* exclude (_revision)"
        mine, theirs = f"select {columns} from {table}", f"select {columns} from other.{table}"
        rows = f"({mine} except all {theirs}) union all ({theirs} except all {mine})"
        compared.append(f"select '{table}' as name, count(*) as differing from ({rows})")
    return clone.query(
        f"attach '{full}' as other (read_only); from ({' union all '.join(compared)}) where differing > 0"
    )


@pytest.fixture(scope="module")
def built(clone: Clone) -> Clone:
    clone.run("dbt run", folder="dbt")
    return clone


@pytest.mark.parametrize("step", range(len(STEPS)), ids=[what for what, _ in STEPS])
def test_incremental_equals_full_after(built: Clone, step: int):
    land(built, STEPS[step][1])
    said = built.run("dbt run", folder="dbt").stdout
    assert "every key is recomputed" not in said
    assert find_differences(built) == []


def test_the_week_ended_as_it_should(built: Clone):
    """Equality alone would hold for two wrong builds."""
    assert built.query("select order_id, line_number, quantity, date from gold.fct_sales order by all") == [
        ["1", "1", "5", D1], ["2", "1", "2", D1], ["2", "2", "2", D1], ["3", "2", "-1", D1], ["4", "1", "2", D2],
        ["4", "2", "2", D2], ["5", "1", "2", D1], ["7", "1", "2", D1],
    ]  # fmt: skip
    assert built.query(
        "select list_price, valid_from, valid_to from gold.dim_product where product_id = 1 order by valid_from"
    ) == [["10.0000", "1900-01-01", D1], ["11.0000", D1, "NULL"]]
    assert built.query("select customer_id, first_name from gold.dim_customer where customer_key <> -1 order by 1") == [
        ["1", "Jane"], ["9", "Jo"],
    ]  # fmt: skip
    assert built.query("select reading_hour, readings from gold.fct_sensor_readings") == [[f"{D1} 12:00:00+00", "1"]]


def test_a_second_build_changes_no_row(built: Clone):
    tables = ("silver.orders", "silver.order_lines", "gold.fct_sales", "gold.dim_product", "gold.dim_customer")
    ask = " union all ".join(f"select '{table}', max(_revision), count(*) from {table}" for table in tables)
    before = built.query(ask)
    built.run("dbt run", folder="dbt")
    assert built.query(ask) == before


def test_a_model_rebuilt_alone_carries_its_readers_along(built: Clone):
    built.run("dbt run --full-refresh -s silver_orders", folder="dbt")
    assert "silver_orders was rebuilt" in built.run("dbt run", folder="dbt").stdout
    assert find_differences(built) == []
