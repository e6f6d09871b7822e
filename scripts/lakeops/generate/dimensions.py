"""The four dimensions as they stand on a day: in full on some days, only what changed on the others."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date, timedelta

import numpy as np
import polars as pl

from lakeops.contract import Contracts
from lakeops.generate.defects import FLAW, MALFORMED_DATES, SPARED, count_planted
from lakeops.generate.draw import mix_below, mix_share
from lakeops.generate.files import to_text
from lakeops.generate.names import AUSTRALIAN, RANGE, REGIONS, draw_pools, find_places
from lakeops.generate.world import HISTORY_START, SUBCATEGORIES, Population, World

TABLES = ("customers", "products", "stores", "suppliers")


def is_full_day(day: date) -> bool:
    """Return whether the dimensions arrive in full on `day`: the first of a month, and the history's first day."""
    return day.day == 1 or day == HISTORY_START


def find_first_day(start: date) -> date:
    """Return the newest full day not after `start`: from there on, a call brings all that the dimensions need."""
    return max(start.replace(day=1), HISTORY_START) if start >= HISTORY_START else start.replace(day=1)


def make_dimensions(
    world: World, contracts: Contracts, day: date, kinds: Collection[str]
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield each dimension's rows for `day` as (table, text frame with `_flaw`); nothing for one without a change."""
    makers = {
        "customers": (make_customers, world.customers),
        "products": (make_products, world.products),
        "stores": (make_stores, world.stores),
        "suppliers": (make_suppliers, world.suppliers),
    }
    for table, (make, there) in makers.items():
        full = is_full_day(day)
        ids = np.arange(1, there.count(day) + 1) if full else find_changed(there, day)
        flaws = _find_flaws(world, table, ids, kinds)
        if not full:
            # A row that never arrives whole has no change either.
            kept = np.array([flaw in (None, SPARED, "bad_email") for flaw in flaws], dtype=bool)
            ids, flaws = ids[kept], flaws[kept]
        if len(ids):
            nameless = full and "null_key" in kinds
            yield table, _spoil(to_text(make(world, ids, day), contracts.get_table(table)), table, flaws, nameless)


def find_changed(there: Population, day: date) -> np.ndarray:
    """Return the ids that joined on `day` or are not as they were the day before."""
    before = day - timedelta(days=1)
    ids = np.arange(1, there.count(before) + 1)
    changed = there.find_versions(ids, day)[0] != there.find_versions(ids, before)[0]
    return np.concatenate([ids[changed], np.arange(len(ids) + 1, there.count(day) + 1)])


def make_customers(world: World, ids: np.ndarray, day: date) -> pl.DataFrame:
    """Return the customers `ids` as they are on `day`; a new version is a new address."""
    pools, there = draw_pools(), world.customers
    versions, _ = there.find_versions(ids, day)
    places = find_places(world.find_customer_regions(ids, day), "customer", ids, versions)
    first, last = (
        mix_below(len(pool), f"customer:{n}", ids) for n, pool in (("first", pools.first), ("last", pools.last))
    )
    mailbox = pools.first_slug[first] + "." + pools.last_slug[last] + ids.astype(str).astype(object)
    domains = np.array(["example.com", "example.org", "example.net"], dtype=object)[mix_below(3, "domain", ids)]
    number = mix_below(240, "customer:number", ids, versions) + 1
    street = pools.streets[mix_below(len(pools.streets), "customer:street", ids, versions)]
    unit = mix_below(400, "customer:unit", ids, versions)
    joined = np.datetime64("2016-01-01", "s") + mix_below(8 * 365 * 86_400, "customer:joined", ids)
    new = np.datetime64(HISTORY_START, "D") + there.find_first_days(ids)
    joined = np.where(ids > there.base, new.astype("datetime64[s]") + mix_below(86_400, "joined:time", ids), joined)
    return pl.DataFrame(
        {
            "customer_id": ids,
            "natural_key": _label("CRM-", mix_below(10_000_000, "natural", ids), 7),
            "first_name": _text(pools.first[first]),
            "last_name": _text(pools.last[last]),
            "email": _text(mailbox + "@" + domains),
            "phone": _text(pools.phones[mix_below(len(pools.phones), "phone", ids)]),
            "address_line1": _text(number.astype(str).astype(object) + " " + street),
            "address_line2": pl.Series([f"Unit {n}" if 0 < n < 60 else None for n in unit.tolist()], dtype=pl.String),
            "city": _text(places.city),
            "state_region": _text(places.region),
            "postcode": _text(places.postcode),
            "country_code": _text(places.country),
            "latitude": places.latitude,
            "longitude": places.longitude,
            "birth_date": _days("1938-01-01", mix_below(68 * 365, "born", ids)),
            "join_ts": joined.astype("datetime64[us]"),
            "is_vip": mix_share("vip", ids) < 0.12,
            "gdpr_consent": mix_share("consent", ids) < 0.95,
        }
    )  # fmt: skip


def make_products(world: World, ids: np.ndarray, day: date) -> pl.DataFrame:
    """Return the products `ids` as they are on `day`; a new version is a new price."""
    there, colours = world.products, draw_pools().colours
    subcategories = world.find_subcategories(ids)
    goods = [RANGE[category][2][sub].split() for category, sub in SUBCATEGORIES]
    good = mix_below(1 << 20, "good", ids)
    colour = colours[mix_below(len(colours), "colour", ids)]
    model = mix_below(900, "model", ids) + 100
    parts = zip(colour, subcategories.tolist(), good.tolist(), model.tolist(), strict=True)
    gone = world.find_discontinued(ids)
    introduced = np.datetime64("2018-01-01", "D") + mix_below(1500, "introduced", ids)
    introduced = np.where(ids > there.base, np.datetime64(HISTORY_START, "D") + there.find_first_days(ids), introduced)
    return pl.DataFrame(
        {
            "product_id": ids,
            "sku": _label("SKU-", ids, 7),
            "name": pl.Series([f"{hue} {goods[sub][n % len(goods[sub])]} {no}" for hue, sub, n, no in parts]),
            "category": _text(np.array([category for category, _ in SUBCATEGORIES], dtype=object)[subcategories]),
            "subcategory": _text(np.array([sub for _, sub in SUBCATEGORIES], dtype=object)[subcategories]),
            "current_price": world.find_prices(ids, day),
            "currency": pl.Series(["AUD"] * len(ids)),
            "is_discontinued": gone,
            "introduced_dt": introduced,
            "discontinued_dt": _where(gone, introduced + 60 + mix_below(500, "discontinued", ids)),
        }
    )


def make_stores(world: World, ids: np.ndarray, day: date) -> pl.DataFrame:
    """Return the stores `ids` as they are on `day`; a new version is another way of selling."""
    there = world.stores
    versions, _ = there.find_versions(ids, day)
    regions = np.array(AUSTRALIAN)[mix_below(len(AUSTRALIAN), "store:region", ids)]
    places = find_places(regions, "store", ids)
    opened = np.datetime64("2005-01-01", "D") + mix_below(15 * 365, "opened", ids)
    opened = np.where(ids > there.base, np.datetime64(HISTORY_START, "D") + there.find_first_days(ids), opened)
    channels = np.array(["Retail", "Retail", "Franchise", "Outlet"], dtype=object)
    areas = np.array(
        [{"WA": "West", "NT": "North", "QLD": "North"}.get(region[1], "South East") for region in REGIONS], dtype=object
    )
    return pl.DataFrame(
        {
            "store_id": ids,
            "store_code": _label("STR-", ids, 5),
            "name": _find_companies("store", ids, world.find_unquoted_stores(ids)),
            "channel": _text(channels[(mix_below(4, "store:channel", ids) + versions) % 4]),
            "region": _text(areas[regions]),
            "state": _text(places.region),
            "latitude": places.latitude,
            "longitude": places.longitude,
            "open_dt": opened,
            "close_dt": _where(world.find_closed(ids), opened + 365 + mix_below(900, "closed:day", ids)),
        }
    )  # fmt: skip


def make_suppliers(world: World, ids: np.ndarray, day: date) -> pl.DataFrame:
    """Return the suppliers `ids` as they are on `day`; a new version is another lead time."""
    versions, _ = world.suppliers.find_versions(ids, day)
    countries = np.array(["AU", "AU", "AU", "CN", "NZ", "DE", "US"], dtype=object)
    return pl.DataFrame(
        {
            "supplier_id": ids,
            "supplier_code": _label("SUP-", ids, 5),
            "name": _find_companies("supplier", ids, world.find_unquoted_suppliers(ids)),
            "country_code": _text(countries[mix_below(len(countries), "supplier:country", ids)]),
            "lead_time_days": 2 + mix_below(28, "supplier:lead", ids) + (versions % 2),
            "preferred": mix_share("supplier:preferred", ids) < 0.2,
        }
    )


def _find_flaws(world: World, table: str, ids: np.ndarray, kinds: Collection[str]) -> np.ndarray:
    flaws = np.full(len(ids), None, dtype=object)
    match table:
        case "customers":
            flaws[world.find_bad_emails(ids)] = "bad_email"
            flaws[world.find_malformed_customers(ids)] = "malformed_date"
        case "stores":
            flaws[world.find_unquoted_stores(ids)] = "unquoted_comma"
        case "suppliers":
            flaws[world.find_unquoted_suppliers(ids)] = "unquoted_comma"
    flaws[np.array([flaw is not None and flaw not in kinds for flaw in flaws], dtype=bool)] = SPARED
    return flaws


def _spoil(text: pl.DataFrame, table: str, flaws: np.ndarray, with_nameless: bool) -> pl.DataFrame:
    flaw = pl.Series(FLAW, flaws.tolist(), dtype=pl.String)
    columns = [flaw]
    if table == "customers":
        dates = pl.Series(MALFORMED_DATES).gather(np.arange(text.height) % len(MALFORMED_DATES))
        columns.append(text["email"].zip_with(~(flaw == "bad_email").fill_null(False), _fill("bad_email", text.height)))
        columns.append(text["birth_date"].zip_with(~(flaw == "malformed_date").fill_null(False), dates))
    text = text.with_columns(columns)
    if not with_nameless:
        return text
    key = text.columns[0]
    sound = text.filter(pl.col(FLAW).is_null()).head(count_planted(table, "null_key", text.height))
    nameless = sound.with_columns(pl.lit(None, pl.String).alias(key), pl.lit("null_key").alias(FLAW))
    return pl.concat([text, nameless])


def _find_companies(salt: str, ids: np.ndarray, with_comma: np.ndarray) -> pl.Series:
    pools = draw_pools()
    names = pools.companies[mix_below(len(pools.companies), f"{salt}:name", ids)]
    commas = pools.companies_with_comma[mix_below(len(pools.companies_with_comma), f"{salt}:comma", ids)]
    return _text(np.where(with_comma, commas, names))


def _text(values: np.ndarray) -> pl.Series:
    return pl.Series(values.tolist(), dtype=pl.String)


def _label(prefix: str, numbers: np.ndarray, width: int) -> pl.Series:
    return prefix + pl.Series(numbers).cast(pl.String).str.zfill(width)


def _days(first: str, offsets: np.ndarray) -> np.ndarray:
    return np.datetime64(first, "D") + offsets


def _where(mask: np.ndarray, days: np.ndarray) -> np.ndarray:
    return np.where(mask, days, np.datetime64("NaT", "D"))


def _fill(value: str, count: int) -> pl.Series:
    return pl.Series([value] * count, dtype=pl.String)
