"""What must come of a sequence of landings, said once more in plain Python: no Delta, no SQL, no increments.

That incremental and full builds are equal would also hold if both were wrong the same way. So this reads the raw files
as docs/contracts.md says a loader does, and works out `fct_sales` as docs/models.md says it is made, with Python's own
`Decimal`. It knows only what it needs for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from warehouse.landings import Action, Row
from warehouse.workshop import MENDED_PAYMENTS, PAYMENTS

APPENDED = ("orders", "order_lines", "events", "sensors", "shipments")


class Record(NamedTuple):
    """A record in bronze, and what places it in the total order."""

    batch: int
    file: str
    number: int
    values: dict[str, str | None]


@dataclass
class Shop:
    """The landing zone, and what is in bronze: take in the actions of a sequence one by one."""

    raw: dict[str, tuple[tuple[str, ...], tuple[Row, ...]]] = field(default_factory=dict)
    live: dict[str, tuple[tuple, list[Record], list[Record]]] = field(default_factory=dict)
    undone: dict[str, tuple] = field(default_factory=dict)
    undone_content: set[tuple] = field(default_factory=set)
    named: dict[str, dict[str, tuple]] = field(default_factory=dict)
    payments: list[str] = field(default_factory=lambda: PAYMENTS)
    batch: int = 0

    def take_in(self, action: Action) -> None:
        """Do to bronze what an action does; builds do nothing to it."""
        verb, *words = action
        if verb == "land":
            name, columns, rows = words
            self.raw[name] = (tuple(columns), tuple(tuple(row) for row in rows))
        elif verb == "load" and not words:  # a killed one is followed by one that goes on where it stopped
            self._load(set())
        elif verb == "reload":
            self._load({words[0]})
        elif verb == "rebuild":
            self._load({name for name in self.live if _get_table(name) == words[0]}, only=words[0])
        elif verb == "undo" and words[0] in self.live and len(words) == 1:  # a killed one is typed again
            self._put_away(words[0])
        elif verb == "snapshot":
            self.named[words[0]] = _copy(self.live)
        elif verb == "go-back":
            self._restore(self.named[words[0]], self.raw)
        elif verb == "restore":
            self._restore(self.named[words[1]], [name for name in self.raw if _get_table(name) == words[0]])
        elif verb == "mend":
            self.payments = MENDED_PAYMENTS
        elif verb == "replay" and words[0] in self.live:
            self._replay(words[0])
        elif verb == "discard" and words[0] in self.live:
            self.live[words[0]][2].clear()

    def _load(self, again: set[str], only: str | None = None) -> None:
        self.batch += 1
        names = sorted(name for name in self.raw if only in (None, _get_table(name)))
        waiting = {name for name in names if name not in again and self._is_waiting(name)}
        leaving = {
            name
            for name in names
            if name in self.live and name not in waiting and (self.live[name][0] != self.raw[name] or name in again)
        }
        held = {
            (_get_table(name), content): name for name, (content, *_) in self.live.items() if name not in leaving
        }  # fmt: skip
        for name in names:
            content = self.raw[name]
            if name in waiting or (name in self.live and name not in leaving):
                continue
            self.live.pop(name, None)
            place = (_get_table(name), content)
            if _get_table(name) in APPENDED and held.get(place, name) != name:
                continue  # the same bytes are there under another name
            columns, rows = content
            records = [
                # Line 1 is the header.
                Record(self.batch, name, number, dict(zip(columns, row, strict=True)))
                for number, row in enumerate(rows, start=2)
            ]
            kept = [record for record in records if self._is_kept(record)]
            self.live[name] = (content, kept, [record for record in records if record not in kept])
            held[place] = name
            self.undone.pop(name, None)
            self.undone_content.discard(place)

    def _is_waiting(self, name: str) -> bool:
        """Tell whether somebody took out what lies there; of a table of events, under whatever name."""
        place = (_get_table(name), self.raw[name])
        if self.undone.get(name) == self.raw[name]:
            return True
        return place[0] in APPENDED and name not in self.live and place in self.undone_content

    def _put_away(self, name: str) -> None:
        content = self.live.pop(name)[0]
        self.undone[name] = content
        self.undone_content.add((_get_table(name), content))

    def _restore(self, then: dict[str, tuple], names: Iterable[str]) -> None:
        """Have the rows that files had then. What lies there now was loaded, or waits."""
        for name in sorted(names):
            if _get_load(self.live.get(name)) != _get_load(then.get(name)):
                if name in self.live:
                    self._put_away(name)
                else:
                    self.undone[name] = self.raw[name]
                    self.undone_content.add((_get_table(name), self.raw[name]))
                if name in then:
                    self.undone_content.discard((_get_table(name), then[name][0]))
                    if self.undone.get(name) == then[name][0]:
                        self.undone.pop(name)
            self.live.pop(name, None)
            if name in then:
                self.live.update(_copy({name: then[name]}))

    def _is_kept(self, record: Record) -> bool:
        return record.values.get("payment_method") in (None, *self.payments)

    def _replay(self, name: str) -> None:
        _, kept, refused = self.live[name]
        good = [record for record in refused if self._is_kept(record)]
        if good and self.live[name][0] == self.raw[name]:
            self.batch += 1
            kept += [record._replace(batch=self.batch) for record in good]
            refused[:] = [record for record in refused if record not in good]

    def _read(self, table: str) -> Iterator[Record]:
        """Yield the records of a table in the total order: the day they hold from, batch, file, line."""
        records = [record for _, kept, _ in self.live.values() for record in kept if _get_table(record.file) == table]
        yield from sorted(records, key=lambda record: (_get_day(record.file, "effective_dt") or "", *record[:3]))

    def _get_latest(self, table: str, *key: str) -> dict[tuple, Record]:
        latest = {tuple(record.values[name] for name in key): record for record in self._read(table)}
        return {key: record for key, record in latest.items() if record.values.get("op") != "D"}

    def compute_sales(self) -> list[list[object]]:
        """Return the rows of gold.fct_sales, as `workshop.py` reads them."""
        orders = self._get_latest("orders", "order_id")
        customers = self._get_latest("customers", "customer_id")
        stores = self._get_latest("stores", "store_id")
        sales = []
        for (order_id, number), line in self._get_latest("order_lines", "order_id", "line_number").items():
            order = orders.get((order_id,))
            date = order.values["order_dt_local"] if order else _get_day(line.file, "order_dt")
            gross = _round(Decimal(line.values["qty"]) * Decimal(line.values["unit_price"]))
            discount = _round(gross * Decimal(line.values["line_discount_pct"]))
            net = gross - discount
            rate, source = self._find_rate(order, date)
            customer = (order.values["customer_id"],) if order else None
            store = (order.values["store_id"],) if order else None
            price = self._find_price(line.values["product_id"], date)
            sales.append([
                int(order_id), int(number), date, int(line.values["qty"]), str(gross), str(discount), str(net),
                str(_round(net * Decimal(line.values["tax_pct"]))),
                None if rate is None else str(_round(net * rate)), source,
                int(customer[0]) if customer in customers else -1,
                int(store[0]) if store in stores else -1,
                stores[store].values["name"] if store in stores else "unknown",
                int(line.values["product_id"]) if price else -1,
                str(_round(price)) if price else None,
            ])  # fmt: skip
        return sorted(sales)

    def _find_rate(self, order: Record | None, date: str) -> tuple[Decimal | None, str]:
        if order is None:
            return Decimal(1), "assumed"
        currency = order.values["currency"]
        if currency == "AUD":
            return Decimal(1), "identity"
        # Last the newest day; of one day, spelt in two ways, what came last.
        rates = sorted(
            (day, record.batch, of, Decimal(record.values["rate_to_aud"]))
            for (day, of), record in self._get_latest("exchange_rates", "date", "currency").items()
            if of.strip().upper() == currency and day <= date and Decimal(record.values["rate_to_aud"]) > 0
        )
        if not rates:
            return None, "missing"
        day, *_, rate = rates[-1]
        return rate, "day" if day == date else "last_known"

    def _find_price(self, product_id: str | None, date: str) -> Decimal | None:
        """Return the price on the list at a date; None if nothing is known of the product, or it was deleted."""
        states = [record for record in self._read("products") if record.values["product_id"] == product_id]
        by_day = {_get_day(record.file, "effective_dt") or "": record.values for record in states}
        if not by_day:
            return None
        reached = [day for day in by_day if day <= date]
        # The first state known held since ever.
        holds = by_day[max(reached) if reached else min(by_day)]
        return None if holds["op"] == "D" else Decimal(holds["current_price"])


def _copy(live: dict[str, tuple]) -> dict[str, tuple]:
    return {name: (content, list(kept), list(refused)) for name, (content, kept, refused) in live.items()}


def _get_load(held: tuple | None) -> int | None:
    """Return the load that brought a file's rows, which the first of them tells; 0 if none was good."""
    return held and (held[0], min((record.batch for record in [*held[1], *held[2]]), default=0))


def _get_table(name: str) -> str:
    return name.split("/")[0].split(".")[0]


def _get_day(name: str, folder: str) -> str | None:
    return next((part.split("=")[1] for part in name.split("/") if part.startswith(f"{folder}=")), None)


def _round(value: Decimal) -> Decimal:
    # Adding zero takes the sign from a negative one, which decimals in SQL do not have.
    return value.quantize(Decimal("0.0001"), ROUND_HALF_UP) + 0
