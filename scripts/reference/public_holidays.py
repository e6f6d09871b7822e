"""Write dbt/seeds/public_holidays.csv anew: `make holidays`. The version of the library is pinned in pyproject.toml."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import holidays

SEED = Path(__file__).resolve().parents[2] / "dbt" / "seeds" / "public_holidays.csv"
YEARS = range(2010, 2040)  # the years of dim_date
# The United Kingdom as in England: the days that all its parts share leave out Easter Monday.
COUNTRIES = {"AU": None, "GB": "ENG", "US": None}


def render_holidays() -> str:
    """Return the seed's text: one line per country and day, two holidays of one day in one name."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["country_code", "date", "name"])
    for country, part in COUNTRIES.items():
        days = dict(_ask(country, part))
        if country == "AU":  # for the nation, the library has no day off in place of one on a weekend
            states = [_ask(country, state) for state in holidays.AU.subdivisions]
            days |= {day: states[0][day] for day in set.intersection(*map(set, states)) - days.keys()}
        writer.writerows([country, day, name] for day, name in sorted(days.items()) if day.year in YEARS)
    return out.getvalue()


def _ask(country: str, part: str | None) -> holidays.HolidayBase:
    return holidays.country_holidays(country, subdiv=part, years=YEARS, language="en_US")


if __name__ == "__main__":
    SEED.write_text(render_holidays(), encoding="utf-8")
