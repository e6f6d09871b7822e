"""Where a value comes from: a row of gold back to lines of raw files, a column of gold back to columns of bronze."""

from lakeops.lineage.columns import ColumnLineage, ColumnSource, read_schema
from lakeops.lineage.models import Model, load_models
from lakeops.lineage.rows import RowSource, trace_row

__all__ = ["ColumnLineage", "ColumnSource", "Model", "RowSource", "load_models", "read_schema", "trace_row"]
