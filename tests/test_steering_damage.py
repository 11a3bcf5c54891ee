"""Damage of steering on passages: against whole distributions computed by hand, on both paths, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import harness.steering.side_effects as module
from harness.errors import InterventionError
from harness.interventions import Engine, Intervention, own_positions
from harness.steering import Direction, add, additions, damage, project_out
from tests.interventions.bridges import SLOW_KINDS, tiny_bridge
from tests.one_thread import one_thread  # noqa: F401
from tests.steering_prompts import TokenRows, some_rows

pytestmark = pytest.mark.usefixtures("one_thread")
PASSAGES = TokenRows.of(some_rows([6, 9, 6, 9, 6]))


def a_direction(*, layer: int = 1) -> Direction:
    vector = np.random.default_rng(0).standard_normal(32)
    return Direction(vector / np.linalg.norm(vector), "resid_pre", layer, 10.0, "planted", 2)


def at_own_positions(runs, batch):
    return additions({"d": a_direction()}, doses=(0, 1, 4), positions=own_positions(batch))


@pytest.fixture(scope="module")
def llama():
    return tiny_bridge("llama")


def by_hand(model, row, *, dose: float) -> tuple[float, float, float]:
    """Clean loss, loss and KL of one passage: from whole distributions in float64, position by position."""
    import torch

    engine, tokens = Engine.of(model), torch.tensor([row])
    positions = torch.ones_like(tokens, dtype=torch.bool)
    positions[:, 0] = False
    edits = [add(a_direction(), dose=dose, positions=positions)]
    clean, steered = (
        engine.logits(engine.run(tokens, edits=made))[0].double().log_softmax(dim=-1).numpy() for made in ((), edits)
    )
    counted = range(1, len(row) - 1)  # not BOS, and not the last position, which no token follows
    losses = [[-each[at, row[at + 1]] for at in counted] for each in (clean, steered)]
    kl = [float(np.exp(steered[at]) @ (steered[at] - clean[at])) for at in counted]
    return float(np.mean(losses[0])), float(np.mean(losses[1])), float(np.mean(kl))


def test_loss_and_kl_are_means_over_the_passages_own_positions(llama):
    found = damage(llama, PASSAGES, make=at_own_positions)
    assert found.names == ("d at dose 0", "d at dose 1", "d at dose 4")
    for number, row in enumerate(PASSAGES.tokens):
        for place, dose in enumerate((0.0, 1.0, 4.0)):
            clean, loss, kl = by_hand(llama, row, dose=dose)
            assert found.clean_loss[number] == pytest.approx(clean, abs=1e-5)
            assert found.loss[place, number] == pytest.approx(loss, abs=1e-5)
            assert found.kl[place, number] == pytest.approx(kl, abs=1e-5)
    assert found.units == PASSAGES.units
    np.testing.assert_allclose(found.rise().values, found.loss - found.clean_loss)
    np.testing.assert_allclose(found.divergence().values, found.kl)


def test_no_dose_does_no_damage_and_more_of_it_does_more(llama):
    found = damage(llama, PASSAGES, make=at_own_positions)
    assert np.abs(found.rise().values[0]).max() < 1e-6
    assert np.abs(found.kl[0]).max() < 1e-6
    assert (found.kl[2] > found.kl[1]).all()
    assert (found.kl[1] > 1e-4).all()


def test_the_parts_in_which_the_vocabulary_is_compared_change_no_number(llama, monkeypatch):
    whole = damage(llama, PASSAGES, make=at_own_positions)
    monkeypatch.setattr(module, "LOGIT_BYTES", 1)  # one position at a time
    parts = damage(llama, PASSAGES, make=at_own_positions)
    np.testing.assert_allclose(parts.kl, whole.kl, atol=1e-6)
    np.testing.assert_allclose(parts.loss, whole.loss, atol=1e-6)


def test_positions_before_the_first_edited_one_are_the_unsteered_ones(llama):
    import torch

    def late(runs, batch):
        positions = torch.zeros_like(runs.clean.tokens, dtype=torch.bool)
        positions[:, 4:] = True
        return [Intervention("late", (project_out(a_direction(), positions=positions),))]

    def everywhere_else_nothing(runs, batch):  # the same edit in a form that the fast path cannot narrow
        (made,) = late(runs, batch)
        return [Intervention("late", (_Wide(made.edits[0]),))]

    narrow, wide = (damage(llama, PASSAGES, make=make) for make in (late, everywhere_else_nothing))
    np.testing.assert_allclose(narrow.kl, wide.kl, atol=1e-5)
    np.testing.assert_allclose(narrow.loss, wide.loss, atol=1e-5)


class _Wide:
    """An edit without `narrowed`."""

    def __init__(self, edit):
        self.edit, self.layer, self.site = edit, edit.layer, edit.site

    def targets(self, frame):
        return self.edit.targets(frame)

    def check(self, frame):
        self.edit.check(frame)

    def apply(self, activation):
        return self.edit.apply(activation)


@pytest.mark.parametrize("kind", SLOW_KINDS)
def test_the_slow_path_measures_damage_too(kind):
    bridge = tiny_bridge(kind)
    found = damage(bridge, PASSAGES, make=at_own_positions)
    assert np.abs(found.kl[0]).max() < 1e-5
    assert (found.kl[2] > 1e-4).all()


def test_both_paths_measure_the_same_damage(llama, monkeypatch):
    from harness.interventions import HookEngine

    fast = damage(llama, PASSAGES, make=at_own_positions)
    monkeypatch.setattr(module, "engine_of", HookEngine.of)
    slow = damage(llama, PASSAGES, make=at_own_positions)
    np.testing.assert_allclose(fast.kl, slow.kl, atol=1e-4)
    np.testing.assert_allclose(fast.loss, slow.loss, atol=1e-4)


def test_an_intervention_without_edits_is_the_unsteered_model(llama):
    found = damage(llama, PASSAGES, make=lambda runs, batch: [Intervention("nothing", ())])
    assert (found.kl == 0).all()
    np.testing.assert_allclose(found.loss[0], found.clean_loss, rtol=1e-12)


def test_what_cannot_be_measured_is_refused_by_name(llama):
    with pytest.raises(InterventionError, match="give at least one"):
        damage(llama, PASSAGES, make=lambda runs, batch: [])
    with pytest.raises(InterventionError, match="2 interventions, 1 names"):
        damage(llama, PASSAGES, make=lambda runs, batch: [Intervention("a", ())] * 2)
    with pytest.raises(InterventionError, match="the same interventions for every batch"):
        damage(llama, PASSAGES, make=lambda runs, batch: [Intervention(batch.units[0], ())])
    with pytest.raises(InterventionError, match="no position of its own that a token follows"):
        damage(llama, TokenRows.of([(0, 5)]), make=at_own_positions)
    far = Intervention("far", (add(a_direction(layer=9), dose=1),))
    with pytest.raises(InterventionError, match=r"intervention 'far': .*layer 9 does not exist"):
        damage(llama, PASSAGES, make=lambda runs, batch: [far])
    long = Intervention("d at dose 1e+30", (add(a_direction(), dose=1e30),))
    with pytest.raises(InterventionError, match=r"'d at dose 1e\+30': .*logits would not be finite"):
        damage(llama, PASSAGES, make=lambda runs, batch: [long])
