"""What the claims on steering declare alike: controls, the smallest effect of interest, prompts."""

from __future__ import annotations

from typing import Literal

from claims.steering.finding import PERMUTED_LABELS, RANDOM_DIRECTIONS, foreign
from claims.steering.measurements import NAMES
from harness.claim import Behaviour, Control, Units

SESOI = 1.0
SESOI_REASON = (
    "a quarter of what a labelled context does to these log-odds on the discovery split of SmolLM2: 3.2 nats for "
    "sentiment, 1.3 for formality, 7.5 for tense (truth: none), 4.0 on average"
)
STEMS = Units(default=100, quick=60, of="prompt", reason="20 templates limit every interval; five prompts of each")

STEERED = (
    "The direction (mean over 120 discovery pairs of the positive minus the negative text's last activation) is added "
    "to the residual stream at the last token of unlabelled stems, once with either sign; the log-odds are of the "
    "logsumexp of listed next tokens for one label against those for the other."
)
"""How the swing is measured."""


def labelled_gap(contrast: str) -> Behaviour:
    """What effects on a contrast's log-odds are shown as a share of."""
    return Behaviour(
        "gap that labelled contexts make",
        claim=f"steering.{contrast}-ablation",
        precondition="gap between the two contexts (nats)",
    )


def controls_of(contrast: str, *, random: Literal["component", "same-dose"] = "component") -> tuple[Control, ...]:
    """Random directions, permuted labels, and each other contrast's direction.

    Args:
        contrast: whose claim it is.
        random: `component` where twenty are a population with a 95th percentile, `same-dose` where few are averaged.
    """
    others = (Control(foreign(name), "label") for name in NAMES if name != contrast)
    return (Control(RANDOM_DIRECTIONS, random), Control(PERMUTED_LABELS, "label"), *others)
