"""The IOI circuit's scores and claims: by hand on a random model, where nothing is supported, and on a planted one."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from claims.ioi import test_circuit as whole_claims
from claims.ioi import test_circuit_parts as parts_claims
from claims.ioi.knock_out import (
    REFERENCES,
    KnockOuts,
    counterparts,
    joined,
    knock_outs,
    random_circuits,
    reference_prompts,
)
from claims.ioi.measurements import behaviour, draw, logit_difference
from harness.errors import InterventionError, NothingToCompare, StatisticsError
from harness.interventions import HookEngine, Runs, ablate, engine_of, measure
from harness.seeding import Streams
from harness.subjects import Subject
from harness.values import UnitValues
from tests.ioi_runs import record_of, saved_gpt2

CLAIMS = {
    test.__claim__["id"]: test
    for module in (whole_claims, parts_claims)
    for test in vars(module).values()
    if hasattr(test, "__claim__")
}
CLASSES = {
    "name-mover": ("3.0", "3.1"),
    "s-suppressor": (),
    "negative-name-mover": ("2.3",),
    "s-inhibition": ("1.1", "1.4"),
    "previous-token": ("0.7",),
}
CIRCUIT = tuple(itertools.chain.from_iterable(CLASSES.values()))
STREAMS = Streams(("test",))
TOLERANCE = 2e-5
"""Logit differences by another exact route agree to about 4e-6 in fp32."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved_gpt2(tmp_path_factory.mktemp("random-gpt2"), n_embd=48, n_layer=4, n_head=12)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A model whose first layer writes minus what it reads, evenly attended: a name read twice is predicted less.

    The heads of layer 0 are the mechanism, those of the other layers hardly write, MLPs and positions nothing. Its
    logit difference is 4.6 on the discovery split, 0.5 with every head knocked out.
    """

    def plant(hf):
        import torch

        transformer = hf.transformer
        transformer.wpe.weight.zero_()
        transformer.ln_f.weight.mul_(1.5)  # so that every effect lies well above its threshold
        transformer.wte.weight.mul_(5)  # of length 1.1: what attention adds, not the last token, decides
        for number, block in enumerate(transformer.h):
            width = transformer.wte.weight.shape[1]
            block.mlp.c_proj.weight.zero_()
            block.attn.c_attn.weight[:, : 2 * width].zero_()
            block.attn.c_attn.weight[:, 2 * width :] = torch.eye(width)
            block.attn.c_proj.weight.copy_(-8 * torch.eye(width) if number == 0 else 0.001 * torch.eye(width))

    return saved_gpt2(tmp_path_factory.mktemp("planted-gpt2"), n_embd=128, n_layer=4, n_head=16, plant=plant)


@pytest.fixture
def few_draws(monkeypatch):
    """19 random circuits in place of 99: enough to rank, and five times as fast."""
    monkeypatch.setattr(whole_claims, "DRAWS", 19)
    monkeypatch.setattr(parts_claims, "DRAWS", 19)


@pytest.fixture(scope="module")
def prompts(model):
    return draw(model, STREAMS, split="discovery", n=30)


@pytest.fixture(scope="module")
def scores(model, prompts):
    return knock_outs(model, prompts, STREAMS)


def test_knocking_out_nothing_changes_nothing(model, prompts, scores):
    expected = behaviour(model, prompts).values
    np.testing.assert_allclose(scores.without([()]), expected, atol=TOLERANCE)
    np.testing.assert_allclose(scores.only([model.heads()]), expected, atol=TOLERANCE)


def test_knocking_out_everything_is_keeping_nothing(model, scores):
    np.testing.assert_allclose(scores.without([model.heads()]), scores.only([()]), atol=TOLERANCE)


def test_keeping_a_set_is_knocking_out_the_rest(model, scores):
    heads = model.heads()
    sets = [CIRCUIT, ("3.11",), heads[:12], heads[12:24], heads[12:], heads[36:], (*heads[:12], "2.3")]
    rests = [[head for head in heads if head not in kept] for kept in sets]
    np.testing.assert_allclose(scores.only(sets), scores.without(rests), atol=TOLERANCE)


def test_the_slow_path_gives_the_same_scores(model, prompts, monkeypatch):
    few = prompts.rows(np.arange(6))
    fast = knock_outs(model, few, STREAMS)
    expected = [fast.only([CIRCUIT, ()]), fast.without([CIRCUIT, ()])]
    monkeypatch.setattr("claims.ioi.knock_out.engine_of", lambda of: HookEngine(of.bridge))
    slow = knock_outs(model, few, STREAMS)
    np.testing.assert_allclose(slow.only([CIRCUIT, ()]), expected[0], atol=TOLERANCE)
    np.testing.assert_allclose(slow.without([CIRCUIT, ()]), expected[1], atol=TOLERANCE)


def test_one_head_takes_the_mean_of_its_template_position_by_position(model, prompts, scores):
    import torch

    template = prompts.templates[0]
    rows = np.array([row for row, name in enumerate(prompts.templates) if name == template])
    few = prompts.rows(rows)
    engine = engine_of(model)
    # The references as knock_outs draws them: 2 prompts of each template, so 5 draws make 10.
    references = [reference_prompts(prompts, STREAMS, number=number).rows(rows) for number in range(5)]
    z = torch.stack([engine.run(each.tensor(), keep=("z",)).z[2] for each in references])  # [draw batch pos head ...]
    mean = z.mean(dim=(0, 1), keepdim=False).expand(len(few), *z.shape[2:])
    runs = Runs.of(engine, few.tensor())
    by_hand = measure(runs, [ablate(runs, ["2.5"], by=lambda site, layer: mean)], metric=logit_difference(few))
    np.testing.assert_allclose(scores.without([["2.5"]])[:, rows], by_hand.values, atol=TOLERANCE)
    assert not np.allclose(by_hand.values, by_hand.clean, atol=1e-4)


def test_references_are_ten_of_each_template_with_other_names_none_repeated(prompts):
    assert REFERENCES == 10
    for number in range(5):
        named = reference_prompts(prompts, STREAMS, number=number).named()
        assert all(len(set(row)) == 3 for row in named)
        for template in set(prompts.templates):
            rows = [row for row, name in enumerate(prompts.templates) if name == template]
            assert not np.isin(named[rows], prompts.named()[rows]).any()


def test_too_few_names_for_references_are_refused(prompts):
    first = np.array([name == prompts.templates[0] for name in prompts.templates])
    own = set(prompts.named()[first].ravel().tolist())
    others = [token for token in prompts.names if token not in own]
    few = {token: name for token, name in prompts.names.items() if token not in others[2:]}
    with pytest.raises(StatisticsError, match=r"2 prompts, and 2 names stand in none of them: three are needed"):
        reference_prompts(replace(prompts, names=few), STREAMS, number=0)


def test_nothing_is_edited_before_a_template_s_prompts_differ(prompts, scores):
    for template, first in scores.first.items():
        rows = [row for row, name in enumerate(prompts.templates) if name == template]
        assert len({tuple(prompts.tokens[row, :first]) for row in rows}) == 1
        assert 1 <= first <= min(prompts.positions.io[row] for row in rows)


def test_one_of_each_template_is_half_of_either_order_and_scored_as_before(scores):
    some = scores.of_one_each()
    assert len(set(some.clusters)) == len(some.units) == 15
    assert some.prompts.orders.count("ABBA") == 8
    columns = [scores.units.index(unit) for unit in some.units]
    np.testing.assert_allclose(some.only([CIRCUIT]), scores.only([CIRCUIT])[:, columns], atol=TOLERANCE)


def test_only_the_output_of_heads_has_a_mean(scores):
    batch = scores._batch(scores.prompts.rows(np.arange(2)), emptied=False)
    with pytest.raises(InterventionError, match="only heads are knocked out, at z"):
        batch.by("mlp_out", 0)


def test_random_circuits_have_the_circuit_s_layers_and_may_share_heads(model):
    found = random_circuits(model, CIRCUIT, draws=99, rng=np.random.default_rng(0))
    layers = sorted(int(head.split(".")[0]) for head in CIRCUIT)
    assert len(found.sets) == 99
    assert all(sorted(int(head.split(".")[0]) for head in each) == layers for each in found.sets)
    assert 0 < found.mean_overlap < len(CIRCUIT)


def test_counterparts_are_nearby_and_none_stands_twice():
    nearby = {"1.0": ("1.2", "1.3"), "1.1": ("1.2", "1.3")}
    for seed in range(5):
        assert sorted(counterparts(["1.0", "1.1"], nearby=nearby, rng=np.random.default_rng(seed))) == ["1.2", "1.3"]
    with pytest.raises(NothingToCompare, match=r"too few heads near 1\.1"):
        counterparts(["1.0", "1.1"], nearby=dict.fromkeys(nearby, ("1.2",)), rng=np.random.default_rng(0))


def test_units_of_both_halves_are_kept_apart(prompts):
    ones = UnitValues(np.ones((1, len(prompts))), ("joint",), prompts.units, prompts.templates)
    bare = prompts.without_bos()
    both = joined(ones, UnitValues(np.zeros((1, len(bare))), ("joint",), bare.units, bare.templates))
    assert len(set(both.units)) == 60
    assert both.values.sum() == 30
    with pytest.raises(StatisticsError, match="stands twice"):
        joined(ones, ones)


def test_the_rest_of_a_class_is_knocked_out_before_a_head(model):
    subject = Subject("circuit", CIRCUIT, "nothing", "a test", "discovery", {**CLASSES, "circuit": CIRCUIT})
    assert parts_claims.rest_of_class("3.0", subject) == ("3.1",)
    assert parts_claims.rest_of_class("2.3", subject) == ()


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("claim_id", CLAIMS)
def test_no_circuit_claim_is_supported_on_a_random_model(claim_id, model):
    profile = "full" if claim_id == "ioi.circuit-incomplete-greedy" else "quick"
    record = record_of(CLAIMS[claim_id], model, classes=CLASSES, profile=profile)
    assert record.verdict in {"refuted", "inconclusive", "too small", "invalid"}, record.judgement
    if record.verdict == "invalid":
        # A random model has no logit difference of which the circuit could give a share.
        assert claim_id == "ioi.circuit-faithful"
        assert "standard errors of zero" in record.judgement["reason"]


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize(
    "claim_id",
    ["ioi.circuit-faithful", "ioi.circuit-sufficient", "ioi.circuit-necessary", "ioi.circuit-complete"],
)
def test_a_planted_circuit_is_faithful_sufficient_necessary_and_complete(claim_id, planted):
    record = record_of(CLAIMS[claim_id], planted, classes={"duplicate-token": tuple(f"0.{head}" for head in range(16))})
    assert record.verdict == "supported", record.judgement["reason"]


def test_a_part_of_the_planted_circuit_is_not_faithful(planted):
    half = {"duplicate-token": tuple(f"0.{head}" for head in range(8))}
    record = record_of(CLAIMS["ioi.circuit-faithful"], planted, classes=half)
    assert record.verdict != "supported"
    ratios = [outcome for outcome in record.judgement["outcomes"] if outcome["control"].startswith("F(C) / F(M)")]
    assert len(ratios) == 4
    assert not any(outcome["holds"] for outcome in ratios)


def test_knock_outs_are_circuit_scores(scores):
    assert isinstance(scores, KnockOuts)
    assert list(scores.components)[:2] == ["0.0", "0.1"]
    assert (len(scores.units), len(set(scores.clusters))) == (30, 15)
