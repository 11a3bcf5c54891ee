"""Indirect object identification as behaviour (Wang et al. 2023, section 2)."""

from __future__ import annotations

from claims.ioi.measurements import behaviour, by_order, describe, draw, relabelled
from harness.claim import Control, Cost, Metric, Units, claim


@claim(
    id="ioi.behaviour",
    paper="wang2023",
    statement="After two people were named and one of them again, the model predicts the other one.",
    metric=Metric("logit difference, IO minus S", unit="logits"),
    sesoi=1.0,
    sesoi_reason="the right name is e = 2.7 times as likely as the wrong one",
    alternative="greater",
    controls=(
        Control("shuffled roles", "label"),
        Control("a third name in place of the repeated one (ABC)", "input"),
    ),
    rival="the model prefers some names, or the name that stood first",
    exposed_by="shuffled roles: every name and every place is right as often as wrong",
    units=Units(default=80, quick=40, of="prompt", reason="20 templates limit every interval; four prompts of each"),
    cost=Cost(draws=2, tokens=18),
)
def test_the_model_predicts_the_name_that_is_not_repeated(model, evidence, rng):
    prompts = draw(model, rng, split="confirmation", n=evidence.n_units)
    describe(evidence, prompts)
    clean = behaviour(model, prompts)
    evidence.treated(clean)
    evidence.control("shuffled roles", relabelled(clean, prompts, rng))
    abc = prompts.corrupted("ABC", rng.for_("ABC"))
    evidence.control("a third name in place of the repeated one (ABC)", behaviour(model, abc))
    by_order(evidence, clean, prompts)
    evidence.decide()
