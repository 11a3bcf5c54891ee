"""`mechclaims train`: a shipped model trained again, and how close it came to the shipped one."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands.options import claims_option
from harness.errors import ModelError
from harness.models.config_file import header
from harness.models.recipes import Recipe, checkpoint_path, recipe_for
from harness.models.recipes import train as run_recipe
from harness.models.registry import find, find_checkpoint
from harness.models.unfinished import GOING_ON, Interrupted

_AGAIN = "the same command goes on"


@click.command()
@click.argument("model_id")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Where to write it.")
@claims_option
@click.pass_context
def train(ctx: click.Context, model_id: str, out: Path | None, claims: Path) -> None:
    """Train MODEL_ID (induction-2l@0) again by the recipe of its mechanism.

    The checkpoint goes to the user's cache folder unless --out names a file. Ctrl-C saves the training after the step
    that it is in, a second one ends it at once; the same command goes on with it. Exit code 1 where the loss ends
    outside the recipe's tolerance of the shipped one.
    """
    from harness.mechanism import mechanisms

    spec = find(model_id)
    mechanisms(claims)  # each announces its recipes as it is opened
    recipe = recipe_for(spec)
    path = checkpoint_path(spec, out=out)  # before minutes are spent on what would stand in it
    shipped = find_checkpoint(spec)
    shipped_loss = None if shipped is None else _loss(shipped)  # read now: --out may name this very file
    click.echo(f"{spec.id}: {spec.note}; about {recipe.minutes:g} minutes on two cores")
    _run(spec.id, path=path)
    loss = _loss(path)
    click.echo(f"{path}: loss {_shown(loss)}")
    if shipped is None or shipped.resolve() == path.resolve() or shipped_loss is None or loss is None:
        click.echo("there is no other checkpoint of this model here to compare it with")
    elif not _compare(loss, shipped_loss, shipped=shipped, recipe=recipe):
        ctx.exit(1)


def _run(model_id: str, *, path: Path) -> None:
    """Train, with a progress bar on the way."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns) as bar:
            task = bar.add_task(model_id, total=None)

            def advance(done: int, total: int, text: str) -> None:
                if text == GOING_ON:
                    bar.console.print(f"going on at step {done} of {total}", highlight=False)
                bar.update(task, completed=done, total=total, description=f"{model_id} step {done}/{total} {text}")

            run_recipe(model_id, out=path, progress=advance)
    except Interrupted as stopped:
        click.echo(f"interrupted and saved after step {stopped.done} of {stopped.total}; {_AGAIN} there", err=True)
        raise
    except KeyboardInterrupt:
        click.echo(f"interrupted; {_AGAIN} where the training was last saved", err=True)
        raise


def _compare(loss: float, shipped_loss: float, *, shipped: Path, recipe: Recipe) -> bool:
    """Say how far the loss is from the shipped one; True where that is within the recipe's tolerance."""
    within = abs(loss - shipped_loss) <= recipe.loss_tolerance_nats
    click.echo(
        f"the one in {shipped} has {_shown(shipped_loss)}; the difference of {loss - shipped_loss:+.4f} is "
        f"{'within' if within else 'OUTSIDE'} the recipe's tolerance of {recipe.loss_tolerance_nats:g}"
    )
    return within


def _loss(path: Path) -> float | None:
    """The training loss that a checkpoint's header states, in nats per token."""
    try:
        return float(header(path)["train_loss"])
    except (KeyError, ValueError):
        return None
    except ModelError:  # a damaged shipped file is being replaced by this training
        return None


def _shown(loss: float | None) -> str:
    if loss is None:
        return "not stated"
    return f"{loss:.4f} nats per token" if loss >= 0.001 else f"{loss:.1e} nats per token"
