"""What `lakeops --help` says: every command, under what it is for."""

from __future__ import annotations

from typer import Context
from typer.core import TyperGroup

# A longer line is hard to read. docs/commands.md shows this width.
WIDTH = 100

SECTIONS = {
    "Every day": ("demo", "incremental", "load", "quarantine", "test-data"),
    "How the data is": ("status", "quality", "report", "metrics", "trace", "lineage", "docs"),
    "How it was, and taking back": ("history", "asof", "diff", "sql", "snapshot", "undo", "restore"),
    "The bad day": ("doctor", "repair", "rebuild", "backup", "restore-from", "drill"),
    "Files and space": ("upkeep", "optimize", "vacuum", "restorable", "explain", "cost"),
    "New data": ("contract", "generate"),
}

EXIT_CODES = (
    "Exit codes: 0 done, 2 usage, 10 contract, 11 a raw file refused (the others are loaded), 12 bronze commit, "
    "13 dbt or a failed test, 14 stale data, 15 locked, 130 Ctrl-C, 1 a warehouse that cannot be opened, too little "
    "memory, or a bug (with a traceback). Each of 10 to 15 has a page of that name in runbooks/."
)


class Overview(TyperGroup):
    """The commands in their sections: nobody reads a list of more than thirty."""

    def format_commands(self, ctx: Context, formatter: object) -> None:
        """Write the sections, each command with the first sentence of its help."""
        longest = max(map(len, self.commands))
        for title, names in SECTIONS.items():
            rows = [(name.ljust(longest), self.commands[name].get_short_help_str(limit=1000)) for name in names]
            with formatter.section(title):
                formatter.write_dl(rows)
