"""The claims on modular addition: the numpy model against engine and torch, and verdicts with and without training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from claims.arithmetic import modular_measurements as measurements
from claims.arithmetic.modular_model import PAIRS, one_layer
from fixtures.prompts.modular import EQUALS, ModularPairs, P, all_pairs
from fixtures.prompts.sums import OperandError
from harness.bound_claim import BoundClaim, Options, applies
from harness.claim import Evidence, declared
from harness.errors import ModelError
from harness.fourier import key_frequencies, losses_nats, only, spectrum, without_constant
from harness.interventions import Engine, Replace
from harness.interventions.forward import ForwardPass, Member
from harness.mechanism import import_file, open_mechanism
from harness.models.model import load, untrained_twin
from harness.report.figures import draw
from harness.seeding import Streams
from harness.session import Loaded, measure
from tests.paths import REPOSITORY

MODEL_ID = "modular-addition-113@0"
FOLDER = REPOSITORY / "claims" / "arithmetic"
NOT_FOUND = {"arithmetic.clock-gradients", "arithmetic.clock-distances"}
"""The paper's finding that seed 0 does not show: it lies between Clock and Pizza."""


def claims_here():
    """Every claim on modular addition with its test, by id."""
    tests = {
        name: test
        for path in sorted(FOLDER.glob("test_modular_*.py"))
        for name, test in vars(import_file(path)).items()
        if hasattr(test, "__claim__")
    }
    return {(found := declared(test, where=name)).id: (found, test, name) for name, test in tests.items()}


CLAIMS = claims_here()


@pytest.fixture(scope="module")
def model():
    return load(MODEL_ID)


@pytest.fixture(scope="module")
def layer(model):
    return one_layer(model)


@pytest.fixture(scope="module")
def twin(model):
    return untrained_twin(model, 0)


def measured(claim_id, target):
    claim, test, name = CLAIMS[claim_id]
    options = Options(ignore_preconditions=True)
    bound = BoundClaim(claim, test, name, open_mechanism(FOLDER), MODEL_ID, options)
    return measure(bound, loaded=Loaded(), target=target)


def few(draw):
    """The same draws, but four."""

    def drawn(*arguments, **options):
        return draw(*arguments, **{**options, "draws": 4})

    return drawn


@pytest.mark.parametrize("claim_id", CLAIMS)
def test_claims_hold_on_the_trained_model_but_those_on_the_clock(claim_id, model):
    record = measured(claim_id, model)
    assert (record.verdict == "supported") == (claim_id not in NOT_FOUND), record.judgement
    assert all(entry["holds"] for entry in record.preconditions)
    assert record.prompts["n"] == P * P
    assert all(picture["name"] for picture in record.pictures)
    assert record.pictures
    for picture in record.as_dict()["pictures"]:
        assert draw(picture).axes


@pytest.mark.parametrize("claim_id", CLAIMS)
def test_no_claim_is_supported_on_the_untrained_twin(claim_id, twin, monkeypatch):
    # A few members of each population, so that no rank is asked for: the distance alone must keep it from support.
    names = CLAIMS[claim_id][1].__globals__
    for name in ("permutations", "random_sets", "constant_patterns"):
        if name in names:
            monkeypatch.setitem(names, name, few(getattr(measurements, name)))
    record = measured(claim_id, twin)
    assert record.verdict in {"refuted", "inconclusive", "too small"}, record.judgement
    assert not record.preconditions[0]["holds"]


@pytest.mark.parametrize(
    ("claim_id", "counted"),
    [("embedding-frequencies-needed", 40.0), ("embedding-frequencies-suffice", np.log(P) - 0.5)],
)
def test_controls_count_for_a_guess_at_most_only_where_little_is_to_be_lost(claim_id, counted):
    claim, test, _ = CLAIMS[f"arithmetic.{claim_id}"]
    evidence = Evidence(claim, 0, Streams(("cap",)))
    orders = {"permutation": np.arange(P)}

    def after(frequencies, order=None):
        return 60.0 if frequencies == (1, 2) and order is None else 40.0

    test.__globals__["_rank"](evidence, after, (1, 2), Streams(("cap",)), whole=0.5, orders=orders, of="it")
    evidence.decide()
    assert evidence.sections["exact"]["value"] == 60.0
    population = list(evidence.sections["exact"]["population"].values())
    assert population == pytest.approx([counted] * len(population))


def test_the_claims_are_about_every_seed_of_modular_addition_and_nothing_else():
    assert len(CLAIMS) == 10
    for claim, _, _ in CLAIMS.values():
        assert claim.exact
        assert applies(claim, "modular-addition-113@4")
        assert not applies(claim, "addition-5d-2l@0")
        # Its control was changed after a look at seed 0; the thresholds of the others were chosen there.
        neurons = claim.id == "arithmetic.fourier-neurons"
        assert applies(claim, "modular-addition-113@0") == (not neurons)
        assert claim.set_on == (() if neurons else ("modular-addition-113@0",))


def test_every_population_must_be_passed_and_holds_enough_for_a_rank():
    """Ten are beaten by far; of twenty one lies as high, so that rank 2 of 21 is not among the top 5 %."""
    few = {f"few {number}": 5.0 for number in range(10)}
    many = {**{f"many {number}": 0.0 for number in range(19)}, "many 19": 9.0}
    populations = measurements.Populations({"few": few, "many": many}, "greater")
    assert populations.hardest(8.0, sesoi=1.0) == "many"
    assert populations.hardest(10.0, sesoi=1.0) == "few"  # both are passed; the bar of 5 is higher than that of 0
    rng = np.random.default_rng(0)
    assert len(measurements.permutations(rng)) == len(measurements.random_sets((1, 2), rng)) == 20


def test_logits_neurons_and_patterns_are_those_of_the_engine(model, layer):
    engine, rows = Engine.of(model), np.random.default_rng(0).permutation(P * P)[:500]
    run = engine.run(PAIRS.tensor()[rows], keep=("mlp_post", "pattern"))
    logits = engine.logits_at(run, torch.full((len(rows), 1), 2))[:, 0, :P]
    assert np.allclose(layer.logits().reshape(P * P, P)[rows], logits, atol=1e-3)
    assert np.allclose(layer.neurons()[rows], run.mlp_post[0][:, 2], atol=1e-4)
    assert np.allclose(layer.patterns()[rows], run.pattern[0][:, :, 2], atol=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_are_those_of_torch(model, layer, frozen):
    weights, rng = Engine.of(model).weights, np.random.default_rng(1)
    rows = rng.permutation(P * P)[:300]
    tokens, answers = PAIRS.tensor()[rows], rng.integers(0, P, P * P)
    pattern = layer.patterns()[77] if frozen else None
    edits = []
    if frozen:
        held = torch.zeros(len(rows), 4, 3, 3)
        held[:, :, 2] = torch.from_numpy(pattern)
        edits = [Replace(0, "pattern", held)]
    stream = (weights.embed[tokens] + weights.pos_embed[:3]).detach().requires_grad_()
    passed = ForwardPass(weights, members=[Member(slice(0, len(rows)), edits)], doses=False).block(stream, 0)
    chosen = weights.unembed(passed[:, 2]).gather(1, torch.from_numpy(answers[rows])[:, None])
    (expected,) = torch.autograd.grad(chosen.sum(), stream)
    found = layer.gradients(answers, pattern)
    assert np.allclose(found.by_a[rows], expected[:, 0], atol=1e-3)
    assert np.allclose(found.by_b[rows], expected[:, 1], atol=1e-3)


def test_an_embedding_of_all_frequencies_is_the_embedding_itself(layer):
    every = tuple(range(1, P // 2 + 1))
    assert np.allclose(only(layer.embed, every), layer.embed, atol=1e-6)
    assert measurements.loss_embedding(layer, every, keep=True) == pytest.approx(losses_nats(layer.logits()).mean())


def test_a_change_of_renamed_numbers_gives_their_names_back(layer):
    order = np.random.default_rng(2).permutation(P)
    assert np.array_equal(measurements.renamed(lambda matrix: matrix, layer.embed, order), layer.embed)


def test_key_frequencies_need_more_than_permuted_tokens_ever_give(layer):
    rng = np.random.default_rng(3)
    shares = [without_constant(spectrum(layer.embed[rng.permutation(P)])).max() * (P // 2) for _ in range(200)]
    assert max(shares) < 2.5 < measurements.KEY_RATIO
    assert set(key_frequencies(layer.embed, at_least=measurements.KEY_RATIO)) == {5, 11, 23, 27, 46}


def test_random_sets_hold_no_key_frequency_and_are_as_large():
    keys = (27, 5, 23)
    sets = measurements.random_sets(keys, np.random.default_rng(4))
    assert len(set(sets.values())) == measurements.SETS
    assert all(len(set(some)) == 3 and not set(some) & set(keys) for some in sets.values())


def test_the_frequency_of_another_neuron_is_never_its_own():
    rng, own = np.random.default_rng(5), np.array([3, 3, 9, 20, 9])
    for _ in range(50):
        drawn = measurements.other_frequencies(own, rng)
        assert not (drawn == own).any()
        assert set(drawn) <= {3, 9, 20}
    assert not (measurements.other_frequencies(np.array([4, 4]), rng) == 4).any()


def test_a_number_is_ranked_in_the_population_that_is_hardest_to_beat():
    mild, hard = ({f"{least} {place}": least + place / 100 for place in range(20)} for least in (0, 1))
    assert measurements.Populations({"mild": mild, "hard": hard}, "greater").hardest(9.0, sesoi=1.0) == "hard"
    assert measurements.Populations({"mild": mild, "hard": hard}, "less").hardest(-9.0, sesoi=1.0) == "mild"


def test_losses_are_told_apart_by_training_and_test_pairs(model, layer):
    found = measurements.loss_by_part(layer.logits(), model=model)
    n_training = round(0.3 * P * P)
    both = (n_training * found["training pairs"] + (P * P - n_training) * found["test pairs"]) / (P * P)
    assert found["all pairs"] == pytest.approx(both)
    assert found["training pairs"] < found["test pairs"] < 1e-3


def test_all_pairs_are_every_pair_once():
    pairs = all_pairs()
    assert len({tuple(row) for row in pairs.tokens()}) == len(pairs) == P * P
    assert (pairs.tokens()[:, 2] == EQUALS).all()
    assert (pairs.answers == (pairs.a + pairs.b) % P).all()
    assert pairs.tensor().shape == (P * P, 3)
    assert pairs.sha256() == all_pairs().sha256()
    assert len(pairs.examples()) == 3


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ([1, 113], [0, 0], "113"),
        ([-1], [0], "-1"),
        ([1.5], [0], "whole"),
        ([1, 2], [3], "2 numbers a"),
        ([], [], "row"),
    ],
)
def test_what_is_no_pair_is_refused(a, b, said):
    with pytest.raises(OperandError, match=said):
        ModularPairs(np.array(a), np.array(b))


@pytest.mark.parametrize("model_id", ["addition-5d-2l@0", "induction-1l@0"])
def test_a_model_of_another_shape_is_refused(model_id):
    with pytest.raises(ModelError, match="claims on modular addition are about one layer"):
        one_layer(load(model_id))
