"""Plan what a load does, and commit it: the only writer of bronze and quarantine."""

from lakeops.bronze.current import distrust_models
from lakeops.bronze.heal import heal_lake
from lakeops.bronze.load import LoadOutcome, TableOutcome, commit_load, write_off
from lakeops.bronze.plan import Plan, Step, list_candidates, plan_load
from lakeops.bronze.quarantine import Replay, discard_quarantine, replay_quarantine
from lakeops.bronze.schema import record_schema_changes, widen_tables
from lakeops.bronze.tables import check_tables, ensure_lake, get_next_batch, is_proven

__all__ = [
    "LoadOutcome",
    "Plan",
    "Replay",
    "Step",
    "TableOutcome",
    "check_tables",
    "commit_load",
    "discard_quarantine",
    "distrust_models",
    "ensure_lake",
    "get_next_batch",
    "heal_lake",
    "is_proven",
    "list_candidates",
    "plan_load",
    "record_schema_changes",
    "replay_quarantine",
    "widen_tables",
    "write_off",
]
