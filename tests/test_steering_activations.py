"""Activations of texts at their own positions: no padding, norms of ordinary positions, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import harness.steering.activations as module
from harness.errors import InterventionError
from harness.interventions import Engine
from harness.steering import ContrastPairs, pair_activations, read_activations, stream_samples, token_rows
from harness.steering.activations import MASSIVE, batches_of_one_length
from tests.interventions.bridges import SLOW_KINDS, tiny_bridge
from tests.one_thread import one_thread  # noqa: F401
from tests.steering_prompts import TokenRows, some_rows

pytestmark = pytest.mark.usefixtures("one_thread")
ROWS = some_rows([4, 7, 4, 2, 7])


@pytest.fixture(scope="module")
def model():
    return tiny_bridge("llama")


def streams(model, row, *, site: str = "resid_pre"):
    """[layer pos d_model] of one text alone."""
    import torch

    run = Engine.of(model).run(torch.tensor([row]), keep=(site,))
    return np.stack([run.kept(site, layer)[0].double().numpy() for layer in range(2)])


@pytest.mark.parametrize("site", ["resid_pre", "resid_post"])
def test_activations_are_those_of_each_text_alone(model, site):
    found = read_activations(model, ROWS, layers=[1, 0], site=site)
    for number, row in enumerate(ROWS):
        alone = streams(model, row, site=site)[:, -1]
        np.testing.assert_allclose(found.values[:, number], alone[[1, 0]], atol=1e-5)
    assert found.layers == (1, 0)
    assert (found.at(0) == found.values[1]).all()


def test_positions_can_be_named(model):
    found = read_activations(model, ROWS, layers=[1], positions=[1, 2, 3, 0, 6])
    np.testing.assert_allclose(found.at(1)[1], streams(model, ROWS[1])[1, 2], atol=1e-5)


def test_norms_leave_out_first_positions(model):
    found = read_activations(model, ROWS, layers=[0, 1])
    for layer in (0, 1):
        own = np.concatenate([np.linalg.norm(streams(model, row)[layer, 1:], axis=1) for row in ROWS])
        assert own.max() < MASSIVE * np.median(own)
        assert found.norms[layer] == pytest.approx(own.mean(), rel=1e-5)


def test_a_massive_position_does_not_count(model, monkeypatch):
    plain = read_activations(model, ROWS, layers=[1])
    read = module._streams

    def with_a_massive_one(engine, rows, **where):
        found = read(engine, rows, **where)
        found[0][0, 1] *= 1e3 if len(rows[0]) == 4 else 1.0
        return found

    monkeypatch.setattr(module, "_streams", with_a_massive_one)
    assert read_activations(model, ROWS, layers=[1]).norms[0] == pytest.approx(plain.norms[0], rel=0.1)


def test_pairs_are_read_on_both_sides_with_one_norm(model):
    pairs = ContrastPairs(ROWS, tuple(reversed(ROWS)), positions=((1, 1),) * 5)
    found = pair_activations(model, pairs, layers=[0, 1])
    assert len(found) == 5
    np.testing.assert_allclose(found.at(1)[0], found.at(1)[1][::-1], atol=1e-5)
    assert found.positive.norms == found.negative.norms
    assert found.place(1) == ("resid_pre", 1, found.positive.norms[1])
    last = pair_activations(model, ContrastPairs(ROWS, ROWS), layers=[1])
    np.testing.assert_allclose(last.at(1)[0], read_activations(model, ROWS, layers=[1]).at(1), atol=1e-5)


def test_samples_are_every_position_but_the_first(model):
    found = stream_samples(model, ROWS, layer=1)
    assert found.shape == (3 + 6 + 3 + 1 + 6, 32)
    rows = np.concatenate([streams(model, row)[1, 1:] for row in sorted(ROWS, key=len)])
    np.testing.assert_allclose(found, rows, atol=1e-5)


@pytest.mark.parametrize("kind", SLOW_KINDS)
def test_the_slow_path_reads_the_same(kind):
    import torch

    bridge = tiny_bridge(kind)
    found = read_activations(bridge, ROWS, layers=[0])
    with torch.inference_mode():
        _, cache = bridge.run_with_cache(torch.tensor([ROWS[1]]), names_filter="blocks.0.hook_resid_pre")
    np.testing.assert_allclose(found.at(0)[1], cache["blocks.0.hook_resid_pre"][0, -1].double().numpy(), atol=1e-5)


def test_token_rows_have_no_padding():
    assert token_rows(TokenRows.of(ROWS)) == ROWS
    assert [index.tolist() for index in batches_of_one_length(ROWS, size=1)] == [[3], [0], [2], [1], [4]]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"layers": [2]}, r"layer 2 does not exist, the model has 2 layers \(0 to 1\)"),
        ({"layers": [-1]}, "layer -1 does not exist"),
        ({"layers": []}, "name at least one, and each once"),
        ({"layers": [1, 1]}, "each once"),
        ({"layers": [0], "site": "z"}, "directions do not live at 'z'; .* resid_pre"),
        ({"layers": [0], "site": "resid_per"}, "directions do not live at 'resid_per'"),
        ({"layers": [0], "positions": [0, 0, 0, 2, 0]}, "one of its own tokens"),
        ({"layers": [0], "positions": [0, 0]}, "2 positions for 5 texts"),
    ],
)
def test_places_that_do_not_exist_are_refused(model, given, said):
    with pytest.raises(InterventionError, match=said):
        read_activations(model, ROWS, **given)


def test_texts_that_cannot_be_read_are_refused(model):
    with pytest.raises(InterventionError, match="0 texts, some empty"):
        read_activations(model, [], layers=[0])
    with pytest.raises(InterventionError, match="2 texts, some empty"):
        read_activations(model, [(1,), ()], layers=[0])
    with pytest.raises(InterventionError, match="every text is a single token"):
        read_activations(model, [(1,), (2,)], layers=[0])
    with pytest.raises(InterventionError, match="not all in the vocabulary"):
        read_activations(model, [(1, 99)], layers=[0])
    with pytest.raises(InterventionError, match="no activations of layer 0 were read; there are layers 1"):
        read_activations(model, ROWS, layers=[1]).at(0)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (("I love it",), r"are text \('I love it'\), and token ids are needed; model.token_lists\(texts, bos=True\)"),
        ("I love it", r"are text \('I love it'\)"),
        ((("I", "love", "it"),), r"hold \('I', 'love', 'it'\), which is no row of token ids; model.token_lists"),
        ((0, 5), "hold 0, which is no row of token ids"),
        (((0, 5.5),), r"hold \(0, 5.5\), which is no row of token ids"),
        (None, "are None, and not rows of token ids"),
    ],
)
def test_text_in_place_of_token_ids_is_refused_with_the_way_from_one_to_the_other(model, rows, said):
    with pytest.raises(InterventionError, match=f"the positive rows of a contrast {said}"):
        ContrastPairs(rows, ROWS)
    with pytest.raises(InterventionError, match=f"the negative rows of a contrast {said}"):
        ContrastPairs(ROWS, rows)
    for read in (lambda: read_activations(model, rows, layers=[0]), lambda: stream_samples(model, rows, layer=0)):
        with pytest.raises(InterventionError, match=f"rows {said}"):
            read()


def test_lists_arrays_and_tensors_of_ids_are_the_same_rows():
    import torch

    rows = [[0, 5], [0, 6]]
    for same in (rows, np.array(rows), torch.tensor(rows)):
        assert ContrastPairs(same, same) == ContrastPairs(((0, 5), (0, 6)), ((0, 5), (0, 6)))


def test_pairs_that_are_none_are_refused():
    with pytest.raises(InterventionError, match="the negative class of a contrast is empty"):
        ContrastPairs(ROWS, ())
    with pytest.raises(InterventionError, match="5 positive and 2 negative texts do not pair up"):
        ContrastPairs(ROWS, ROWS[:2])
    with pytest.raises(InterventionError, match="do not pair up"):
        ContrastPairs(ROWS, ROWS, positions=((0, 0),))
