"""Neurons and what depends on them: planted selectivity, nulls, logits that add up, ablation beside random others."""

from __future__ import annotations

import importlib
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest

from fixtures.prompts.sums import answer_position, uniform_sums
from harness.direct_logits import CONSTANT, EMBEDDINGS, direct_logits
from harness.errors import InterventionError, StatisticsError
from harness.importance import bars_of, importance, matched_random
from harness.interventions import Engine
from harness.models.model import load
from harness.neurons import neuron_activations, selective_neurons, selectivity, tuning
from harness.values import UnitValues
from tests.interventions.bridges import tiny_bridge
from tests.one_thread import one_thread  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("one_thread")

LABELS = np.array([0, 0, 1, 1])


def sums(n=6, seed=0):
    return uniform_sums(n, split="discovery", rng=np.random.default_rng(seed))


def neurons(values, first=0):
    """Activations [neuron, unit] by hand."""
    values = np.atleast_2d(np.asarray(values, dtype=float))
    units = tuple(f"u{first + number}" for number in range(values.shape[1]))
    return UnitValues(values, tuple(f"0.neuron{number}" for number in range(len(values))), units, units)


def selected(values, labels, seed=0, **options):
    return selectivity(neurons(values), labels=labels, rng=np.random.default_rng(seed), **options)


@pytest.fixture(scope="module")
def addition():
    return load("addition-5d-2l@0")


# -- selectivity


@pytest.mark.parametrize(
    ("values", "index"),
    [
        ([0, 0, 2, 2], 1.0),  # the label fixes the activation
        ([0, 2, 0, 2], 0.0),  # equal means
        ([0, 1, 1, 2], 0.5),  # between 4 * 0.5^2 = 1, in all 1 + 0 + 0 + 1 = 2
        ([0.1, 0.1, 0.1, 0.1], 0.0),  # a dead neuron; its rounding is no variance
    ],
)
def test_the_index_is_the_share_of_variance_that_the_label_explains(values, index):
    assert selected(values, LABELS).index[0] == pytest.approx(index, abs=1e-12)


def test_within_strata_only_what_varies_there_counts():
    # Stratum means are 1 and 11; within each the label explains all: the index is 1 with strata, 2/102 without.
    values, labels, strata = [0, 2, 10, 12], [0, 1, 0, 1], [0, 0, 1, 1]
    assert selected(values, labels, strata=strata).index[0] == pytest.approx(1.0)
    # Centred by 6: -6, -4, 4, 6; label means 5 and 7, so between 4 * 1, in all 36 + 16 + 16 + 36 = 104.
    assert selected(values, labels).index[0] == pytest.approx(4 / 104)


def test_a_planted_neuron_is_found_on_some_prompts_and_confirmed_on_others():
    rng = np.random.default_rng(1)
    labels = [rng.integers(0, 10, 200) for _ in range(2)]
    acts = [rng.normal(size=(50, 200)) for _ in range(2)]
    for values, digits in zip(acts, labels, strict=True):
        values[7] += 2.0 * (digits == 3)
    first, second = neurons(acts[0]), neurons(acts[1], first=200)
    found = selective_neurons(first, second, labels=tuple(labels), rng=rng)
    assert found.chosen_by.names == found.judged.names == ("0.neuron7",)
    assert found.judged.p[0] == pytest.approx(1 / 200)  # no permutation reaches it
    # 2^2 * 0.1 * 0.9 of 1 + 0.36 is explained: 0.26, with nine free means 0.03 more by chance
    assert found.judged.excess[0] == pytest.approx(0.26, abs=0.1)


def test_under_the_null_the_adjusted_p_is_small_as_rarely_as_it_should_be():
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(200):
        values = np.maximum(rng.normal(size=(8, 40)), 0) ** 2  # skewed, as neurons are
        found = selectivity(neurons(values), labels=rng.integers(0, 2, 40), rng=rng, permutations=99)
        hits += bool(found.p.min() <= 0.05)
    assert hits <= 20  # 10 are expected; more than 20 of 200 have probability 0.001 at 5 %


def test_neurons_that_fire_on_single_prompts_do_not_hide_a_selective_one():
    rng = np.random.default_rng(5)
    labels, strata = rng.integers(0, 2, 60), np.repeat(np.arange(10), 6)
    values = np.zeros((61, 60))
    values[:60] = np.eye(60)  # each alone in its stratum's minority label in many permutations
    values[60] = labels + 0.2 * rng.normal(size=60)
    found = selected(values, labels, strata=strata)
    assert found.top(5) == ("0.neuron60",)
    assert found.index[:60].max() > 0.5  # they explain much by chance, as a share of little variance


def test_permuted_labels_explain_what_is_expected_by_chance():
    rng = np.random.default_rng(3)
    found = selectivity(neurons(rng.normal(size=(40, 100))), labels=rng.integers(0, 10, 100), rng=rng)
    assert found.null_mean.mean() == pytest.approx(9 / 99, abs=0.01)  # (k - 1) / (n - 1)
    assert abs(found.excess.mean()) < 0.02


def test_a_label_entangled_with_the_strata_is_selective_without_them_and_not_with_them():
    rng = np.random.default_rng(4)
    strata = rng.integers(0, 10, 400)
    carry = (rng.random(400) < strata / 10).astype(int)
    magnitude = strata + 0.5 * rng.normal(size=400)  # follows the digit sum, whatever is carried
    assert selected(magnitude, carry).p[0] <= 0.01
    within = selected(magnitude, carry, strata=strata)
    assert within.p[0] > 0.05
    assert within.excess[0] < 0.02


def test_neurons_of_the_trained_model_know_the_carry(addition):
    some = sums(300)
    found = selectivity(
        neuron_activations(addition, some, positions=answer_position(3)),
        labels=some.carries[:, 3],
        strata=some.pair_sums[:, 3] % 10,
        rng=np.random.default_rng(0),
        permutations=99,
    )
    assert len(found.top(10)) == 10
    assert found.excess.max() > 0.7  # seen on discovery sums: 0.93
    assert found.picture(count=3)["labels"] == list(found.top(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [0, 0, 0, 0]}, "single label"),
        ({"labels": [0, 0, 1, 1], "strata": [0, 0, 1, 1]}, "single label"),
        ({"labels": [0, 1]}, r"labels are \(2,\)"),
        ({"labels": [0.5, 1.0, 0.2, 0.1]}, "labels are .* float64"),
        ({"labels": LABELS, "strata": [1, 2]}, r"strata are \(2,\)"),
        ({"labels": LABELS, "permutations": 50}, "at least 99"),
    ],
)
def test_labels_that_tell_nothing_apart_are_refused(options, message):
    with pytest.raises(StatisticsError, match=message):
        selectivity(neurons([0, 1, 2, 3]), rng=np.random.default_rng(0), **options)


def test_prompts_that_choose_do_not_judge_and_without_a_choice_nothing_is_judged():
    rng = np.random.default_rng(0)
    noise = neurons(rng.normal(size=(3, 40)))
    labels = (rng.integers(0, 2, 40),) * 2
    with pytest.raises(StatisticsError, match="choose neurons and judge them"):
        selective_neurons(noise, noise, labels=labels, rng=rng)
    with pytest.raises(StatisticsError, match="no neuron is selective"):
        selective_neurons(noise, neurons(rng.normal(size=(3, 40)), first=40), labels=labels, rng=rng)


def test_tuning_has_the_mean_activation_of_each_label():
    data = tuning(neurons([[0, 2, 4, 8]]), labels=["a", "a", "b", "b"])
    assert (data["columns"], data["values"]) == (["a", "b"], [[1.0, 6.0]])


@pytest.mark.parametrize("kind", ["gpt2", "native-rotary-gated"])
def test_activations_are_those_of_the_hook(kind):
    import torch

    bridge, some, seen = tiny_bridge(kind), sums(), {}

    def keep(post, hook):
        seen["post"] = post.double().numpy()

    with torch.inference_mode():
        bridge.run_with_hooks(some.tensor(), fwd_hooks=[("blocks.1.mlp.hook_post", keep)])
    at = np.array([11, 12, 13, 14, 15, 16])
    found = neuron_activations(bridge, some, positions=at, layers=[1])
    np.testing.assert_allclose(found.values, seen["post"][np.arange(6), at].T, atol=1e-5)
    assert found.components[:2] == ("1.neuron0", "1.neuron1")


def test_activations_that_are_not_there_are_refused():
    bridge, some = tiny_bridge("gpt2"), sums()
    with pytest.raises(InterventionError, match="not in the prompts"):
        neuron_activations(bridge, some, positions=17)
    with pytest.raises(InterventionError, match=r"layers \[2\]"):
        neuron_activations(bridge, some, positions=3, layers=[2])
    with pytest.raises(InterventionError, match="no neurons"):
        neuron_activations(tiny_bridge("attention-only"), some, positions=3)


# -- direct logit attribution

EVERY_KIND = ["gpt2", "llama", "native-mlp", "native-rotary-gated", "attention-only", "attention-only-ln"]


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize("parts", [True, False])
def test_what_is_written_adds_up_to_the_logit(kind, parts):
    bridge, some = tiny_bridge(kind), sums()
    engine = Engine.of(bridge)
    of = (("head",) if parts else ("attn",)) + ((("neuron",) if parts else ("mlp",)) if engine.d_mlp else ())
    logits = engine.logits(engine.run(some.tensor()))[:, 14].double().numpy()
    own, other = some.answers[:, 3], (some.answers[:, 3] + 1) % 10
    rows = np.arange(len(some))
    alone = direct_logits(bridge, some, of=of, positions=14, tokens=own)
    np.testing.assert_allclose(alone.values.sum(axis=0), logits[rows, own], atol=1e-4)
    against = direct_logits(bridge, some, of=of, positions=np.full(6, 14), tokens=own, against=other)
    np.testing.assert_allclose(against.values.sum(axis=0), logits[rows, own] - logits[rows, other], atol=1e-4)
    assert alone.components[-2:] == (EMBEDDINGS, CONSTANT)


def test_a_heads_row_is_what_its_output_reads_in_the_scaled_unembedding():
    import torch

    bridge, some = tiny_bridge("llama"), sums()
    engine = Engine.of(bridge)
    run = engine.run(some.tensor(), keep=("z", "mlp_post"))
    found = direct_logits(bridge, some, of=("head", "neuron"), positions=5, tokens=np.full(6, 7))
    written = torch.einsum("bd,dm->bm", run.z_of(1, 2)[:, 5], engine.W_O(1)[2])
    expected = written @ engine.W_U[:, 7] / engine.final_scale(run)[:, 5]  # RMSNorm: nothing is centred
    np.testing.assert_allclose(found.of(["1.2"]).values[0], expected.numpy(), atol=1e-5)
    neuron = run.mlp_post[0][:, 5, 9, None] * engine.weights.blocks[0].mlp.outward.weight[:, 9]
    expected = neuron @ engine.W_U[:, 7] / engine.final_scale(run)[:, 5]
    np.testing.assert_allclose(found.of(["0.neuron9"]).values[0], expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"of": ("heads",)}, "Did you mean 'head'"),
        ({"of": "head"}, "in a list"),
        ({"of": ()}, "name the kinds"),
        ({"of": ("neuron", "mlp")}, "would count"),
        ({"tokens": np.full(6, 40)}, "0 to 39"),
        ({"tokens": np.full(5, 4)}, "each of 6 prompts"),
        ({"positions": 17}, "positions must lie"),
    ],
)
def test_attributions_that_make_no_sum_are_refused(options, message):
    given = {"of": ("head",), "positions": 3, "tokens": np.full(6, 4), **options}
    with pytest.raises(InterventionError, match=message):
        direct_logits(tiny_bridge("gpt2"), sums(), **given)


def test_prompts_that_serve_attention_alone_are_refused_with_what_they_lack():
    few = SimpleNamespace(units=("a",), tensor=None, batches=None)
    with pytest.raises(InterventionError, match=r"SimpleNamespace lack 'templates' \(one cluster id per prompt"):
        direct_logits(tiny_bridge("gpt2"), few, of=("head",), positions=3, tokens=np.full(1, 4))


def test_an_attention_only_model_has_no_neurons_to_attribute_to():
    with pytest.raises(InterventionError, match="attention-only"):
        direct_logits(tiny_bridge("attention-only"), sums(), of=("neuron",), positions=3, tokens=np.full(6, 4))


# -- importance


def answer_log_prob(batch):
    """Log-probability of answer place 3."""
    import torch

    from harness.metrics import LogProb

    answers = torch.from_numpy(batch.answers[:, 3])
    return LogProb(answers, torch.full_like(answers, answer_position(3)))


def important(model, groups, n=40, **options):
    return importance(model, sums(n), groups=groups, metric=answer_log_prob, rng=np.random.default_rng(0), **options)


def test_what_a_place_depends_on_outranks_the_others(addition):
    found = important(addition, {"reads the pair": ["0.2"], "idle": ["1.2"], "last MLP": ["1.mlp"]}, draws=7)
    reading, idle = found["reads the pair"], found["idle"]
    assert reading.rank.rank == 1
    assert reading.fall.mean()[0] > 5  # nats; seen on discovery sums: 18 resampled
    assert abs(idle.fall.mean()[0]) < 0.01
    assert reading.excess().mean()[0] < reading.fall.mean()[0]
    assert len(reading.others.components) == 7  # fewer than 20 heads in the layer: any of the other seven
    assert found["last MLP"].others.components == ("0.mlp",)
    assert bars_of(found, unit="nats")["labels"][:2] == ["reads the pair", "7 others for reads the pair"]


def test_the_fall_is_that_of_the_replacement_by_the_next_prompt_of_the_batch(addition):
    import torch

    from harness.interventions import Replace

    some, engine = sums(40), Engine.of(addition)
    run = engine.run(some.tensor(), keep=("z", "resid_pre"))
    at = torch.full((40, 1), answer_position(3))
    tokens = torch.from_numpy(some.answers[:, 3:4])

    def log_prob(each):
        return engine.logits_at(each, at)[:, 0].log_softmax(dim=-1).gather(1, tokens)[:, 0].double().numpy()

    for by, new in (("resample", run.z_of(0, 2).roll(1, 0)), ("mean", run.z_of(0, 2).mean(0).expand(40, -1, -1))):
        expected = log_prob(run) - log_prob(engine.run(some.tensor(), edits=[Replace.z(0, 2, new)]))
        found = important(addition, {"h": ["0.2"]}, by=by, draws=1)["h"]
        np.testing.assert_allclose(found.fall.values[0], expected, atol=1e-3)


def test_neurons_are_compared_with_as_many_of_the_same_layers(addition):
    found = important(addition, {"three": ["0.neuron1", "0.neuron5", "1.neuron2"]}, n=10, draws=5)["three"]
    assert len(found.others.components) == 5
    for name in found.others.components:
        members = name.split("+")
        assert [member[0] for member in members] == ["0", "0", "1"]
        assert not set(members) & set(found.members)
    assert found.rank.p is None  # five groups are too few for one
    assert found.note == "three: compared with 5 different groups of 3 others; a rank has a p from 19 on."


def test_the_note_says_how_few_groups_there_are(addition):
    two = important(addition, {"two": ["0.1", "0.2"]}, n=10)["two"]
    assert len(two.others.components) == 15  # six heads are left of eight: 6 * 5 / 2
    assert (two.rank.of, two.rank.p) == (16, None)
    assert two.note == (
        "two: compared with 15 different groups of 2 others (39 were asked for; no more were found); a rank has a p "
        "from 19 on."
    )
    five = important(addition, {"five": ["0.0", "0.1", "0.2", "0.3", "1.0"]}, n=10)["five"]
    assert "no group of 5 others" in five.note
    neurons = important(addition, {"one": ["0.neuron3"]}, n=10, draws=19)["one"]
    assert neurons.rank.p is not None
    assert neurons.note == "one: compared with 19 different groups of 1 others."


def test_the_example_in_the_docstring_runs_as_it_stands(capsys):
    first, last = "    import numpy", "found.note)\n"
    text = str(importlib.import_module("harness.importance").__doc__)
    example = text[text.index(first) : text.index(last) + len(last)]
    exec(textwrap.dedent(example), {})
    assert "compared with 15 different groups" in capsys.readouterr().out


def test_where_positions_are_named_nothing_else_is_changed(addition):
    import torch

    def nowhere(batch):
        return torch.zeros(len(batch), 17, dtype=torch.bool)

    assert important(addition, {"h": ["0.2"]}, n=10, draws=1, positions=nowhere)["h"].fall.values == pytest.approx(0)


def test_a_component_without_others_has_no_rank():
    one_layer = load("addition-5d-1l@0")
    found = important(one_layer, {"MLP": ["0.mlp"]}, n=10)["MLP"]
    assert found.others is found.rank is None
    with pytest.raises(InterventionError, match="no others of its kind"):
        found.excess()


def test_random_groups_are_different_disjoint_from_the_members_and_exhaust_small_populations():
    rng = np.random.default_rng(0)
    heads = [f"{layer}.{head}" for layer in range(2) for head in range(4)]
    groups = matched_random(["0.0"], heads, draws=39, rng=rng)
    assert sorted(groups) == [(head,) for head in heads if head != "0.0"]
    assert matched_random(heads[:5], heads, draws=39, rng=rng) == ()
    many = matched_random(["0.neuron0"], [f"{x}.neuron{n}" for x in range(2) for n in range(30)], draws=10, rng=rng)
    assert len(set(many)) == 10
    assert {group[0][0] for group in many} == {"0"}


@pytest.mark.parametrize(
    ("groups", "options", "message"),
    [
        ({}, {}, "give groups"),
        ({"a": []}, {}, "is empty"),
        ({"a": ["0.1", "0.1"]}, {}, "repeats a component"),
        ({"a": ["0.1", "0.mlp"]}, {}, "mixes kinds"),
        ({"a": ["9.1"]}, {}, "layer 9"),
        ({"a": ["0.1"]}, {"by": "zero"}, "'zero'"),
        ({"a": ["0.1"]}, {"draws": 0}, "draws of 1 or more"),
        ({"a": ["0.1"]}, {"n": 1}, "no other"),
    ],
)
def test_groups_that_cannot_be_ablated_are_refused(groups, options, message, addition):
    with pytest.raises(InterventionError, match=message):
        important(addition, groups, **options)
