"""Pools of names and places: Faker draws them once, numpy then picks from them by the ten thousand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from faker import Faker

from lakeops.generate.draw import mix_below, mix_share

# country, region, first digits of its postcodes, degrees north and east, share of the customers
REGIONS = (
    ("AU", "NSW", "20", -33.87, 151.21, 0.27),
    ("AU", "VIC", "30", -37.81, 144.96, 0.22),
    ("AU", "QLD", "40", -27.47, 153.03, 0.18),
    ("AU", "WA", "60", -31.95, 115.86, 0.09),
    ("AU", "SA", "50", -34.93, 138.60, 0.06),
    ("AU", "TAS", "70", -42.88, 147.33, 0.02),
    ("AU", "ACT", "26", -35.28, 149.13, 0.02),
    ("AU", "NT", "08", -12.46, 130.84, 0.01),
    ("NZ", "AUK", "10", -36.85, 174.76, 0.04),
    ("US", "CA", "900", 34.05, -118.24, 0.03),
    ("GB", "LND", "SW", 51.51, -0.13, 0.03),
    ("DE", "BE", "101", 52.52, 13.40, 0.02),
    ("JP", "13", "100-00", 35.68, 139.69, 0.01),
)
CURRENCY_OF = {"AU": "AUD", "NZ": "NZD", "US": "USD", "GB": "GBP", "DE": "EUR", "JP": "JPY"}
AUSTRALIAN = tuple(index for index, region in enumerate(REGIONS) if region[0] == "AU")

# category: (typical price in AUD, tax share, subcategories with their goods)
RANGE = {
    "Grocery": (6, 0.0, {"Beverages": "Juice Tea Coffee Cordial", "Snacks": "Crackers Muesli Nuts Chips",
                         "Pantry": "Pasta Rice Honey Flour"}),
    "Toys": (25, 0.1, {"Board": "Puzzle Game Quiz", "STEM": "Robot Telescope Kit", "Outdoor": "Kite Ball Scooter"}),
    "Electronics": (240, 0.1, {"TV": "Television Soundbar Projector", "Phones": "Phone Charger Case",
                               "Audio": "Headphones Speaker Radio", "Computers": "Keyboard Monitor Laptop"}),
    "Home": (45, 0.1, {"Kitchen": "Pan Kettle Bowl", "Bath": "Towel Mat Mirror", "Bedding": "Quilt Pillow Sheet"}),
    "Beauty": (18, 0.1, {"Makeup": "Lipstick Mascara Powder", "Hair": "Shampoo Brush Oil", "Skin": "Cream Serum Soap"}),
    "Clothing": (55, 0.1, {"Men": "Shirt Jacket Trousers", "Women": "Dress Blouse Skirt", "Kids": "Hoodie Shorts"}),
}  # fmt: skip


@dataclass(frozen=True)
class Pools:
    """What Faker drew; arrays of text.

    Parameters
    ----------
    first, last, first_slug, last_slug : given and family names, and their form in an e-mail address.
    streets, cities, phones, colours : as said.
    companies, companies_with_comma : trading names; all of them, and those with a comma in the name.
    browsers : user agents.
    """

    first: np.ndarray
    last: np.ndarray
    first_slug: np.ndarray
    last_slug: np.ndarray
    streets: np.ndarray
    cities: np.ndarray
    phones: np.ndarray
    colours: np.ndarray
    companies: np.ndarray
    companies_with_comma: np.ndarray
    browsers: np.ndarray


@lru_cache(maxsize=1)
def draw_pools() -> Pools:
    """Return the pools; the same ones in every process."""
    fake = Faker("en_AU")
    fake.seed_instance(20240325)

    def draw(method: str, count: int) -> np.ndarray:
        values = dict.fromkeys(getattr(fake, method)() for _ in range(count))  # a dict keeps the order, a set does not
        return np.array(list(values), dtype=object)

    def slug(names: np.ndarray) -> np.ndarray:
        return np.array([re.sub(r"[^a-z]", "", name.lower()) or "x" for name in names], dtype=object)

    first, last, companies = draw("first_name", 1500), draw("last_name", 3000), draw("company", 3000)
    return Pools(
        first=first,
        last=last,
        first_slug=slug(first),
        last_slug=slug(last),
        streets=draw("street_name", 3000),
        cities=draw("city", 800),
        phones=draw("phone_number", 4000),
        colours=np.array([re.sub(r"(?<!^)(?=[A-Z])", " ", name) for name in draw("color_name", 400)], dtype=object),
        companies=companies,
        companies_with_comma=np.array([name for name in companies if "," in name], dtype=object),
        # Not user_agent(): Firefox's carries a build date that Faker counts back from today.
        browsers=draw("chrome", 150),
    )


@dataclass(frozen=True)
class Places:
    """Where a row lives, one entry a row."""

    country: np.ndarray
    region: np.ndarray
    city: np.ndarray
    postcode: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray


def find_regions(salt: str, *keys: np.ndarray | int) -> np.ndarray:
    """Return a position in REGIONS for each row of `keys`, by the regions' shares."""
    edges = np.cumsum([region[5] for region in REGIONS])
    return np.minimum(np.searchsorted(edges, mix_share(salt, *keys) * edges[-1], side="right"), len(REGIONS) - 1)


def find_places(regions: np.ndarray, salt: str, *keys: np.ndarray | int) -> Places:
    """Return a place within `regions` for each row of `keys`."""
    cities = draw_pools().cities
    number = mix_below(100, salt + ":postcode", *keys)
    column = [np.array([region[part] for region in REGIONS], dtype=object)[regions] for part in range(3)]
    north, east = (np.array([region[part] for region in REGIONS])[regions] for part in (3, 4))
    return Places(
        country=column[0],
        region=column[1],
        city=cities[mix_below(len(cities), salt + ":city", *keys)],
        postcode=np.array([f"{prefix}{n:02d}" for prefix, n in zip(column[2], number, strict=True)], dtype=object),
        latitude=north + (mix_share(salt + ":north", *keys) - 0.5),
        longitude=east + (mix_share(salt + ":east", *keys) - 0.5),
    )
