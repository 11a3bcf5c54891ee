"""Path patching (Wang et al. 2023, section 3.1): what senders tell receivers, with all other heads held as they were.

The clean prompts are run with the senders at their corrupted values and every other head's output frozen, so that the
change travels through the residual stream alone; MLPs between are recomputed or frozen too, as the caller says. What
the receivers then read is recorded, and a second pass of the clean prompts takes it, with all the rest recomputed.
TransformerLens' direct path is another quantity: see `edges.py`.

Senders are heads (`5.1`), MLPs (`5.mlp`) and attention layers (`5.attn`); receivers are `7.3.q`, `7.kv1.k`, `7.3.k` (as
one query head sees it), `7.mlp` and `logits`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from harness.errors import InterventionError
from harness.interventions.edits import Edit, Replace
from harness.interventions.engine import Engine
from harness.interventions.intervention import Intervention, ablate
from harness.interventions.replacements import corrupted
from harness.interventions.runs import Runs
from harness.interventions.targets import Target

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

Mlps = Literal["recomputed", "frozen"]
LOGITS = "logits"

_SENDERS = ("z", "attn_out", "mlp_out")
_RECEIVERS = ("q", "k", "v", "k_by_head", "v_by_head", "mlp_in")


def path_patch(
    runs: Runs,
    senders: Collection[str],
    *,
    receivers: Collection[str],
    mlps: Mlps,
    positions: Bool[Tensor, "batch pos"] | None = None,
    name: str | None = None,
) -> Intervention:
    """The receivers take what they read when the senders alone are corrupted.

    Args:
        runs: clean and corrupted passes that kept `z`, `attn_out` and, where there are MLPs, `mlp_out`.
        senders: whose change is followed, together.
        receivers: who takes it.
        mlps: whether MLPs between pass the change on (`recomputed`) or not (`frozen`).
        positions: where the senders are corrupted; everywhere by default.
        name: what the result is called.

    Raises:
        InterventionError: a sender or receiver is none, or no receiver comes after the senders.
    """
    sent = [_sender(name) for name in senders]
    received = [parse_receiver(name) for name in receivers]
    _check(sent, received, n_layers=runs.frame.n_layers)
    named = name or f"{'+'.join(senders)} -> {'+'.join(receivers)}"
    differ = runs.differ(at=positions)
    sources = ablate(runs, sent, by=corrupted(runs), positions=differ).edits
    if not bool(differ.any()):
        return Intervention(named, ())
    if isinstance(runs.engine, Engine):
        edits = _followed(runs.engine, runs, sources, received, mlps=mlps, where=differ)
    else:
        edits = _frozen_through_hooks(runs, sources, received, mlps=mlps)
    return Intervention(named, tuple(edits))


def _followed(
    engine: Engine,
    runs: Runs,
    sources: Sequence[Edit],
    receivers: Sequence[Target | None],
    *,
    mlps: Mlps,
    where: Bool[Tensor, "batch pos"],
) -> Iterator[Edit]:
    """Edits of the receivers. Heads are frozen, so a position sees no other: only those that change are computed."""
    import torch

    where = where.cumsum(dim=1) > 0
    start = int(where.any(dim=0).nonzero()[0])
    first = min(edit.layer for edit in sources)
    last = max(engine.n_layers - 1 if target is None else target.layer for target in receivers)
    with torch.inference_mode():
        stream = runs.clean.resid_at(first)[:, start:]
        for layer in range(first, last + 1):
            block = engine.weights.blocks[layer]
            read = block.norm_attn(stream)
            for target in receivers:
                if target is not None and target.layer == layer and target.site != "mlp_in":
                    yield _taken(runs, target, projected(engine, target, read).unsqueeze(2), start)
            stream = stream + _attention(engine, runs, sources, layer=layer, start=start)
            for target in receivers:
                if target is not None and target.layer == layer and target.site == "mlp_in":
                    yield _taken(runs, target, stream, start)
            if block.mlp is not None and block.norm_mlp is not None:
                written = runs.clean.kept("mlp_out", layer)[:, start:]
                if mlps == "recomputed":
                    written = block.mlp(block.norm_mlp(stream))
                stream = stream + _as_sent(written, sources, layer=layer, site="mlp_out", start=start)
        if None in receivers:
            yield _taken(runs, Target(last, "resid_post"), stream, start)


def _attention(engine: Engine, runs: Runs, sources: Sequence[Edit], *, layer: int, start: int) -> Tensor:
    """What a layer's heads write: as they were, but for the senders."""
    import torch

    written = runs.clean.kept("attn_out", layer)[:, start:]
    if any(edit.layer == layer and edit.site == "z" for edit in sources):
        old = runs.clean.kept("z", layer)[:, start:]
        change = _as_sent(old, sources, layer=layer, site="z", start=start) - old
        written = written + torch.einsum("bphd,hdm->bpm", change, engine.W_O(layer))
    return _as_sent(written, sources, layer=layer, site="attn_out", start=start)


def _as_sent(activation: Tensor, sources: Sequence[Edit], *, layer: int, site: str, start: int) -> Tensor:
    for edit in sources:
        if (edit.layer, edit.site) == (layer, site):
            assert isinstance(edit, Replace), "made by ablate"
            activation = edit.narrowed(slice(None), start).apply(activation)
    return activation


def _taken(runs: Runs, target: Target, suffix: Float[Tensor, "batch suffix ..."], start: int) -> Edit:
    """The receiver takes what was recorded; before `start` it stays as it was."""
    import torch

    value = suffix.new_zeros(suffix.shape[0], runs.frame.pos, *suffix.shape[2:])
    value[:, start:] = suffix
    positions = torch.zeros_like(runs.clean.tokens, dtype=torch.bool)
    positions[:, start:] = True
    parts = None if target.part is None else (target.part,)
    return Replace(target.layer, target.site, value, parts=parts, positions=positions)


def projected(
    engine: Engine, target: Target, read: Float[Tensor, "batch pos d_model"]
) -> Float[Tensor, "batch pos d_head"]:
    """A receiver's q, k or v, given the normalised stream that it reads."""
    from torch.nn.functional import linear

    assert target.part is not None, "q, k and v have parts"
    shared = target.site.endswith("_by_head")
    part = target.part * engine.n_kv_heads // engine.n_heads if shared else target.part
    block = engine.weights.blocks[target.layer]
    projection = {"q": block.q, "k": block.k, "v": block.v}[target.site[0]]
    rows = slice(part * engine.d_head, (part + 1) * engine.d_head)
    return linear(read, projection.weight[rows], None if projection.bias is None else projection.bias[rows])


def _frozen_through_hooks(
    runs: Runs, sources: Sequence[Edit], receivers: Sequence[Target | None], *, mlps: Mlps
) -> Iterator[Edit]:
    """The same by the model's own hooks: heads frozen by edits, receivers read by hooks."""
    sent = {(edit.layer, edit.site): edit for edit in sources}
    held = ("z", "mlp_out") if runs.frame.d_mlp and mlps == "frozen" else ("z",)
    frozen: list[Edit] = []
    for layer in range(runs.frame.n_layers):
        for site in ("z", "attn_out", "mlp_out"):
            edit = sent.get((layer, site))
            if edit is not None:
                frozen.append(Replace(layer, site, edit.apply(runs.clean.kept(site, layer))))
            elif site in held:
                frozen.append(Replace(layer, site, runs.clean.kept(site, layer)))
    keep = {target.site for target in receivers if target is not None} | (
        {"resid_post"} if None in receivers else set()
    )
    unknown = sorted(keep & {"k_by_head", "v_by_head"})
    if unknown:
        raise InterventionError("the slow path cannot patch keys or values for one query head alone; name 'kv' heads.")
    seen = runs.engine.run(runs.clean.tokens, edits=frozen, keep=tuple(keep))
    last = runs.frame.n_layers - 1
    for target in receivers:
        if target is None:
            yield Replace(last, "resid_post", seen.kept("resid_post", last))
        else:
            parts = None if target.part is None else (target.part,)
            yield Replace(target.layer, target.site, seen.kept(target.site, target.layer), parts=parts)


def _sender(written: str) -> Target:
    target = Target.parse(written)
    if target.site not in _SENDERS:
        raise InterventionError(f"{written!r} sends nothing of its own: senders are heads '5.1', '5.attn' and '5.mlp'.")
    return target


def parse_receiver(written: str) -> Target | None:
    """A receiver's target, None for the logits."""
    if written == LOGITS:
        return None
    target = Target.parse(written)
    if target.site == "mlp_out":
        target = Target(target.layer, "mlp_in")
    if target.site not in _RECEIVERS:
        raise InterventionError(
            f"{written!r} receives nothing: receivers are '7.3.q', '7.kv1.k', '7.3.k', '7.kv1.v', '7.mlp' and 'logits'."
        )
    return target


def _check(senders: Sequence[Target], receivers: Sequence[Target | None], *, n_layers: int) -> None:
    if not senders or not receivers:
        raise InterventionError("a path needs at least one sender and one receiver.")
    first = min(_order(target) for target in senders)
    late = [target for target in receivers if target is not None and _order(target) <= first]
    if late:
        raise InterventionError(f"{', '.join(map(str, late))} comes before every sender: no path leads there.")
    for target in (*senders, *(target for target in receivers if target is not None)):
        if target.layer >= n_layers:
            raise InterventionError(f"{target} does not exist, the model has {n_layers} layers.")


def _order(target: Target) -> tuple[int, int]:
    """Where in the model a component reads (receivers) or writes (senders)."""
    places = {"q": 0, "k": 0, "v": 0, "k_by_head": 0, "v_by_head": 0, "z": 1, "attn_out": 1, "mlp_in": 2, "mlp_out": 3}
    return target.layer, places[target.site]
