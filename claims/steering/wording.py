"""What the claims on steering declare alike: controls, the smallest effect of interest, prompts."""

from __future__ import annotations

from claims.steering.finding import OTHER_CONTRASTS, PERMUTED_LABELS, RANDOM_DIRECTIONS
from harness.claim import Control, Units

CONTROLS = (
    Control(RANDOM_DIRECTIONS, "same-dose"),
    Control(PERMUTED_LABELS, "label"),
    Control(OTHER_CONTRASTS, "label"),
)
SESOI = 1.0
SESOI_REASON = (
    "a quarter of what a labelled context does to these log-odds on the discovery split of SmolLM2: 3.2 nats for "
    "sentiment, 1.3 for formality, 7.5 for tense (truth: none), 4.0 on average"
)
STEMS = Units(default=100, quick=60, of="prompt", reason="20 templates limit every interval; five prompts of each")
