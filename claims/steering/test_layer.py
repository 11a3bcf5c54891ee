"""Steering works at the layer chosen on the discovery split, and no other layer does it better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from claims.steering.comparison import swing_against_controls
from claims.steering.finding import read
from claims.steering.measurements import describe, joint, swing, template_means
from claims.steering.pictures import show_layers
from claims.steering.wording import SESOI, SESOI_REASON, STEERED, STEMS, controls_of, labelled_gap
from fixtures.prompts.contrasts import stems
from harness.claim import Cost, Margin, Metric, claim

LEAD = Margin(
    "lead of the best other layer",
    unit="nats",
    at_most=SESOI / 2,
    reason="half the SESOI: a layer that is better by less is as good",
)
RESAMPLES = 999


def works_at(contrast: str) -> dict[str, object]:
    """The declaration for one contrast."""
    return {
        "id": f"steering.{contrast}-layer",
        "paper": "rimsky2024",
        "statement": "Steering works at the layer chosen on other prompts, and at no other layer better.",
        "metric": Metric("log-odds at the working dose minus those at its opposite", unit="nats"),
        "sesoi": SESOI,
        "sesoi_reason": SESOI_REASON,
        "alternative": "greater",
        "subject": contrast,
        "controls": controls_of(contrast),
        "margins": (LEAD,),
        "rival": "the layer was the best of nine on one set of prompts by chance, or the best of the nine alone",
        "exposed_by": LEAD.name,
        "units": STEMS,
        "tier": "reliability",  # the shift of these log-odds chose the layer
        "models": ("smollm2-*", "path:*"),
        "method": STEERED + " The same at every other layer, with the direction found there, gives the leads.",
        "behaviour": labelled_gap(contrast),
        "cost": Cost(draws=100, tokens=1),
    }


def measure(model, subject, evidence, rng):
    contrast = subject.class_name
    prompts = stems(model, contrast, split="confirmation", n=evidence.n_units, rng=rng.for_("prompts"))
    describe(evidence, prompts)
    found, _ = swing_against_controls(model, subject, evidence, prompts, most=19)
    chosen = subject.heads[0]
    everywhere = read(model, contrast, layers=tuple(range(1, model.n_layers)) or (0,)).by_layer()
    by_layer = swing(model, prompts, {**everywhere, chosen: found.direction}, dose=found.dose)
    others = by_layer.without([chosen])
    leads = replace(others, values=others.values - by_layer.of([chosen]).values)
    rival = nearest_rival(leads)
    evidence.margin(LEAD.name, joint(leads.of([rival])))
    shares = shares_of_best(by_layer, rng.for_("best layer"))
    show_layers(evidence, by_layer, shares, chosen=chosen)
    evidence.note(
        f"The margin is decided against {rival}: each other layer, also of those that discovery did not compare, is "
        "tested one-sided at the full error, all must hold, and this one is the hardest (no bootstrap of a maximum, "
        "which is biased upwards). Every layer is steered at the dose that was chosen for this one."
    )
    evidence.decide()


def nearest_rival(leads):
    """The layer whose lead is hardest to keep under the margin: of the largest t over templates (Berger 1982)."""
    by_template = template_means(leads)
    error = by_template.std(axis=1, ddof=1) / np.sqrt(by_template.shape[1])
    t = (leads.mean() - LEAD.at_most) / np.maximum(error, np.finfo(np.float64).tiny)
    return leads.components[int(np.argmax(t))]


def shares_of_best(by_layer, rng):
    """[layer], in which share of resamples of the templates it has the largest swing."""
    means = template_means(by_layer)
    count = means.shape[1]
    weights = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    best = (weights @ means.T).argmax(axis=1)
    return np.bincount(best, minlength=len(means)) / RESAMPLES


@claim(**works_at("sentiment"), version=2)
def test_sentiment_is_steered_at_the_chosen_layer(model, subject, evidence, rng):
    measure(model, subject, evidence, rng)


@claim(**works_at("truth"), version=2)
def test_truth_is_steered_at_the_chosen_layer(model, subject, evidence, rng):
    measure(model, subject, evidence, rng)


@claim(**works_at("formality"), version=2)
def test_formality_is_steered_at_the_chosen_layer(model, subject, evidence, rng):
    measure(model, subject, evidence, rng)


@claim(**works_at("tense"), version=2)
def test_tense_is_steered_at_the_chosen_layer(model, subject, evidence, rng):
    measure(model, subject, evidence, rng)
