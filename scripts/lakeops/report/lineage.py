"""Show where a row or a column comes from, as a tree."""

from __future__ import annotations

from collections.abc import Iterator

from lakeops.lineage import ColumnSource, RowSource


def show_row_source(source: RowSource) -> None:
    """Print a row, the rows it was made of, and the records they were read from; what was shown is only named again."""
    shown: set[str] = set()
    for line in _draw_row(source, "", shown):
        print(line)


def show_column_source(source: ColumnSource) -> None:
    """Print a column, the SQL that makes it, and the columns it is made of."""
    for line in _draw_column(source, ""):
        print(line)


def _draw_row(source: RowSource, indent: str, shown: set[str]) -> Iterator[str]:
    key = ", ".join(f"{name}={value}" for name, value in source.key.items())
    name = f"{source.relation} {key}"
    if name in shown and not source.file:
        yield f"{indent}{name} (see above)"
        return
    shown.add(name)
    yield indent + name + (f"  {source.file}:{source.line}" if source.file else "")
    if source.file:
        yield f"{indent}    {source.text if source.problem is None else f'({source.problem})'}"
    for entry in source.inputs:
        yield from _draw_row(entry, indent + "  ", shown)
    if source.more:
        yield f"{indent}… and {source.more:,} more of {source.relation}"


def _draw_column(source: ColumnSource, indent: str) -> Iterator[str]:
    made = f" = {' '.join(source.expression.split())}" if source.expression else ""
    yield f"{indent}{source.relation}.{source.column}{made}"
    for entry in source.inputs:
        yield from _draw_column(entry, indent + "  ")
