"""Seeded raw files with named, counted defects: something to try the lake on, and to test it against."""

from lakeops.generate.call import DEFAULT_SCALE, Summary, generate_data
from lakeops.generate.defect_list import DEFECTS_FILE, read_defects
from lakeops.generate.world import HISTORY_START

__all__ = ["DEFAULT_SCALE", "DEFECTS_FILE", "HISTORY_START", "Summary", "generate_data", "read_defects"]
