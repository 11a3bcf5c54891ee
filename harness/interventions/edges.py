"""Edge patching: a receiver reads the residual stream with some senders' contributions replaced by corrupted ones.

Everything downstream is recomputed; this is what TransformerLens calls the direct path. Of a set of edges each receiver
subtracts what its senders write *in this pass* (which earlier edges may have changed) and adds what they write on the
corrupted prompts, as edge-level circuits are defined (Conmy et al. 2023). Path patching freezes all other heads
instead: see `paths.py`.

Senders are heads (`3.1`), MLPs (`3.mlp`) and the embedding (`embed`); receivers `5.2.q`, `5.kv1.k`, `5.2.k` (keys as
one query head sees them), `6.mlp` and `logits`. Only the fast engine has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from harness.errors import InterventionError
from harness.interventions.edits import Seen
from harness.interventions.engine import Engine
from harness.interventions.intervention import Intervention
from harness.interventions.paths import parse_receiver, projected
from harness.interventions.run import Run
from harness.interventions.runs import Runs
from harness.interventions.sites import Frame
from harness.interventions.targets import Target

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

EMBED = "embed"


@dataclass(frozen=True)
class Edge:
    """One arrow of the model's graph, from what writes to what reads: `Edge("3.1", "5.2.q")`."""

    sender: str
    receiver: str

    def __str__(self) -> str:
        return f"{self.sender} -> {self.receiver}"


def edge_patch(
    runs: Runs,
    edges: Iterable[Edge],
    *,
    positions: Bool[Tensor, "batch pos"] | None = None,
    name: str | None = None,
) -> Intervention:
    """The edges carry what their senders write on the corrupted prompts; all else is recomputed.

    Args:
        runs: clean and corrupted passes that kept `z`, for MLP senders `mlp_out`, for the embedding `resid_pre`.
        edges: the edges, together.
        positions: where the receivers read the corrupted contributions; everywhere by default.
        name: what the result is called.

    Raises:
        InterventionError: an edge leads nowhere or stands twice, or the engine is the slow one.
    """
    chosen = list(edges)
    if not isinstance(runs.engine, Engine):
        raise InterventionError(f"edges of {runs.engine.architecture} cannot be patched: only the fast engine can.")
    if not chosen or len(set(chosen)) < len(chosen):
        raise InterventionError("name at least one edge, and each of them once.")
    differ = runs.differ(at=positions)
    by_receiver: dict[str, list[Sender]] = {}
    for edge in chosen:
        by_receiver.setdefault(edge.receiver, []).append(Sender.of(runs, edge))
    received = [
        Receive(runs.engine, runs.clean, parse_receiver(receiver) or _logits(runs), tuple(senders), differ)
        for receiver, senders in by_receiver.items()
    ]
    return Intervention(name or ", ".join(map(str, chosen)), tuple(received))


@dataclass(frozen=True, eq=False)
class Sender:
    """A sender with what it wrote on the clean and on the corrupted prompts, before W_O where it is a head."""

    layer: int
    site: str
    head: int | None
    clean: Float[Tensor, "batch pos n"] = field(repr=False)
    corrupted: Float[Tensor, "batch pos n"] = field(repr=False)

    @classmethod
    def of(cls, runs: Runs, edge: Edge) -> Sender:
        """The edge's sender; InterventionError where it is none or does not come before the receiver."""
        other = runs.source()
        if edge.sender == EMBED:
            return cls(0, "resid_pre", None, runs.clean.resid_at(0), other.kept("resid_pre", 0))
        target = Target.parse(edge.sender)
        if target.site not in ("z", "mlp_out"):
            raise InterventionError(f"{edge}: senders are heads '3.1', MLPs '3.mlp' and 'embed'.")
        receiver = parse_receiver(edge.receiver)
        if receiver is not None and not _before(target, receiver):
            raise InterventionError(f"{edge}: the receiver does not come after the sender.")
        clean, corrupted = (run.kept(target.site, target.layer) for run in (runs.clean, other))
        if target.part is None:
            return cls(target.layer, "mlp_out", None, clean, corrupted)
        if target.part >= runs.frame.n_heads:
            raise InterventionError(f"{edge}: the model has {runs.frame.n_heads} heads in a layer.")
        return cls(target.layer, "z", target.part, clean[:, :, target.part], corrupted[:, :, target.part])

    def change(self, engine: Engine, seen: Seen) -> Float[Tensor, "batch pos d_model"]:
        """Corrupted contribution minus that of this pass, or of the clean one where this pass is the same so far."""
        now = seen(self.site, self.layer)
        if now is not None and self.head is not None:
            now = now[:, :, self.head]
        change = self.corrupted - (self.clean if now is None or self.site == "resid_pre" else now)
        return change if self.head is None else change @ engine.W_O(self.layer)[self.head]

    def narrowed(self, prompts: slice, start: int) -> Sender:
        """The same for these prompts and the positions from `start` on."""
        return replace(self, clean=self.clean[prompts, start:], corrupted=self.corrupted[prompts, start:])


@dataclass(frozen=True, eq=False)
class Receive:
    """An edit: one receiver reads the stream with its senders' contributions exchanged."""

    engine: Engine = field(repr=False)
    clean: Run = field(repr=False)
    target: Target
    senders: tuple[Sender, ...]
    positions: Bool[Tensor, "batch pos"] = field(repr=False)

    @property
    def layer(self) -> int:
        """The receiver's layer."""
        return self.target.layer

    @property
    def site(self) -> str:
        """What of the receiver is changed."""
        return self.target.site

    @property
    def needs(self) -> frozenset[tuple[str, int]]:
        """What has to be seen of this pass: the stream, and what the senders write."""
        sent = {(sender.site, sender.layer) for sender in self.senders if sender.site != "resid_pre"}
        return frozenset({*sent, ("resid_pre", self.layer)})

    def targets(self, frame: Frame) -> frozenset[str]:
        """The receiver, as its query heads see it."""
        if self.target.part is None:
            return frozenset({f"{self.site} of layer {self.layer}"})
        heads = frame.heads_of(self.target.part) if self.site in ("k", "v") else [self.target.part]
        return frozenset(f"{self.site[0]} of head {self.layer}.{head}" for head in heads)

    def check(self, frame: Frame) -> None:
        """Raise InterventionError unless the receiver exists."""
        if self.target.part is not None:
            frame.require_index("kv_head" if self.site in ("k", "v") else "head", self.target.part, edit=self)

    def apply(self, activation: Tensor) -> Tensor:
        """Never called: what is received depends on the pass."""
        raise AssertionError("Receive is applied with apply_seen")

    def apply_seen(self, activation: Tensor, seen: Seen) -> Tensor:
        """The activation with the receiver's part made from the exchanged stream, at the positions."""
        delta = sum((sender.change(self.engine, seen) for sender in self.senders[1:]),
                    start=self.senders[0].change(self.engine, seen))  # fmt: skip
        where = self.positions.unsqueeze(-1)
        if self.target.part is None:
            return activation + delta * where
        stream = seen("resid_pre", self.layer)
        assert stream is not None, "a receiver's own layer is in every pass that edits it"
        read = self.engine.weights.blocks[self.layer].norm_attn(stream + delta)
        edited = activation.clone()
        old = activation[:, :, self.target.part]
        edited[:, :, self.target.part] = projected(self.engine, self.target, read).where(where, old)
        return edited

    def first_position(self) -> int:
        """The first position at which any prompt's receiver reads something else."""
        somewhere = self.positions.any(dim=0).nonzero()
        return int(somewhere[0]) if len(somewhere) else int(self.positions.shape[1])

    def narrowed(self, prompts: slice, start: int) -> Receive:
        """The same edit for these prompts and the positions from `start` on."""
        senders = tuple(sender.narrowed(prompts, start) for sender in self.senders)
        return replace(self, senders=senders, positions=self.positions[prompts, start:])


def all_edges(senders: Sequence[str], receivers: Sequence[str]) -> list[Edge]:
    """Every edge from one of the senders to one of the receivers that comes after it."""
    found = []
    for sender in senders:
        for receiver in receivers:
            target = parse_receiver(receiver)
            if sender == EMBED or target is None or _before(Target.parse(sender), target):
                found.append(Edge(sender, receiver))
    return found


def _before(sender: Target, receiver: Target) -> bool:
    if receiver.site == "mlp_in":
        return (sender.layer, sender.site == "mlp_out") <= (receiver.layer, False)
    return sender.layer < receiver.layer


def _logits(runs: Runs) -> Target:
    return Target(runs.frame.n_layers - 1, "resid_post")
