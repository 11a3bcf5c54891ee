"""Path patching (Wang et al. 2023, section 3.1): what senders tell receivers, with all other heads held as they were.

The clean prompts are run with the senders at their corrupted values and every other head's output frozen, so that the
change travels through the residual stream alone; MLPs between are recomputed or frozen too, as the caller says. What
the receivers then read is recorded, and a second pass of the clean prompts takes it, with all the rest recomputed.
TransformerLens' direct path is another quantity: see `edges.py`.

Senders are heads (`5.1`), MLPs (`5.mlp`) and attention layers (`5.attn`); receivers are `7.3.q`, `7.kv1.k`, `7.3.k` (as
one query head sees it), `7.mlp` and `logits`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from harness.errors import InterventionError, NoPath
from harness.interventions.edits import Edit, Replace
from harness.interventions.engine import Engine
from harness.interventions.intervention import Intervention, ablate
from harness.interventions.replacements import corrupted
from harness.interventions.runs import Runs
from harness.interventions.stacked import ROWS_TIMES_POSITIONS
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
        InterventionError: a sender or receiver is none; NoPath: no receiver comes after the senders.
    """
    sets = {name or f"{'+'.join(senders)} -> {'+'.join(receivers)}": senders}
    return path_patches(runs, sets, receivers=receivers, mlps=mlps, positions=positions)[0]


def path_patches(
    runs: Runs,
    sets: Mapping[str, Collection[str]],
    *,
    receivers: Collection[str],
    mlps: Mlps,
    positions: Bool[Tensor, "batch pos"] | None = None,
) -> list[Intervention]:
    """As `path_patch` for each set of senders on its own, by name; the fast engine follows many of them at once."""
    received = [parse_receiver(name) for name in receivers]
    where = runs.differ(at=positions)
    changed = bool(where.any())
    sources: list[Sequence[Edit]] = []
    for senders in sets.values():
        sent = [_sender(name) for name in senders]
        _check(sent, received, n_layers=runs.frame.n_layers)
        sources.append(ablate(runs, sent, by=corrupted(runs), positions=where).edits)
    if not changed:
        return [Intervention(name, ()) for name in sets]
    if isinstance(runs.engine, Engine):
        start = int(where.any(dim=0).nonzero()[0])
        at_once = max(1, ROWS_TIMES_POSITIONS // (runs.frame.batch * (runs.frame.pos - start)))
        edits: list[list[Edit]] = []
        for first in range(0, len(sources), at_once):
            part = sources[first : first + at_once]
            edits += _followed(runs.engine, runs, part, received, mlps=mlps, start=start)
    else:
        edits = [list(_frozen_through_hooks(runs, each, received, mlps=mlps)) for each in sources]
    return [Intervention(name, tuple(made)) for name, made in zip(sets, edits, strict=True)]


def _followed(
    engine: Engine,
    runs: Runs,
    sources: Sequence[Sequence[Edit]],
    receivers: Sequence[Target | None],
    *,
    mlps: Mlps,
    start: int,
) -> list[list[Edit]]:
    """Edits of the receivers, set by set. Heads are frozen, so a position sees no other: only later ones are computed.

    Sets are rows [set batch suffix d_model] and join the stack in the layer of their first sender.
    """
    import torch

    clean = runs.clean
    last = max(engine.n_layers - 1 if target is None else target.layer for target in receivers)
    first_layers = [min(edit.layer for edit in each) for each in sources]
    made: list[list[Edit]] = [[] for _ in sources]
    joined: list[int] = []

    def receive(value: Tensor, target: Target) -> None:
        for row, number in enumerate(joined):
            made[number].append(_taken(runs, target, value[row], start))

    with torch.inference_mode():
        stream = clean.resid.new_empty(0, runs.frame.batch, runs.frame.pos - start, engine.d_model)
        for layer in range(min(first_layers), last + 1):
            new = [number for number, first in enumerate(first_layers) if first == layer]
            stream = torch.cat((stream, clean.resid_at(layer)[:, start:].expand(len(new), -1, -1, -1)))
            joined += new
            here = [(row, sources[number]) for row, number in enumerate(joined)]
            block = engine.weights.blocks[layer]
            read = block.norm_attn(stream)
            for target in receivers:
                if target is not None and target.layer == layer and target.site != "mlp_in":
                    receive(projected(engine, target, read).unsqueeze(-2), target)
            stream = stream + clean.kept("attn_out", layer)[:, start:]
            for row, edits in here:
                stream[row] += _attention_change(engine, runs, edits, layer=layer, start=start)
            for target in receivers:
                if target is not None and target.layer == layer and target.site == "mlp_in":
                    receive(stream, target)
            if block.mlp is not None and block.norm_mlp is not None:
                kept = clean.kept("mlp_out", layer)[:, start:]
                written = block.mlp(block.norm_mlp(stream)) if mlps == "recomputed" else kept.repeat(len(here), 1, 1, 1)
                for row, edits in here:
                    written[row] = _as_sent(written[row], edits, layer=layer, site="mlp_out", start=start)
                stream = stream + written
        if None in receivers:
            receive(stream, Target(last, "resid_post"))
    return made


def _attention_change(engine: Engine, runs: Runs, sources: Sequence[Edit], *, layer: int, start: int) -> Tensor | float:
    """What the senders among a layer's heads write beyond what they wrote."""
    import torch

    change: Tensor | float = 0.0
    if any(edit.layer == layer and edit.site == "z" for edit in sources):
        old = runs.clean.kept("z", layer)[:, start:]
        difference = _as_sent(old, sources, layer=layer, site="z", start=start) - old
        change = torch.einsum("bphd,hdm->bpm", difference, engine.W_O(layer))
    if any(edit.layer == layer and edit.site == "attn_out" for edit in sources):
        old = runs.clean.kept("attn_out", layer)[:, start:]
        change = _as_sent(old, sources, layer=layer, site="attn_out", start=start) - old
    return change


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
        raise NoPath(f"{', '.join(map(str, late))} comes before every sender: no path leads there.")
    for target in (*senders, *(target for target in receivers if target is not None)):
        if target.layer >= n_layers:
            raise InterventionError(f"{target} does not exist, the model has {n_layers} layers.")


def _order(target: Target) -> tuple[int, int]:
    """Where in the model a component reads (receivers) or writes (senders)."""
    places = {"q": 0, "k": 0, "v": 0, "k_by_head": 0, "v_by_head": 0, "z": 1, "attn_out": 1, "mlp_in": 2, "mlp_out": 3}
    return target.layer, places[target.site]
