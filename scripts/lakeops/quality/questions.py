"""The questions of the runbooks, each a query of dbt's that the plain DuckDB command line answers, too."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lakeops.errors import UsageError
from lakeops.settings import Settings
from lakeops.warehouse import UNREADABLE, connect


@dataclass(frozen=True)
class Question:
    """A query under dbt/analyses/monitoring.

    Parameters
    ----------
    name : of its file.
    meaning : the comment it begins with.
    """

    name: str
    meaning: str
    sql: str


def list_questions(settings: Settings) -> list[Question]:
    """Return all questions, in the order of their names."""
    folder = settings.dbt_project / "analyses" / "monitoring"
    return [_read(file) for file in sorted(folder.glob("*.sql"))]


def get_question(settings: Settings, name: str) -> Question:
    """Return a question by its name.

    Raises
    ------
    UsageError : there is none of that name; the error lists those there are.
    """
    questions = {question.name: question for question in list_questions(settings)}
    if name not in questions:
        raise UsageError(
            "There is no such question.",
            where=f"lakeops quality sql {name}",
            expected=", ".join(questions),
            found=name,
            next_step="lakeops quality sql lists them",
        )
    return questions[name]


def ask(settings: Settings, name: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Answer a question from the warehouse.

    Returns
    -------
    Names of the columns, and rows.

    Raises
    ------
    UsageError : there is no such question, nothing was built yet, or the lake is not where it was.
    LockedError : another process holds the warehouse.
    """
    question = get_question(settings, name)
    with connect(settings.warehouse) as connection:
        try:
            found = connection.execute(question.sql)
            return [column[0] for column in found.description], found.fetchall()
        except UNREADABLE as error:
            raise UsageError(
                "The question cannot be answered yet.",
                where=str(settings.warehouse),
                found=str(error).splitlines()[0],
                next_step="make incremental builds what is missing",
            ) from error


def _read(file: Path) -> Question:
    sql = file.read_text(encoding="utf-8")
    comment = re.match(r"((?:-- .*\n)+)", sql)
    words = " ".join(line.removeprefix("-- ") for line in comment[1].splitlines()) if comment else ""
    return Question(file.stem, words, sql)
