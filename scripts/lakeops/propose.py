"""Propose a contract for files nobody has written one for: a start for a person to edit, each guess with its reason.

Values are judged as the loader would judge them (`cast_losslessly`), so that what is proposed loads the files it was
made from.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl
import yaml

from lakeops.console import tell_apart
from lakeops.contract import Contract, DataType, Load
from lakeops.errors import UsageError
from lakeops.judge.casts import cast_losslessly
from lakeops.paths import make_file_identity
from lakeops.raw import RefusedFile, read_file

# Enough to know a column by; the rest of a large delivery is more of the same.
ROWS_READ = 500_000
FORMATS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
           ".xlsx": "xlsx"}  # fmt: skip
_PACKED = (".gz", ".zst")
# A list of values is worth a rule where each comes often and they are few.
FEW_VALUES, ROWS_PER_VALUE = 12, 20
_PERSONAL = re.compile(
    r"(^|_)(e?mail|phone|mobile|(first|last|given|family|full|sur)_?name|address|street|birth|dob|iban|ssn|passport)"
)
_IS_KEY = re.compile(r"(^|_)(id|key|no|nr|number|code)$")
_CHANGED = re.compile(r"updat|modif|chang|valid|effective")
# Real files have bad rows. A type or a key that nearly all rows keep is the one that was meant; of a few rows, all but
# one: the first file of a small business has forty, and one bad date must not make text of a column.
MISFITS, FEW_ROWS = 0.02, 20
_FOLDER = re.compile(r"^([a-z_][a-z0-9_]*)=(.+)$")


@dataclass
class Guess:
    """What a column seems to be.

    Parameters
    ----------
    name : what it is to be called.
    type, reason : the type, and what in the files speaks for it.
    original : its name in the files, if that is no name for a column.
    is_complete : no value is missing.
    tests : dbt tests that hold on all rows read, as YAML, each with its reason.
    """

    name: str
    type: str
    reason: str
    original: str | None = None
    is_complete: bool = False
    is_personal: bool = False
    tests: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class _Table:
    name: str
    patterns: list[str]
    load: dict[str, Any]
    frame: pl.DataFrame
    files: int
    folders: dict[str, str]


def propose_contract(files: list[Path], raw: Path, source: str) -> str:
    """Return contracts for some raw files as YAML, one table for each folder of theirs (or each file in `raw` itself).

    Files of several formats in one folder become several tables.

    Parameters
    ----------
    files : files below the landing zone; those whose name begins with `_` or `.` are no data.
    raw : the landing zone; patterns are relative to it.
    source : name of the source; its schema in SQL and its folder in the lake.

    Raises
    ------
    UsageError : a file is not below `raw`, has no suffix we know, or cannot be read at all.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", source):
        raise UsageError(
            "A source needs a name that SQL takes.",
            where="--source",
            expected="lower-case letters, digits and _",
            found=source,
            next_step="for example --source finance",
        )
    groups: dict[tuple[str, str], list[Path]] = {}
    for file in files:
        if (group := _get_group(file, raw)) is not None:
            groups.setdefault(group, []).append(file)
    if not groups:
        raise UsageError("There is no file to look at.", where=str(raw), next_step="name files or folders below it")
    lines = [
        f"# Proposed from {sum(map(len, groups.values()))} file(s), every guess with its reason. Correct it, take the",
        f"# remarks out, save it as dbt/models/bronze/{source}.yml, and try it: lakeops load --dry-run",
        "sources:",
        f"  - name: {_quote_name(source)}",
        f"    schema: {_quote_name(source)}",
        '    description: "TODO: what this source is, who sends it, how often."',
        "    tables:",
    ]
    names = tell_apart([_make_name(place) for place, _ in sorted(groups)])
    for name, (_, own) in zip(names, sorted(groups.items()), strict=True):
        lines += _write_table(_read_table(name, sorted(own), raw))
    return "\n".join(lines) + "\n"


def _get_group(file: Path, raw: Path) -> tuple[str, str] | None:
    """Return where a file lies and the suffix of its format: one table; None if its name says that it is no data."""
    parts = PurePosixPath(make_file_identity(file, raw)).parts
    if parts[0] == "..":
        raise UsageError(
            "A file to look at does not lie in the landing zone.",
            where=str(file),
            expected=f"a file below {raw}",
            next_step="land it there first; lakeops never changes it",
        )
    # As the loader sees it (decision 6).
    if any(part.startswith(("_", ".")) for part in parts) or file.suffix == ".md":
        return None
    name, suffix = _strip(file)
    return parts[0] if len(parts) > 1 else name, suffix


def _make_name(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", text).lower()).strip("_")
    return name if name and not name[0].isdigit() else f"c_{name}"


def _strip(file: Path) -> tuple[str, str]:
    """Return a file's name without suffixes, and the suffix that tells its format."""
    name = file.name[: -len(file.suffix)] if file.suffix.lower() in _PACKED else file.name
    return Path(name).stem, Path(name).suffix.lower()


def _read_table(name: str, files: list[Path], raw: Path) -> _Table:
    suffix = _strip(files[0])[1]
    if suffix not in FORMATS:
        raise UsageError(
            "A file has a suffix that tells no format.",
            where=str(files[0]),
            expected=", ".join(FORMATS),
            found=suffix or "none",
            next_step="rename it, or write the contract by hand (docs/contracts.md)",
        )
    load: dict[str, Any] = {"format": FORMATS[suffix]}
    if load["format"] in ("csv", "jsonl"):
        try:
            load |= _guess_text(files[0], load["format"])
        except (OSError, EOFError, zlib.error) as error:
            raise _refuse(files[0], str(error)) from error
    contract = Contract(name, name, "", (), Load(files=["*"], key=["_"], **load), (), {}, Path())
    frames, rows = [], 0
    for number, file in enumerate(files):
        if rows >= ROWS_READ:
            break
        try:
            for chunk in read_file(file, contract):
                frames.append(chunk.rows.with_columns(pl.lit(number).alias("_file")))
                rows += chunk.rows.height
        except RefusedFile as refused:
            raise _refuse(file, refused.detail, refused.next_step) from refused
        except OSError as error:
            raise _refuse(file, str(error)) from error
    relative = [PurePosixPath(make_file_identity(file, raw)) for file in files]
    found = [m.groups() for path in relative for part in path.parts[:-1] if (m := _FOLDER.match(part))]
    folders = {name: "date" if all(_is_day(v) for n, v in found if n == name) else "varchar" for name, _ in found}
    patterns = sorted({_make_pattern(path) for path in relative})
    frame = pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame({"_source_row": []})
    return _Table(name, patterns, load, frame, len(files), folders)


def _refuse(file: Path, found: str, next_step: str = "mend it, or leave it out") -> UsageError:
    return UsageError("A file cannot be read.", where=str(file), found=found, next_step=next_step)


def _make_pattern(path: PurePosixPath) -> str:
    """Return what the files of a folder share, down to how they are packed; a file in `raw` itself stands alone."""
    if len(path.parts) == 1:
        return path.name
    packing = path.suffix if path.suffix.lower() in _PACKED else ""
    return f"{path.parts[0]}/**/*{PurePosixPath(path.name.removesuffix(packing)).suffix}{packing}"


def _is_day(text: str) -> bool:
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _guess_text(file: Path, kind: str) -> dict[str, str]:
    """Return delimiter and encoding where they are not the usual ones."""
    packing = file.suffix.lower()
    with gzip.open(file, "rb") if packing == ".gz" else file.open("rb") as stream:
        begin = stream.read(1 << 20) if packing != ".zst" else b""
    guessed = {}
    try:
        text = begin[: begin.rfind(b"\n") + 1 or None].decode("utf-8")
    except UnicodeDecodeError:
        guessed["encoding"] = "utf-16" if begin[:2] in (b"\xff\xfe", b"\xfe\xff") else "cp1252"
        text = begin.decode(guessed["encoding"], errors="replace")
    header = text.lstrip("\ufeff").split("\n", 1)[0]
    if kind == "csv" and header:
        try:
            delimiter = csv.Sniffer().sniff(header, delimiters=",;\t|").delimiter
        except csv.Error:
            delimiter = ","
        if delimiter != ",":
            guessed["delimiter"] = delimiter
    return guessed


def _write_table(table: _Table) -> Iterator[str]:
    data = table.frame.drop("_file", "_source_row", strict=False)
    guesses = [_guess_column(name, original, data[original]) for original, name in _name_columns(table).items()]
    names = {guess.original or guess.name: guess.name for guess in guesses}
    key, why, repeats = _guess_key(table.frame, list(names))
    dated = {guess.name: guess.type for guess in guesses} | table.folders
    sequence = [
        _quote_name(name) for name, kind in dated.items() if kind in ("timestamp", "date") and _CHANGED.search(name)
    ]
    yield f"      - name: {_quote_name(table.name)}"
    yield f'        description: "TODO: what one row is. Grain: {", ".join(names[name] for name in key)}."'
    yield "        config:"
    yield "          meta:"
    yield "            load:"
    patterns = ", ".join(map(_quote, table.patterns))
    yield f"              files: [{patterns}]           # {table.files} file(s) today"
    yield f"              format: {table.load['format']}"
    for option in ("delimiter", "encoding"):
        if option in table.load:
            yield f"              {option}: {_quote(table.load[option])}"
    if repeats:
        yield f"              mode: merge              # {why}: the last record of a key holds"
    else:
        yield "              mode: append             # merge, if later files correct earlier ones"
    yield f"              key: [{', '.join(_quote_name(names[name]) for name in key)}]       # {why}"
    if repeats and sequence:
        yield f"              sequence_by: [{sequence[0]}]      # by its name; else the order of arrival decides"
    aliases = {guess.name: guess.original for guess in guesses if guess.original}
    if aliases:
        yield "              aliases:                 # as the files call them"
        yield from (f"                {_quote_name(name)}: [{_quote(original)}]" for name, original in aliases.items())
    if table.folders:
        folders = [_quote_name(name) for name in table.folders]
        yield f"              folders: [{', '.join(folders)}]"
        yield "              derive:"
        yield from (f"                {name}: {name}" for name in folders)
    dates = [
        *(_quote_name(name) for name, kind in table.folders.items() if kind == "date"),
        *(_quote_name(guess.name) for guess in guesses if guess.type == "date"),
    ]
    if dates:
        yield f"              business_date: {dates[0]}      # the day the data is about; there is: {', '.join(dates)}"
    yield "              on_new_column: evolve    # a new column is taken in, and reported; refuse is stricter"
    yield "        columns:"
    for guess in guesses:
        yield from _write_column(guess, is_key=(guess.original or guess.name) in key)
    for name, kind in table.folders.items():
        yield from _write_column(Guess(name, kind, f"from the folder {name}=…"), is_key=False)


def _write_column(guess: Guess, *, is_key: bool) -> Iterator[str]:
    yield f"          - name: {_quote_name(guess.name)}"
    yield f"            data_type: {guess.type}    # {guess.reason}"
    yield '            description: "TODO"'
    if guess.is_personal:
        yield "            config: {meta: {personal: true}}    # by its name"
    tests = [("not_null", "no value is missing")] if guess.is_complete or is_key else []
    if tests + guess.tests:
        yield "            data_tests:"
        yield from (f"              - {test}    # {reason}" for test, reason in tests + guess.tests)


def _has_blank(values: pl.Series) -> bool:
    return values.dtype == pl.String and bool((values.str.strip_chars() == "").any())


def _name_columns(table: _Table) -> dict[str, str]:
    """Return names for the columns of the files, in their order; of two that would be the same, one has a number."""
    originals = table.frame.drop("_file", "_source_row", strict=False).columns
    # Whose name is one already keeps it; that of a folder is not ours to change.
    ranked = sorted(originals, key=lambda original: _make_name(original) != original)
    told = tell_apart([*table.folders, *map(_make_name, ranked)])[len(table.folders) :]
    names = dict(zip(ranked, told, strict=True))
    return {original: names[original] for original in originals}


def _guess_column(name: str, original: str, values: pl.Series) -> Guess:
    if values.dtype == pl.String:
        values = values.set(values == "", None)
    present = values.drop_nulls()
    kind, reason = _guess_type(present)
    guess = Guess(
        name,
        kind,
        reason,
        original if original != name else None,
        is_complete=bool(len(values)) and len(present) == len(values) and not _has_blank(present),
        is_personal=bool(_PERSONAL.search(name)),
    )
    if guess.is_personal or not len(present):
        return guess
    if kind == "varchar":
        distinct = present.n_unique()
        if distinct <= FEW_VALUES and len(present) >= distinct * ROWS_PER_VALUE:
            listed = ", ".join(_quote(str(value)) for value in sorted(present.unique().to_list()))
            test = f"accepted_values: {{arguments: {{values: [{listed}]}}, {_WARN}}}"
            guess.tests.append((test, f"{distinct} value(s) in {len(present):,} rows"))
    elif kind == "bigint" or kind.startswith("decimal"):
        typed = cast_losslessly(present, _parse_type(kind), "UTC") if present.dtype == pl.String else present
        if not _IS_KEY.search(name) and typed.min() >= 0:
            test = f"accepted_range: {{arguments: {{min_value: 0}}, {_WARN}}}"
            guess.tests.append((test, f"from {typed.min()} to {typed.max()} so far"))
    return guess


# A rule that was read off a few files must not keep rows out until somebody has said that it is one.
_WARN = "config: {severity: warn, meta: {on_fail: warn}}"


def _guess_type(present: pl.Series) -> tuple[str, str]:
    if not len(present):
        return "varchar", "empty in all rows read: text, until a value says more"
    if present.dtype != pl.String:
        return _name_typed(present.dtype)
    nearly = ""
    scale = present.str.extract(r"^[+-]?\d{1,14}\.(\d{1,8})$").str.len_chars().max() or 0
    for data_type, said in (
        (DataType("bigint"), "whole numbers"),
        (DataType("decimal", 18, scale), f"at most {scale} digits after the point"),
        (DataType("boolean"), "true or false"),
        (DataType("date"), "days"),
        (DataType("timestamp"), "moments"),
    ):
        misfits = present.filter(cast_losslessly(present, data_type, "UTC").is_null())
        if len(misfits) <= _count_allowed(len(present)):
            return str(data_type), said + _name_examples(present, misfits, data_type)
        if len(misfits) < len(present) / 2:
            nearly = f"; {data_type}, but that {len(misfits):,} of {len(present):,} do not fit, such as {misfits[0]!r}"
    if present.str.contains(r"^\s*[\[{]").all():
        return "json", "nested in the file"
    if present.str.contains(r"^\d+$").all():
        zeros = present.filter(present.str.starts_with("0"))
        return "varchar", f"digits with leading zeros, for example {zeros[0]}" if len(zeros) else "digits, too many"
    return "varchar", "text" + nearly


def _count_allowed(rows: int) -> float:
    return max(rows * MISFITS, 1 if rows >= FEW_ROWS else 0)


def _name_examples(present: pl.Series, misfits: pl.Series, data_type: DataType) -> str:
    fitting = present.filter(~present.is_in(misfits.implode()))
    said = f", for example {fitting[0]}"
    if data_type.kind == "timestamp" and not fitting.str.contains(r"(Z|[+-]\d\d:?\d\d)$").all():
        said += "; without a zone: set time_zone if it is not UTC"
    if len(misfits):
        said += f"; {len(misfits):,} of {len(present):,} do not fit (they are for quarantine), such as {misfits[0]!r}"
    return said


def _name_typed(dtype: pl.DataType) -> tuple[str, str]:
    said = "as the file has it"
    if dtype.is_integer():
        return "bigint", said
    if dtype.is_decimal():
        return f"decimal({dtype.precision},{dtype.scale})", said
    if dtype.is_float():
        return "double", "a binary number in the file; decimal, if it is money"
    if dtype == pl.Boolean:
        return "boolean", said
    if dtype == pl.Date:
        return "date", said
    if isinstance(dtype, pl.Datetime):
        return "timestamp", said
    return ("json", "nested in the file") if dtype.is_nested() else ("varchar", said)


def _parse_type(kind: str) -> DataType:
    if kind.startswith("decimal"):
        precision, scale = kind[len("decimal(") : -1].split(",")
        return DataType("decimal", int(precision), int(scale))
    return DataType(kind)


def _guess_key(frame: pl.DataFrame, names: list[str]) -> tuple[list[str], str, bool]:
    """Return the columns that name a record, why, and whether a key comes again in other files."""
    allowed = frame.height * MISFITS
    complete = [name for name in names if frame[name].null_count() <= allowed and not frame[name].dtype.is_nested()]
    ranked = sorted(complete, key=lambda name: not _IS_KEY.search(_make_name(name)))
    pairs = [[first, second] for i, first in enumerate(ranked[:6]) for second in ranked[i + 1 : 6]]

    def count_repeats(columns: list[str]) -> int:
        rows = frame.select(columns).drop_nulls()
        return rows.height - rows.n_unique()

    # Once per file, and again in a later one: the usual shape of a dimension that is sent as a whole.
    sent_again = [
        [name]
        for name in ranked
        if _IS_KEY.search(_make_name(name)) and count_repeats([name]) > allowed >= count_repeats([name, "_file"])
    ]
    for columns in [*([name] for name in ranked), *sent_again, *pairs]:
        if columns in sent_again:
            return columns, "comes once in each file, and again in others", True
        repeats = count_repeats(columns)
        # One that comes again in another file is a newer state, and not a bad row.
        is_bad_row = repeats <= _count_allowed(frame.height) and repeats == count_repeats([*columns, "_file"])
        if repeats <= allowed or is_bad_row:
            return (
                columns,
                f"{repeats:,} row(s) have one that came before" if repeats else "no two rows share one",
                False,
            )
    return (ranked or names)[:1], "TODO: no column or pair of columns tells all rows apart", False


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _quote_name(name: str) -> str:
    """Return a name as YAML; unquoted, `no` and `null` would be none."""
    return name if isinstance(yaml.safe_load(name), str) else _quote(name)


def list_files(places: list[Path]) -> list[Path]:
    """Return the files named, and those in the folders named.

    Raises
    ------
    UsageError : there is no such file or folder.
    """
    files = []
    for place in places:
        if not place.exists():
            raise UsageError(
                "There is no such file or folder.", where=str(place), next_step="name files as they lie in data_raw/"
            )
        files += sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
    return files
