"""What may happen to a warehouse: a sequence of landings, loads and builds, drawn by Hypothesis, as plain data.

An action is a tuple, its verb first; `workshop.py` carries it out, `plain_python.py` says what must come of it:
    land NAME COLUMNS ROWS     a raw file lies there, with these rows as text; under an old name, it is restated
    load [AT]                  load what lies there; killed before its AT-th write, if AT is given
    reload NAME                load this file again although its bytes are known
    rebuild TABLE              load a whole table again from its raw files
    lose NAME                  this file is gone, and its table with it: rebuild that from what is left
    mend                       the contract of orders accepts from now on what it kept in quarantine
    replay NAME                load from quarantine what the contract accepts by now
    discard NAME               give up what is in quarantine
    undo NAME [AT]             take this file's rows out of bronze; killed before its AT-th write
    snapshot WORD              give the versions of all tables a name
    go-back WORD               bring all tables back to that
    restore TABLE WORD         bring one table back to that
    build [SELECT] [AT] [FULL] dbt run; of some models; killed before its AT-th statement; with --full-refresh
    compare [AGAIN]            a full build in a warehouse of its own, or the last one AGAIN: every row must be the same
    settle [COMMAND]           dbt run (or COMMAND) once more: nothing must change
    trace                      like build; tells which statements it sent
    ask SQL                    read from the warehouse
    edit FILE OLD NEW          change a file of the dbt project
    keep, put-back             remember the warehouse's file as it is; have it as it was
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Action = tuple[Any, ...]
Row = tuple[str | None, ...]

DAYS = [f"2024-03-{day}" for day in range(25, 30)]
EVOLVED = "return_reason_code"
# `op` is not part of the contract: it says which records delete their key (see workshop.DELETES).
COLUMNS = {
    "customers": "customer_id,natural_key,first_name,last_name,email,phone,address_line1,address_line2,city,"
    "state_region,postcode,country_code,latitude,longitude,birth_date,join_ts,is_vip,gdpr_consent,op",
    "products": "product_id,sku,name,category,subcategory,current_price,currency,is_discontinued,introduced_dt,"
    "discontinued_dt,op",
    "stores": "store_id,store_code,name,channel,region,state,latitude,longitude,open_dt,close_dt,op",
    "suppliers": "supplier_id,supplier_code,name,country_code,lead_time_days,preferred",
    "orders": "order_id,order_ts,order_dt_local,customer_id,store_id,channel,payment_method,coupon_code,shipping_fee,"
    "currency",
    "order_lines": "order_id,line_number,product_id,qty,unit_price,line_discount_pct,tax_pct",
    "events": "event_id,event_ts,event_type,user_id,session_id,metadata",
    "sensors": "sensor_ts,store_id,shelf_id,temperature_c,humidity_pct,battery_mv",
    "exchange_rates": "date,currency,rate_to_aud",
    "shipments": "shipment_id,order_id,carrier,shipped_at,delivered_at,ship_cost",
    "returns": "return_id,order_id,product_id,return_ts,qty,reason",
}
FILES = {
    "customers": "customers/effective_dt={day}/{number:02}.csv",
    "products": "products/effective_dt={day}/{number:02}.csv",
    "stores": "stores/effective_dt={day}/{number:02}.csv",
    "suppliers": "suppliers/effective_dt={day}/{number:02}.csv",
    "orders": "orders/order_dt={day}/{number:02}.csv",
    "order_lines": "order_lines/order_dt={day}/{number:02}.csv",
    "events": "events/event_dt={day}/{number:02}.jsonl",
    "sensors": "sensors/{day}/{number:02}.csv",
    "exchange_rates": "exchange_rates/{day}/{number:02}.xlsx",
    "shipments": "shipments/{day}/{number:02}.parquet",
    "returns": "returns/{day}/{number:02}.parquet",
}
# Without these there is nothing that the facts could point at.
FIRST = ["customers", "products", "stores", "exchange_rates", "orders", "order_lines"]
# Drawn more often: what most facts are made of, and what many of them depend on.
LATER = [*COLUMNS, "orders", "order_lines", "order_lines", "products", "customers", "exchange_rates"]


def get_columns(table: str, evolved: bool = False) -> tuple[str, ...]:
    """Return the columns of a table's files."""
    return (*COLUMNS[table].split(","), *([EVOLVED] if evolved else []))


def customer(key: int, name: str = "Jo", consent: bool = True, op: str = "U") -> Row:
    """Return a record of customers."""
    person = f"{key},N,{name},Li,jo@example.org,None,1 A St,,Perth,WA,0800,AU,1,2,1990-01-01"
    return _split(f"{person},2024-01-01T00:00:00,True,{consent},{op}")


def product(key: int, price: str = "10", op: str = "U") -> Row:
    """Return a record of products."""
    return _split(f"{key},SKU{key},Tea,Food,Drinks,{price},AUD,False,2020-01-01,,{op}")


def store(key: int, name: str = "Shop", op: str = "U") -> Row:
    """Return a record of stores."""
    return _split(f"{key},S{key},{name},Retail,WA,WA,1,2,2020-01-01,,{op}")


def order(
    key: int, day: str, customer_id: int = 1, store_id: int = 1, currency: str = "AUD", payment: str = "CARD"
) -> Row:
    """Return a record of orders."""
    return _split(f"{key},{day}T10:00:00,{day},{customer_id},{store_id},Web,{payment},,1.00,{currency}")


def line(
    order_id: int, number: int = 1, product_id: int = 1, quantity: int = 2, price: str = "10.1111", share: str = "0.125"
) -> Row:
    """Return a record of order lines."""
    return _split(f"{order_id},{number},{product_id},{quantity},{price},{share},0.1000")


def reading(moment: str, store_id: int = 1, temperature: str = "20.5") -> Row:
    """Return a record of sensors."""
    return _split(f"{moment},{store_id},SHELF-1,{temperature},50,3600")


def _split(text: str) -> Row:
    return tuple(field or None for field in text.split(","))


def _draw_row(table: str, day: str) -> st.SearchStrategy[Row]:
    """Few keys and few values: what meets by chance is what can go wrong."""
    pick = st.sampled_from
    orders, customers, products, stores = (st.integers(1, last) for last in (5, 3, 3, 2))
    # One in five is of another day than its file, as late records are.
    days = pick([day] * 4 + DAYS)
    op = pick(["U", "U", "D"])
    match table:
        case "customers":
            return st.builds(customer, customers, pick(["Jo", "Al"]), st.booleans(), op)
        case "products":
            return st.builds(product, products, pick(["10", "11", "12"]), op)
        case "stores":
            return st.builds(store, stores, pick(["Shop", "Kiosk"]), op)
        case "suppliers":
            return st.builds(
                lambda key, name: (str(key), f"S{key}", name, "AU", "3", "True"), stores, pick(["Best", "Tea"])
            )
        case "orders":
            # One key more than there are records of: what points at nothing must not fall out of a total.
            buyer, seller = st.integers(1, 4), st.integers(1, 3)
            payment = pick(["CARD", "CASH", "BARTER"])
            return st.builds(order, orders, days, buyer, seller, pick(["AUD", "USD", "GBP"]), payment)
        case "order_lines":
            sold, quantity = st.integers(1, 4), st.integers(-1, 3)
            # The second price makes a discount of exactly half a unit of the last decimal.
            return st.builds(
                line,
                st.integers(1, 6),
                st.integers(1, 2),
                sold,
                quantity,
                pick(["10.1111", "0.0004"]),
                pick(["0.125", "0"]),
            )
        case "events":
            return st.builds(
                lambda key, when, what, who: (str(key), f"{when}T09:00:00", what, who, "s", '{"ua": "web"}'),
                orders,
                days,
                pick(["view", "purchase"]),
                pick([None, "1", "2", "3", "4"]),
            )
        case "sensors":
            moment = st.builds("{}T{}:00".format, days, pick(["10:00", "10:30", "11:00"]))
            return st.builds(reading, moment, st.integers(1, 3), pick(["20.5", "21.5", "99"]))
        case "exchange_rates":
            return st.builds(
                lambda when, *rest: (when, *rest), days, pick(["USD", "usd", "GBP", "AUD"]), pick(["1.5", "1.6", "0"])
            )
        case "shipments":
            return st.builds(
                lambda key, of, when, arrived, cost: (str(key), str(of), "Post", f"{when}T08:00:00", arrived, cost),
                orders,
                st.integers(1, 6),
                days,
                pick([None, f"{DAYS[-1]}T08:00:00"]),
                pick(["5.00", "7.50"]),
            )
        case "returns":
            return st.builds(
                lambda key, of, sold, when, count: (str(key), str(of), str(sold), f"{when}T12:00:00", str(count), "no"),
                orders,
                st.integers(1, 6),
                st.integers(1, 4),
                days,
                st.integers(1, 2),
            )
    raise AssertionError(table)


@st.composite
def sequences(draw: st.DrawFn, models: list[str]) -> list[Action]:
    """Draw a sequence of actions, which ends with a whole build.

    Parameters
    ----------
    models : names of the models that a partial build may select.
    """
    actions: list[Action] = []
    landed: dict[str, tuple[str, tuple[str, ...], list[Row]]] = {}
    named: list[str] = []
    count = draw(st.integers(2, 5))
    for number in range(count + 1):
        for action in _draw_landing(draw, number, landed):
            actions.append(action)
        actions += _draw_load(draw)
        actions += _draw_mending(draw, number, landed, named)
        actions += _draw_builds(draw, models, is_last=number == count)
    return [*actions, ("settle",)]


def _draw_landing(draw: st.DrawFn, number: int, landed: dict) -> list[Action]:
    kinds = ["files"]
    if landed:
        kinds += ["files", "restate", "restate", "duplicate", "reload", "rebuild", "quarantine"]
    kind = draw(st.sampled_from(kinds))
    if kind == "files":
        tables = FIRST if not landed else draw(st.lists(st.sampled_from(LATER), min_size=1, max_size=3, unique=True))
        return [_draw_file(draw, table, number, landed) for table in tables]
    name = draw(st.sampled_from(sorted(landed)))
    table, columns, rows = landed[name]
    if kind == "restate":
        # Some lines stay, some go, some come; a restated file may be empty but for its header.
        kept = [row for row in rows if draw(st.booleans())]
        evolved = columns[-1] == EVOLVED
        new = draw(st.lists(_draw_row(table, _get_day(name)), max_size=2))
        return [_land(landed, table, name, evolved, kept + [_widen(row, evolved) for row in new])]
    if kind == "duplicate":
        stem, ending = name.rsplit(".", 1)
        return [_land(landed, table, f"{stem}-copy{number}.{ending}", columns[-1] == EVOLVED, rows)]
    if kind == "reload":
        return [("reload", name)]
    if kind == "rebuild":
        return [("rebuild", table)]
    held = sorted(file for file, (of, _, _) in landed.items() if of == "orders")
    verb = draw(st.sampled_from(["replay", "discard"]))
    return [("mend",), *((verb, file) for file in held)]


def _draw_file(draw: st.DrawFn, table: str, number: int, landed: dict) -> Action:
    day = draw(st.sampled_from(DAYS))
    evolved = table == "returns" and draw(st.booleans())
    rows = draw(st.lists(_draw_row(table, day), min_size=1, max_size=4))
    name = FILES[table].format(day=day, number=number)
    return _land(landed, table, name, evolved, [_widen(row, evolved) for row in rows])


def _widen(row: Row, evolved: bool) -> Row:
    return (*row, "R1") if evolved else row


def _land(landed: dict, table: str, name: str, evolved: bool, rows: list[Row]) -> Action:
    landed[name] = (table, get_columns(table, evolved), rows)
    return ("land", name, landed[name][1], rows)


def _get_day(name: str) -> str:
    return next(day for day in DAYS if day in name)


def _draw_load(draw: st.DrawFn) -> list[Action]:
    if draw(st.integers(0, 5)) < 5:
        return [("load",)]
    # A build sees what a killed load left, before the next load mends it.
    between = draw(st.sampled_from([[], [("build",), ("compare",)]]))
    return [("load", draw(st.integers(1, 12))), *between, ("load",)]


def _draw_mending(draw: st.DrawFn, number: int, landed: dict, named: list[str]) -> list[Action]:
    """What a person may do by hand, on two days of three nothing."""
    kinds = ["nothing"] * 3 + ["undo", "undo", "snapshot"] + (["go-back", "restore"] if named else [])
    kind = draw(st.sampled_from(kinds))
    if kind == "undo":
        name = draw(st.sampled_from(sorted(landed)))
        if draw(st.booleans()):
            return [("undo", name)]
        # A build may see what a killed one left; the next load mends it, and the same command goes on.
        between = draw(st.sampled_from([[], [("build",), ("compare",)]]))
        return [("undo", name, draw(st.integers(1, 5))), *between, ("load",), ("undo", name)]
    if kind == "snapshot":
        named.append(f"s{number}")
        return [("snapshot", named[-1])]
    if kind == "go-back":
        return [("go-back", draw(st.sampled_from(named)))]
    if kind == "restore":
        # Not orders: what was discarded of its quarantine stays so, when it is restored alone.
        return [("restore", draw(st.sampled_from([table for table in FILES if table != "orders"])), named[0])]
    return []


def _draw_builds(draw: st.DrawFn, models: list[str], *, is_last: bool) -> list[Action]:
    whole: list[Action] = [("build",), ("compare",)]
    model = draw(st.sampled_from(models))
    select = draw(st.sampled_from(["{}", "+{}", "{}+"])).format(model)
    kind = draw(st.sampled_from(["whole", "whole", "none", "partial", "killed", "refreshed"]))
    before: list[Action] = {
        "whole": [],
        "none": [],
        "partial": [("build", select)],
        "killed": [("build", None, draw(st.integers(1, 250)))],
        "refreshed": [("build", model, None, True)],
    }[kind]
    if is_last or kind == "whole":
        return [*before, *whole]
    # Not always set right at once: the next landing may meet a warehouse that is half-built.
    return [*before, *(whole if before and draw(st.booleans()) else [])]


def describe(actions: list[Action]) -> str:
    """Write a sequence for a person, who is to do the same by hand."""
    lines = []
    for action in actions:
        verb, *rest = action
        if verb == "land":
            name, columns, rows = rest
            lines += [f"land {name}", f"    {','.join(columns)}"]
            lines += ["    " + ",".join(field or "" for field in row) for row in rows]
        else:
            lines.append(" ".join([verb, *(str(word) for word in rest)]))
    return "\n".join(lines)
