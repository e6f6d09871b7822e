"""`_defects.json`: the list of all defects planted in a folder, whichever call planted them."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from lakeops.errors import UsageError
from lakeops.generate.defects import Defect

# The leading _ says that it is no landing: no contract claims it.
DEFECTS_FILE = "_defects.json"


def merge_defects(out: Path, files: Collection[str], defects: Iterable[Defect]) -> bytes:
    """Return the new content of `_defects.json`.

    Parameters
    ----------
    out : folder of the raw files.
    files : what this call wrote; earlier entries for these files are replaced.
    defects : what this call planted.

    Raises
    ------
    UsageError : the file that stands there is not such a list.
    """
    kept = [row for row in read_defects(out) if row["file"] not in files and (out / row["file"]).is_file()]
    rows = sorted([*kept, *map(vars, defects)], key=lambda row: (row["file"], row["line"]))
    counts: dict[str, Any] = {
        "by_kind": Counter(row["kind"] for row in rows),
        "by_catcher": Counter(row["caught_by"] for row in rows),
        "quarantined_by_table": Counter(row["table"] for row in rows if row["caught_by"] == "quarantine"),
    }
    return render_list([f'"{name}": {json.dumps(count, sort_keys=True)}' for name, count in counts.items()], rows)


def render_list(head: list[str], rows: list[dict[str, Any]]) -> bytes:
    """Return a JSON object: the members `head`, and `rows` one a line, so that grep and diff can read it too."""
    # A thousand days have hundreds of thousands of rows: they are never text all at once.
    buffer = io.BytesIO()
    buffer.write(("{" + ",\n".join([*head, '"rows": ['])).encode())
    for number, row in enumerate(rows):
        buffer.write(((",\n  " if number else "\n  ") + json.dumps(row)).encode())
    buffer.write(b"\n]}\n" if rows else b"]}\n")
    return buffer.getvalue()


def read_defects(out: Path) -> list[dict[str, Any]]:
    """Return the rows of `_defects.json` in `out`; none if there is no such file."""
    return read_rows(out / DEFECTS_FILE, "The list of planted defects cannot be read.")


def read_rows(path: Path, complaint: str) -> list[dict[str, Any]]:
    """Return the rows of a list that the generator keeps in its folder; none if there is no such file.

    Parameters
    ----------
    path : the list.
    complaint : what to say if it is no such list.

    Raises
    ------
    UsageError : it is not such a list.
    """
    if not path.is_file():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        return [row for row in rows if isinstance(row["file"], str)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            complaint,
            where=str(path),
            expected="a file written by the generator",
            found=f"{type(error).__name__}: {error}",
            next_step="remove the file, or choose another folder with --out",
        ) from error
