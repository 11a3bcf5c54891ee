"""Clean and corrupted runs of the tiny bridges on either path, and one metric, for tests of interventions."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from harness.interventions import Engine, HookEngine, Intervention, Measured, Runs, measure
from harness.interventions.sites import MLP_SITES
from harness.metrics import LogitDifference
from tests.interventions.bridges import KINDS, SLOW_KINDS, some_tokens

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

BATCH, POS = 3, 6
ROUNDING = 1e-5
SITES_KEPT = ("resid_pre", "q", "k", "v", "pattern", "z", "attn_out", "resid_mid", "mlp_post", "mlp_out", "resid_post")
PATHS = [
    *((kind, "fast") for kind in KINDS),
    *((kind, "slow") for kind in ("gpt2", "attention-only", "native-rotary-gated", *SLOW_KINDS)),
]
everywhere = pytest.mark.parametrize(("bridge", "path"), PATHS, indirect=["bridge"])
"""A test takes `bridge` and `path`: every covered kind on the fast path; on the slow one some, and what only it has."""


def runs_of(bridge: TransformerBridge, path: str, *, same: bool = False) -> Runs:
    """Clean and corrupted runs, equal where `same`, with everything kept that the model has."""
    engine = Engine.of(bridge) if path == "fast" else HookEngine.of(bridge)
    clean, source = some_tokens(batch=BATCH, pos=POS), some_tokens(batch=BATCH, pos=POS, seed=1)
    lacking = set() if engine.d_mlp else set(MLP_SITES)
    if bridge.cfg.architecture == "GPTNeoXForCausalLM":
        lacking = {"resid_mid", "mlp_in"}
    sites = [site for site in SITES_KEPT if site not in lacking]
    return Runs.of(engine, clean, corrupted=clean if same else source, keep=sites)


def metric() -> LogitDifference:
    import torch

    return LogitDifference(torch.tensor([3, 4, 5]), torch.tensor([7, 8, 9]), torch.tensor([POS - 1, 3, POS - 1]))


def measured(runs: Runs, *interventions: Intervention) -> Measured:
    return measure(runs, interventions, metric=metric())


def components(runs: Runs) -> list[str]:
    """Every head and every MLP."""
    frame = runs.frame
    heads = [f"{layer}.{head}" for layer, head in product(range(frame.n_layers), range(frame.n_heads))]
    return heads + [f"{layer}.mlp" for layer in range(frame.n_layers) if frame.d_mlp]
