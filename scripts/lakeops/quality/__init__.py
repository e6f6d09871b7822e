"""Load facts, dbt's results and history become quality metrics: what new days look like, and what is asked of it."""

from lakeops.quality.profile import profile_new_days
from lakeops.quality.prune import prune_records
from lakeops.quality.questions import Question, ask, list_questions
from lakeops.quality.rules import Backtest, judge_new_days, run_backtest

__all__ = [
    "Backtest",
    "Question",
    "ask",
    "judge_new_days",
    "list_questions",
    "profile_new_days",
    "prune_records",
    "run_backtest",
]
