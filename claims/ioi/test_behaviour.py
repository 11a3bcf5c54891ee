"""Indirect object identification as behaviour (Wang et al. 2023, section 2)."""

from __future__ import annotations

import numpy as np

from claims.ioi.comparing import MODELS, ROLES, UNITS
from claims.ioi.measurements import SHUFFLES, behaviour, by_order, describe, draw, relabelled
from harness.attention import averaged
from harness.claim import Control, Cost, Metric, claim
from harness.values import UnitValues

ABC = Control("a third name in place of the repeated one (ABC)", "input")


@claim(
    id="ioi.behaviour",
    paper="wang2023",
    statement="After two people were named and one of them again, the model prefers the other one.",
    metric=Metric("logit difference, IO minus S", unit="logits"),
    sesoi=1.0,
    sesoi_reason="the right name is e = 2.7 times as likely as the wrong one",
    alternative="greater",
    controls=(ROLES, ABC),
    rival="the model prefers some names, or the name that stood first",
    exposed_by="shuffled roles: every name and every place is right as often as wrong",
    units=UNITS,
    models=MODELS,
    cost=Cost(draws=2, tokens=18),
    method=(
        "Logit of the name that is not repeated (IO) minus that of the repeated one (S), after the last token. "
        f"Shuffled roles exchange IO and S as labels in half of each template's prompts (mean of {SHUFFLES} draws). "
        "In ABC prompts a third name stands in place of the second mention."
    ),
)
def test_the_model_prefers_the_name_that_is_not_repeated(model, evidence, rng):
    prompts = draw(model, rng, split="confirmation", n=evidence.n_units)
    describe(evidence, prompts)
    clean = behaviour(model, prompts)
    evidence.treated(clean)
    evidence.control(ROLES.name, relabelled(clean, prompts, rng))
    evidence.control(ABC.name, behaviour(model, prompts.corrupted("ABC", rng.for_("ABC"))))
    by_order(evidence, clean, prompts)
    evidence.decide()


@claim(
    id="ioi.accuracy",
    paper="wang2023",
    statement="Of the two names the model finds the one that is not repeated more likely, prompt by prompt.",
    metric=Metric("IO above S", unit="share of prompts", binary=True),
    sesoi=0.25,
    sesoi_reason="half of the way from guessing to always",
    alternative="greater",
    controls=(ROLES, ABC),
    rival="a few prompts with a large difference make the mean",
    exposed_by="the share counts each prompt once",
    units=UNITS,
    models=MODELS,
    cost=Cost(draws=2, tokens=18),
    method=(
        "1 where the logit of the name that is not repeated (IO) lies above that of the repeated one (S) after the "
        "last token, else 0. Shuffled roles exchange IO and S as labels by a coin for each prompt (mean of "
        f"{SHUFFLES} draws). In ABC prompts a third name stands in place of the second mention."
    ),
    version=2,
)
def test_the_model_is_right_prompt_by_prompt(model, evidence, rng):
    prompts = draw(model, rng, split="confirmation", n=evidence.n_units)
    describe(evidence, prompts)
    clean = behaviour(model, prompts)
    # By a coin for each prompt: with exactly half exchanged, a model that is always right would show no variation.
    coins = rng.for_("roles").random((SHUFFLES, len(prompts))) < 0.5
    evidence.treated(right(clean))
    evidence.control(ROLES.name, averaged([right(clean, turned=coin) for coin in coins]))
    evidence.control(ABC.name, right(behaviour(model, prompts.corrupted("ABC", rng.for_("ABC")))))
    by_order(evidence, clean, prompts)
    evidence.decide()


def right(differences, *, turned=False):
    """1 where the logit difference is above 0, else 0; `turned` where IO and S are exchanged."""
    above = np.where(turned, -differences.values, differences.values) > 0
    return UnitValues(above.astype(float), differences.components, differences.units, differences.clusters)
