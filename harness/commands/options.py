"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

claims_option = click.option(
    "--claims", type=click.Path(path_type=Path), default=Path("claims"), show_default=True, metavar="DIR",
    help="The folder that holds the mechanisms.",
)  # fmt: skip
reports_option = click.option(
    "--reports", type=click.Path(path_type=Path), default=Path("reports"), show_default=True, metavar="DIR",
    help="The folder that holds the runs.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
