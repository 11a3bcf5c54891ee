"""The two kinds of text of a contrast lie apart along one direction, in texts that did not make it.

Sentiment: Tigges et al. 2023; truth: Marks and Tegmark 2023; linear concepts in general: Park et al. 2023.
"""

from __future__ import annotations

from functools import partial

from claims.steering.comparison import against_controls
from claims.steering.finding import PERMUTED_LABELS, RANDOM_DIRECTIONS, held
from claims.steering.measurements import describe, joint, note_words
from claims.steering.pictures import show_draws
from claims.steering.separation import auc, discovery_auc
from claims.steering.wording import controls_of
from fixtures.prompts.contrasts import pairs
from harness.claim import Cost, Metric, Units, claim

PAPERS = {"sentiment": "tigges2023", "truth": "marks2023", "formality": "park2023", "tense": "park2023"}


def separates(contrast: str, *, ending: str, texts: str) -> dict[str, object]:
    """The declaration for one contrast."""
    return {
        "id": f"steering.{contrast}-{ending}",
        "paper": PAPERS[contrast],
        "statement": f"One direction of the residual stream, found in other texts, tells {texts} apart.",
        "metric": Metric("AUC of the projection at the last token", unit="probability"),
        "sesoi": 0.2,
        "sesoi_reason": "two fifths of the way from chance (0.5) to a perfect separation",
        "alternative": "greater",
        "subject": contrast,
        "controls": controls_of(contrast),
        "rival": "whatever texts differ in, many directions of the stream tell them apart",
        "exposed_by": RANDOM_DIRECTIONS,
        "units": Units(default=120, quick=60, of="pair", reason="20 templates limit every interval; six pairs of each"),
        "models": ("smollm2-*", "path:*"),
        "method": "The stream at the last token of each text is projected on the direction at the layer chosen for "
        "steering; a pair's value is the share of texts of the other label that its texts lie on the right side of. "
        "Random directions have the stream's covariance on neutral text.",
        "cost": Cost(draws=2, tokens=14),
    }


def measure(model, subject, evidence, rng, *, split):
    contrast = subject.class_name
    texts = pairs(model, contrast, split=split, n=evidence.n_units, rng=rng.for_("prompts"))
    describe(evidence, texts)
    found = held(model, subject)
    evidence.treated(joint(auc(model, texts, {contrast: found.direction})))
    drawn = against_controls(
        evidence, found, measured=partial(auc, model, texts), discovered=partial(discovery_auc, found.found)
    )
    show_draws(evidence, drawn[PERMUTED_LABELS], unit="AUC")
    note_words(evidence, texts)
    evidence.note("Random directions and those of other contrasts point where they do better on the discovery split.")
    evidence.decide()


@claim(**separates("sentiment", ending="separates", texts="positive from negative texts"), version=1)
def test_sentiment_separates(model, subject, evidence, rng):
    measure(model, subject, evidence, rng, split="confirmation")


@claim(**separates("truth", ending="separates", texts="true from false statements"), version=1)
def test_truth_separates(model, subject, evidence, rng):
    measure(model, subject, evidence, rng, split="confirmation")


@claim(**separates("formality", ending="separates", texts="formal from casual texts"), version=1)
def test_formality_separates(model, subject, evidence, rng):
    measure(model, subject, evidence, rng, split="confirmation")


@claim(**separates("tense", ending="separates", texts="texts in the past from those in the present tense"), version=1)
def test_tense_separates(model, subject, evidence, rng):
    measure(model, subject, evidence, rng, split="confirmation")


@claim(**separates("sentiment", ending="transfers", texts="positive from negative texts of another kind"), version=1)
def test_sentiment_transfers(model, subject, evidence, rng):
    measure(model, subject, evidence, rng, split="out-of-distribution")


@claim(**separates("truth", ending="transfers", texts="true from false statements of another kind"), version=1)
def test_truth_transfers(model, subject, evidence, rng):
    measure(model, subject, evidence, rng, split="out-of-distribution")


@claim(**separates("formality", ending="transfers", texts="formal from casual texts of another kind"), version=1)
def test_formality_transfers(model, subject, evidence, rng):
    measure(model, subject, evidence, rng, split="out-of-distribution")


@claim(**separates("tense", ending="transfers", texts="past from present tense in texts of another kind"), version=1)
def test_tense_transfers(model, subject, evidence, rng):
    measure(model, subject, evidence, rng, split="out-of-distribution")
