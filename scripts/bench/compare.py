"""What got slower since it was measured last."""

from __future__ import annotations

from dataclasses import dataclass

from measure import Figure
from record import Record

# Between runs of the same code on a quiet machine, ratios move by a tenth; twice that is no chance.
NOISE = 1.2
# Of what takes a moment, a fifth more is a moment more.
SECONDS = 0.2


@dataclass(frozen=True)
class Slower:
    """A figure that got slower.

    Parameters
    ----------
    before, now : the ratio to the yardstick of its own run: a slower machine slows both.
    lost : seconds that it takes more than it would at the earlier ratio.
    since : when the earlier one was measured.
    """

    name: str
    before: float
    now: float
    lost: float
    since: str

    def __str__(self) -> str:
        """Say it in a line."""
        return (
            f"slower: {self.name}: {self.now:.2f} times its yardstick, {self.before:.2f} on {self.since[:10]};"
            f" {self.lost:.1f} s lost"
        )


def find_earlier(records: list[Record]) -> dict[str, tuple[str, Figure]]:
    """Return the last figure of every name, and when it was measured."""
    return {figure.name: (record.at, figure) for record in records for figure in record.figures}


def find_slower(figures: list[Figure], records: list[Record]) -> list[Slower]:
    """Return which figures got slower against the last record that has them.

    Parameters
    ----------
    records : the history without this run.

    Returns
    -------
    Those whose ratio grew beyond what chance does, and that cost time; most lost first. A figure without an earlier
    one, or against another yardstick than then, says nothing.
    """
    earlier = find_earlier(records)
    slower = []
    for figure in figures:
        since, before = earlier.get(figure.name, ("", None))
        if before is None or not before.ratio or not figure.ratio or before.against != figure.against:
            continue
        lost = figure.seconds * (1 - before.ratio / figure.ratio)
        if figure.ratio / before.ratio > NOISE and lost > SECONDS:
            slower.append(Slower(figure.name, before.ratio, figure.ratio, lost, since))
    return sorted(slower, key=lambda one: -one.lost)
