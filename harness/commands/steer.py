"""`mechclaims steer`: what a model writes without a direction and with it, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands.options import claims_option
from harness.commands.screen import show_table
from harness.errors import NotSuited
from harness.steering import (
    DOSE_UNIT,
    METHODS,
    Direction,
    Sampling,
    SteeringContrast,
    add,
    contrast_named,
    generate_each,
    pair_activations,
)

if TYPE_CHECKING:
    from harness.models.model import Model


@click.command()
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
@click.option("--model", "model_id", required=True, metavar="ID", help="The model.")
@click.option(
    "--contrast", "name", required=True, metavar="NAME",
    help="What to steer along: sentiment, truth, formality, tense, or what other mechanisms announce.",
)  # fmt: skip
@click.option(
    "--dose", "doses", multiple=True, type=float, metavar="NUMBER",
    help="How much, in tenths of the residual stream's mean norm (repeatable); negative for the other way.  "
    "[default: the declared]",
)  # fmt: skip
@click.option("--layer", type=int, metavar="NUMBER", help="The layer before which it is added  [default: the declared]")
@click.option("--method", type=click.Choice(tuple(METHODS)), help="How the direction is found  [default: the declared]")
@click.option(
    "--tokens", "new_tokens", type=click.IntRange(min=1), default=30, show_default=True, help="New tokens at most."
)
@click.option(
    "--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, help="0 takes the likeliest token."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draws at a temperature above 0.")
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@claims_option
def steer(
    texts: tuple[str, ...],
    model_id: str,
    name: str,
    doses: tuple[float, ...],
    layer: int | None,
    method: str | None,
    new_tokens: int,
    temperature: float,
    seed: int,
    device: str,
    claims: Path,
) -> None:
    """Continue each TEXT without a direction and with it.

    The direction is found on the contrast's pairs of the discovery split; a dose of 4 is four tenths of the mean norm
    of the residual stream where it is added. It acts from the last token of TEXT on. The same options write the same
    continuations again.
    """
    from harness.models.model import load

    sampling = Sampling(new_tokens, temperature, seed)
    _check_doses(doses)
    contrast = contrast_named(name, claims=claims)
    model = load(model_id, device=device, say=_say)
    if model.tokenizer is None:
        raise NotSuited(
            f"model {model_id!r} has no tokenizer, so it cannot continue text; `mechclaims models` lists others."
        )
    rows = model.token_lists(texts, bos=model.bos_token_id is not None)
    direction = _direction(model, contrast, layer=layer, method=method or contrast.method)
    for line in _about(model, contrast, direction, temperature=temperature, seed=seed):
        click.echo(line)
    doses = doses or (contrast.dose(model),)
    conditions = {"without": [], **{f"dose {dose:g}": [add(direction, dose=dose)] for dose in doses}}
    found = generate_each(model, rows, steerings=conditions, sampling=sampling)
    written = {condition: each.texts(model) for condition, each in found.items()}
    for number, text in enumerate(texts):
        click.echo(f"\n{text}")
        cells = [(condition, _one_line(each[number])) for condition, each in written.items()]
        show_table(("steering", "continuation"), rows=cells, fixed=("steering",))


def _direction(model: Model, contrast: SteeringContrast, *, layer: int | None, method: str) -> Direction:
    chosen = contrast.layer(model) if layer is None else layer
    _say(f"{contrast.name}: reading the pairs of the discovery split")
    found = pair_activations(model, contrast.pairs(model), layers=[chosen], site=contrast.site)
    return METHODS[method](*found.at(chosen), at=found.place(chosen))


def _about(
    model: Model, contrast: SteeringContrast, direction: Direction, *, temperature: float, seed: int
) -> Iterator[str]:
    yield f"{model.id} ({model.note})"
    yield (
        f"{contrast.name}: {contrast.positive} minus {contrast.negative}, {direction.method} of {direction.n} pairs at "
        f"{direction.site} of layer {direction.layer}"
    )
    if model.id not in contrast.layers and direction.layer == contrast.layer(model):
        yield f"no working layer is declared for {model.id}: this is half of its {model.n_layers} layers"
    yield f"dose 1 is {DOSE_UNIT:g} of the mean norm {direction.norm:.4g} there"
    yield _about_dose(model, contrast, direction)
    yield "greedy" if temperature == 0 else f"temperature {temperature:g}, seed {seed}"


def _about_dose(model: Model, contrast: SteeringContrast, direction: Direction) -> str:
    """Which dose was found to spare other text, and where."""
    if model.id not in contrast.doses:
        return f"no working dose is declared for {model.id}"
    declared = f"the declared dose is {contrast.dose(model):g}"
    chosen = contrast.layer(model)
    return declared if chosen == direction.layer else f"{declared}, chosen for layer {chosen}"


def _check_doses(doses: tuple[float, ...]) -> None:
    wrong = [dose for dose in doses if not isfinite(dose)]
    if wrong:
        raise click.BadParameter(f"{wrong[0]:g} is not a finite number", param_hint="--dose")
    twice = next((dose for dose in doses if [f"{other:g}" for other in doses].count(f"{dose:g}") > 1), None)
    if twice is not None:
        raise click.BadParameter(f"{twice:g} is named twice", param_hint="--dose")


def _say(line: str) -> None:
    click.echo(line, err=True)


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "(nothing)"
