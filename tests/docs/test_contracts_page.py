"""docs/contracts.md names every load key and every reason the code knows, and none that it does not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lakeops.contract import LOADER_COLUMNS, ROW_TESTS, Load, load_contracts

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "scripts" / "lakeops"
PAGE = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
REASON = re.compile(r"[a-z]+(_[a-z]+)*")


def read_section(title: str) -> str:
    """Return the text of a section of the page, up to the next heading of its level or above."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/contracts.md has no section {title!r}"
    return found[2]


def read_first_cells(title: str) -> set[str]:
    """Return the words in backticks that begin the rows of the tables in a section."""
    return set(re.findall(r"^\| `([^`]+)`", read_section(title), re.MULTILINE))


def iter_strings(node: ast.expr | None) -> Iterator[str]:
    """Yield the texts an expression may be: a constant, the begin of an f-string, both arms of a condition."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]):
            yield text
        case ast.IfExp():
            yield from iter_strings(node.body)
            yield from iter_strings(node.orelse)


def iter_nodes(*rooms: str) -> Iterator[ast.AST]:
    for room in rooms:
        for file in sorted(PACKAGE.glob(room)):
            yield from ast.walk(ast.parse(file.read_text(encoding="utf-8")))


def collect_file_reasons() -> set[str]:
    """Return the reasons in `RefusedFile(reason, …)` and `_refuse_header(reason, …)`, and begins like `no_file: …`."""
    found: set[str] = set()
    for node in iter_nodes("raw/*.py", "bronze/*.py", "judge/*.py"):
        match node:
            case ast.Call(func=ast.Name(id="RefusedFile" | "_refuse_header"), args=[first, *_]):
                found.update(iter_strings(first))
    for node in iter_nodes("raw/landing.py", "bronze/plan.py", "bronze/examine.py", "bronze/load.py"):
        for text in iter_strings(node) if isinstance(node, ast.expr) else ():
            if found_code := re.match(r"([a-z]+(?:_[a-z]+)+): ", text):
                found.add(found_code[1])
    return found


def collect_row_reasons() -> set[str]:
    """Return the reasons in the readers' (line, reason, detail, raw record), in `_Failure(…)`, and in `reason = …`."""
    found: set[str] = set()
    for node in iter_nodes("raw/*.py", "judge/*.py"):
        match node:
            case ast.Tuple(elts=[_, second, _, _]):
                found.update(iter_strings(second))
            case ast.Call(func=ast.Name(id="_Failure"), args=[_, _, third, *_]):
                found.update(iter_strings(third))
            case ast.Assign(targets=[ast.Name(id="reason")], value=value):
                found.update(iter_strings(value))
    return {text for text in found if REASON.fullmatch(text)}


def test_every_load_key_is_documented_and_no_other() -> None:
    headings = re.findall(r"^### `([a-z_]+)`", read_section("Load keys"), re.MULTILINE)
    assert sorted(headings) == sorted(Load.model_fields)


@pytest.mark.parametrize("key", sorted(Load.model_fields))
def test_default_on_the_page_is_the_one_in_the_code(key: str) -> None:
    text = re.search(rf"^### `{key}`\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]
    default = re.search(r"Default: ([^;\n]+)[;\n]", text)
    assert default, f"{key} says no default"
    field = Load.model_fields[key]
    if field.is_required():
        assert default[1] == "none, required."
    else:
        value = field.default
        shown = (
            {None: "none", False: "`false`"}.get(value, f"`{value}`") if not isinstance(value, list | dict) else "none"
        )
        assert default[1].rstrip(".") == shown


@pytest.mark.parametrize("key", sorted(Load.model_fields))
def test_every_allowed_value_is_on_the_page(key: str) -> None:
    text = re.search(rf"^### `{key}`\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]
    allowed = getattr(Load.model_fields[key].annotation, "__args__", ())
    for value in (one for one in allowed if isinstance(one, str)):
        assert f"`{value}`" in text


def test_every_quarantine_reason_is_documented_and_no_other() -> None:
    assert read_first_cells("Why a record is quarantined") == collect_row_reasons()


def test_every_refusal_is_documented_and_no_other() -> None:
    assert read_first_cells("Why a file is refused") == collect_file_reasons()


def test_loader_columns_and_row_tests_are_the_code_s() -> None:
    assert read_first_cells("The loader's columns") == set(LOADER_COLUMNS)
    assert read_first_cells("Tests the loader enforces") == set(ROW_TESTS)


def test_the_example_of_a_new_data_set_is_a_valid_contract(tmp_path: Path) -> None:
    example = re.search(r"```yaml\n(.*?)```", read_section("Add a data set"), re.DOTALL)[1]
    (tmp_path / "finance.yml").write_text(example, encoding="utf-8")
    (contract,) = load_contracts(tmp_path).tables
    assert contract.name == "finance.payments"
