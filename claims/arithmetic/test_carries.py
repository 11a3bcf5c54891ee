"""Carry heads: what they write at an answer place is whether a carry comes into it (Quirke and Barez 2024)."""

from __future__ import annotations

import numpy as np

from claims.arithmetic.finding import CARRY_PLACES
from claims.arithmetic.matched_sums import carry_pairs, changed_elsewhere
from claims.arithmetic.measurements import (
    JOINT,
    at_places,
    describe_units,
    heads_at,
    named,
    other_sets,
    over_places,
    require_adding,
    single_heads,
)
from claims.arithmetic.patching import answer, answers_patched, passed, probs_patched, probs_under_dose
from claims.arithmetic.pictures import show_places
from fixtures.prompts.sums import Sums, carry_twins
from harness.claim import Control, Cost, Margin, Metric, Units, claim

MODELS = ("addition-5d-1l@*", "addition-5d-2l@*")
PERMUTATIONS = 5


@claim(
    id="arithmetic.carry-heads",
    paper="quirke2024",
    statement=(
        "There are carry heads: without the carry that they bring, sums with a carry into the digit break there and "
        "sums without one do not."
    ),
    metric=Metric(
        "fall of the right digit's probability with a carry, less the fall without", unit="probability", limits=(-2, 2)
    ),
    sesoi=0.3,
    sesoi_reason="a third of what the loss of the carry costs where nothing else brings it (1.0)",
    alternative="greater",
    subject="carry",
    controls=(
        Control("as many other heads", "component"),
        Control("same dose, random direction", "same-dose"),
        Control("carry labels permuted within strata", "label"),
    ),
    margins=(
        Margin(
            "fall without a carry",
            unit="probability",
            at_most=0.1,
            reason="the discovery split's digit heads cost 0.8 of such sums; an eighth of that",
            limits=(-1, 1),
        ),
    ),
    rival="heads that read magnitudes: sums with a carry are larger, and larger digits may break more easily",
    exposed_by="sums of both kinds have the same answer digit and the same pair sum mod 10; permuted carry labels",
    units=Units(
        default=900,
        quick=100,
        of="pair",
        reason="discovery SD 0.4: standard error under 0.015; 300 left it open whether 0.35 on addition-5d-1l@2 is 0.3",
    ),
    models=MODELS,
    profiles=("default", "full"),  # 100 pairs leave it open within these limits
    cost=Cost(draws=80, tokens=17),
    method="Pairs of sums with and without a carry into a digit, matched on the digit and on the sum mod 10 of the "
    "pair deciding the carry: the carry heads' outputs at the position predicting it come from another sum without "
    "one (resample ablation). Controls: 20 random draws of as many other heads; random vectors as long as the change "
    "(residual covariance), mean of 5; carry labels of donors and pairs permuted, mean of 5.",
    version=4,
)
def test_carry_heads_break_sums_with_a_carry_only(model, subject, evidence, rng):
    from harness.interventions import Engine

    engine, heads = Engine.of(model), heads_at(subject, CARRY_PLACES)
    sets = {JOINT: heads, **other_sets(model, heads, rng=rng.for_("others")), **single_heads(model, CARRY_PLACES)}
    clean_right = []

    def measured(split, *, n=evidence.n_units):
        return over_places(n, CARRY_PLACES, lambda place, count: differences(place, count, split=split))

    def differences(place, count, *, split):
        pairs = carry_pairs(2 * count, place=place, split=split, rng=rng.for_(f"{split} {place}"))
        treated, donors = pairs.rows(np.arange(count)), pairs.rows(np.arange(count, 2 * count))
        both = [(passed(engine, sums), sums.answers[:, place]) for sums in (treated.carrying, treated.without)]
        intact = [
            probs_patched(engine, run, run, sets={"": ()}, place=place, digits=digits)[""] for run, digits in both
        ]

        def falls(donor, sets):
            """By name: [with a carry and without one, pair]."""
            found = [probs_patched(engine, run, donor, sets=sets, place=place, digits=digits) for run, digits in both]
            return {
                name: np.stack([right - each[name] for right, each in zip(intact, found, strict=True)]) for name in sets
            }

        joint, donor, values = {JOINT: heads[place]}, passed(engine, donors.without), {}
        for name, (carrying, without) in falls(donor, {name: at[place] for name, at in sets.items()}).items():
            values[name] = carrying - without
        if split == "discovery":
            return treated.carrying, values
        clean_right.append(np.mean([answer(engine, run)[:, place] == digits for run, digits in both]))
        values["with"], values["without"] = falls(donor, joint)[JOINT]
        draw = rng.for_(f"draws {place}")
        dosed = [
            right - probs_under_dose(engine, run, donor, heads=heads[place], place=place, digits=digits, rng=draw)
            for right, (run, digits) in zip(intact, both, strict=True)
        ]
        values["dose"] = dosed[0] - dosed[1]
        permuted = []
        for _ in range(PERMUTATIONS):
            carrying, without = falls(passed(engine, permuted_donors(donors, draw)), joint)[JOINT]
            permuted.append(np.where(draw.random(count) < 0.5, carrying - without, without - carrying))
        values["permuted"] = np.mean(permuted, axis=0)
        return treated.carrying, values

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
    evidence.control("same dose, random direction", named(values, "dose"))
    evidence.control("carry labels permuted within strata", named(values, "permuted"))
    evidence.margin("fall without a carry", at_places(named(values, "without"), CARRY_PLACES[1:]))
    evidence.note(
        "The heads of a place take there what they write on other sums without a carry, so that none is brought. At "
        "place 0 the digit is the carry: strata are of the pair sum alone; sums without a carry can lose nothing "
        "there, and are left out of the margin."
    )
    show_places(
        evidence,
        "Fall with a carry less fall without one",
        caption="Outputs at the place are taken from sums without a carry: each head, and the place's carry heads.",
        unit="difference of two falls of probability",
        xlabel="head whose output is replaced (layer.head); joint: the place's carry heads",
        values=values,
        components=[*model.heads(), JOINT],
    )
    show_places(
        evidence,
        "The carry heads' ablation",
        caption="Sums with a carry into the digit, and sums without one.",
        unit="fall of the right digit's probability",
        xlabel="sums with a carry into the digit, and without one",
        values=values,
        components=["with", "without"],
    )
    evidence.decide()


@claim(
    id="arithmetic.carry-patching",
    paper="quirke2024",
    statement=(
        "Patching the carry heads from a twin sum that differs only in the carry into a digit moves that digit by "
        "exactly one, in at least 80 % of twin sums."
    ),
    metric=Metric("digits moved by exactly one towards the twin", unit="share of twin sums", binary=True),
    sesoi=0.5,
    sesoi_reason="half of the twins: chance that ten digits leave to any disturbance is a tenth",
    alternative="greater",
    subject="carry",
    controls=(Control("as many other heads", "component"), Control("twins of another place", "input")),
    margins=(
        Margin(
            "digits not moved by exactly one",
            unit="share of twin sums",
            at_most=0.2,
            reason="the paper's heads decide the carry: at least 80 % of twins, by the exact binomial bound",
        ),
    ),
    rival="heads that tell which of two sums this is, by anything that differs between them",
    exposed_by="twins of another place, whose carry goes elsewhere; exactly one, and not merely another digit",
    units=Units(
        default=300, quick=100, of="twin pair", reason="with 300 twins a share of 0.87 has its exact bound above 0.8"
    ),
    tier="reliability",  # patching between such twins selected the heads
    models=MODELS,
    cost=Cost(draws=40, tokens=17),
    method="Twin sums differ in one digit pair, whose sum is s or s + 10, and so in the carry into one answer digit: "
    "at the position predicting that digit, the carry heads' outputs are patched from the twin (each direction in "
    "half of them) and the likeliest token is read (in the controls: the probability of the twin's digit). Controls: "
    "20 random draws of as many other heads; a sum with a carry into another digit changed.",
    version=3,
)
def test_patching_carry_heads_moves_the_digit_by_one(model, subject, evidence, rng):
    from dataclasses import replace

    from harness.interventions import Engine

    engine, heads = Engine.of(model), heads_at(subject, CARRY_PLACES)
    sets = {JOINT: heads, **other_sets(model, heads, rng=rng.for_("others")), **single_heads(model, CARRY_PLACES)}
    clean_right = []

    def measured(split, *, n=evidence.n_units):
        return over_places(n, CARRY_PLACES, lambda place, count: moved(place, count, split=split))

    def moved(place, count, *, split):
        twins = carry_twins(count, place=place, split=split, rng=rng.for_(f"{split} {place}"))
        rising = np.arange(count) % 2 == 0  # half of the digits are to rise by one, half to fall
        sums = alternating(twins.without, twins.carrying, rising)
        donors = alternating(twins.carrying, twins.without, rising)
        clean, donor, target = passed(engine, sums), passed(engine, donors), donors.answers[:, place]
        chosen = {name: at[place] for name, at in sets.items()}
        values = probs_patched(engine, clean, donor, sets=chosen, place=place, digits=target)
        if split == "discovery":
            return sums, values
        clean_right.append(np.mean(answer(engine, clean)[:, place] == sums.answers[:, place]))
        joint = {JOINT: heads[place]}
        values["moved"] = answers_patched(engine, clean, donor, sets=joint, place=place)[JOINT] == target
        elsewhere = passed(engine, changed_elsewhere(sums, place=place, rng=rng.for_(f"elsewhere {place}")))
        # Where heads move every digit and those of another place none, a difference of counts would have no interval.
        other = probs_patched(engine, clean, elsewhere, sets=joint, place=place, digits=target)
        return sums, {**values, "another place": other[JOINT]}

    values = measured("confirmation")
    require_adding(evidence, np.mean(clean_right))
    describe_units(evidence, values)
    others = tuple(name for name in sets if name.startswith("others"))
    counted = named(values, "moved")
    evidence.treated(counted)
    evidence.component_control(
        "as many other heads",
        values.of(others),
        discovery=measured("discovery", n=100).of(others),
        matched={JOINT: others},
        treated=values.of([JOINT]),
    )
    evidence.control("twins of another place", named(values, "another place"))
    evidence.margin("digits not moved by exactly one", replace(counted, values=1 - counted.values))
    evidence.note("Digits that move by one are counted; in the controls the probability of the twin's digit is taken.")
    show_places(
        evidence,
        "Carry patching",
        caption="Probability of the twin's digit when each head is patched from it, and the place's carry heads.",
        unit="probability of the twin's digit",
        xlabel="head patched from the twin (layer.head); joint: the place's carry heads",
        values=values,
        components=[*model.heads(), JOINT],
    )
    evidence.table(
        "Carry heads by place",
        columns=["carry into place", "heads"],
        rows=[[place, ", ".join(members)] for place, members in heads.items()],
    )
    evidence.decide()


def alternating(first, second, chosen):
    """The first sums where chosen, the second elsewhere."""
    return Sums(np.where(chosen[:, None], first.a, second.a), np.where(chosen[:, None], first.b, second.b))


def permuted_donors(donors, rng):
    """Donors of which half carry, drawn within strata: what a sum labelled `without` is when labels mean nothing."""
    return alternating(donors.carrying, donors.without, rng.permutation(len(donors.strata)) % 2 == 0)
