"""Parse and check the contracts from dbt's YAML. This room knows YAML and rules, and no folder of the lake."""

from lakeops.contract.model import (
    LOADER_COLUMNS,
    ROW_TESTS,
    AnomalyRule,
    Column,
    Contract,
    Contracts,
    DataType,
    Expectation,
    Load,
    Record,
    Retention,
)
from lakeops.contract.reader import load_contracts

__all__ = [
    "LOADER_COLUMNS",
    "ROW_TESTS",
    "AnomalyRule",
    "Column",
    "Contract",
    "Contracts",
    "DataType",
    "Expectation",
    "Load",
    "Record",
    "Retention",
    "load_contracts",
]
