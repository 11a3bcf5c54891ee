"""Attribution patching: what patching each component would do, estimated for all of them from one backward pass.

The estimate is linear: the change that a patch makes, times the derivative of the metric there. It misses what
saturates (attention that has settled on a token, MLPs, norms) and is poor for residual streams and early MLPs. It
ranks; nothing decides on it: what is claimed of a component is measured with `harness.interventions.measure`, and
`harness.ranking.agreement` says how well a ranking agrees with that.

- `gradient`: the derivative at the clean pass (attribution patching, Nanda 2023; Syed et al. 2023).
- `integrated-gradients`: the derivative averaged over passes between the clean and the corrupted prompts. What is
  interpolated are the input embeddings, and every other activation is recomputed from them (EAP-IG, Hanna et al. 2024,
  there for edges), so that one series of passes serves all targets. At the embeddings it is complete: the score tends
  to the metric's whole change. Inside the model it is not, but it is exact where all that lies after is linear, as the
  plain derivative is too. We take the midpoints of equal parts, where the authors' code takes one end of each.

Edges are in `harness.edge_attribution`. Only architectures of the fast engine are covered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.errors import InterventionError
from harness.interventions import Engine, Frame, Replace, Run, Runs, Target, patch
from harness.interventions import memory_budget as declared_budget
from harness.interventions.edits import check_edits
from harness.interventions.forward import ForwardPass, Member
from harness.interventions.readout import StreamReadout
from harness.interventions.sites import part_axis
from harness.interventions.stacked import bytes_per_prompt

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float
    from numpy.typing import NDArray
    from torch import Tensor

    from harness.metrics import Metric

Method = Literal["gradient", "integrated-gradients"]
Place = tuple[int, str]
"""A layer and a site."""

STEPS = 5
"""Passes of integrated gradients; the error of their sum falls with the square of this number."""

# The forward pass computes these apart from the stream, or from the key-value heads' own, only where an edit is there.
_SEPARATE = ("k_by_head", "v_by_head", "mlp_in")


@dataclass(frozen=True, eq=False)
class Attribution:
    """Estimated effects of patching.

    Attributes:
        names: one per target or edge.
        scores: [target, prompt], the metric under the patch minus the clean one, estimated; in the metric's unit.
        method: how the derivative was taken.
    """

    names: tuple[str, ...]
    scores: NDArray[np.float64]
    method: Method

    def of(self, name: str) -> NDArray[np.float64]:
        """The scores [prompt] of one target; KeyError for a name that is not there."""
        if name not in self.names:
            raise KeyError(f"no target is called {name!r}")
        scores: NDArray[np.float64] = self.scores[self.names.index(name)]
        return scores

    def ranked(self) -> tuple[str, ...]:
        """The names by the absolute value of their mean score, largest first; ties as they were named."""
        order = (-abs(self.scores.mean(axis=1))).argsort(kind="stable")
        return tuple(self.names[row] for row in order)


def attribution(
    runs: Runs,
    targets: Sequence[str | Target],
    *,
    metric: Metric,
    method: Method = "gradient",
    steps: int = STEPS,
    positions: Bool[Tensor, "batch pos"] | None = None,
    memory_budget: int | None = None,
) -> Attribution:
    """The estimated effect of patching each target, on its own, from the corrupted prompts.

    Args:
        runs: clean and corrupted passes that kept the targets' sites, as `patch` needs them.
        targets: heads, queries, keys, values, patterns, outputs, streams, neurons: `["5.1", "5.kv0.k", "7.neuron12"]`.
        metric: what is estimated; it must have a derivative.
        method: see the module.
        steps: passes of integrated gradients.
        positions: where the targets are patched; None for everywhere. The derivative is taken as if for everywhere.
        memory_budget: bytes beyond the loaded model and the kept passes (default: what was declared); cuts the batch.

    Raises:
        InterventionError: a target, the positions or the metric do not fit, or the engine is the slow one.
    """
    import numpy as np

    chosen = [target if isinstance(target, Target) else Target.parse(target) for target in targets]
    frame = runs.frame
    patches = _patches(runs, chosen, positions=positions)
    places = [(each.layer, each.site) for each in patches]
    rows = {target: row for row, target in enumerate(chosen)}
    scores = np.zeros((len(chosen), frame.batch))
    for point in points(runs, places, metric=metric, method=method, steps=steps, memory_budget=memory_budget):
        for each in patches:
            here = [rows[Target(each.layer, each.site, part)] for part in each.parts or (None,)]
            scores[here, point.prompts] += point.share * _linear_effects(runs, each, point)
    return finished([str(target) for target in chosen], scores, method=method)


@dataclass(frozen=True, eq=False)
class Point:
    """One pass, clean or interpolated, of some prompts: activations, and the metric's derivatives by them.

    `share` is its weight in the mean over the passes.
    """

    prompts: slice
    share: float
    values: Mapping[Place, Tensor]
    gradients: Mapping[Place, Tensor]


def points(
    runs: Runs,
    places: Collection[Place],
    *,
    metric: Metric,
    method: Method,
    steps: int,
    memory_budget: int | None,
    more_bytes: int = 0,
) -> Iterator[Point]:
    """The passes of a method, prompts by prompts; `more_bytes` is what the caller needs beside them for a prompt."""
    engine, frame = runs.engine, runs.frame
    if not isinstance(engine, Engine):
        raise InterventionError(
            f"attribution does not cover {engine.architecture}: only what the fast engine covers. TransformerLens' "
            "transformer_lens.tools.analysis.attribution_patching scores heads and MLPs of other architectures."
        )
    if method not in ("gradient", "integrated-gradients"):
        raise InterventionError(f"method {method!r} is neither 'gradient' nor 'integrated-gradients'.")
    if steps < 1:
        raise InterventionError(f"integrated gradients need at least one step, got {steps}.")
    metric.check(batch=frame.batch, pos=frame.pos, d_vocab=engine.d_vocab)
    fractions = [0.0] if method == "gradient" else [(step + 0.5) / steps for step in range(steps)]
    clean, corrupted = (embedded(engine, run) for run in (runs.clean, runs.source()))
    budget = declared_budget() if memory_budget is None else memory_budget
    at_once = max(1, budget // (_graph_bytes(frame) + more_bytes))
    for first in range(0, frame.batch, at_once):
        prompts = slice(first, min(first + at_once, frame.batch))
        for fraction in fractions:
            start = clean[prompts].lerp(corrupted[prompts], fraction)
            values, gradients = _backward(engine, start, places, metric=metric, prompts=prompts)
            yield Point(prompts, 1 / len(fractions), values, gradients)


def embedded(engine: Engine, run: Run) -> Float[Tensor, "batch pos d_model"]:
    """The embeddings of a run's tokens, with their positions where these are learned."""
    return engine.run(run.tokens, stop_at_layer=0).resid


def finished(names: Sequence[str], scores: NDArray[np.float64], *, method: Method) -> Attribution:
    """The record; InterventionError where a score is not finite."""
    import numpy as np

    broken = [name for name, row in zip(names, scores, strict=True) if not np.isfinite(row).all()]
    if broken:
        raise InterventionError(f"the score of {broken[0]!r} ({len(broken)} in all) is not finite.")
    return Attribution(tuple(names), scores, method)


def kept(run: Run, place: Place, *, frame: Frame) -> Tensor:
    """The activation that a run kept at a place; keys and values are repeated for the query heads that share them."""
    layer, site = place
    value = run.kept(site.removesuffix("_by_head"), layer)
    return value.repeat_interleave(frame.n_heads // frame.n_kv_heads, dim=2) if site.endswith("_by_head") else value


@dataclass(frozen=True)
class _Watched:
    """An edit that changes nothing: it makes the forward pass compute its site apart from others."""

    layer: int
    site: str

    def targets(self, frame: Frame) -> frozenset[str]:
        return frozenset()

    def check(self, frame: Frame) -> None:
        pass

    def apply(self, activation: Tensor) -> Tensor:
        return activation


def _patches(runs: Runs, targets: Sequence[Target], *, positions: Tensor | None) -> list[Replace]:
    """The edits that exact patching would make, one per layer and site."""
    frame = runs.frame
    for target in targets:
        frame.require_index("layer", target.layer, edit=target)
        frame.require_site(target.site, edit=target)
        if positions is not None:
            frame.require_tensor(positions, "batch pos", edit=target, dtype="torch.bool")
    patches = []
    for edit in patch(runs, targets, positions=positions).edits:
        # One by one: keys of a key-value head and of one of its readers may both be scored.
        check_edits([edit], frame=frame, restart_layer=0, stop_at_layer=frame.n_layers)
        assert isinstance(edit, Replace), "patch makes no other"
        patches.append(edit)
    return patches


def _linear_effects(runs: Runs, edit: Replace, point: Point) -> NDArray[np.float64]:
    """[part, prompt]: what the edit changes times the derivative, for each of its parts."""
    import torch

    place = (edit.layer, edit.site)
    with torch.inference_mode():
        clean = kept(runs.clean, place, frame=runs.frame)[point.prompts]
        change = edit.narrowed(point.prompts, 0).apply(clean) - clean
        product = change.double() * point.gradients[place].double()
        axis = part_axis(edit.site)
        if axis is None:
            effects = product.flatten(1).sum(dim=1).unsqueeze(0)
        else:
            effects = product.movedim(axis, 0).flatten(2).sum(dim=2)[list(edit.parts or ())]
    return effects.cpu().numpy()


def _graph_bytes(frame: Frame) -> int:
    """Bytes that a pass with derivatives holds for one prompt: in every layer less than four times its widest place."""
    return 4 * frame.n_layers * bytes_per_prompt(frame, start=0)


def _backward(
    engine: Engine, start: Tensor, places: Collection[Place], *, metric: Metric, prompts: slice
) -> tuple[dict[Place, Tensor], dict[Place, Tensor]]:
    """Activations at the places in the pass that begins with `start`, and the metric's derivatives by them.

    The derivative by an activation is asked of autograd directly, so that no parameter gets a `.grad`. Prompts do not
    touch each other: the sum over them has each prompt's own derivative.
    """
    import torch

    keep: dict[str, frozenset[int]] = {}
    for layer, site in places:
        keep[site] = keep.get(site, frozenset()) | {layer}
    watched = [_Watched(layer, site) for layer, site in places if site in _SEPARATE]
    with torch.inference_mode(mode=False), torch.enable_grad():
        resid = start.clone().requires_grad_()  # what runs keep are inference tensors, which autograd does not take
        forward = ForwardPass(engine.weights, members=[Member(slice(0, len(resid)), watched)], keep=keep)
        for layer in range(engine.n_layers):
            resid = forward.block(resid, layer)
            forward.changes.clear()  # nothing was changed, and it would hold a graph of its own
        read = StreamReadout(engine.weights, resid.unsqueeze(0), clean=resid, start=0, prompts=prompts)
        value = metric(read)
        if not value.requires_grad:
            raise InterventionError(
                f"the metric {metric.name!r} has no derivative, so nothing can be attributed to it."
            )
        values = {(layer, site): forward.kept[site][layer] for layer, site in places}
        found = torch.autograd.grad(value.sum(), list(values.values()), allow_unused=True, materialize_grads=True)
    return {place: each.detach() for place, each in values.items()}, dict(zip(values, found, strict=True))
