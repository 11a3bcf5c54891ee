"""Edge attribution patching: what each edge of the model's graph would do if it alone carried corrupted activations.

The score of an edge is the change of what its sender writes into the residual stream, times the derivative of the
metric by the stream as its receiver alone reads it, before the receiver's norm (EAP, Syed et al. 2023; EAP-IG, Hanna et
al. 2024, with the methods of `harness.attribution`). The scores of all edges of a sender add up to the sender's own.
It ranks; nothing decides on it.

Under grouped queries `5.kv1.k` reads for all query heads of the key-value head, `5.2.k` for the query head 2 alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from harness.attribution import STEPS, Attribution, Method, Place, Point, embedded, finished, points
from harness.errors import InterventionError
from harness.interventions import Engine, Frame, Runs, Target
from harness.interventions.paths import parse_receiver
from harness.interventions.sites import part_kind

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float
    from numpy.typing import NDArray
    from torch import Tensor

    from harness.metrics import Metric

EMBED = "embed"

_T = TypeVar("_T", bound=Hashable)


def edge_attribution(
    runs: Runs,
    edges: Sequence[tuple[str, str]],
    *,
    metric: Metric,
    method: Method = "gradient",
    steps: int = STEPS,
    positions: Bool[Tensor, "batch pos"] | None = None,
    memory_budget: int | None = None,
) -> Attribution:
    """The estimated effect of patching each edge, on its own, with all that follows recomputed.

    Args:
        runs: clean and corrupted passes that kept the senders' sites: `z` of heads, `mlp_out` of MLPs.
        edges: sender and receiver. Senders are `3.1`, `3.mlp` and `embed`; receivers `5.2.q`, `5.kv0.k`, `5.2.k` (and
            `v`), `6.mlp` and `logits`.
        metric: what is estimated; it must have a derivative.
        method: see `harness.attribution`.
        steps: passes of integrated gradients.
        positions: where the receivers read the corrupted contributions; None for everywhere.
        memory_budget: bytes beyond the loaded model and the kept passes (default: what was declared); cuts the batch.

    Raises:
        InterventionError: an edge leads nowhere or stands twice, the metric does not fit, or the engine is slow.
    """
    import numpy as np

    frame, where = runs.frame, runs.differ(at=positions)
    graph = _Graph.of(edges, frame=frame)
    scores = np.zeros((len(edges), frame.batch))
    sent, sent_for = None, None
    for point in points(
        runs, graph.places(), metric=metric, method=method, steps=steps, memory_budget=memory_budget,
        more_bytes=graph.bytes_per_prompt(frame),
    ):  # fmt: skip
        if sent is None or sent_for != point.prompts:
            sent, sent_for = _sent(runs, graph.senders, where=where, prompts=point.prompts), point.prompts
        for place, group in graph.groups.items():
            scores[list(group.edges), point.prompts] += point.share * _linear_effects(runs, place, group, point, sent)
    return finished([f"{sender} -> {receiver}" for sender, receiver in edges], scores, method=method)


@dataclass(frozen=True)
class _Group:
    """Receivers that read the stream at one place, and the edges that lead to them.

    Edge number `edges[i]` leads from sender number `senders[i]` of the graph to receiver number `to[i]` of the group.
    """

    receivers: tuple[Target, ...]
    edges: tuple[int, ...]
    senders: tuple[int, ...]
    to: tuple[int, ...]


@dataclass(frozen=True)
class _Graph:
    """The edges by the places where their receivers read; a sender of None is the embedding."""

    senders: tuple[Target | None, ...]
    groups: Mapping[Place, _Group]

    @classmethod
    def of(cls, edges: Sequence[tuple[str, str]], *, frame: Frame) -> _Graph:
        """The graph of checked edges."""
        if not edges or len(set(edges)) < len(edges):
            raise InterventionError("name at least one edge, and each of them once.")
        parsed = [_parsed(sender, receiver, frame=frame) for sender, receiver in edges]
        senders = _numbered(sender for sender, _ in parsed)
        by_place: dict[Place, list[int]] = {}
        for number, (_, receiver) in enumerate(parsed):
            by_place.setdefault(_read_at(receiver), []).append(number)
        groups = {}
        for place, numbers in by_place.items():
            receivers = _numbered(parsed[number][1] for number in numbers)
            groups[place] = _Group(
                tuple(receivers),
                edges=tuple(numbers),
                senders=tuple(senders[parsed[number][0]] for number in numbers),
                to=tuple(receivers[parsed[number][1]] for number in numbers),
            )
        return cls(tuple(senders), groups)

    def places(self) -> list[Place]:
        """Where activations and derivatives are needed: what the receivers compute first, and the stream before."""
        computed = {(target.layer, target.site) for group in self.groups.values() for target in group.receivers}
        return sorted({*self.groups, *computed})

    def bytes_per_prompt(self, frame: Frame) -> int:
        """What senders and the widest group of receivers take beside the passes, for one prompt."""
        streams = len(self.senders) + 4 * max(len(group.receivers) for group in self.groups.values())
        return streams * frame.pos * frame.d_model * (8 if frame.dtype.endswith("64") else 4)


def _numbered(things: Iterable[_T]) -> dict[_T, int]:
    """Different things in the order in which they come, with their numbers."""
    return {thing: number for number, thing in enumerate(dict.fromkeys(things))}


def _parsed(sender: str, receiver: str, *, frame: Frame) -> tuple[Target | None, Target]:
    written = f"{sender} -> {receiver}"
    sends = None if sender == EMBED else Target.parse(sender)
    reads = parse_receiver(receiver) or Target(frame.n_layers - 1, "resid_post")
    if sends is not None and sends.site not in ("z", "mlp_out"):
        raise InterventionError(f"{written}: senders are heads '3.1', MLPs '3.mlp' and 'embed'.")
    for target in filter(None, (sends, reads)):
        frame.require_index("layer", target.layer, edit=target)
        frame.require_site(target.site, edit=target)
        kind = part_kind(target.site)
        if kind is not None and target.part is not None:
            frame.require_index(kind, target.part, edit=target)
    if sends is not None and not _order(sends) < _order(reads):
        raise InterventionError(f"{written}: the receiver does not come after the sender.")
    return sends, reads


def _order(target: Target) -> tuple[int, int]:
    """Where in the model a sender writes or a receiver reads."""
    return target.layer, {"z": 1, "mlp_in": 2, "mlp_out": 3, "resid_post": 4}.get(target.site, 0)


def _read_at(receiver: Target) -> Place:
    """The stream that a receiver reads; its queries, keys and values read the one that enters the layer."""
    return receiver.layer, receiver.site if receiver.part is None else "resid_pre"


def _sent(
    runs: Runs, senders: Sequence[Target | None], *, where: Tensor, prompts: slice
) -> Float[Tensor, "prompt sender pos d_model"]:
    """What each sender writes on the corrupted prompts minus what it writes on the clean ones."""
    import torch

    engine, both = runs.engine, (runs.clean, runs.source())
    assert isinstance(engine, Engine), "points has looked"
    changes = []
    with torch.inference_mode():
        for sender in senders:
            if sender is None:
                clean, corrupted = (embedded(engine, run)[prompts] for run in both)
            else:
                clean, corrupted = (run.kept(sender.site, sender.layer)[prompts] for run in both)
            change = corrupted - clean
            if sender is not None and sender.part is not None:
                change = change[:, :, sender.part] @ engine.W_O(sender.layer)[sender.part]
            changes.append(change * where[prompts].unsqueeze(-1))
        return torch.stack(changes, dim=1)


def _linear_effects(runs: Runs, place: Place, group: _Group, point: Point, sent: Tensor) -> NDArray[np.float64]:
    """[edge, prompt] of the edges of one group."""
    import torch

    assert isinstance(runs.engine, Engine), "points has looked"
    if place[1] == "resid_pre":
        gradients = _by_attention_input(runs.engine, place, group.receivers, point)
    else:
        gradients = point.gradients[place].unsqueeze(1)  # the MLP, or the logits: one receiver
    with torch.inference_mode():
        products = sent.flatten(2) @ gradients.flatten(2).transpose(1, 2)  # [prompt sender receiver]
        chosen = products[:, list(group.senders), list(group.to)]
    found: NDArray[np.float64] = chosen.t().double().cpu().numpy()
    return found


def _by_attention_input(
    engine: Engine, place: Place, receivers: Sequence[Target], point: Point
) -> Float[Tensor, "prompt receiver pos d_model"]:
    """Derivatives by the stream that a layer's attention reads, for each receiver as if it read alone."""
    import torch

    after_norm = [
        point.gradients[target.layer, target.site][:, :, target.part] @ _projection(engine, target)
        for target in receivers
    ]
    outward = torch.stack(after_norm, dim=1)
    with torch.inference_mode(mode=False), torch.enable_grad():
        stream = point.values[place].unsqueeze(1).expand_as(outward).clone().requires_grad_()
        normed = engine.weights.blocks[place[0]].norm_attn(stream)
        return torch.autograd.grad(normed, stream, outward)[0]


def _projection(engine: Engine, target: Target) -> Float[Tensor, "d_head d_model"]:
    """The rows of W_Q, W_K or W_V that make a receiver's vector."""
    assert target.part is not None, "queries, keys and values have parts"
    block = engine.weights.blocks[target.layer]
    weight = {"q": block.q, "k": block.k, "v": block.v}[target.site[0]].weight
    part = target.part * engine.n_kv_heads // engine.n_heads if target.site.endswith("_by_head") else target.part
    return weight[part * engine.d_head : (part + 1) * engine.d_head]
