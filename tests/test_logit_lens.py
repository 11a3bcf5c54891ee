"""The logit lens against TransformerLens' own, the model's logits, and readings made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures.prompts.sums import uniform_sums
from harness import logit_lens as module
from harness.errors import InterventionError, NotCovered, StatisticsError
from harness.interventions import Engine
from harness.logit_lens import Lens, logit_lens, sites_of
from tests.interventions.bridges import tiny_bridge
from tests.one_thread import one_thread  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("one_thread")

AT = (3, 11, 16)


def sums(n=6, seed=0):
    return uniform_sums(n, split="discovery", rng=np.random.default_rng(seed))


def read(bridge, some, **options):
    return logit_lens(bridge, some, positions=AT, answers=some.answers[:, [0, 2, 4]], **options)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "native-mlp", "native-rotary-gated", "attention-only-ln"])
def test_every_site_reads_what_transformer_lens_reads_there(kind):
    import torch
    from transformer_lens.tools.analysis.logit_lens import logit_lens as theirs

    bridge, some = tiny_bridge(kind), sums()
    found = read(bridge, some)
    mids = "resid_mid" in " ".join(found.sites)
    with torch.inference_mode():
        result = theirs(bridge, some.tensor(), incl_mid=mids, positions=list(AT), return_type="log_probs")
    stack = result.values.double().numpy()  # [site batch pos vocab]
    assert len(stack) == len(found.sites) == (5 if mids else 3)
    answers = some.answers[:, [0, 2, 4]]
    expected = np.take_along_axis(stack, answers[None, :, :, None], axis=-1)[..., 0].transpose(0, 2, 1)
    np.testing.assert_allclose(found.log_probs[:, :, 0], expected, atol=2e-4)
    np.testing.assert_array_equal(found.top, stack.argmax(axis=-1).transpose(0, 2, 1))


@pytest.mark.parametrize("kind", ["gpt2", "attention-only"])
def test_the_last_site_is_the_models_own_prediction(kind):
    import torch

    bridge, some = tiny_bridge(kind), sums()
    found = read(bridge, some)
    with torch.inference_mode():
        logits = bridge(some.tensor())[:, list(AT)].log_softmax(dim=-1)
    np.testing.assert_array_equal(found.top[-1], logits.argmax(dim=-1).numpy().T)
    expected = np.take_along_axis(logits.double().numpy(), some.answers[:, [0, 2, 4]][..., None], axis=-1)[..., 0].T
    np.testing.assert_allclose(found.log_probs[-1, :, 0], expected, atol=1e-4)


def made(top, probability=0.5):
    """A lens with these most likely tokens [site, unit] at one place; the answer is 1."""
    top = np.asarray(top)[:, None]
    units = tuple(str(unit) for unit in range(top.shape[2]))
    log_probs = np.full((len(top), 1, 1, len(units)), np.log(probability))
    return Lens(tuple(f"site {site}" for site in range(len(top))), ("x",), log_probs, top, top == 1, units, units)


def test_the_answer_is_settled_from_the_first_site_on_from_which_it_stays():
    # units by column: settled at once; at the last site; at site 2, since it left the answer between; wrong and settled
    lens = made([[1, 0, 1, 5], [1, 0, 0, 4], [1, 0, 1, 4], [1, 1, 1, 4]])
    assert lens.settled.tolist() == [[0, 3, 2, 1]]
    assert lens.settled_shares()[:, 0].tolist() == [0.25] * 4
    assert lens.accuracy[:, 0].tolist() == [0.5, 0.25, 0.5, 0.75]


def test_probabilities_are_means_over_places_and_log_probs_stay_by_place():
    lens = made([[1, 1], [1, 1]], probability=0.25)
    assert lens.probability().values.tolist() == [[0.25, 0.25]] * 2
    assert lens.at_place("x").values[0] == pytest.approx(np.log(0.25))
    assert lens.mean_log_prob[0, 0] == pytest.approx(np.log(0.25))
    with pytest.raises(StatisticsError, match="no place 'y'"):
        lens.at_place("y")


def test_several_answers_are_read_at_once_and_the_first_is_the_right_one():
    bridge, some = tiny_bridge("gpt2"), sums()
    answers = np.stack([some.answers[:, :3], (some.answers[:, :3] + 1) % 10], axis=-1)
    both = logit_lens(bridge, some, positions=AT, answers=answers)
    for number in range(2):
        alone = logit_lens(bridge, some, positions=AT, answers=answers[..., number])
        np.testing.assert_array_equal(both.log_probs[:, :, number], alone.log_probs[:, :, 0])


def test_parts_of_a_batch_give_the_same_readings(monkeypatch):
    bridge, some = tiny_bridge("gpt2"), sums()
    whole = read(bridge, some)
    monkeypatch.setattr(module, "LOGIT_BYTES", 1)
    parts = read(bridge, some)
    np.testing.assert_allclose(parts.log_probs, whole.log_probs, atol=1e-5)


def test_positions_given_row_by_row_are_the_same_as_one_for_all():
    bridge, some = tiny_bridge("gpt2"), sums()
    by_row = logit_lens(bridge, some, positions=np.tile(AT, (6, 1)), answers=some.answers[:, [0, 2, 4]])
    np.testing.assert_array_equal(by_row.log_probs, read(bridge, some).log_probs)


def test_an_attention_only_model_has_no_mid():
    assert sites_of(Engine.of(tiny_bridge("attention-only"))) == ("0.resid_pre", "0.resid_post", "1.resid_post")


def test_the_picture_is_drawn():
    from harness.report import figures

    picture = read(tiny_bridge("gpt2"), sums(), places=("a", "b", "c")).picture()
    figures.draw({"kind": "matrix", "name": "lens", **picture}).draw_without_rendering()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"positions": [3, 17]}, InterventionError, "positions must lie in 0 to 16"),
        ({"positions": [3.0, 4.0]}, InterventionError, "must be integers"),
        ({"positions": [3]}, StatisticsError, "are not .prompt, place."),
        ({"answers": np.full((6, 2), 40)}, InterventionError, "answers 0 to 39"),
        ({"answers": np.zeros((5, 2), dtype=int)}, StatisticsError, "of 6 prompts"),
        ({"places": ["a", "a"]}, StatisticsError, "1 different names"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(options, error, message):
    some = sums()
    given = {"positions": [3, 4], "answers": some.answers[:, :2], **options}
    with pytest.raises(error, match=message):
        logit_lens(tiny_bridge("gpt2"), some, **given)


def test_an_architecture_that_is_not_covered_is_refused():
    some = sums()
    with pytest.raises(NotCovered, match="not covered"):
        read(tiny_bridge("gpt-neox"), some)
