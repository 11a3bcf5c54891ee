"""Steered generations shift (Turner et al. 2023, Rimsky et al. 2024), as a scorer sees it that asks no model."""

from __future__ import annotations

import numpy as np

from claims.steering.comparison import against_controls
from claims.steering.finding import RANDOM_DIRECTIONS, held
from claims.steering.generation import LENGTH, TEMPERATURE, continuations, scores, shift_of_text
from claims.steering.measurements import describe, swing
from claims.steering.wording import controls_of
from fixtures.prompts.contrasts import stems, target_words, validation
from harness.claim import Cost, Metric, Units, claim

DRAWS = 2
"""Directions of each control; each writes a continuation of every prompt with either sign."""
EXAMPLES = 4


def shifts_text(contrast: str, *, words: str) -> dict[str, object]:
    """The declaration for one contrast."""
    return {
        "id": f"steering.{contrast}-generation",
        "paper": "turner2023",
        "statement": f"Continuations written under the direction have more {words} than those under its opposite.",
        "metric": Metric("log-odds of listed words, direction minus its opposite", unit="nats"),
        "sesoi": 0.55,
        "sesoi_reason": "half of what one listed word does in a text without any: log 3 = 1.10",
        "alternative": "greater",
        "subject": contrast,
        "controls": controls_of(contrast, random="same-dose"),
        "rival": "any push of this length changes what is written, listed words among the rest",
        "exposed_by": RANDOM_DIRECTIONS,
        "units": Units(default=100, quick=60, of="prompt", reason="20 templates limit every interval; five of each"),
        "models": ("smollm2-*", "path:*"),
        "method": f"From the last token of each stem on, the direction is added while {LENGTH} tokens are drawn, once "
        "with either sign and with the same random numbers. A text's value is the log-odds, with one added to either "
        "count, of listed words for one label against the other, without the tokens that chose the layer.",
        "cost": Cost(draws=2 * (3 * DRAWS + 1), tokens=LENGTH + 8),
    }


def measure(model, subject, evidence, rng):
    contrast = subject.class_name
    prompts = stems(model, contrast, split="confirmation", n=evidence.n_units, rng=rng.for_("prompts"))
    describe(evidence, prompts)
    known = validation(contrast, uncounted=target_words(contrast))
    evidence.precondition("AUC of the scorer on labelled texts", value=known.auc, at_least=0.9)
    found = held(model, subject)
    steered = {"towards": (found.direction, found.dose), "away": (found.direction, -found.dose)}
    towards, away = continuations(model, prompts, steered).values()
    shown = prompts.rows(np.arange(EXAMPLES))
    (plain,) = continuations(model, shown, {"plain": (found.direction, 0.0)}).values()
    evidence.treated(scores(prompts, towards).minus(scores(prompts, away)))
    against_controls(
        evidence,
        found,
        measured=lambda directions: shift_of_text(model, prompts, directions, dose=found.dose),
        discovered=lambda directions: swing(model, found.found.stems, directions, dose=found.dose),
        most=DRAWS,
    )
    evidence.table(
        "Side by side",
        columns=["prompt", f"dose {found.dose:g}", "unsteered", f"dose {-found.dose:g}"],
        rows=list(zip(shown.texts(), towards, plain, away, strict=False)),
    )
    evidence.note(
        f"{LENGTH} tokens at temperature {TEMPERATURE:g}, drawn alike for all directions; the scorer counts listed "
        f"words but for the targets whose log-odds chose the layer, and does {known.auc:.2f} (AUC) on {2 * known.n} "
        "labelled texts."
    )
    evidence.decide()


@claim(**shifts_text("sentiment", words="positive words and fewer negative ones"), version=1)
def test_steered_sentiment_is_written(model, subject, evidence, rng):
    measure(model, subject, evidence, rng)


@claim(**shifts_text("tense", words="past forms and fewer present ones"), version=1)
def test_steered_tense_is_written(model, subject, evidence, rng):
    measure(model, subject, evidence, rng)
