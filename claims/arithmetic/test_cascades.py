"""Cascades: a carry that passes pairs of nine needs more than what brings a single carry (Quirke and Barez 2024)."""

from __future__ import annotations

import numpy as np

from claims.arithmetic.finding import most_heads
from claims.arithmetic.matched_sums import cascade_twins
from claims.arithmetic.measurements import (
    JOINT,
    describe_units,
    heads_at,
    named,
    other_sets,
    over_places,
    require_adding,
    shares,
    single_heads,
)
from claims.arithmetic.patching import answer, leads, passed, probs_patched
from claims.arithmetic.pictures import show_places
from fixtures.prompts.sums import DIGITS, LONGEST_CASCADE, cascade_sums
from harness.claim import Control, Cost, Metric, Units, claim

MODELS = ("addition-5d-1l@*", "addition-5d-2l@*")
CASCADE_PLACES = (0, 1, 2, 3)
"""Places that a carry can reach through one pair of nine."""
LONG_PLACES = (0, 1, 2)
"""Places that it can reach through two."""
ERRORS_IN = 500
"""Sums of each length of cascade whose errors are counted for the table."""
TWINS_IN = 1_000
"""Twins of each length whose errors are counted with the carry and without."""
TWIN_LENGTHS = (1, 2, 3)
"""Their lengths: with four nines no pair is left to tell a thousand twins apart."""


@claim(
    id="arithmetic.cascades",
    paper="quirke2024",
    statement=(
        "Cascades need more than the single carry: patching the carry heads, which moves the digit where the carry "
        "comes from the next pair, does not move it where the carry passes a nine."
    ),
    metric=Metric("probability of the twin's digit for single carries, less that for cascades", unit="probability"),
    sesoi=0.3,
    sesoi_reason="a third of what patching the carry heads does for single carries on the discovery split (0.95 to 1)",
    alternative="greater",
    subject="carry",
    controls=(
        Control("as many other heads", "component"),
        Control("the same pairs, nines behind the one that decides", "input"),
    ),
    rival="carry heads bring whatever carry there is, read off after cascades were resolved elsewhere",
    exposed_by="cascades of the same digits, one pair further right; the same pairs with nines off the path",
    units=Units(
        default=240, quick=100, of="twin pair", reason="differences have SD under 1: standard error under 0.065"
    ),
    tier="reliability",  # half of the difference is what selected the heads, one at a time and three at most
    models=MODELS,
    cost=Cost(draws=80, tokens=17),
    method="The carry heads' outputs, at the position predicting the digit, are patched from a twin sum that differs "
    "in the carry into it; mean of both directions. Once the next pair to the right decides the carry, once the one "
    "after it, through a pair that sums to nine. Controls: the same difference for 20 random draws of as many other "
    "heads; the carry heads on the cascade's pairs reordered, the nine after the deciding pair.",
    version=2,
)
def test_carry_heads_do_not_bring_cascades(model, subject, evidence, rng):
    from harness.interventions import Engine

    engine, heads = Engine.of(model), heads_at(subject, CASCADE_PLACES)
    sets = {JOINT: heads, **other_sets(model, heads, rng=rng.for_("others")), **single_heads(model, CASCADE_PLACES)}
    clean_right = []

    def measured(split, *, n=evidence.n_units):
        return over_places(n, CASCADE_PLACES, lambda place, count: differences(place, count, split=split))

    def moved(twins, chosen, *, place):
        """By name [twin]: probability of the twin's digit, mean of both directions."""
        runs = [(sums.answers[:, place], passed(engine, sums)) for sums in (twins.without, twins.carrying)]
        ways = [
            probs_patched(engine, clean, donor, sets=chosen, place=place, digits=digits)
            for (_, clean), (digits, donor) in (runs, runs[::-1])
        ]
        clean_right.append(np.mean([answer(engine, run)[:, place] == digits for digits, run in runs]))
        return {name: np.mean([way[name] for way in ways], axis=0) for name in chosen}

    def differences(place, count, *, split):
        twins = cascade_twins(count, place=place, length=1, split=split, rng=rng.for_(f"{split} {place}"))
        chosen = {name: at[place] for name, at in sets.items()}
        single = moved(twins.single, chosen, place=place)
        cascading = moved(twins.cascade, chosen, place=place)
        values = {name: single[name] - cascading[name] for name in chosen}
        if split == "discovery":
            return twins.single.without, values
        reordered = moved(twins.reordered, {JOINT: heads[place]}, place=place)
        values["reordered"] = single[JOINT] - reordered[JOINT]
        shown = [name for name in chosen if not name.startswith("others")]
        values |= {f"{name}, single": single[name] for name in shown}
        return twins.single.without, values | {f"{name}, cascade": cascading[name] for name in shown}

    values = measured("confirmation")
    require_adding(evidence, np.mean(clean_right))
    describe_units(evidence, values)
    others = tuple(name for name in sets if name.startswith("others"))
    evidence.treated(values.of([JOINT]))
    evidence.component_control(
        "as many other heads",
        values.of(others),
        discovery=measured("discovery", n=100).of(others),
        matched={JOINT: others},
    )
    evidence.control("the same pairs, nines behind the one that decides", named(values, "reordered"))
    for kind in ("single", "cascade"):
        show_places(
            evidence,
            f"Patching {'single carries' if kind == 'single' else 'cascades through one nine'}",
            caption="Probability of the twin's digit: each head patched from the twin, and the place's carry heads.",
            unit="probability of the twin's digit",
            xlabel="head patched from the twin (layer.head); joint: the place's carry heads",
            values=values,
            components=[f"{name}, {kind}" for name in (*model.heads(), JOINT)],
        )
    evidence.note(f"Carry heads are at most {most_heads(model.heads())} of a place; more might bring cascades too.")
    evidence.decide()


@claim(
    id="arithmetic.errors-in-cascades",
    paper="quirke2024",
    statement=(
        "The model's errors sit in cascades: where a carry passes two nines, the right digit leads by less, also than "
        "at the same nines without a carry."
    ),
    metric=Metric("lead of the right digit over the best other", unit="logits"),
    sesoi=1.0,
    sesoi_reason="6 % of the 13 to 17 logits by which right digits lead on the discovery split",
    alternative="less",
    subject=None,
    controls=(
        Control("a single carry, same digits", "input"),
        Control("the same pairs, nines behind the one that decides", "input"),
        Control("the same nines without a carry", "input"),
    ),
    rival="runs of nines are hard, carried through or not",
    exposed_by="the same nines without a carry; the same pairs reordered, so that nines are as many",
    units=Units(
        default=240,
        quick=100,
        of="sum",
        reason="discovery SD of the differences 2 to 4 logits: standard error under 0.3",
    ),
    models=MODELS,
    cost=Cost(draws=12, tokens=17),
    method="Nothing is intervened on: at answer digits 0 to 2 (0 is the leftmost), the right digit's logit less the "
    "largest other one, on sums where the carry into the digit passes two pairs that sum to nine. Controls, on "
    "matched sums: the same deciding pair next to the digit's own, followed by other pairs or by the nines; the same "
    "nines where the pair after them makes no carry.",
    version=2,
)
def test_the_models_errors_sit_in_cascades(model, evidence, rng):
    from harness.interventions import Engine

    engine = Engine.of(model)
    right = []

    def measured(place, count):
        twins = cascade_twins(count, place=place, length=2, split="confirmation", rng=rng.for_(f"sums {place}"))
        kinds = {
            "cascade": twins.cascade.carrying,
            "single": twins.single.carrying,
            "reordered": twins.reordered.carrying,
            "nines": twins.cascade.without,
        }
        found = {name: leads(engine, passed(engine, sums), sums) for name, sums in kinds.items()}
        right.append((found["single"] > 0).mean())
        return twins.cascade.carrying, {name: each[:, place] for name, each in found.items()}

    values = over_places(evidence.n_units, LONG_PLACES, measured)
    require_adding(evidence, np.mean(right))
    describe_units(evidence, values)

    evidence.treated(named(values, "cascade", "model"))
    evidence.control("a single carry, same digits", named(values, "single", "model"))
    evidence.control("the same pairs, nines behind the one that decides", named(values, "reordered", "model"))
    evidence.control("the same nines without a carry", named(values, "nines", "model"))
    rows = []
    for length in range(LONGEST_CASCADE + 1):
        sums = cascade_sums(ERRORS_IN, length=length, split="confirmation", rng=rng.for_(f"cascade {length}"))
        lead = leads(engine, passed(engine, sums), sums)
        wrong = (lead <= 0).any(axis=1)
        rows.append([length, len(sums), int(wrong.sum()), float(np.min(lead)), float(lead.min(axis=1).mean())])
    evidence.table(
        "Errors by the longest cascade of the sum",
        columns=["nines passed", "sums", "wrong", "least lead, logits", "mean least lead of a sum, logits"],
        rows=rows,
    )
    evidence.table(
        "Sums with an error, by nines that a carry passes or does not",
        columns=["nines", "sums of each kind", "wrong with the carry", "wrong without it"],
        rows=[_wrong_twins(engine, length, rng=rng) for length in TWIN_LENGTHS],
    )
    if not sum(row[2] for row in rows):
        evidence.note("The model makes no error in these sums: leads say where it would err first.")
    evidence.picture(
        "bars",
        "Least lead of a sum's right digits",
        caption="By how many pairs of nine the sum's longest cascade passes.",
        n=f"{ERRORS_IN} sums of each length",
        unit="least lead (logits)",
        ylabel="pairs of nine in the longest cascade",
        labels=[str(row[0]) for row in rows],
        values=[row[4] for row in rows],
    )
    show_places(
        evidence,
        "Lead of the right digit",
        caption="The same digits: a single carry, one with nines behind it, one through two nines, nines without one.",
        unit="lead of the right digit (logits)",
        xlabel="kind of sum",
        values=values,
        components=["single", "reordered", "cascade", "nines"],
    )
    evidence.decide()


def _wrong_twins(engine, length, *, rng):
    """A row: how many nines, how many twins, and in how many of them a digit is wrong, with the carry and without."""
    wrong = {"carrying": 0, "without": 0}
    for place, count in shares(TWINS_IN, range(DIGITS - length)).items():
        draw = rng.for_(f"twins {length} {place}")
        twins = cascade_twins(count, place=place, length=length, split="confirmation", rng=draw).cascade
        for kind in wrong:
            sums = getattr(twins, kind)
            wrong[kind] += int((leads(engine, passed(engine, sums), sums) <= 0).any(axis=1).sum())
    return [length, TWINS_IN, *wrong.values()]
