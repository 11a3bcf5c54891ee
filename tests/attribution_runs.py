"""Runs of tiny models in float64, and what attribution is compared with: slopes of exact patching, TransformerLens."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.interventions import SITES, Engine, Runs, measure, patch
from harness.metrics import LogitDifference, MeanLoss
from tests.interventions.bridges import some_tokens, tiny_bridge

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge

    from harness.metrics import Metric

ATTENTION_TARGETS = (
    "0.1", "1.2", "0.1.q", "1.3.q", "0.kv0.k", "1.kv1.v", "0.1.k", "0.0.k", "1.2.v", "0.2.pattern", "1.3.pattern",
    "0.attn", "1.attn", "0.resid_pre", "1.resid_pre", "0.resid_post",
)  # fmt: skip
MLP_TARGETS = ("0.mlp", "1.mlp", "0.mlp_in", "1.mlp_in", "0.resid_mid", "1.resid_mid", "0.neuron5", "1.neuron17")


@cache
def double_bridge(kind: str, **sizes: int) -> TransformerBridge:
    """The tiny bridge in float64, where finite differences are worth something."""
    bridge = tiny_bridge(kind, **sizes)
    bridge.original_model.double()
    return bridge


def corrupted_tokens(tokens: Tensor) -> Tensor:
    """Another token at position 4 of every prompt, and at position 6 of the second."""
    other = tokens.clone()
    other[:, 4] = (other[:, 4] + 3) % 20
    other[1, 6] = (other[1, 6] + 5) % 20
    return other


def some_runs(engine: Engine, *, corrupted: Tensor | None = None) -> Runs:
    """Both passes of three prompts, everything kept."""
    sites = [site for site in SITES if not site.endswith("_by_head")]
    if not engine.d_mlp:
        sites = [site for site in sites if site not in ("resid_mid", "mlp_in", "mlp_post", "mlp_out")]
    other = corrupted_tokens(some_tokens()) if corrupted is None else corrupted
    return Runs.of(engine, some_tokens(), corrupted=other, keep=sites)


def runs_of(kind: str) -> Runs:
    return some_runs(Engine.of(double_bridge(kind)))


def logit_difference() -> LogitDifference:
    import torch

    return LogitDifference(torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6]), torch.tensor([10, 10, 8]))


def loss() -> MeanLoss:
    return MeanLoss(positions_of([5, 7, 9]), some_tokens(seed=7)[:, :3])


def positions_of(positions: list[int]) -> Tensor:
    import torch

    return torch.tensor(positions).expand(3, -1)


def targets_of(runs: Runs) -> tuple[str, ...]:
    return (*ATTENTION_TARGETS, *(MLP_TARGETS if runs.frame.d_mlp else ()))


def exact(runs: Runs, targets: tuple[str, ...], *, metric: Metric, **options: Any) -> NDArray[np.float64]:
    """Effects [target, prompt] of patching each target alone."""
    return measure(runs, [patch(runs, [target], **options) for target in targets], metric=metric).effects


def slopes(runs: Runs, made: Any, *, metric: Metric) -> NDArray[np.float64]:
    """Derivative at zero of the metric under `made(share)`, a list of interventions, from two shares (Richardson)."""
    half, whole = (measure(runs, made(share), metric=metric).effects / share for share in (5e-5, 1e-4))
    return 2 * half - whole


def by_transformer_lens(
    bridge: TransformerBridge, runs: Runs, *, prompt: int, granularity: Any
) -> tuple[dict[str, float], dict[tuple[str, str], float]]:
    """Scores of nodes and edges, summed over positions, under our names."""
    from transformer_lens.tools.analysis.attribution_patching import EdgeAttributionConfig, attribution_patch

    metric, tokens = logit_difference(), (runs.clean.tokens, runs.source().tokens)
    # Their derivative is taken on the run that they call corrupt, and points towards the one that they call clean.
    derivative_at, towards = (each[prompt : prompt + 1] for each in tokens)

    def difference(logits: Tensor) -> Tensor:
        last = logits[0, metric.positions[prompt]]
        return last[metric.correct[prompt]] - last[metric.wrong[prompt]]

    result = attribution_patch(
        bridge, towards, derivative_at, difference, EdgeAttributionConfig(granularity=granularity)
    )

    def name_of(node: Any) -> str:
        return {
            "embed": "embed" if granularity == "edge" else "0.resid_pre",
            "attn_head_out": f"{node.layer}.{node.head}",
            "mlp_out": f"{node.layer}.mlp",
            "mlp_in": f"{node.layer}.mlp",
            "logits": "logits",
        }.get(node.kind, f"{node.layer}.{node.head}.{node.kind[0]}")

    nodes: dict[str, float] = {}
    edges: dict[tuple[str, str], float] = {}
    for node, score in result.node_scores.items():
        nodes[name_of(node)] = nodes.get(name_of(node), 0.0) + score
    for (sender, receiver), score in result.edge_scores.items():
        pair = name_of(sender), name_of(receiver)
        edges[pair] = edges.get(pair, 0.0) + score
    return nodes, edges
