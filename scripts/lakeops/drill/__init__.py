"""Rehearse disasters on a small lake, mend them with the commands of the runbooks, and say what it took."""

from lakeops.drill.disasters import DRILLS
from lakeops.drill.rehearsal import Drill, Result, run_drill
from lakeops.drill.stage import Stage, prepare_stage
from lakeops.drill.table import render_record, replace_table

__all__ = [
    "DRILLS",
    "Drill",
    "Result",
    "Stage",
    "prepare_stage",
    "render_record",
    "replace_table",
    "run_drill",
]
