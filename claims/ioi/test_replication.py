"""The engine against published numbers: GPT-2 small on the eight prompts of TransformerLens' public notebook.

These claims say that two programs compute the same; they are no evidence for a mechanism. Nothing is sampled: the
prompts are the notebook's own, and each number is the published one to a thousandth or it is not. Numbers stand in
`demos/Exploratory_Analysis_Demo.ipynb` at commit 52c42edd, in the cells named below, where no other file is.

The faithfulness of the whole circuit (0.859 in the authors' saved data) is not among them: it was measured on the
paper's own hundred prompts, with means over its own templates, and those are not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from claims.ioi.measurements import behaviour, describe, has_bos, logit_difference
from fixtures.prompts.ioi import IoiPrompts, notebook_prompts
from harness.claim import Margin, Metric, claim
from harness.effects import effects_over, mask
from harness.interventions import Engine, Intervention, Replace, Run, Runs, patch
from harness.subjects import parse_head
from harness.values import UnitValues, unit_values

if TYPE_CHECKING:
    from torch import Tensor

    from harness.claim import Evidence
    from harness.models.model import Model

TOLERANCE = 0.001
WHY = "published to three decimals; two engines, two years apart, agree to 2.5e-6 on these prompts"
DISTANCE = "distance to the published number"
LOGITS = Metric("logit difference, IO minus S", unit="logits")
RESTORED = Metric("share of the logit difference that a patch restores", unit="share")
ABLATED = "9.9"

SAME_NUMBERS: dict[str, Any] = {
    "paper": "wang2023",
    "sesoi": TOLERANCE,
    "sesoi_reason": WHY,
    "alternative": "greater",
    "controls": (),
    "rival": "none: this tests the engine, not the mechanism",
    "exposed_by": "the published number",
    "units": None,  # nothing is sampled: the prompts are the notebook's own
    "tier": "replication",
    "models": ("gpt2-small",),
}


def within(unit: str) -> tuple[Margin, ...]:
    """The one margin of these claims, in the metric's unit."""
    return (Margin(DISTANCE, unit=unit, at_least=-TOLERANCE, at_most=TOLERANCE, reason=WHY),)


@claim(
    id="ioi.published-logit-differences",
    statement="GPT-2 small's logit differences on the notebook's prompts are the published ones.",
    metric=LOGITS,
    margins=within("logits"),
    method=(
        "Logit of IO minus that of S after the last token of each of the notebook's eight prompts, their mean, and "
        "the mean where the subject is swapped (S2 names IO)."
    ),
    **SAME_NUMBERS,
)
def test_logit_differences_are_the_published_ones(model, evidence):
    prompts = notebook(model, evidence)
    # Cell 28; the mean with the subject swapped is that of the corrupted prompts.
    by_prompt = (3.337, 3.202, 2.709, 3.797, 1.720, 5.281, 2.601, 5.767)
    published = {f"prompt {number}": value for number, value in enumerate(by_prompt, 1)}
    published |= {"mean": 3.552, "mean, subject swapped": -3.552}
    clean, swapped = behaviour(model, prompts).values[0], behaviour(model, prompts.corrupted("subject swapped")).values
    compare(evidence, [*clean, clean.mean(), swapped.mean()], published)


@claim(
    id="ioi.published-direct-attribution",
    statement="What GPT-2 small's heads and layers write into the logit difference is what was published.",
    metric=LOGITS,
    margins=within("logits"),
    method=(
        "What each head or layer adds to the residual stream at the last token, divided by the final norm's scale on "
        "that prompt and projected on the unembedding of IO minus that of S; the mean over eight prompts. Nothing is "
        "changed."
    ),
    **SAME_NUMBERS,
)
def test_direct_attributions_are_the_published_ones(model, evidence):
    prompts = notebook(model, evidence)
    published = {
        # Cell 47, heads.
        "9.9": 2.985, "10.7": -1.899, "9.6": 1.385, "11.10": -0.970, "10.0": 0.561, "10.10": 0.480, "11.2": -0.388,
        "8.10": 0.290, "10.6": 0.288, "7.9": 0.183, "10.1": 0.171, "7.3": 0.135,
        # Cell 44, layers.
        "7.attn": 0.280, "8.attn": 0.199, "9.attn": 4.565, "10.attn": -0.412, "11.attn": -1.442,
        "9.mlp": 0.117, "10.mlp": 0.156, "11.mlp": 0.106,
    }  # fmt: skip
    compare(evidence, attributions(model, prompts), published)


@claim(
    id="ioi.published-patching",
    statement="What patching GPT-2 small's heads restores of the logit difference is what was published.",
    metric=RESTORED,
    margins=within("share"),
    method=(
        "On prompts with the subject swapped (S2 names IO), one head's output, values, attention pattern or queries "
        "take at all positions what they are on the clean prompts. 0 is the mean logit difference of the swapped "
        "prompts, 1 that of the clean ones."
    ),
    **SAME_NUMBERS,
)
def test_patching_heads_restores_what_was_published(model, evidence):
    prompts = notebook(model, evidence)
    published = {
        # Cell 75, outputs of heads.
        "10.7": -0.480, "5.5": 0.344, "8.6": 0.319, "11.10": -0.278, "8.10": 0.278, "9.9": 0.264, "7.9": 0.192,
        "6.9": 0.130, "7.3": 0.124, "3.0": 0.116, "11.2": -0.114, "10.0": 0.084, "10.10": 0.061,
        # Cell 81, values.
        "8.6.v": 0.317, "8.10.v": 0.273, "7.9.v": 0.208, "7.3.v": 0.133,
        # Cell 86, patterns.
        "10.7.pattern": -0.505, "5.5.pattern": 0.344, "11.10.pattern": -0.321, "9.9.pattern": 0.277,
        "6.9.pattern": 0.130, "3.0.pattern": 0.115,
        # demos/Activation_Patching_in_TL_Demo.ipynb, cell 30, queries.
        "10.7.q": -0.513, "5.5.q": 0.344, "11.10.q": -0.337, "9.9.q": 0.279,
    }  # fmt: skip
    compare(evidence, restored(model, prompts, {target: (target, None) for target in published}), published)


@claim(
    id="ioi.published-layer-patching",
    statement="What patching GPT-2 small's layers, position by position, restores is what was published.",
    metric=RESTORED,
    margins=within("share"),
    method=(
        "On prompts with the subject swapped (S2 names IO), the residual stream before a layer, or the output of its "
        "attention or MLP, takes at one position what it is on the clean prompts. 0 is the mean logit difference of "
        "the swapped prompts, 1 that of the clean ones."
    ),
    **SAME_NUMBERS,
)
def test_patching_layers_restores_what_was_published(model, evidence):
    prompts = notebook(model, evidence)
    published = {
        # Cell 64, the residual stream.
        ("7.resid_pre", "s2"): 0.923, ("8.resid_pre", "s2"): 0.657, ("8.resid_pre", "end"): 0.319,
        ("9.resid_pre", "end"): 0.938, ("10.resid_pre", "end"): 1.005,
        # Cell 69, attention layers.
        ("8.attn", "end"): 0.570, ("11.attn", "end"): -0.406, ("5.attn", "s2"): 0.352, ("7.attn", "end"): 0.298,
        ("9.attn", "end"): 0.272, ("10.attn", "end"): -0.193, ("3.attn", "s2"): 0.155, ("6.attn", "s2"): 0.120,
        # Cell 71, MLPs.
        ("0.mlp", "s2"): 0.851, ("5.mlp", "s2"): 0.097,
    }  # fmt: skip
    named = {f"{target} at {at}": (target, at) for target, at in published}
    compare(evidence, restored(model, prompts, named), dict(zip(named, published.values(), strict=True)))


@claim(
    id="ioi.published-backup",
    statement="Without head 9.9 at the last token later heads of GPT-2 small write what was published.",
    metric=LOGITS,
    margins=within("logits"),
    method=(
        f"Head {ABLATED} is zero-ablated at the last token, its value bias kept. What later heads add there is "
        "divided by the final norm's scale in that pass and projected on the unembedding of IO minus that of S; the "
        "mean over eight prompts."
    ),
    **SAME_NUMBERS,
)
def test_other_heads_make_up_for_an_ablated_one_as_published(model, evidence):
    prompts = notebook(model, evidence)
    # Cell 107, with the final norm's scale of the ablated pass.
    published = {"10.7": -0.711, "10.10": 1.229, "10.0": 0.860, "10.2": 0.163}
    ablated = attributions(model, prompts, without=ABLATED)
    left = ablated.of(["logit difference"]).mean()[0]
    evidence.note(f"The logit difference falls to {left:.2f}; cell 105 has 2.92, to two decimals.")
    compare(evidence, ablated, published)


def notebook(model: Model, evidence: Evidence) -> IoiPrompts:
    """The notebook's prompts, described in the record."""
    prompts = notebook_prompts(model, bos=has_bos(model))
    describe(evidence, prompts)
    return prompts


def compare(evidence: Evidence, found: UnitValues | Sequence[float], published: Mapping[str, float]) -> None:
    """Fill and decide a replication: numbers found, and their distance to the published ones."""
    names = tuple(published)
    if isinstance(found, UnitValues):
        values = found.of(names)
    else:
        values = unit_values(np.reshape(found, (-1, 1)), components=names, units=("the notebook's prompts",))
    expected = np.array([published[name] for name in names])
    distance = UnitValues(values.values - expected[:, None], names, values.units, values.clusters)
    evidence.treated(values)
    evidence.margin(DISTANCE, distance)
    rows = [[name, f"{published[name]:.3f}", f"{value:.4f}"] for name, value in zip(names, values.mean(), strict=True)]
    evidence.table("Published and found", columns=["what", "published", "found"], rows=rows)
    caption = "On the notebook's prompts; the published numbers stand in the table."
    unit = evidence.claim.metric.unit
    evidence.picture("bars", "Found", caption=caption, unit=unit, labels=names, values=values.mean())
    evidence.decide()


def attributions(model: Model, prompts: IoiPrompts, *, without: str | None = None) -> UnitValues:
    """Direct logit attribution at the last token of heads `9.9`, and of layers `9.attn`, `9.mlp`.

    What a component writes, divided by the final norm's scale on this prompt and read along IO's unembedding minus S's:
    [component, prompt] in logits. The row `logit difference` is the model's. `without` names a head whose z is zero at
    the last token.
    """
    engine = Engine.of(model)
    found: dict[str, NDArray[np.float64]] = {}
    for index, batch in prompts.batches():
        edits = () if without is None else (zeroed(engine, batch, head=without),)
        run = engine.run(batch.tensor(), edits=edits, keep=("z", "attn_out", "mlp_out"))
        for name, values in _attributed(engine, run, batch).items():
            found.setdefault(name, np.zeros(len(prompts)))[index] = values.double().cpu().numpy()
    return UnitValues(np.stack(list(found.values())), tuple(found), prompts.units, prompts.templates)


def zeroed(engine: Engine, batch: IoiPrompts, *, head: str) -> Replace:
    """The edit that takes a head's z away at the last token, but for what its value bias adds on every prompt."""
    layer, number = parse_head(head)
    runs = Runs.of(engine, batch.tensor())
    bias = value_bias(engine, layer)[number]
    return Replace.z(
        layer, number, bias.expand(*runs.clean.tokens.shape, -1), positions=mask(batch.positions.end, runs)
    )


def restored(model: Model, prompts: IoiPrompts, targets: Mapping[str, tuple[str, str | None]]) -> UnitValues:
    """The share of the logit difference that each clean activation restores where the subject is swapped.

    [target, prompt]: 0 is the swapped prompts' mean, 1 the clean ones'. A target is (`8.6.v`, position or None).
    """

    def make(runs: Runs, batch: IoiPrompts) -> list[Intervention]:
        places = {at: mask(getattr(batch.positions, at), runs) for _, at in targets.values() if at is not None}
        return [
            patch(runs, [target], positions=None if at is None else places[at], name=name)
            for name, (target, at) in targets.items()
        ]

    swapped = prompts.corrupted("subject swapped")
    keep = ("z", "v", "q", "pattern", "attn_out", "mlp_out", "resid_pre")
    found = effects_over(model, swapped, corrupted=prompts, make=make, metric=logit_difference, keep=keep)
    whole = behaviour(model, prompts).mean()[0] - found.clean.mean()
    return UnitValues((found.values - found.clean) / whole, found.names, found.units, found.clusters)


def _attributed(engine: Engine, run: Run, batch: IoiPrompts) -> dict[str, Tensor]:
    """By component the attribution of every prompt of a batch."""
    import torch

    rows = torch.arange(len(batch))
    io, s, end = (torch.from_numpy(np.ascontiguousarray(each)) for each in (batch.io, batch.s, batch.positions.end))
    towards = (engine.W_U[:, io] - engine.W_U[:, s]).t()  # [prompt d_model]
    bias = engine.b_U[io] - engine.b_U[s]
    # The final LayerNorm takes the mean out of what is written, which is to read along a direction without its mean.
    towards = (towards - towards.mean(dim=1, keepdim=True)) / engine.final_scale(run)[rows, end, None]
    found = {"logit difference": (run.resid[rows, end] * towards).sum(dim=1) + bias}
    for layer in range(engine.n_layers):
        z = run.z[layer][rows, end] - value_bias(engine, layer)
        by_head = torch.einsum("phe,hed,pd->hp", z, engine.W_O(layer), towards)
        found |= {f"{layer}.{head}": values for head, values in enumerate(by_head)}
        found[f"{layer}.attn"] = (run.attn_out[layer][rows, end] * towards).sum(dim=1)
        found[f"{layer}.mlp"] = (run.mlp_out[layer][rows, end] * towards).sum(dim=1)
    return found


def value_bias(engine: Engine, layer: int) -> Tensor:
    """[head d_head]: what a head's value bias adds to its z whatever it attends to; attention sums to one.

    The notebook's model had it folded into the layer's output bias, so that it belongs to no head.
    """
    linear = engine.weights.blocks[layer].v
    if linear.bias is None:
        return linear.weight.new_zeros(engine.n_heads, engine.d_head)
    return linear.bias.view(engine.n_kv_heads, -1).repeat_interleave(engine.n_heads // engine.n_kv_heads, dim=0)
