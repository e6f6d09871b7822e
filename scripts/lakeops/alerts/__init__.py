"""Tell people what is wrong: once per incident, and again when it is over."""

from lakeops.alerts.record import count_open
from lakeops.alerts.rules import Run
from lakeops.alerts.tell import raise_alerts

__all__ = ["Run", "count_open", "raise_alerts"]
