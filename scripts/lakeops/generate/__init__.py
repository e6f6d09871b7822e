"""Seeded raw files with named, counted defects: something to try the lake on, and to test it against."""

from lakeops.generate.arguments import DEFAULT_SCALE
from lakeops.generate.call import Summary, generate_data
from lakeops.generate.defect_list import DEFECTS_FILE, read_defects
from lakeops.generate.scenario_list import SCENARIOS_FILE, read_scenarios
from lakeops.generate.scenarios import (
    Scenarios,
    parse_defects,
    parse_drifts,
    parse_evolve,
    parse_late,
)
from lakeops.generate.world import HISTORY_START

__all__ = [
    "DEFAULT_SCALE",
    "DEFECTS_FILE",
    "HISTORY_START",
    "SCENARIOS_FILE",
    "Scenarios",
    "Summary",
    "generate_data",
    "parse_defects",
    "parse_drifts",
    "parse_evolve",
    "parse_late",
    "read_defects",
    "read_scenarios",
]
