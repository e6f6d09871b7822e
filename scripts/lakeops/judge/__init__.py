"""Frame + contract → accepted rows, faults with reasons, a verdict. Pure: nothing here reads or writes a file."""

from lakeops.judge.header import HeaderVerdict, judge_header
from lakeops.judge.rows import FAULT_SCHEMA, Judged, judge_rows, read_path_values

__all__ = ["FAULT_SCHEMA", "HeaderVerdict", "Judged", "judge_header", "judge_rows", "read_path_values"]
