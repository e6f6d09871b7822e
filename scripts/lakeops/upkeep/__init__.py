"""Keep the lake small and quick: lay out, clean up, sum up logs; nothing that a promise still needs is deleted."""

from lakeops.upkeep.cost import Cost, TableCost, collect_cost
from lakeops.upkeep.due import Job, run_upkeep
from lakeops.upkeep.optimize import Optimized, optimize_table, optimize_tables
from lakeops.upkeep.restorable import Restorable, list_restorable
from lakeops.upkeep.vacuum import Vacuumed, vacuum_table, vacuum_tables

__all__ = [
    "Cost",
    "Job",
    "Optimized",
    "Restorable",
    "TableCost",
    "Vacuumed",
    "collect_cost",
    "list_restorable",
    "optimize_table",
    "optimize_tables",
    "run_upkeep",
    "vacuum_table",
    "vacuum_tables",
]
