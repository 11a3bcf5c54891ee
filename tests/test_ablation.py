"""Ablations against TransformerLens' hooks on z: one row and one donor at a time, without padding."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from fixtures.prompts.repeated import random_blocks
from harness.ablation import Ablation, damage
from harness.attention import mean_attention
from harness.errors import InterventionError
from harness.interventions import DIRECTIONS, Engine
from harness.loss import row_losses
from tests.interventions.bridges import tiny_bridge
from tests.one_thread import one_thread  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("one_thread")

POOL = range(3, 40)
SETS = {"0.1": ("0.1",), "1.2": ("1.2",), "joint": ("0.1", "0.3", "1.2")}


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def bridge(request):
    """A tiny random model; the Llama has grouped queries."""
    return tiny_bridge(request.param)


@pytest.fixture(scope="module")
def attention_only():
    return tiny_bridge("attention-only-ln")


@pytest.fixture
def some():
    """Five repeated sequences of two lengths: the shorter ones are padded."""
    return random_blocks(POOL, n=5, rng=np.random.default_rng(0), lengths=(4, 8), bos=0)


def donors_of(some, count=2):
    return [some.donor(POOL, rng=np.random.default_rng(10 + number)) for number in range(count)]


def second_copy_loss(some):
    at = some.second_copy()

    def measure(engine, run, index):
        return {"loss": row_losses(engine, run, {"loss": at.for_rows(index)}, count=len(index))["loss"]}

    return measure


def ablated(model, some, kind, donors, *, sets=SETS, scale=1.0, measure=None, seed=3, **options):
    ablation = Ablation(kind, donors, segment=some.segments(), scale=scale, rng=np.random.default_rng(seed))
    return damage(model, some, sets=sets, ablation=ablation, measure=measure or second_copy_loss(some), **options)


def one_row(some, row):
    """The tokens of one row without its padding, [1 pos]."""
    import torch

    return torch.from_numpy(some.tokens[row : row + 1, : some.start + 2 * some.lengths[row]])


def hooked_z(bridge, tokens):
    """z of both layers, read by hooks: {layer: [1 pos head d_head]}."""
    import torch

    seen = {}

    def keep(layer):
        def hook(z, hook):
            seen[layer] = z.clone()

        return hook

    with torch.inference_mode():
        bridge.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", keep(layer)) for layer in (0, 1)])
    return seen


def hooked_loss(bridge, some, row, replaced):
    """Loss on the second copy with z of some heads replaced: `replaced` maps (layer, head) to [pos d_head]."""
    import torch

    def writer(layer):
        def hook(z, hook):
            z = z.clone()
            for (where, head), new in replaced.items():
                if where == layer:
                    z[0, :, head] = new
            return z

        return hook

    tokens = one_row(some, row)
    with torch.inference_mode():
        hooks = [(f"blocks.{layer}.attn.hook_z", writer(layer)) for layer in (0, 1)]
        logits = bridge.run_with_hooks(tokens, fwd_hooks=hooks)[0].double()
        at = some.second_copy()
        queries = torch.from_numpy(at.queries[at.rows == row])
        return float(torch.nn.functional.cross_entropy(logits[queries], tokens[0, queries + 1]))


def places(name):
    return [tuple(int(part) for part in head.split(".")) for head in SETS[name]]


def test_resampling_is_a_hook_on_z_that_writes_the_donors_one_at_a_time(bridge, some):
    donors = donors_of(some)
    found = ablated(bridge, some, "resample", donors)["loss"]
    assert found.components == tuple(SETS)
    for row in range(len(some)):
        before = hooked_loss(bridge, some, row, {})
        z = [hooked_z(bridge, one_row(donor, row)) for donor in donors]
        for place, name in enumerate(SETS):
            after = [
                hooked_loss(bridge, some, row, {(layer, head): each[layer][0, :, head] for layer, head in places(name)})
                for each in z
            ]
            assert found.values[place, row] == pytest.approx(np.mean(after) - before, abs=1e-4)


def test_mean_ablation_writes_the_mean_over_the_rows_donors_and_the_segments_positions(bridge, some):
    donors = donors_of(some)
    found = ablated(bridge, some, "mean", donors)["loss"]
    for row in (0, 3):
        length = int(some.lengths[row])
        z = [hooked_z(bridge, one_row(donor, row)) for donor in donors]
        replaced = {}
        for layer, head in places("joint"):
            both = (z[0][layer][0, :, head] + z[1][layer][0, :, head]) / 2  # [pos d_head]
            mean = both.clone()  # BOS stands alone in its segment: its own mean over donors
            for first in (1, 1 + length):
                mean[first : first + length] = both[first : first + length].mean(dim=0)
            replaced[layer, head] = mean
        expected = hooked_loss(bridge, some, row, replaced) - hooked_loss(bridge, some, row, {})
        assert found.of(["joint"]).values[0, row] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", ["resample", "mean", "same-dose"])
def test_none_of_the_change_has_exactly_no_effect_and_all_of_it_has_one(bridge, some, kind):
    donors = donors_of(some)
    nothing, everything = (ablated(bridge, some, kind, donors, scale=scale) for scale in (0.0, 1.0))
    assert (nothing["loss"].values == 0).all()
    assert (nothing["dose"].values == 0).all()
    assert (np.abs(everything["loss"].values) > 1e-6).all()


def test_half_of_the_change_is_half_the_dose(bridge, some):
    donors = donors_of(some)
    half, whole = (ablated(bridge, some, "resample", donors, scale=scale)["dose"].values for scale in (0.5, 1.0))
    np.testing.assert_allclose(half, whole / 2, rtol=1e-5)


def test_the_dose_is_the_length_of_the_change_by_hand(attention_only, some):
    (donor,) = donors_of(some, 1)
    dose = ablated(attention_only, some, "resample", [donor])["dose"]
    w_o = Engine.of(attention_only).W_O(1)[2]
    for row in (0, 3):
        change = hooked_z(attention_only, one_row(donor, row))[1] - hooked_z(attention_only, one_row(some, row))[1]
        expected = float((change[0, :, 2] @ w_o).norm(dim=-1).mean())
        assert dose.of(["1.2"]).values[0, row] == pytest.approx(expected, rel=1e-5)


def changes_of_layer_1(model, some, kind, donors):
    """What ablating 1.2 changes in the attention output of its layer, by batch: [donor and direction, batch pos d]."""
    import torch

    seen = {}

    def measure(engine, run, index):
        seen.setdefault(tuple(index.tolist()), []).append(run.attn_out[1])
        return {"loss": np.zeros(len(index))}

    dose = ablated(model, some, kind, donors, sets={"1.2": ("1.2",)}, measure=measure, keep={"attn_out": [1]})["dose"]
    return {index: torch.stack(after) - intact for index, (intact, *after) in seen.items()}, dose.values


def test_the_same_dose_is_as_long_at_every_position_and_points_elsewhere(bridge, some):
    import torch

    donors = donors_of(some)
    (resampled, dose), (drawn, same) = (
        changes_of_layer_1(bridge, some, kind, donors) for kind in ("resample", "same-dose")
    )
    np.testing.assert_allclose(dose, same, rtol=1e-6)
    for index, ours in resampled.items():
        assert (len(ours), len(drawn[index])) == (len(donors), len(donors) * DIRECTIONS)
        each = ours.repeat_interleave(DIRECTIONS, dim=0)  # every donor's change, as often as directions are drawn
        np.testing.assert_allclose(drawn[index].norm(dim=-1), each.norm(dim=-1), rtol=1e-3, atol=1e-5)
        assert float(each.norm(dim=-1).max()) > 1e-2
        cosines = torch.cosine_similarity(drawn[index], each, dim=-1)[:, :, some.start :]
        assert float(cosines.abs().median()) < 0.6  # 0.12 between unrelated directions of 32 dimensions


def test_the_same_dose_is_the_streams_and_another_stream_is_another_direction(bridge, some):
    first, again, other = (
        ablated(bridge, some, "same-dose", donors_of(some, 1), seed=seed)["loss"].values for seed in (3, 3, 4)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_the_damage_is_averaged_over_donors(bridge, some):
    donors = donors_of(some, 3)
    together = ablated(bridge, some, "resample", donors)
    alone = [ablated(bridge, some, "resample", [donor]) for donor in donors]
    for metric in ("loss", "dose"):
        mean = np.mean([each[metric].values for each in alone], axis=0)
        np.testing.assert_allclose(together[metric].values, mean, atol=1e-6)


def test_the_same_dose_is_averaged_over_the_donors_directions(bridge, some):
    seen, loss = {}, second_copy_loss(some)

    def measure(engine, run, index):
        found = loss(engine, run, index)
        seen.setdefault(tuple(index.tolist()), []).append(found["loss"])
        return found

    found = ablated(bridge, some, "same-dose", donors_of(some, 2), sets={"0.1": ("0.1",)}, measure=measure)["loss"]
    for index, (before, *after) in seen.items():
        assert len(after) == 2 * DIRECTIONS
        assert all(np.abs(one - other).max() > 0 for one, other in itertools.pairwise(after))
        np.testing.assert_allclose(found.values[0, list(index)], np.mean(after, axis=0) - before, atol=1e-12)


def test_directions_of_the_same_dose_are_not_those_of_a_long_bos(some):
    import torch

    bridge = tiny_bridge("attention-only-ln")
    with torch.no_grad():
        bridge.embed.weight[0] *= 1000  # BOS, as trained models have it
    directions, _ = changes_of_layer_1(bridge, some, "same-dose", donors_of(some))
    resid = Engine.of(bridge).run(some.tensor(), keep={"resid_pre": [1]}).resid_pre[1]
    bos, own = resid[0, 0], torch.from_numpy(some.segments() > 0)
    assert bos.norm() > 50 * resid[own].norm(dim=-1).mean()
    cosines = torch.cat(
        [
            torch.cosine_similarity(each[:, own[list(index), : each.shape[2]]], bos, dim=-1).abs().flatten()
            for index, each in directions.items()
        ]
    )
    # In 32 dimensions two unrelated directions have a cosine of about 0.18; counted, BOS would make most of them 1.
    assert float(cosines.median()) < 0.4
    assert float((cosines > 0.9).double().mean()) < 0.05


@pytest.mark.parametrize("kind", ["resample", "mean"])
def test_padding_and_the_other_rows_of_a_batch_change_nothing(bridge, some, kind):
    donors = donors_of(some)
    together = ablated(bridge, some, kind, donors)
    for row in (int(np.argmin(some.lengths)), int(np.argmax(some.lengths))):
        index = np.array([row])
        alone = ablated(bridge, some.rows(index), kind, [donor.rows(index) for donor in donors])
        for metric in ("loss", "dose"):
            np.testing.assert_allclose(alone[metric].values[:, 0], together[metric].values[:, row], atol=1e-5)


def test_sets_do_not_depend_on_one_another(bridge, some):
    donors = donors_of(some)
    together = ablated(bridge, some, "resample", donors)["loss"]
    alone = ablated(bridge, some, "resample", donors, sets={"1.2": ("1.2",)})["loss"]
    np.testing.assert_allclose(alone.values[0], together.of(["1.2"]).values[0], atol=1e-6)


def test_a_metric_of_several_components_gives_a_row_for_each(bridge, some):
    def measure(engine, run, index):
        loss = second_copy_loss(some)(engine, run, index)["loss"]
        return {"loss": np.stack([loss, 2 * loss])}

    found = ablated(bridge, some, "resample", donors_of(some, 1), sets={"0.1": ("0.1",)}, measure=measure)["loss"]
    assert found.components == ("0.1 on 0", "0.1 on 1")
    np.testing.assert_allclose(found.values[1], 2 * found.values[0])


def test_what_lies_before_the_ablated_layer_is_read_and_unchanged(bridge, some):
    pairs = some.second_copy()

    def measure(engine, run, index):
        return {
            f"layer {layer}": mean_attention(run.pattern[layer], pairs.for_rows(index), count=len(index))
            for layer in (0, 1)
        }

    found = ablated(
        bridge, some, "resample", donors_of(some, 1), sets={"0.1": ("0.1",), "1.2": ("1.2",)}, measure=measure,
        keep={"pattern": [0, 1]},
    )  # fmt: skip
    assert (found["layer 0"].values == 0).all()
    changed = found["layer 1"]
    assert (np.abs(changed.of([f"0.1 on {head}" for head in range(4)]).values) > 0).any()
    assert (changed.of([f"1.2 on {head}" for head in range(4)]).values == 0).all()  # z comes after the pattern


def test_stopping_early_leaves_what_was_measured_as_it_is(bridge, some):
    pairs = some.second_copy()

    def measure(engine, run, index):
        return {"score": mean_attention(run.pattern[1], pairs.for_rows(index), count=len(index))}

    options = {"sets": {"0.1": ("0.1",)}, "measure": measure, "keep": {"pattern": [1]}}
    early, late = (ablated(bridge, some, "mean", donors_of(some), stop_at_layer=stop, **options) for stop in (2, None))
    assert (early["score"].values == late["score"].values).all()


def test_the_model_is_bit_identical_afterwards(bridge, some):
    before = {name: value.clone() for name, value in bridge.state_dict().items()}
    for kind in ("resample", "mean", "same-dose"):
        ablated(bridge, some, kind, donors_of(some, 1))
    after = bridge.state_dict()
    assert all(bool((after[name] == value).all()) for name, value in before.items())


def test_progress_wraps_the_sets(bridge, some):
    seen = []

    def track(items):
        for item in items:
            seen.append(item[0])
            yield item

    ablated(bridge, some, "resample", donors_of(some, 1), track=track)
    assert seen == list(SETS)


def test_what_cannot_be_ablated_is_refused_by_name(bridge, some):
    other = random_blocks(POOL, n=5, rng=np.random.default_rng(5), lengths=(5, 9), bos=0)
    fewer = random_blocks(POOL, n=4, rng=np.random.default_rng(5), lengths=(4, 8), bos=0)
    good, segment = donors_of(some, 1), some.segments()
    for ablation, sets, said in [
        (Ablation("resample", [other]), SETS, "donor prompts have shape"),
        (Ablation("resample", [fewer]), SETS, "a donor has 4 prompts for 5"),
        (Ablation("resample", []), SETS, "needs donor prompts"),
        (Ablation("mean", good), SETS, "needs the segment"),
        (Ablation("same-dose", good), SETS, "give Ablation an rng"),
        (Ablation("resample", good, scale=2.0), SETS, "scale is 2.0"),
        (Ablation("resample", good), {}, "no heads to ablate"),
        (Ablation("resample", good), {"none": ()}, "no heads to ablate in set 'none'"),
        (Ablation("resample", good, segment=segment), {"0.9": ("0.9",)}, "head 0.9 does not exist"),
    ]:
        with pytest.raises(InterventionError, match=said):
            damage(bridge, some, sets=sets, ablation=ablation, measure=second_copy_loss(some))


def test_the_covariance_of_the_same_dose_knows_nothing_of_the_padding(bridge, some):
    # The same sequences in a wider array, their padding filled with another token.
    wide = np.full((5, 21), 7, dtype=np.int64)
    wide[:, : some.tokens.shape[1]] = np.where(some.real_positions(), some.tokens, 7)
    padded = replace(some, tokens=wide)
    donors = donors_of(some, 1)
    wide_donors = [replace(donor, tokens=np.where(donor.real_positions(), donor.tokens, 7)) for donor in donors]
    first = ablated(bridge, some, "same-dose", donors)
    second = ablated(bridge, padded, "same-dose", wide_donors)
    np.testing.assert_allclose(first["loss"].values, second["loss"].values, atol=1e-5)
    np.testing.assert_allclose(first["dose"].values, second["dose"].values, atol=1e-5)
