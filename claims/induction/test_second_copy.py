"""Behaviour: what has been seen once is predicted when it comes again (Olsson et al. 2022, figure 1)."""

from __future__ import annotations

from claims.induction.measurements import SHUFFLES, describe, second_copy_loss
from fixtures.prompts.repeated import repeated_random_tokens
from harness.attention import averaged
from harness.claim import Behaviour, Control, Cost, Margin, Metric, Units, claim


@claim(
    id="induction.second-copy",
    paper="olsson2022",
    statement="The model predicts the second copy of a random block far better than the same positions without a copy.",
    metric=Metric("loss on the second copy", unit="nats per token"),
    # One nat is a probability e times higher per token; null worlds stay within 0.2 nats of zero.
    sesoi=1.0,
    sesoi_reason="one nat makes the right token 2.7 times likelier; null worlds stay within 0.2 nats",
    alternative="less",
    controls=(Control("shuffled second half, same positions", "input"), Control("fresh second half", "input")),
    rival="the model raises every token that it has seen, whatever its order, or copies from a fixed offset",
    exposed_by="shuffled second half, same positions; block lengths vary from 10 to 40",
    units=Units(
        default=32, quick=16, reason="discovery SD 1.5 nats at most: 30 clusters have 90 % power at twice the SESOI"
    ),
    cost=Cost(draws=12, tokens=51),
    method=(
        "A block of 10 to 40 different random tokens stands after BOS, and then again; the loss is the mean over the "
        "second copy's tokens from its second on. In the controls the second half holds the block's tokens in random "
        f"order (mean of {SHUFFLES} orders) or fresh random tokens."
    ),
)
def test_the_second_copy_is_predicted(model, evidence, rng):
    sequences = repeated_random_tokens(model, n=evidence.n_units, rng=rng.for_("prompts"))
    describe(evidence, sequences)
    shuffles = (sequences.shuffled_second(rng.for_(f"shuffle {number}")) for number in range(SHUFFLES))
    shuffled = averaged([second_copy_loss(model, each) for each in evidence.track(shuffles, "shuffle", total=SHUFFLES)])
    fresh = second_copy_loss(model, sequences.fresh_second(model.random_token_pool(), rng=rng.for_("fresh")))
    repeated = second_copy_loss(model, sequences)
    evidence.treated(repeated)
    evidence.control("shuffled second half, same positions", shuffled)
    evidence.control("fresh second half", fresh)
    evidence.picture(
        "distribution",
        "Loss where the second copy stands",
        caption="One value per sequence.",
        unit="nats per token",
        treated=repeated.values[0],
        control=[shuffled.values[0], fresh.values[0]],
        labels=["repeated", "shuffled", "fresh"],
    )
    evidence.decide()


@claim(
    id="induction.two-layers",
    paper="elhage2021",
    statement="Two layers are needed: one layer, trained on the same tokens, does not predict the second copy.",
    metric=Metric("gain of two layers over one on the second copy", unit="nats per token"),
    sesoi=1.0,
    sesoi_reason="as for induction.second-copy, of which this is the two-layer model's advantage",
    alternative="greater",
    controls=(
        Control("shuffled second half, same positions", "input"),
        Control("fresh second half", "input"),
    ),
    margins=(
        Margin(
            "one layer's gain as a share of two layers'",
            unit="ratio of gains",
            at_least=-0.05,
            at_most=0.05,
            reason="under 5 % of the two-layer gain counts as none (set before training)",
        ),
    ),
    rival="one layer finds the match by position alone, at some likely offset",
    exposed_by="the equivalence margin on one layer's own gain, with block lengths from 10 to 40",
    units=Units(default=64, quick=64, reason="the ratio's interval must fit into +-5 %: half-width 2 % at 64"),
    models=("induction-2l@*",),
    cost=Cost(draws=24, tokens=51),
    method=(
        "A model's gain is its loss where the second half holds the block's tokens in random order (mean of "
        f"{SHUFFLES} orders), minus its loss where it repeats the block of 10 to 40 random tokens. Controls are gains "
        "of the one-layer model with the same training seed on the same sequences, over that order and over fresh "
        "tokens."
    ),
    behaviour=Behaviour(
        "gain on the second copy", claim="induction.second-copy", against="shuffled second half, same positions"
    ),
)
def test_one_layer_is_not_enough(model, evidence, rng):
    from harness.models.model import load

    one_layer = load(model.spec.id.partition("~")[0].replace("-2l@", "-1l@"))
    sequences = repeated_random_tokens(model, n=evidence.n_units, rng=rng.for_("prompts"))
    describe(evidence, sequences)
    shuffles = [sequences.shuffled_second(rng.for_(f"shuffle {number}")) for number in range(SHUFFLES)]
    fresh = sequences.fresh_second(model.random_token_pool(), rng=rng.for_("fresh"))
    shuffled_gain, fresh_gain = ({}, {})
    for name, each in (("one", one_layer), ("two", model)):
        repeated = second_copy_loss(each, sequences)
        shuffled_gain[name] = averaged([second_copy_loss(each, shuffle) for shuffle in shuffles]).minus(repeated)
        fresh_gain[name] = second_copy_loss(each, fresh).minus(repeated)
    evidence.treated(shuffled_gain["two"])
    evidence.control("shuffled second half, same positions", shuffled_gain["one"])
    evidence.control("fresh second half", fresh_gain["one"])
    evidence.table(
        "Gain on the second copy, nats per token",
        columns=["measured against", "one layer", "two layers", "share"],
        rows=[
            [against, one, two, one / two]
            for against, gain in (("shuffled", shuffled_gain), ("fresh", fresh_gain))
            for one, two in [(float(gain["one"].mean()[0]), float(gain["two"].mean()[0]))]
        ],
    )
    evidence.note(
        "The margin is on the gain over a shuffled second half, which keeps the tokens and takes their order. Over "
        "fresh tokens one layer gains more, by raising whatever it has seen; that needs no match."
    )
    evidence.margin(
        "one layer's gain as a share of two layers'", shuffled_gain["one"], relative_to=shuffled_gain["two"]
    )
    evidence.decide()
