"""Carry neurons: how they are found, what replacing them does, and the claim with and without them.

Claims are run on sums of the discovery split: `confirmation` is made to mean it while these tests run.
"""

from __future__ import annotations

import numpy as np
import pytest

from claims.arithmetic.neuron_measurements import (
    FOUND,
    INTACT,
    NEURONS,
    READ,
    SELECTIVE,
    carry_neurons,
    foremost,
    moved,
    moved_by_dose,
    pooled,
    ran,
    rights,
    sets_called,
    written_for_the_carry,
)
from fixtures.prompts import sums as sums_module
from fixtures.prompts.sums import answer_position, carry_twins
from harness.bound_claim import BoundClaim, Options
from harness.claim import declared
from harness.errors import InterventionError
from harness.interventions import Engine
from harness.mechanism import import_file, open_mechanism
from harness.models.model import lesioned, load, untrained_twin
from harness.negatives import measured_on
from harness.seeding import Streams
from harness.session import Loaded, measure
from harness.values import UnitValues
from tests.one_thread import one_thread  # noqa: F401 - a fixture
from tests.paths import REPOSITORY

pytestmark = pytest.mark.usefixtures("one_thread")

FOLDER = REPOSITORY / "claims" / "arithmetic"
PLACE = 2
RNG = np.random.default_rng
STREAMS = Streams(("test",))


@pytest.fixture(scope="module")
def model():
    return load("addition-5d-2l@0")


@pytest.fixture(scope="module")
def found(model):
    return carry_neurons(model, STREAMS, place=PLACE)


@pytest.fixture(scope="module")
def twins():
    return carry_twins(40, place=PLACE, split="discovery", rng=RNG(1))


@pytest.fixture
def on_discovery(monkeypatch):
    """Nobody looks at the confirmation split of a shipped model in a test."""
    monkeypatch.setitem(sums_module.PARTS, "confirmation", sums_module.PARTS["discovery"])


def bound(model_id, *, n_units):
    module = import_file(FOLDER / "test_neurons.py")
    test = module.test_carry_neurons_move_the_digit_by_one
    claim = declared(test, where="test_neurons.py")
    options = Options(profile="quick", ignore_preconditions=True, n_units=n_units)
    return BoundClaim(claim, test, "test_neurons.py", open_mechanism(FOLDER), model_id, options)


def test_the_foremost_neurons_are_those_of_the_highest_mean_and_exchanged_pairs_count_the_other_way():
    gains = UnitValues(np.array([[3, -1], [0, 4], [-4, 2]]), ("a", "b", "c"), ("u", "v"), ("u", "v"))
    assert foremost(gains, count=2) == ("b", "a")  # by hand: means 1, 2 and -1
    # With the second pair exchanged (3 + 1) / 2 = 2, (0 - 4) / 2 = -2 and (-4 - 2) / 2 = -3.
    assert foremost(gains, signs=np.array([1.0, -1.0]), count=3) == ("a", "b", "c")


def test_what_a_neuron_writes_for_the_carry_is_its_activation_times_its_weights_on_the_difference_of_logits(
    model, twins
):
    import torch

    gains = written_for_the_carry(model, twins)
    engine, neuron, row, position = Engine.of(model), 7, 3, answer_position(PLACE)
    tokens = [int(sums.answers[row, PLACE]) for sums in (twins.carrying, twins.without)]
    written = []
    with torch.inference_mode():
        for sums in (twins.carrying, twins.without):
            run = engine.run(sums.tensor(), keep=("mlp_post",))
            changed = run.mlp_post[1][row, position, neuron] * engine.weights.blocks[1].mlp.outward.weight[:, neuron]
            scaled = changed / engine.final_scale(run)[row, position]
            written.append(float(scaled @ (engine.W_U[:, tokens[0]] - engine.W_U[:, tokens[1]])))
    assert gains.values[neuron, row] == pytest.approx(written[0] - written[1], abs=1e-4)
    assert gains.components[neuron] == "1.neuron7"


def test_other_neurons_are_none_of_the_found_and_every_set_is_as_large(found):
    assert set(found.sets) == {FOUND, SELECTIVE, *sets_called("others"), *sets_called("permuted")}
    assert {len(set(members)) for members in found.sets.values()} == {NEURONS}
    assert not any(set(found.sets[name]) & set(found.sets[FOUND]) for name in sets_called("others"))
    assert all(name.startswith("1.neuron") for members in found.sets.values() for name in members)


def test_carry_neurons_are_found_again_on_other_sums_and_not_with_permuted_labels(model, twins, found):
    own = set(found.sets[FOUND])
    again = foremost(written_for_the_carry(model, twins))
    assert len(own & set(again)) / NEURONS > 0.7  # chance 0.2
    assert max(len(own & set(found.sets[name])) for name in sets_called("permuted")) / NEURONS < 0.6


def test_the_same_streams_find_the_same_neurons(model, found):
    assert carry_neurons(model, STREAMS, place=PLACE).sets == found.sets


def test_replacing_neurons_by_themselves_changes_nothing_and_the_whole_layer_by_the_twins_moves_the_digit(model, twins):
    engine, digits = Engine.of(model), [sums.answers[:, PLACE] for sums in (twins.without, twins.carrying)]
    clean = [ran(engine, sums, place=PLACE) for sums in (twins.without, twins.carrying)]
    sets = {"all": tuple(f"1.neuron{neuron}" for neuron in range(engine.d_mlp))}
    at = {"sets": sets, "place": PLACE, "digits": digits}
    assert moved(engine, clean, clean, **at)["all"] == pytest.approx(np.zeros(40), abs=1e-6)
    assert moved(engine, clean, clean[::-1], **at)["all"].mean() > 0.95  # 1.00 on 400 other discovery twins


def test_a_pass_up_to_the_place_gives_the_digits_of_the_whole_pass(model, twins, found):
    engine, digits, sets = Engine.of(model), twins.carrying.answers[:, PLACE], {FOUND: found.sets[FOUND]}
    short = [ran(engine, sums, place=PLACE) for sums in (twins.carrying, twins.without)]
    long = [engine.run(sums.tensor(), keep=READ) for sums in (twins.carrying, twins.without)]
    for by in ("mean", "resample"):
        few, all_ = (rights(engine, *runs, sets=sets, place=PLACE, digits=digits, by=by) for runs in (short, long))
        assert few[FOUND] == pytest.approx(all_[FOUND], abs=1e-5)
        assert few[INTACT] == pytest.approx(all_[INTACT], abs=1e-5)


def test_the_mean_that_stands_in_is_that_of_the_reference(model, twins, found):
    # A reference of equal rows has that row as its mean.
    engine, digits, sets = Engine.of(model), twins.carrying.answers[:, PLACE], {FOUND: found.sets[FOUND]}
    clean, tokens = ran(engine, twins.carrying, place=PLACE), twins.without.tensor()[:1, : answer_position(PLACE) + 1]
    same = engine.run(tokens.expand(40, -1), keep=READ)
    by_mean, by_row = (
        rights(engine, clean, same, sets=sets, place=PLACE, digits=digits, by=by) for by in ("mean", "resample")
    )
    assert by_mean[FOUND] == pytest.approx(by_row[FOUND], abs=1e-5)


def test_pooled_sums_carry_in_one_half(twins):
    assert pooled(twins).carries[:, PLACE].mean() == 0.5
    assert len(pooled(twins)) == 80


def test_carry_neurons_move_the_digit_and_neither_others_nor_an_equal_dose_do(model, twins, found):
    engine, digits = Engine.of(model), [sums.answers[:, PLACE] for sums in (twins.without, twins.carrying)]
    clean = [ran(engine, sums, place=PLACE) for sums in (twins.without, twins.carrying)]
    at = {"place": PLACE, "digits": digits}
    rises = moved(engine, clean, clean[::-1], sets=found.sets, **at)
    assert rises[FOUND].mean() > 0.5
    assert rises["others 0"].mean() < 0.2
    assert rises[FOUND].mean() > np.mean([rises[name].mean() for name in sets_called("permuted")]) + 0.15  # 0.60, 0.32
    assert moved_by_dose(engine, clean, neurons=found.sets[FOUND], rng=RNG(3), **at).mean() < 0.1


def test_the_index_of_the_carry_is_reported_beside_and_the_picture_has_digits_with_and_without_it(found):
    assert found.mean_index(SELECTIVE) > found.mean_index("others 0")
    both = {f"{digit} {kind}" for digit in range(10) for kind in ("carry", "no carry")}
    assert set(found.tuned["columns"]) == both - {"0 carry", "9 no carry"}  # twins have no own pair that sums to nine
    assert len(found.tuned["rows"]) == len(found.tuned["values"])


def test_a_neuron_that_the_model_lacks_and_one_that_is_none_are_refused(model, twins):
    engine, digits = Engine.of(model), twins.carrying.answers[:, PLACE]
    clean = ran(engine, twins.carrying, place=PLACE)
    for name in ("1.neuron512", "2.neuron0", "1.unit3"):
        with pytest.raises(InterventionError):
            rights(engine, clean, clean, sets={"x": (name,)}, place=PLACE, digits=digits)


def test_two_layers_have_carry_neurons(model, on_discovery):
    record = measure(bound(model.id, n_units=100), loaded=Loaded(), target=model)
    assert record.verdict == "supported", record.judgement["reason"]
    assert {picture["kind"] for picture in record.pictures} == {"matrix"}


@pytest.mark.parametrize("negative", ["untrained", "lesioned"])
def test_without_training_or_the_heads_that_bring_the_carry_there_are_none(model, negative, on_discovery):
    without_heads = lesioned(model, ("0.0", "1.1", "1.3"), which="W_O", seed=0)  # the carry heads of 2l@0
    target = untrained_twin(model, 0) if negative == "untrained" else without_heads
    assert measured_on(bound(model.id, n_units=80), target, subject=None).verdict != "supported"


def test_one_layer_spreads_the_carry_over_its_neurons(on_discovery):
    one_layer = load("addition-5d-1l@0")
    record = measure(bound(one_layer.id, n_units=100), loaded=Loaded(), target=one_layer)
    assert record.verdict in ("too small", "inconclusive")
    assert "neurons found with permuted carry labels" in record.judgement["reason"]
