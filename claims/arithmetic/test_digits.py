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
from claims.arithmetic.patching import answer, attention_to_pairs, passed, probs_misreading, probs_under_misreading_dose
from claims.arithmetic.pictures import show_attention, show_misreading
from fixtures.prompts.sums import ANSWERS, DIGITS, uniform_sums
from harness.claim import Control, Cost, Margin, Metric, Units, claim

MODELS = ("addition-5d-1l@*", "addition-5d-2l@*")


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
        "Where its digit heads read another sum's pair, the answer digit breaks; the digit to the left, which needs "
        "this pair's carry, and the other digits do not."
    ),
    metric=Metric("fall of the right digit's probability in the place", unit="probability"),
    sesoi=0.3,
    sesoi_reason="a third of what breaks where the digit pair is not known at all (0.9)",
    alternative="greater",
    subject="digit",
    controls=(
        Control("as many other heads, same pair", "component"),
        Control("same dose, random direction", "same-dose"),
        Control("the same heads, another pair", "input"),
    ),
    margins=(
        Margin(
            "fall at the digit to the left, of the fall in the place",
            unit="ratio",
            at_most=0.28,
            reason="heads that brought its carry too would break half of its sums (0.5 / 0.9); half of that",
        ),
        Margin(
            "fall at the other four digits",
            unit="probability",
            at_most=0.05,
            reason="5 % of a behaviour that is right nearly always",
        ),
    ),
    rival="heads that read a pair serve every digit that depends on it: its own, and the next one by the carry",
    exposed_by="the digit to the left, in the margin; another pair's digits in the same heads",
    units=Units(
        default=400,
        quick=300,
        of="sum",
        reason="discovery: the left digit's ratio is up to 0.2 with standard error 0.04 at 100 sums, 0.02 at 400",
    ),
    models=MODELS,
    cost=Cost(draws=70, tokens=17),
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
        sums, others = (
            uniform_sums(count, split=split, rng=rng.for_(f"{split} {what} {place}")) for what in ("sums", "donors")
        )
        clean, donor, pair = passed(engine, sums), passed(engine, others), place - 1

        def falls(sets, *, digit=place, at=pair):
            right = {"digits": sums.answers[:, digit], "place": digit}
            intact = probs_misreading(engine, clean, donor, sets={"": ()}, pair=at, **right)[""]
            misread = probs_misreading(engine, clean, donor, sets=sets, pair=at, **right)
            return {name: intact - each for name, each in misread.items()}

        joint = {JOINT: heads[place]}
        values = falls({name: members[place] for name, members in sets.items()})
        if split == "discovery":
            return sums, values
        clean_right.append(np.mean(answer(engine, clean) == sums.answers))
        digits = [falls(joint, digit=digit)[JOINT] for digit in range(ANSWERS)]
        values |= {f"digit {digit}": each for digit, each in enumerate(digits)}
        values["left"] = digits[place - 1]
        values["rest"] = np.mean([each for digit, each in enumerate(digits) if digit not in (place, place - 1)], axis=0)
        values["another pair"] = falls(joint, at=pair + 1 if pair < DIGITS - 1 else pair - 1)[JOINT]
        right = {"digits": sums.answers[:, place], "place": place}
        dose = rng.for_(f"dose {place}")
        dosed = probs_under_misreading_dose(engine, clean, donor, heads=heads[place], pair=pair, rng=dose, **right)
        values["dose"] = probs_misreading(engine, clean, donor, sets={"": ()}, pair=pair, **right)[""] - dosed
        values |= falls({head: members[place] for head, members in alone.items()})
        return sums, values

    values = measured("confirmation")
    require_adding(evidence, np.mean(clean_right))
    describe_units(evidence, values)
    others = tuple(name for name in sets if name != JOINT)
    evidence.treated(values.of([JOINT]))
    evidence.component_control(
        "as many other heads, same pair",
        values.of(others),
        discovery=measured("discovery", n=100).of(others),
        matched={JOINT: others},
    )
    evidence.control("same dose, random direction", named(values, "dose"))
    evidence.control("the same heads, another pair", named(values, "another pair"))
    evidence.margin(
        "fall at the digit to the left, of the fall in the place",
        named(values, "left"),
        relative_to=values.of([JOINT]),
    )
    evidence.margin("fall at the other four digits", named(values, "rest"))
    evidence.note(
        "Heads attend as before and read another sum's digits at one pair, from every position; whoever else reads the "
        "pair reads the sum's own digits. Ablating a last-layer head at one answer place could not touch other digits."
    )
    show_misreading(evidence, values, alone={head: by_place(values, head) for head in model.heads()})
    for head in subject.heads:
        evidence.share(head, values=named(values, head))
    evidence.decide()
