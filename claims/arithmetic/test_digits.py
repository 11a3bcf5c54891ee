"""Each answer digit is computed from heads that read its own digit pair (Quirke and Barez 2024)."""

from __future__ import annotations

import numpy as np

from claims.arithmetic.finding import DIGIT_PLACES
from claims.arithmetic.measurements import (
    JOINT,
    by_place,
    describe_units,
    heads_at,
    named,
    other_sets,
    over_places,
    require_adding,
    single_heads,
)
from claims.arithmetic.misreading import (
    ANOTHER_PAIR,
    DOSE,
    LEFT_SUMS,
    REST,
    fill_left_margins,
    left_falls,
    left_margin,
    misread,
    require_heads,
)
from claims.arithmetic.patching import attention_to_pairs
from claims.arithmetic.pictures import show_attention, show_left, show_misreading
from fixtures.prompts.sums import DIGITS, uniform_sums
from harness.claim import Control, Cost, Margin, Metric, Units, claim

MODELS = ("addition-5d-1l@*", "addition-5d-2l@*")
LEFTMOST = 1
"""The place whose digit to the left has no pair of its own: it is a carry and nothing else."""
PAIRED = DIGIT_PLACES[1:]
"""Places whose digit to the left has a pair of its own."""
CONTROLS = (
    Control("as many other heads, same pair", "component"),
    Control("same dose, random direction", "same-dose"),
    Control("the same heads, another pair", "input"),
)


@claim(
    id="arithmetic.digit-heads-attend",
    paper="quirke2024",
    statement="At each answer digit, the model's digit heads attend to the digit pair that stands in its place.",
    metric=Metric("attention to the own digit pair", unit="attention probability"),
    sesoi=0.3,
    sesoi_reason="twice what uniform attention over 12 tokens gives a pair of them (0.17)",
    alternative="greater",
    subject="digit",
    controls=(Control("as many other heads", "component"), Control("pairs of the other places", "label")),
    rival="heads that attend to operand digits anywhere",
    exposed_by="pairs of the other places",
    units=Units(
        default=100, quick=50, of="sum", reason="discovery SD under 0.1 at an effect of 0.9; 20 sums for each place"
    ),
    tier="reliability",  # this attention selected the heads
    models=MODELS,
    cost=Cost(draws=2, tokens=17),
    method="On uniformly drawn sums, as many for each of answer digits 1 to 5 (0 is the leftmost): attention from the "
    "position that predicts the digit to the two operand digits in its place, summed, mean over the digit's heads. "
    "Controls: 20 draws of as many heads, at random for each digit from the model's other heads; the digit heads' "
    "attention to the other four digit pairs, mean per pair.",
)
def test_digit_heads_attend_to_their_own_pair(model, subject, evidence, rng):
    from harness.interventions import Engine

    engine, heads = Engine.of(model), heads_at(subject, DIGIT_PLACES)
    sets = {JOINT: heads, **other_sets(model, heads, rng=rng.for_("others"))}

    def measured(split, *, pairs="own", n=evidence.n_units):
        return over_places(n, DIGIT_PLACES, lambda place, count: attended(place, count, split=split, pairs=pairs))

    def attended(place, count, *, split, pairs):
        sums = uniform_sums(count, split=split, rng=rng.for_(f"{split} {place}"))
        to_pairs = attention_to_pairs(engine, sums)[:, place]  # [head, pair, sum]
        own = to_pairs[:, place - 1]
        to = own if pairs == "own" else (to_pairs.sum(axis=1) - own) / (DIGITS - 1)
        row = {head: to[number] for number, head in enumerate(model.heads())}
        nothing = np.zeros(count)
        return sums, {
            name: np.mean([row[head] for head in at[place]] or [nothing], axis=0) for name, at in sets.items()
        }

    values = measured("confirmation")
    describe_units(evidence, values)
    others = tuple(name for name in sets if name != JOINT)
    evidence.treated(values.of([JOINT]))
    evidence.component_control(
        "as many other heads",
        values.of(others),
        discovery=measured("discovery", n=50).of(others),
        matched={JOINT: others},
    )
    evidence.control("pairs of the other places", measured("confirmation", pairs="others").of([JOINT]))
    show_attention(evidence, engine, uniform_sums(100, split="confirmation", rng=rng.for_("picture")), heads=heads)
    evidence.decide()


@claim(
    id="arithmetic.digit-heads-matter",
    paper="quirke2024",
    statement=(
        "Where its digit heads read another sum's pair, the answer digit breaks; the digit to the left, where it has "
        "a pair of its own and needs this one's carry alone, does not, and the other digits do not."
    ),
    metric=Metric("fall of the right digit's probability in the place", unit="probability", limits=(-1, 1)),
    sesoi=0.3,
    sesoi_reason="a third of what breaks where the digit pair is not known at all (0.9)",
    alternative="greater",
    subject="digit",
    controls=CONTROLS,
    margins=(
        *(left_margin(place) for place in PAIRED),
        Margin(
            "fall at the other four digits",
            unit="probability",
            at_most=0.05,
            reason="5 % of a behaviour that is right nearly always",
            limits=(-1, 1),
        ),
    ),
    rival="heads that read a pair serve every digit that depends on it: its own, and the next one by the carry",
    exposed_by="the digit to the left, in a margin for each place; another pair's digits in the same heads",
    units=Units(
        default=400,
        quick=300,
        of="sum",
        reason="discovery: the worst place's left digit lies 0.04 inside with SD 0.4: 80 % with 800 further sums a "
        "place; 1,600, since on addition-5d-2l@2 versions 2 and 3 found 0.05 and 0.02 inside, each with a half-width "
        "of 0.03",
    ),
    models=MODELS,
    cost=Cost(draws=120, tokens=17),
    method="On uniformly drawn sums, as many for each of answer digits 1 to 5 (0 is the leftmost): at the two operand "
    "digits in its place, the value vectors of the digit's heads come from another random sum (resample ablation). "
    "Controls: 20 random draws of as many other heads; random vectors as long as the heads' change at each position "
    "(residual covariance), mean of 5; the same heads with a neighbouring pair replaced.",
    version=4,
)
def test_misreading_the_own_pair_breaks_the_digit_alone(model, subject, evidence, rng):
    from harness.interventions import Engine

    engine, heads = Engine.of(model), heads_at(subject, DIGIT_PLACES)
    sets = {JOINT: heads, **other_sets(model, heads, rng=rng.for_("others"))}
    alone = single_heads(model, DIGIT_PLACES)
    clean_right = []

    def measured(split, *, n=evidence.n_units):
        return over_places(n, DIGIT_PLACES, lambda place, count: broken(place, count, split=split))

    def broken(place, count, *, split):
        there = misread(engine, count, place=place, split=split, rng=rng)
        values = there.falls({name: members[place] for name, members in sets.items()})
        if split == "discovery":
            return there.sums, values
        clean_right.append(there.right())
        values |= there.every_digit(heads[place])
        values |= there.controls(heads[place], rng=rng.for_(f"dose {place}"))
        return there.sums, values | there.falls({head: members[place] for head, members in alone.items()})

    values = measured("confirmation")
    require_adding(evidence, float(np.mean(clean_right)))
    require_heads(evidence, heads)
    describe_units(evidence, values)
    others = tuple(name for name in sets if name != JOINT)
    evidence.treated(values.of([JOINT]))
    evidence.component_control(
        "as many other heads, same pair",
        values.of(others),
        discovery=measured("discovery", n=100).of(others),
        matched={JOINT: others},
    )
    evidence.control("same dose, random direction", named(values, DOSE))
    evidence.control("the same heads, another pair", named(values, ANOTHER_PAIR))
    fill_left_margins(evidence, left_falls(engine, heads, n=2 * LEFT_SUMS * evidence.n_units, places=PAIRED, rng=rng))
    evidence.margin("fall at the other four digits", named(values, REST))
    evidence.note(
        "Heads attend as before and read another sum's digits at one pair, from every position; whoever else reads the "
        "pair reads the sum's own digits. Ablating a last-layer head at one answer place could not touch other digits."
    )
    show_misreading(evidence, values, alone={head: by_place(values, head) for head in model.heads()})
    for head in subject.heads:
        evidence.share(head, values=named(values, head))
    evidence.decide()


@claim(
    id="arithmetic.leftmost-digit-is-spared",
    paper="quirke2024",
    statement=(
        "Where the digit heads of place 1 read another sum's pair, its digit breaks; the leftmost digit, which has no "
        "pair of its own and is this pair's carry, does not: other heads bring it."
    ),
    metric=Metric("fall of the right digit's probability in place 1", unit="probability"),
    sesoi=0.3,
    sesoi_reason="a third of what breaks where the digit pair is not known at all (0.9)",
    alternative="greater",
    subject="digit",
    controls=CONTROLS,
    margins=(left_margin(LEFTMOST),),
    rival="heads that read a pair serve every digit that depends on it: its own, and the next one by the carry",
    exposed_by="the leftmost digit, in the margin; another pair's digits in the same heads",
    units=Units(
        default=400,
        quick=300,
        of="sum",
        reason="discovery: the left digit lies 0.04 inside to 0.26 outside with SD 0.4 to 0.5; 800 further sums",
    ),
    models=MODELS,
    cost=Cost(draws=50, tokens=17),
    method="At the leading digit of each operand, the value vectors of the heads of answer digit 1 (0 is the "
    "leftmost) come from another random sum (resample ablation); sums are drawn uniformly. Controls: 20 random draws "
    "of as many other heads; random vectors as long as the heads' change at each position (residual covariance), "
    "mean of 5; the same heads with the next pair replaced. The margin is read at digit 0.",
)
def test_misreading_the_first_pair_spares_the_leftmost_digit(model, subject, evidence, rng):
    from harness.interventions import Engine

    engine, heads = Engine.of(model), heads_at(subject, (LEFTMOST,))
    sets = {JOINT: heads, **other_sets(model, heads, rng=rng.for_("others"))}

    def measured(split, *, n=evidence.n_units):
        return over_places(n, (LEFTMOST,), lambda place, count: broken(place, count, split=split))

    def broken(place, count, *, split):
        there = misread(engine, count, place=place, split=split, rng=rng)
        values = there.falls({name: members[place] for name, members in sets.items()})
        if split == "discovery":
            return there.sums, values
        require_adding(evidence, there.right())
        return there.sums, values | there.controls(heads[place], rng=rng.for_("dose"))

    values = measured("confirmation")
    require_heads(evidence, heads)
    describe_units(evidence, values)
    others = tuple(name for name in sets if name != JOINT)
    evidence.treated(values.of([JOINT]))
    evidence.component_control(
        "as many other heads, same pair",
        values.of(others),
        discovery=measured("discovery", n=100).of(others),
        matched={JOINT: others},
    )
    evidence.control("same dose, random direction", named(values, DOSE))
    evidence.control("the same heads, another pair", named(values, ANOTHER_PAIR))
    left = left_falls(engine, heads, n=LEFT_SUMS * evidence.n_units, places=(LEFTMOST,), rng=rng)
    fill_left_margins(evidence, left)
    show_left(evidence, left, place=LEFTMOST)
    evidence.note(
        "The leftmost digit is 0 or 1. Where the heads that it depends on read another sum's pair, its carry comes or "
        "goes in about half of the sums."
    )
    evidence.decide()
