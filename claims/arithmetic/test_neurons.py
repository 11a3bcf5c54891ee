"""Carry neurons: those of the last layer that tell the digit whether a carry comes into it.

Quirke and Barez 2024 let the MLP at each answer position combine what heads bring: the pair's sum and the carry. That
some of its neurons carry the carry, and most do not, is ours.
"""

from __future__ import annotations

import numpy as np

from claims.arithmetic.matched_sums import changed_elsewhere
from claims.arithmetic.measurements import describe_units, named, over_places, require_adding
from claims.arithmetic.neuron_measurements import (
    FOUND,
    INTACT,
    PLACES,
    carry_neurons,
    moved,
    moved_by_dose,
    pooled,
    ran,
    rights,
    sets_called,
)
from claims.arithmetic.pictures import KINDS, show_neuron_sets, show_neurons
from fixtures.prompts.sums import carry_twins
from harness.claim import Control, Cost, Metric, Units, claim


@claim(
    id="arithmetic.carry-neurons",
    paper="quirke2024",
    statement=(
        "The last layer has carry neurons: three tenths of its neurons, taken from a twin sum that differs only in the "
        "carry into a digit, move that digit by exactly one."
    ),
    metric=Metric("rise of the probability of the digit that the other carry makes", unit="probability"),
    sesoi=0.3,
    sesoi_reason="a third of what the whole layer moves, where nothing else brings the carry (1.0)",
    alternative="greater",
    controls=(
        Control("as many other neurons of the layer", "component"),
        Control("same dose, random direction", "same-dose"),
        Control("neurons found with permuted carry labels", "label"),
        Control("sums changed at another place", "input"),
    ),
    rival="the carry is spread over all neurons that write much: as many of these move the digit as well",
    exposed_by="neurons found with permuted carry labels, which write much and tell nothing of the carry",
    units=Units(
        default=300,
        quick=200,
        of="twin pair",
        reason="discovery SD 0.3: standard error under 0.02; 75 twins for each place",
    ),
    tier="reliability",  # what neurons themselves write between such twins selected them
    models=("addition-5d-1l@*", "addition-5d-2l@*"),
    cost=Cost(draws=80, tokens=17),
    method="At the position predicting answer digit 1 to 4, the last layer's 150 carry neurons (by direct logit "
    "attribution) take their activations on a twin sum that differs only in the carry into the digit; mean of both "
    "directions. Controls: 20 random sets of 150 others; random vectors as long as the MLP output's change, mean of "
    "5; 150 neurons found with permuted carry labels, mean of 5; donors with another carry changed.",
)
def test_carry_neurons_move_the_digit_by_one(model, evidence, rng):
    from harness.interventions import Engine

    engine, found = Engine.of(model), {place: carry_neurons(model, rng, place=place) for place in PLACES}
    others, permuted = sets_called("others"), sets_called("permuted")
    intact_right = []

    def measured(split, *, n=evidence.n_units):
        return over_places(n, PLACES, lambda place, count: rises(place, count, split=split))

    def rises(place, count, *, split):
        twins = carry_twins(count, place=place, split=split, rng=rng.for_(f"{split} {place}"))
        both, sets = (twins.without, twins.carrying), found[place].sets
        at = {"place": place, "digits": [sums.answers[:, place] for sums in both]}
        clean = [ran(engine, sums, place=place) for sums in both]
        if split == "discovery":
            return twins.carrying, moved(engine, clean, clean[::-1], sets={name: sets[name] for name in others}, **at)
        values = moved(engine, clean, clean[::-1], sets=sets, **at)
        draw, joint = rng.for_(f"draws {place}"), {FOUND: sets[FOUND]}
        elsewhere = [ran(engine, changed_elsewhere(sums, place=place, rng=draw), place=place) for sums in both]
        values["elsewhere"] = moved(engine, clean, elsewhere, sets=joint, **at)[FOUND]
        values["dose"] = moved_by_dose(engine, clean, neurons=sets[FOUND], rng=draw, **at)
        reference = ran(engine, pooled(twins), place=place)
        for kind, run, digits in zip(KINDS, clean, at["digits"], strict=True):
            right = rights(engine, run, reference, sets=sets, place=place, digits=digits)
            intact_right.append(np.mean(right[INTACT] > 0.5))
            values |= {f"{name}, {kind}": 1 - right[name] for name in sets}
        return twins.carrying, values

    values = measured("confirmation")
    require_adding(evidence, np.mean(intact_right))
    describe_units(evidence, values)
    evidence.treated(values.of([FOUND]))
    evidence.component_control(
        "as many other neurons of the layer",
        values.of(others),
        discovery=measured("discovery", n=100).of(others),
        matched={FOUND: others},
    )
    evidence.control("same dose, random direction", named(values, "dose"))
    evidence.control("neurons found with permuted carry labels", values.averaged({FOUND: permuted}))
    evidence.control("sums changed at another place", named(values, "elsewhere"))
    evidence.note(
        "150 neurons at each place, found on the discovery split by what they write for the carry's digit between such "
        "twins. Values are means over both directions: a carry taken away, and one brought."
    )
    show_neuron_sets(evidence, values, others=others, permuted=permuted)
    show_neurons(evidence, found)
    evidence.decide()
