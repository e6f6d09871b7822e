"""What dbt needs when it connects, so that plain `dbt run` works on a fresh clone and an empty warehouse.

Named in dbt/profiles.yml. It installs the delta extension from its wheel, creates the tables and views that the
contracts declare and nobody made yet, and leaves alone what is there.
"""

from __future__ import annotations

import os
from pathlib import Path

from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError

from lakeops.bronze import check_tables, ensure_lake
from lakeops.contract import load_contracts
from lakeops.errors import LakeopsError
from lakeops.ledger import load_ledger
from lakeops.settings import load_settings
from lakeops.warehouse import ensure_views, find_lake, prepare_connection


class Plugin(BasePlugin):
    """dbt-duckdb's hook at connect."""

    def initialize(self, plugin_config: dict) -> None:
        # dbt's --target decides, which no environment variable tells.
        self.target = plugin_config["target"]

    def configure_connection(self, conn) -> None:
        try:
            self._prepare(conn)
        except LakeopsError as error:
            # Any other error comes out of dbt as a traceback.
            raise DbtRuntimeError(str(error)) from None

    def _prepare(self, conn) -> None:
        settings = load_settings(target=self.target)
        contracts = load_contracts(settings.models)
        prepare_connection(conn)
        lake = find_lake(conn, settings.lake)
        check_tables(lake, contracts, load_ledger(lake))
        ensure_lake(lake, contracts)
        ensure_views(conn, lake, contracts)
        if deferred := os.environ.get("LAKEOPS_DEFER_TO"):
            # Under the name by which the models of that target know it.
            other = Path(deferred).resolve()
            conn.execute(f"attach if not exists '{other}' as {other.stem} (read_only)")

    def configure_cursor(self, cursor) -> None:
        # A session variable, read at run time: dbt would write an env_var into its parse cache and compiled files.
        if salt := os.environ.get("LAKEOPS_MASK_SALT"):
            cursor.execute("set variable lakeops_mask_salt = ?", [salt])
