"""Frame + contract → accepted rows, faults with reasons, a verdict. Pure: nothing here reads or writes a file."""

from lakeops.judge.header import HeaderVerdict, judge_header
from lakeops.judge.rows import Judged, judge_rows, read_path_values, reads_folders

__all__ = ["HeaderVerdict", "Judged", "judge_header", "judge_rows", "read_path_values", "reads_folders"]
