"""Steering at the working dose does what it is for: text that it is not about is spared, and other contrasts move less.

Turner et al. (2023) and Rimsky et al. (2024) hold that capabilities suffer little.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from claims.steering.comparison import swing_against_controls
from claims.steering.finding import RANDOM_DIRECTIONS, everywhere
from claims.steering.measurements import NAMES, describe, joint, swing
from claims.steering.pictures import show_trade_off
from claims.steering.wording import SESOI, SESOI_REASON, STEERED, STEMS, controls_of, labelled_gap
from fixtures.prompts.contrasts import stems
from fixtures.prompts.neutral_text import neutral_passages
from harness.claim import Cost, Margin, Metric, claim
from harness.steering import at_dose, damage
from harness.values import UnitValues

PASSAGES = 24
"""One of each topic but one: topics are the clusters, and have to be equally large."""
SHARES_OF_DOSE = (0.5, 1.0, 2.0, 4.0)
"""Up to where text falls apart."""
RANDOM_SHOWN = 3
"""Random directions that the trade-off has at the working dose: what a push of this length costs."""
LOSS = Margin(
    "rise of the loss on neutral text",
    unit="nats per token",
    at_most=0.5,
    reason="half a nat is what a model a few times smaller loses; working doses cost at most half of it on discovery",
)
KL = Margin(
    "KL to the unsteered next-token distribution",
    unit="nats per token",
    at_most=1.0,
    reason="twice the loss's margin: KL also counts changes among tokens that do not follow",
)
HALF = 0.5


def spares(contrast: str) -> dict[str, object]:
    """The declaration of the claim on damage for one contrast."""
    return {
        **_common(contrast),
        "id": f"steering.{contrast}-spares-other-text",
        "statement": "The working dose moves the log-odds, and costs little where the text is about something else.",
        "method": STEERED + " Damage: the same dose at every token of passages of Python's documentation but BOS.",
        "margins": (LOSS, KL),
        "cost": Cost(draws=150, tokens=1),
    }


def is_specific(contrast: str) -> dict[str, object]:
    """The declaration of the claim on other contrasts."""
    return {
        **_common(contrast),
        "id": f"steering.{contrast}-is-specific",
        "statement": "The working dose moves the log-odds of its own contrast at least twice as far as any other's.",
        "method": STEERED + " Specificity: the log-odds of the other contrasts' tokens under the same addition.",
        "margins": tuple(
            Margin(
                _ratio(other), unit="ratio of means", at_least=-HALF, at_most=HALF, reason="half, in either direction"
            )
            for other in NAMES
            if other != contrast
        ),
        "cost": Cost(draws=90, tokens=1),
    }


def _common(contrast: str) -> dict[str, object]:
    return {
        "paper": "rimsky2024",
        "metric": Metric("log-odds at the working dose minus those at its opposite", unit="nats"),
        "sesoi": SESOI,
        "sesoi_reason": SESOI_REASON,
        "alternative": "greater",
        "subject": contrast,
        "controls": controls_of(contrast),
        "rival": "any push of this length moves the odds of these tokens as far, at the same cost",
        "exposed_by": RANDOM_DIRECTIONS,
        "units": STEMS,
        "tier": "reliability",  # the shift of these log-odds chose the layer, damage the dose
        "behaviour": labelled_gap(contrast),
        "models": ("smollm2-*", "path:*"),
    }


def _ratio(other: str) -> str:
    return f"swing of {other} as a share of its own"


def measure_damage(model, subject, evidence, rng):
    contrast = subject.class_name
    prompts = stems(model, contrast, split="confirmation", n=evidence.n_units, rng=rng.for_("prompts"))
    describe(evidence, prompts)
    found, _ = swing_against_controls(model, subject, evidence, prompts, most=19)
    doses = [share * found.dose for share in SHARES_OF_DOSE]
    signed = [sign * dose for dose in doses for sign in (1, -1)]
    neutral = neutral_passages(model, split="confirmation", n=PASSAGES, rng=rng.for_("passages"))
    make = partial(everywhere, directions={contrast: found.direction}, doses=signed)
    cost = damage(model, neutral, make=make)
    rise, kl = (_over_signs(values, contrast, doses) for values in (cost.rise(), cost.divergence()))
    working = at_dose(contrast, found.dose)
    evidence.margin(LOSS.name, joint(rise.of([working])))
    evidence.margin(KL.name, joint(kl.of([working])))
    by_dose = [swing(model, prompts, {at_dose(contrast, dose): found.direction}, dose=dose) for dose in doses]
    beside = dict(list(found.random.items())[:RANDOM_SHOWN])
    pushes = damage(model, neutral, make=partial(everywhere, directions=beside, doses=[found.dose, -found.dose]))
    show_trade_off(
        evidence,
        doses,
        by_dose,
        rise,
        random={
            "cost": pushes.rise().mean().reshape(len(beside), 2).mean(axis=1).tolist(),
            "effect": np.abs(swing(model, prompts, beside, dose=found.dose).mean()).tolist(),
        },
    )
    evidence.note("Neutral text is steered at all of its tokens but BOS, with both signs; values are their mean.")
    evidence.decide()


def measure_specificity(model, subject, evidence, rng):
    contrast = subject.class_name
    prompts = stems(model, contrast, split="confirmation", n=evidence.n_units, rng=rng.for_("prompts"))
    describe(evidence, prompts)
    found, _ = swing_against_controls(model, subject, evidence, prompts, most=19)
    for other in NAMES:
        if other != contrast:
            moved = swing(model, prompts, {"joint": found.direction}, dose=found.dose, contrast=other)
            evidence.margin(_ratio(other), moved, relative_to=evidence.measured())
    evidence.note(
        "The log-odds of the other contrasts are read on the same stems, which belong to this contrast; tokens that "
        "both contrasts list count for this one alone."
    )
    evidence.decide()


def _over_signs(values, contrast, doses):
    """[dose, passage], the mean of both signs."""
    rows = [values.of([at_dose(contrast, sign * dose) for sign in (1, -1)]).values.mean(axis=0) for dose in doses]
    return UnitValues(np.array(rows), tuple(at_dose(contrast, dose) for dose in doses), values.units, values.clusters)


@claim(**spares("sentiment"), version=1)
def test_sentiment_spares_other_text(model, subject, evidence, rng):
    measure_damage(model, subject, evidence, rng)


@claim(**spares("truth"), version=1)
def test_truth_spares_other_text(model, subject, evidence, rng):
    measure_damage(model, subject, evidence, rng)


@claim(**spares("formality"), version=1)
def test_formality_spares_other_text(model, subject, evidence, rng):
    measure_damage(model, subject, evidence, rng)


@claim(**spares("tense"), version=1)
def test_tense_spares_other_text(model, subject, evidence, rng):
    measure_damage(model, subject, evidence, rng)


@claim(**is_specific("sentiment"), version=2)
def test_sentiment_is_specific(model, subject, evidence, rng):
    measure_specificity(model, subject, evidence, rng)


@claim(**is_specific("truth"), version=2)
def test_truth_is_specific(model, subject, evidence, rng):
    measure_specificity(model, subject, evidence, rng)


@claim(**is_specific("formality"), version=2)
def test_formality_is_specific(model, subject, evidence, rng):
    measure_specificity(model, subject, evidence, rng)


@claim(**is_specific("tense"), version=2)
def test_tense_is_specific(model, subject, evidence, rng):
    measure_specificity(model, subject, evidence, rng)
