"""What errors and commands tell the user to type next can be typed: command and options exist, and say why if asked."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from docs.pages import find_problem

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "lakeops"
# Sentences about lakeops, not commands.
PROSE = {"never", "does", "project"}
ASKS_WHY = re.compile(
    r"lakeops (?:undo|restore|restore-from|repair|rebuild(?! warehouse)|snapshot restore|load --reload)"
    r" (?:[A-Z]|\w+\.|-)"
)


def test_every_hint_is_a_command_that_there_is() -> None:
    hints = [(f"{file.name}:{line}", hint) for file in SCRIPTS.rglob("*.py") for line, hint in list_hints(file)]
    assert len(hints) > 100
    wrong = [(place, hint, problem) for place, hint in hints if (problem := find_wrong(hint))]
    assert wrong == []


def test_a_hint_that_could_not_be_typed_is_found(tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text(
        '"""lakeops docstring."""\nsay(f"on it: lakeops rebild {name}, then lakeops repair {name}; {why}")\n'
    )
    assert [find_wrong(hint) for _, hint in list_hints(file)] == ["no command rebild", "no --reason"]


def list_hints(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and text of what a module's strings name as commands; X stands for what is filled in."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    spoken = (ast.Module, ast.ClassDef, ast.FunctionDef)
    skipped = {
        id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, spoken) and ast.get_docstring(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(inner) for inner in ast.walk(node) if inner is not node}
    for node in ast.walk(tree):
        if id(node) not in skipped:
            for hint in re.findall(r"(lakeops [a-z][^;:()\n]*?)(?=,| then lakeops|[;:()\n]|$)", _render(node)):
                if hint.split()[1] not in PROSE:
                    yield node.lineno, hint


def _render(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_render, node.values))
    if isinstance(node, ast.FormattedValue):
        return "--reason …" if ast.unparse(node.value) == "REASON" else "X"
    return ""


def find_wrong(hint: str) -> str:
    """Return why a hint could not be typed as it stands; empty if it could."""
    # A quote that its end was cut off of.
    problem = find_problem(hint if hint.count('"') % 2 == 0 else hint.replace('"', ""))
    return problem or ("no --reason" if ASKS_WHY.match(hint) and "--reason" not in hint else "")
