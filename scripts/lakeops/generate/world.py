"""The one world behind every seed: how many there are of what on a day, what it costs, and which can be sold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np

from lakeops.generate.defects import get_share
from lakeops.generate.draw import PowerLaw, mix_below, mix_share
from lakeops.generate.names import CURRENCY_OF, RANGE, REGIONS, find_regions

# The first day of the shared history: no record refers to an order before it, and it brings full dimensions.
HISTORY_START = date(2024, 3, 25)
CURRENCIES = ("AUD", "USD", "EUR", "JPY", "GBP", "NZD")
_RATES = {"AUD": 1.0, "USD": 1.53, "EUR": 1.66, "JPY": 0.0101, "GBP": 1.93, "NZD": 0.92}
SUBCATEGORIES = tuple((category, sub) for category, (_, _, subs) in RANGE.items() for sub in subs)


def count_days(day: date) -> int:
    """Return the days since the history's start; negative before it."""
    return day.toordinal() - HISTORY_START.toordinal()


@dataclass(frozen=True)
class Population:
    """Entities with ids 1…base, and new ones from the history's start on.

    Parameters
    ----------
    base : how many there always were.
    new_per_1000_days : how many join; whole numbers keep the two formulas below exact inverses.
    days_between_changes : typical days from one change of an entity to its next.
    """

    base: int
    new_per_1000_days: int
    days_between_changes: int

    def count(self, day: date) -> int:
        """Return how many there are at the end of `day`; their ids are 1…count."""
        return self.base + max(0, (count_days(day) + 1) * self.new_per_1000_days // 1000)

    def find_first_days(self, ids: np.ndarray) -> np.ndarray:
        """Return the day an id joined, in days since the history's start; only for ids above `base`."""
        return -(-(ids - self.base) * 1000 // self.new_per_1000_days) - 1

    def find_versions(self, ids: np.ndarray, day: date) -> tuple[np.ndarray, np.ndarray]:
        """Return which version of each id holds on `day`, and the days one version of it lasts."""
        spread = max(1, self.days_between_changes)
        lasts = spread // 2 + 1 + mix_below(spread, "version:lasts", ids)
        return (count_days(day) + mix_below(1 << 30, "version:phase", ids) % lasts) // lasts, lasts


class World:
    """Everything that does not depend on the seed.

    Parameters
    ----------
    scale : share of the full size; 1.0 has 80,000 customers.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale

        def settle(full: int, least: int, new_per_day: float, days: int, changes_per_day: int) -> Population:
            base = max(least, round(full * scale))
            # Small worlds change faster, or a day would bring no change at all.
            return Population(base, round(new_per_day * 1000), min(days, max(10, base // changes_per_day)))

        self.customers = settle(80_000, 200, max(1.0, 25 * scale), 500, 8)
        self.products = settle(25_000, 100, max(0.5, 8 * scale), 180, 8)
        self.stores = settle(5_000, 25, max(0.2, 0.4 * scale), 700, 1)
        self.suppliers = settle(8_000, 25, max(0.1, 0.2 * scale), 400, 1)

    # Rows that end in quarantine are missing from the dimension: nothing may refer to them. They are known by
    # id alone, always the same ones, because a full file must not change with the seed.

    def find_malformed_customers(self, ids: np.ndarray) -> np.ndarray:
        """Return which customers have a malformed date of birth."""
        return self._find_flawed("customers", "malformed_date", ids, self.customers, (4, 9))

    def find_bad_emails(self, ids: np.ndarray) -> np.ndarray:
        """Return which customers have a malformed e-mail address."""
        flawed = mix_share("customers:bad_email", ids) < get_share("customers", "bad_email")
        return (flawed | np.isin(ids, (2, 7))) & ~self.find_malformed_customers(ids)

    def find_unquoted_stores(self, ids: np.ndarray) -> np.ndarray:
        """Return which stores stand in the files with a comma in their name and no quotes."""
        return self._find_flawed("stores", "unquoted_comma", ids, self.stores, (2, 11))

    def find_unquoted_suppliers(self, ids: np.ndarray) -> np.ndarray:
        """Return which suppliers stand in the files with a comma in their name and no quotes."""
        return self._find_flawed("suppliers", "unquoted_comma", ids, self.suppliers, (1, 13))

    @staticmethod
    def _find_flawed(table: str, kind: str, ids: np.ndarray, there: Population, always: tuple[int, ...]) -> np.ndarray:
        flawed = mix_share(f"{table}:{kind}", ids) < get_share(table, kind)
        return (flawed & (ids <= there.base)) | np.isin(ids, always)

    # What facts may refer to

    @cached_property
    def _buyers(self) -> PowerLaw:
        ids = np.arange(1, self.customers.base + 1)
        return PowerLaw(ids[~self.find_malformed_customers(ids)], "buyers", 0.7)

    @cached_property
    def _goods(self) -> PowerLaw:
        ids = np.arange(1, self.products.base + 1)
        return PowerLaw(ids[~self.find_discontinued(ids)], "goods", 0.85)

    @cached_property
    def selling_stores(self) -> np.ndarray:
        """Return the stores that are open and whose row arrives, the ones with most sales first."""
        ids = np.arange(1, self.stores.base + 1)
        ids = ids[~self.find_unquoted_stores(ids) & ~self.find_closed(ids)]
        return ids[np.argsort(mix_share("selling", ids), kind="stable")]

    def pick_customers(self, rng: np.random.Generator, count: int, day: date) -> np.ndarray:
        """Return customers that buy or browse on `day`."""
        return self._pick(rng, count, self._buyers, self.customers, day)

    def pick_products(self, rng: np.random.Generator, count: int, day: date) -> np.ndarray:
        """Return products that are bought on `day`."""
        return self._pick(rng, count, self._goods, self.products, day)

    def pick_stores(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Return stores that sell."""
        stores = self.selling_stores
        return stores[(len(stores) * rng.random(count) ** 1.6).astype(np.int64)]

    @staticmethod
    def _pick(rng: np.random.Generator, count: int, law: PowerLaw, there: Population, day: date) -> np.ndarray:
        ids, chance, place = law.pick(rng, count), rng.random(count), rng.random(count)
        new = there.count(day) - there.base
        if new:
            ids = np.where(chance < 0.03, there.base + 1 + (place * new).astype(np.int64), ids)
        return ids

    # What holds on a day

    def find_discontinued(self, ids: np.ndarray) -> np.ndarray:
        """Return which products are no longer sold."""
        return (mix_share("discontinued", ids) < 0.08) & (ids <= self.products.base)

    def find_closed(self, ids: np.ndarray) -> np.ndarray:
        """Return which stores are closed."""
        return (mix_share("closed", ids) < 0.03) & (ids <= self.stores.base)

    def find_subcategories(self, ids: np.ndarray) -> np.ndarray:
        """Return the position in SUBCATEGORIES of each product."""
        return mix_below(len(SUBCATEGORIES), "subcategory", ids)

    def find_customer_regions(self, ids: np.ndarray, day: date) -> np.ndarray:
        """Return the position in REGIONS where each customer lives on `day`; moving keeps to the country."""
        versions, _ = self.customers.find_versions(ids, day)
        home, now = find_regions("home", ids), find_regions("home", ids, versions)
        countries = np.array([region[0] for region in REGIONS])
        return np.where(countries[home] == countries[now], now, home)

    def find_currencies(self, ids: np.ndarray, day: date) -> np.ndarray:
        """Return the currency each customer pays in."""
        of_region = np.array([CURRENCY_OF[region[0]] for region in REGIONS], dtype=object)
        return of_region[self.find_customer_regions(ids, day)]

    def find_prices(self, ids: np.ndarray, day: date) -> np.ndarray:
        """Return the list price in AUD of each product on `day`, in whole five cents."""
        categories = np.array([RANGE[category][0] for category, _ in SUBCATEGORIES], dtype=np.float64)
        typical = categories[self.find_subcategories(ids)] * np.exp(2.2 * (mix_share("price", ids) - 0.5))
        versions, lasts = self.products.find_versions(ids, day)
        inflation = 1.03 ** (versions * lasts / 365.25)
        price = typical * inflation * (0.9 + 0.2 * mix_share("price:version", ids, versions))
        return np.maximum(1.0, np.round(price * 20) / 20)


def find_rate(currency: str, day: date) -> float:
    """Return the AUD that one unit of `currency` is worth on `day`, to eight places."""
    if currency == "AUD":
        return 1.0
    time, place = count_days(day), CURRENCIES.index(currency)
    wave = 0.03 * math.sin(time / 30 + place) + 0.012 * math.sin(time / 6.1 + 2 * place)
    noise = 0.006 * (float(mix_share("rate", place, time)[0]) - 0.5)
    return round(_RATES[currency] * math.exp(wave + noise), 8)
