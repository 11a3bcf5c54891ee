"""`mechclaims sanity`: the checks that stand before a model's first claim, asked now."""

from __future__ import annotations

import json

import click

from harness.commands.options import json_option


@click.command()
@click.argument("model_ids", nargs=-1, required=True, metavar="MODEL...")
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@click.option("--dtype", default="float32", show_default=True, type=click.Choice(("float32", "float64")))
@json_option
@click.pass_context
def sanity(
    ctx: click.Context,
    model_ids: tuple[str, ...],
    device: str,
    dtype: str,
    as_json: bool,  # noqa: FBT001 (click passes it by name)
) -> None:
    """Ask whether claims about each MODEL can mean anything; exit code 1 if one fails.

    A run asks the same before the model's first claim, and calls all its claims invalid where it fails.
    """
    from harness.models.model import load
    from harness.sanity import run_battery

    failed = 0
    for model_id in model_ids:
        battery = run_battery(load(model_id, device=device, dtype=dtype))
        failed += battery.problem is not None
        if as_json:
            click.echo(json.dumps(battery.as_dict(), allow_nan=False))
            continue
        click.echo(f"{battery.model_id} ({battery.seconds:.1f} s)")
        for check in battery.checks:
            state = {True: "ok", False: "FAILS", None: "-"}[check.holds]
            click.echo(f"  {state:<6} {check.name}: {check.said}")
    if failed:
        ctx.exit(1)
