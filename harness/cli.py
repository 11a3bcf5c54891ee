"""The `mechclaims` command: a shell around what the library does. Importing it loads no model library."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from harness.commands.cache import cache
from harness.commands.cite import cite
from harness.commands.compare import baseline, compare
from harness.commands.discover import discover
from harness.commands.doctor import doctor
from harness.commands.evidence import report, show
from harness.commands.listing import list_claims
from harness.commands.matrix import matrix
from harness.commands.models import models
from harness.commands.new import new
from harness.commands.power import pilot, power
from harness.commands.register import amend, register
from harness.commands.sanity import sanity
from harness.commands.steer import steer
from harness.commands.train import train
from harness.commands.verify import verify
from harness.errors import MechclaimsError

VERSIONS = ("mechclaims", "torch", "transformers", "transformer-lens")
"""Distributions that `--version` names."""


class Failure(click.ClickException):
    """An error of ours as a user sees it: one paragraph on stderr, exit code 2, no traceback."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print the paragraph."""
        click.echo(f"error: {self.message}", err=True, file=file)


class Main(click.Group):
    """The group; its commands may raise any MechclaimsError."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, turning errors of ours into `Failure`."""
        try:
            return super().invoke(ctx)
        except MechclaimsError as error:
            raise Failure(str(error)) from error


def _print_versions(ctx: click.Context, parameter: click.Parameter, value: object) -> None:
    if value and not ctx.resilient_parsing:
        for name in VERSIONS:
            click.echo(f"{name} {_version(name)}")
        ctx.exit()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


@click.group(cls=Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_versions, help="Show the versions."
)
def main() -> None:
    """Claims about transformers: what there is, what was measured, and the models that it takes.

    Claims are measured by pytest: `pytest claims/`. This command does what stands around that.
    """


for _command in (
    list_claims, show, report, cite, verify, compare, baseline, register, amend, models,
    cache, doctor, sanity, matrix, discover, pilot, power, train, steer, new,
):  # fmt: skip
    main.add_command(_command)
