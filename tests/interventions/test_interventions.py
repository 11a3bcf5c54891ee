"""Interventions change nothing where they should, and everything where they should; many are as each alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from harness.interventions import (
    Engine,
    Intervention,
    Replace,
    Runs,
    Target,
    ablate,
    corrupted,
    keep_only,
    measure,
    patch,
    zero,
)
from harness.metrics import LogitDifference
from tests.interventions.bridges import largest, some_tokens
from tests.interventions.runs import (
    BATCH,
    POS,
    ROUNDING,
    SITES_KEPT,
    components,
    everywhere,
    measured,
    runs_of,
)

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

# Null interventions change nothing.


@everywhere
def test_patches_from_equal_prompts_change_no_bit(bridge: TransformerBridge, path: str) -> None:
    runs = runs_of(bridge, path, same=True)
    found = measured(runs, patch(runs, components(runs)), patch(runs, ["0.resid_pre"]), patch(runs, ["1.2.pattern"]))
    assert (found.values == found.clean).all()
    assert (found.change_norm == 0).all()
    assert (found.clean == found.corrupted).all()


@everywhere
def test_every_activation_replaced_by_itself_changes_nothing(bridge: TransformerBridge, path: str) -> None:
    # Unlike `patch`, `ablate` computes: nothing here knows that the prompts are equal.
    runs = runs_of(bridge, path, same=True)
    each = [
        Intervention(f"{site} {layer}", (Replace(layer, site, getattr(runs.clean, site)[layer]),))
        for site in SITES_KEPT
        for layer in getattr(runs.clean, site)
    ]
    found = measured(runs, *each)
    assert np.abs(found.effects).max() <= ROUNDING
    assert found.change_norm.max() <= ROUNDING
    assert len(each) >= 14


@everywhere
def test_scale_zero_changes_nothing(bridge: TransformerBridge, path: str) -> None:
    runs = runs_of(bridge, path)
    found = measured(runs, ablate(runs, components(runs), by=corrupted(runs), scale=0.0, name="all of it"))
    assert np.abs(found.effects).max() <= ROUNDING
    assert found.change_norm.max() == 0.0


@everywhere
def test_keeping_every_component_is_the_model_bit_for_bit(bridge: TransformerBridge, path: str) -> None:
    runs = runs_of(bridge, path)
    everything = components(runs)
    found = measured(runs, keep_only(runs, everything, among=everything, by=zero(runs)))
    assert found.names == ("everything kept",)
    assert (found.values == found.clean).all()


# Full interventions give the corrupted run.


@everywhere
def test_the_whole_stream_of_any_layer_patched_is_the_corrupted_run(bridge: TransformerBridge, path: str) -> None:
    runs = runs_of(bridge, path)
    places = [site for site in ("resid_pre", "resid_mid", "resid_post") if getattr(runs.clean, site)]
    found = measured(runs, *[patch(runs, [f"{layer}.{site}"]) for layer in range(2) for site in places])
    assert found.corrupted is not None
    assert np.abs(found.values - found.corrupted).max() <= ROUNDING
    assert np.abs(found.clean - found.corrupted).min() > 0.01  # every prompt could have shown it


@everywhere
def test_everything_knocked_out_is_the_corrupted_run(bridge: TransformerBridge, path: str) -> None:
    runs = runs_of(bridge, path)
    everything = [*components(runs), "0.resid_pre"]
    nothing_kept = keep_only(runs, [], among=everything, by=corrupted(runs), name="nothing")
    embedding_kept = keep_only(runs, ["0.resid_pre"], among=everything, by=corrupted(runs))
    found = measured(runs, nothing_kept, embedding_kept)
    assert found.corrupted is not None
    assert np.abs(found.of("nothing") - found.corrupted).max() <= ROUNDING
    assert np.abs(found.of("only 0.resid_pre") - found.corrupted).max() > 0.01


@everywhere
def test_a_full_patch_of_each_site_changes_the_metric(bridge: TransformerBridge, path: str) -> None:
    runs = runs_of(bridge, path)
    sites = ["0.attn", "0.1", "0.1.q", "0.kv0.k", "0.kv0.v", "0.1.pattern"]
    found = measured(
        runs, *[patch(runs, [site]) for site in sites + (["0.mlp", "0.neuron3"] if runs.frame.d_mlp else [])]
    )
    assert (np.abs(found.effects).max(axis=1) > 1e-5).all(), dict(zip(found.names, found.effects, strict=True))
    assert (found.change_norm > 1e-3).all()


# One call or many.


@everywhere
def test_interventions_measured_together_are_as_measured_alone(bridge: TransformerBridge, path: str) -> None:
    import torch

    runs = runs_of(bridge, path)
    late = (torch.arange(POS) >= 4).expand(BATCH, POS)
    several = [
        patch(runs, ["1.2"]), patch(runs, ["0.1"], positions=late), Intervention("nothing", ()), patch(runs, ["0.3"]),
        ablate(runs, ["0.0", "1.1"], by=zero(runs)), patch(runs, ["1.0"], positions=late),
    ]  # fmt: skip
    found = measured(runs, *several)
    assert found.names == ("1.2", "0.1", "nothing", "0.3", "0.0+1.1", "1.0")
    for each in several:
        alone = measured(runs, each)
        assert np.abs(alone.values[0] - found.of(each.name)).max() <= ROUNDING, each.name
    assert (found.of("nothing") == found.clean).all()
    np.testing.assert_array_equal(found.effects, found.values - found.clean)
    with pytest.raises(KeyError, match=r"no intervention is called '9\.9'"):
        found.of("9.9")


def test_targets_of_one_layer_and_site_become_one_edit_without_copies(llama: TransformerBridge) -> None:
    runs = runs_of(llama, "fast")
    made = ablate(runs, ["1.3", "0.mlp", "1.0", Target(1, "mlp_post", 5)], by=corrupted(runs))
    assert made.name == "1.3+0.mlp+1.0+1.neuron5"
    edits = [edit for edit in made.edits if isinstance(edit, Replace)]
    assert [(edit.layer, edit.site, edit.parts) for edit in edits] == [
        (0, "mlp_out", None), (1, "mlp_post", (5,)), (1, "z", (0, 3)),
    ]  # fmt: skip
    assert edits[2].value.data_ptr() == runs.source().z[1].data_ptr()


def test_patching_leaves_the_runs_as_they_were(bridge: TransformerBridge) -> None:
    runs = runs_of(bridge, "fast")
    before = {site: [tensor.clone() for tensor in getattr(runs.clean, site).values()] for site in SITES_KEPT}
    measured(runs, patch(runs, components(runs)), patch(runs, ["0.resid_pre"]), patch(runs, ["0.1.pattern"]))
    for site, tensors in before.items():
        for layer, tensor in enumerate(tensors):
            assert largest(tensor - getattr(runs.clean, site)[layer]) == 0.0, site


@pytest.mark.parametrize("bridge", ["gpt2", "llama"], indirect=True)
def test_many_interventions_on_one_prompt_are_as_each_alone(bridge: TransformerBridge) -> None:
    # A batch of one whose first positions come from the cache once met a view of a tensor that cannot be viewed.
    engine = Engine.of(bridge)
    one, other = some_tokens(batch=1, pos=POS), some_tokens(batch=1, pos=POS, seed=1)
    other[:, :3] = one[:, :3]
    runs = Runs.of(engine, one, corrupted=other, keep=("z",))
    patches = [patch(runs, [f"{layer}.{head}"]) for layer in (0, 1) for head in (0, 1)]
    last = LogitDifference(torch.tensor([3]), torch.tensor([7]), torch.tensor([POS - 1]))
    together = measure(runs, patches, metric=last)
    alone = [measure(runs, [each], metric=last).values[0] for each in patches]
    assert np.abs(together.values - np.array(alone)).max() <= ROUNDING
    assert (np.abs(together.effects) > 1e-4).any()


@everywhere
def test_what_edits_change_further_on_can_be_patched_by_itself(bridge: TransformerBridge, path: str) -> None:
    runs = runs_of(bridge, path)
    first = patch(runs, ["0.0"])
    under = runs.under(first.edits)
    found = measured(runs, first)
    # The whole last stream under the edits is the pass under the edits; a head before them is as it was.
    last = runs.frame.n_layers - 1
    kept = runs.under(first.edits, keep=("z", "resid_post"))
    again = measured(kept, patch(kept, [f"{last}.resid_post"]))
    assert np.abs(again.values - found.values).max() <= ROUNDING
    assert np.abs(measured(under, patch(under, ["0.1"])).effects).max() <= ROUNDING
