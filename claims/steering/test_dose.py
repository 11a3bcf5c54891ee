"""More of a direction, more of what it stands for: dose and response (Turner et al. 2023, Rimsky et al. 2024)."""

from __future__ import annotations

from itertools import pairwise

from claims.steering.comparison import responses_of_controls, swing_against_controls
from claims.steering.finding import DOSE, RANDOM_DIRECTIONS
from claims.steering.measurements import describe, shifts
from claims.steering.pictures import show_doses, show_draws
from claims.steering.wording import SESOI, SESOI_REASON, STEERED, STEMS, controls_of, labelled_gap
from fixtures.prompts.contrasts import stems
from harness.claim import Cost, Margin, Metric, claim
from harness.steering import at_dose
from harness.values import UnitValues

STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Doses that are compared, as shares of the working dose."""
SHOWN = 9
"""Directions of each control that the picture has at every dose; all of them count at the ends."""
FALLS = tuple(
    Margin(
        f"fall from {low:g} to {high:g} of the working dose",
        unit="nats",
        at_most=0.25,
        reason="a fourth of the SESOI: one step of four may not undo what an even step would do",
    )
    for low, high in pairwise(STEPS)
)


def responds(contrast: str, *, towards: str) -> dict[str, object]:
    """The declaration for one contrast."""
    return {
        "id": f"steering.{contrast}-dose-response",
        "paper": "turner2023",
        "statement": f"Adding more of the direction at the last token makes {towards} more likely, step by step.",
        "metric": Metric("log-odds at the working dose minus those at its opposite", unit="nats"),
        "sesoi": SESOI,
        "sesoi_reason": SESOI_REASON,
        "alternative": "greater",
        "subject": contrast,
        "controls": controls_of(contrast),
        "margins": FALLS,
        "rival": "any push of this length moves the odds of these tokens one way or the other",
        "exposed_by": RANDOM_DIRECTIONS,
        "units": STEMS,
        "tier": "reliability",  # the shift of these log-odds chose the layer
        "models": ("smollm2-*", "path:*"),
        "method": STEERED + " Random directions have the stream's covariance on neutral text.",
        "behaviour": labelled_gap(contrast),
        "cost": Cost(draws=130, tokens=1),
    }


def measure(model, subject, evidence, rng):
    contrast = subject.class_name
    prompts = stems(model, contrast, split="confirmation", n=evidence.n_units, rng=rng.for_("prompts"))
    describe(evidence, prompts)
    found, drawn = swing_against_controls(model, subject, evidence, prompts)
    doses = [step * found.dose for step in STEPS]
    at = [at_dose(contrast, dose) for dose in doses]
    changes = shifts(model, prompts, {contrast: found.direction}, doses=doses).of(at)
    for margin, low, high in zip(FALLS, at, at[1:], strict=False):
        fall = changes.of([low]).values - changes.of([high]).values
        evidence.margin(margin.name, UnitValues(fall, ("joint",), changes.units, changes.clusters))
    beside = responses_of_controls(model, prompts, found, doses=doses, most=SHOWN)
    show_doses(evidence, changes, doses, controls=beside)
    show_draws(evidence, drawn, unit="swing of the log-odds (nats)")
    evidence.note(f"Working dose {found.dose:g} at {subject.heads[0]}; layers were compared at dose {DOSE:g}.")
    evidence.decide()


@claim(**responds("sentiment", towards="positive words"), version=1)
def test_sentiment_responds_to_the_dose(model, subject, evidence, rng):
    measure(model, subject, evidence, rng)


@claim(**responds("truth", towards="words of assent"), version=1)
def test_truth_responds_to_the_dose(model, subject, evidence, rng):
    measure(model, subject, evidence, rng)


@claim(**responds("formality", towards="formal words"), version=1)
def test_formality_responds_to_the_dose(model, subject, evidence, rng):
    measure(model, subject, evidence, rng)


@claim(**responds("tense", towards="past forms"), version=1)
def test_tense_responds_to_the_dose(model, subject, evidence, rng):
    measure(model, subject, evidence, rng)
