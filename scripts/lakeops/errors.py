"""The error tree, and the one map from an error to an exit code.

Every error a user can cause is a `LakeopsError` and says five things: what happened, where, what was
expected, what was found, and what to do next. Anything else is a bug and leaves with exit code 1.
"""

from __future__ import annotations


class LakeopsError(Exception):
    """Something a user can cause and mend.

    Parameters
    ----------
    what : one sentence: what could not be done.
    where : file, table or setting it happened at.
    expected, found : what was wanted there, and what was there instead.
    next_step : a command or an action that leads on.
    """

    exit_code = 1
    runbook = ""

    def __init__(self, what: str, *, where: str = "", expected: str = "", found: str = "", next_step: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.expected, self.found, self.next_step = what, where, expected, found, next_step

    def __str__(self) -> str:
        parts = [self.what]
        for label, text in (
            ("where", self.where),
            ("expected", self.expected),
            ("found", self.found),
            ("next", self.next_step),
        ):
            if text:
                parts.append(f"  {label + ':':<10}{text}")
        return "\n".join(parts)


class UsageError(LakeopsError):
    """The command was called with something that cannot be used."""

    exit_code = 2


class ContractError(LakeopsError):
    """A contract in dbt's YAML cannot be used as it stands."""

    exit_code = 10
    runbook = "exit-10-contract"


class RawFileRefusedError(LakeopsError):
    """At least one raw file was refused as a whole; the others were loaded."""

    exit_code = 11
    runbook = "exit-11-raw-file-refused"


class BronzeCommitError(LakeopsError):
    """A commit to a table in the lake did not happen."""

    exit_code = 12
    runbook = "exit-12-bronze-commit"


class DbtError(LakeopsError):
    """dbt could not run, or a test of severity error failed."""

    exit_code = 13
    runbook = "exit-13-dbt-or-test"


class StaleDataError(LakeopsError):
    """Everything ran, but a source is older than its contract allows."""

    exit_code = 14
    runbook = "exit-14-stale-data"


class LockedError(LakeopsError):
    """Another process holds the lake or the warehouse."""

    exit_code = 15
    runbook = "exit-15-locked"


def get_exit_code(error: BaseException) -> int:
    """Return the exit code for `error`: its own for a `LakeopsError`, 1 (a bug) for anything else."""
    return error.exit_code if isinstance(error, LakeopsError) else 1
