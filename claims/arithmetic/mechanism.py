"""Which heads add, found on the discovery split; and how the arithmetic models are trained again.

Discovery takes the form that the model has. In a model of five-digit sums it looks, at each answer place, for

- *digit heads*, by attention alone: half of it or more lies on the place's own digit pair;
- *carry heads*, by patching: the set of heads that, taken from a twin that differs only in the carry into the place,
  moves the digit by exactly one in most twins, each of them by a tenth of the twins at least.

Classes `digit` and `carry` hold the heads of all places; `digit-1` to `digit-5`, `carry-0` to `carry-4` those of one.
Claims on attention to the own pair and on patching between twins are therefore `reliability`; the ablations are not.
Any other model is refused: claims on modular addition are about frequencies, and about all of a model's weights.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from claims.arithmetic import recipe_addition, recipe_modular
from claims.arithmetic.finding import CARRY, DIGIT, SUMS, Found, Heads, exchanged_labels, exchanged_pairs, find
from fixtures.prompts.sums import DIGITS, PARTS, POSITIONS, VOCABULARY
from harness.errors import NotSuited
from harness.mechanism import Discovery
from harness.models.recipes import Recipe, register_recipe
from harness.pilot import only_discovery
from harness.selection import (
    HALVES,
    Columns,
    class_frequencies,
    class_overlaps,
    class_permuted,
    disjoint_halves,
    over_splits,
)

if TYPE_CHECKING:
    from harness.models.model import Model
    from harness.seeding import Streams

ATTENTION = "attention to the own digit pair"
MOVED = "share of carry twins whose digit patching moves by exactly one"

register_recipe(Recipe("addition-5d-1l", recipe_addition.train, minutes=5, loss_tolerance_nats=0.01))
register_recipe(Recipe("addition-5d-2l", recipe_addition.train, minutes=7, loss_tolerance_nats=0.01))
register_recipe(Recipe("modular-addition-113", recipe_modular.train, minutes=12, loss_tolerance_nats=0.001))


def discover(model: Model, streams: Streams, *, thresholds: bool = True) -> Discovery:
    """Digit and carry heads of a model of five-digit sums, by place; NotSuited for any other model."""
    if model.d_vocab != VOCABULARY or model.n_ctx < POSITIONS:
        raise NotSuited(
            f"{model.id!r} does not add five-digit numbers: digit and carry heads are those of models that read "
            f"'12345+67890=' with {VOCABULARY} tokens in all, such as addition-5d-2l@0; this one has {model.d_vocab}."
        )
    found = find(model, streams, thresholds=thresholds)
    classes, units = found.select(), found.units

    def both(columns: Columns) -> Heads:
        return _both(found.select(columns))

    rng = streams.for_("permuted labels")
    permutations = [
        _both(found.select(signs=exchanged_labels(SUMS, rng=rng), pairs=exchanged_pairs(SUMS, rng=rng)))
        for _ in range(HALVES)
    ]
    samples, candidates = disjoint_halves(units, rng=streams.for_("disjoint samples")), len(found.heads)
    among = dict.fromkeys((DIGIT, CARRY), candidates)
    selected = [name for name, heads in _both(classes).items() if heads]
    splits = over_splits(both, units, classes=selected, rng=streams.for_("splits"))
    together = ", ".join(f"{share:.2f}" for share in found.moved_together(classes).values())
    return Discovery(
        classes=classes,
        selected_by={name: _metric(name) for name in classes},
        scores={_metric(name): _scores(found, name) for name in classes},
        frequencies=class_frequencies(both, units, rng=streams.for_("halves")),
        half_samples=HALVES,
        overlaps=class_overlaps(*map(both, samples), of=among),
        permuted=class_permuted(_both(classes), permutations, of=among),
        notes=(
            "Scores are of each head alone, for digit and carry means over places; carry heads are chosen as sets.",
            f"Share of twins that the carry heads of places 0 to {DIGITS - 1} move together: {together}.",
            "Permuted labels take the two sums of half of the twins for each other, and deal the own pairs anew.",
            f"Each disjoint sample is one split of many. Over 20 splits: {splits}.",
        ),
        prompts_sha256=found.sha256,
        n_prompts=SUMS * (1 + 2 * DIGITS),
    )


def pilots() -> AbstractContextManager[None]:
    """Within it every sum that is drawn lies in the discovery split (`harness.pilot`)."""
    return only_discovery(PARTS)


def _metric(class_name: str) -> str:
    """What selected a class; for one place, with its number."""
    kind, _, place = class_name.partition("-")
    metric = ATTENTION if kind == DIGIT else MOVED
    return f"{metric}, place {place}" if place else metric


def _scores(found: Found, class_name: str) -> dict[str, float]:
    """Every head's score in the metric of a class."""
    kind, _, place = class_name.partition("-")
    if kind == DIGIT:
        return found.own_attention(int(place)) if place else found.own_attention()
    return found.moved_alone(int(place)) if place else found.moved_alone()


def _both(classes: Heads) -> Heads:
    return {name: classes[name] for name in (DIGIT, CARRY)}
