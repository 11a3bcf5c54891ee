"""Steered generation: equal to recomputing the whole text, deterministic, whatever stands beside a prompt."""

from __future__ import annotations

import re

import numpy as np
import pytest

import harness.steering
from harness.errors import InterventionError, NotSuited
from harness.interventions import Engine, HookEngine
from harness.models.model import load
from harness.steering import Direction, Sampling, add, clamp, generate, generate_each, generation, project_out
from harness.steering.decoding import CachedDecoder, RecomputingDecoder
from harness.steering.generation import chosen_tokens
from tests.interventions.bridges import SLOW_KINDS, tiny_bridge
from tests.interventions.conftest import bridge, llama  # noqa: F401
from tests.models.tiny import tiny_gpt2
from tests.one_thread import one_thread  # noqa: F401
from tests.steering_prompts import some_rows
from tests.word_tokenizer import save_word_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")
ROWS = some_rows([5, 3, 5, 1, 5, 3])


def a_direction(*, layer: int = 1, site: str = "resid_pre") -> Direction:
    vector = np.random.default_rng(0).standard_normal(32)
    return Direction(vector / np.linalg.norm(vector), site, layer, 10.0, "planted", 2)


@pytest.mark.parametrize("steering", ["none", "add", "project", "two layers"])
def test_cached_logits_are_those_of_the_whole_text_recomputed(bridge, steering):  # noqa: F811
    import torch

    edits = {
        "none": [],
        "add": [add(a_direction(), dose=3)],
        "project": [project_out(a_direction(layer=0, site="resid_post"), center=1.0)],
        "two layers": [add(a_direction(layer=0), dose=-2), clamp(a_direction(), dose=2)],
    }[steering]
    tokens = torch.tensor([row for row in ROWS if len(row) == 5])
    engine = Engine.of(bridge)
    fast = CachedDecoder(engine, tokens, steerings=[edits], new_tokens=6)
    slow = RecomputingDecoder(engine, tokens, steering=edits)
    oracle = RecomputingDecoder(HookEngine.of(bridge), tokens, steering=edits)  # the model's own hooks
    for step in range(6):
        found = fast.logits()
        np.testing.assert_allclose(found, slow.logits(), atol=1e-4)
        np.testing.assert_allclose(found, oracle.logits(), atol=1e-4)
        chosen = np.random.default_rng(step).integers(3, 40, len(tokens))
        for each in (fast, slow, oracle):
            each.append(chosen)


@pytest.mark.parametrize("rows_at_once", [1, 4, 256])
def test_steerings_side_by_side_write_what_each_writes_alone(llama, monkeypatch, rows_at_once):  # noqa: F811
    monkeypatch.setattr(generation, "MOST_ROWS", rows_at_once)
    steerings = {"none": [], "add": [add(a_direction(), dose=3)], "clamp": [clamp(a_direction(), dose=-2)]}
    given = {"new_tokens": 6, "temperature": 1.0, "seed": 3, "stop_tokens": ()}
    together = generate_each(llama, ROWS, steerings=steerings, sampling=Sampling(**given))
    assert together == {name: generate(llama, ROWS, steering=edits, **given) for name, edits in steerings.items()}
    assert together["none"] != together["add"] != together["clamp"]


def test_steerings_that_are_none_are_refused(llama):  # noqa: F811
    with pytest.raises(InterventionError, match="there are no steerings"):
        generate_each(llama, ROWS, steerings={}, sampling=Sampling(4))


def test_steering_begins_at_the_last_prompt_token(llama):  # noqa: F811
    import torch

    engine, tokens = Engine.of(llama), torch.tensor([ROWS[0]])
    edit = add(a_direction(), dose=3)
    here = torch.tensor([[False] * 4 + [True]])
    by_hand = engine.logits(engine.run(tokens, edits=[add(a_direction(), dose=3, positions=here)]))[0, -1]
    found = CachedDecoder(engine, tokens, steerings=[[edit]], new_tokens=1).logits()[0]
    np.testing.assert_allclose(found, by_hand.double().numpy(), atol=1e-4)
    assert np.abs(found - CachedDecoder(engine, tokens, steerings=[()], new_tokens=1).logits()[0]).max() > 1e-2


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_order_and_company_change_no_text(llama, temperature):  # noqa: F811
    given = {"new_tokens": 8, "temperature": temperature, "steering": [add(a_direction(), dose=2)], "stop_tokens": ()}
    together = generate(llama, ROWS, **given)
    backwards = generate(llama, ROWS[::-1], **given)
    assert together.continuations == backwards.continuations[::-1]
    assert together.continuations == tuple(generate(llama, [row], **given).continuations[0] for row in ROWS)
    assert together == generate(llama, ROWS, **given), "and again, for the same seed"
    assert {len(each) for each in together.continuations} == {8}


def test_the_seed_changes_what_is_drawn_and_nothing_at_temperature_0(llama):  # noqa: F811
    one, other, greedy, again = (
        generate(llama, ROWS, new_tokens=8, temperature=t, seed=s, stop_tokens=())
        for t, s in ((1.0, 0), (1.0, 1), (0.0, 0), (0.0, 1))
    )
    assert one != other
    assert greedy == again


def test_prompts_of_one_length_draw_different_numbers(llama):  # noqa: F811
    # Two prompts that differ in a token, at so high a temperature that every token is as likely.
    found = generate(llama, [(0, 5, 6), (0, 5, 7)], new_tokens=12, temperature=1e6, stop_tokens=())
    assert found.continuations[0] != found.continuations[1]


def test_the_memory_budget_changes_batches_and_no_text(llama):  # noqa: F811
    from harness.interventions import budget_of
    from harness.steering.generation import _rows_at_once

    rows = some_rows([6] * 70, seed=3)
    whole = generate(llama, rows, new_tokens=4, stop_tokens=())
    with budget_of(2**20):
        assert _rows_at_once(Engine.of(llama), longest=500) < 70
        assert generate(llama, rows, new_tokens=4, stop_tokens=()) == whole


def test_a_stop_token_ends_one_text_and_no_other(llama):  # noqa: F811
    whole = generate(llama, ROWS, new_tokens=8, temperature=1.0, stop_tokens=()).continuations
    stop = whole[0][3]
    cut = generate(llama, ROWS, new_tokens=8, temperature=1.0, stop_tokens={stop})
    for before, after, stopped in zip(whole, cut.continuations, cut.stopped, strict=True):
        assert after == (before[: before.index(stop)] if stop in before else before)
        assert stopped == (stop in before)
    assert any(cut.stopped)
    assert not all(cut.stopped)


@pytest.mark.parametrize("kind", SLOW_KINDS)
def test_models_that_only_the_slow_path_runs_are_continued_too(kind):
    model = tiny_bridge(kind)
    plain, steered = (
        generate(model, ROWS, steering=edits, new_tokens=5, stop_tokens=())
        for edits in ((), [add(a_direction(), dose=9)])
    )
    assert plain != steered
    assert generate(model, ROWS[:1], new_tokens=5, stop_tokens=()).continuations[0] == plain.continuations[0]


def test_a_token_is_drawn_as_often_as_its_probability_says():
    # Planted: probabilities 0.5, 0.3, 0.2 at temperature 1, and in proportion to their squares at 0.5.
    logits = np.log(np.array([[0.5, 0.3, 0.2]]).repeat(20_000, axis=0))
    uniforms = np.random.default_rng(0).random(20_000)
    drawn = np.bincount(chosen_tokens(logits, temperature=1.0, uniforms=uniforms), minlength=3) / 20_000
    np.testing.assert_allclose(drawn, [0.5, 0.3, 0.2], atol=0.015)  # SE 0.0035
    sharper = np.bincount(chosen_tokens(logits, temperature=0.5, uniforms=uniforms), minlength=3) / 20_000
    np.testing.assert_allclose(sharper, np.array([0.25, 0.09, 0.04]) / 0.38, atol=0.015)


def test_choosing_by_hand():
    logits = np.log(np.array([[0.2, 0.5, 0.3]]))
    for uniform, token in ((0.0, 0), (0.19, 0), (0.21, 1), (0.69, 1), (0.71, 2), (1 - 1e-12, 2)):
        assert chosen_tokens(logits, temperature=1.0, uniforms=np.array([uniform])).tolist() == [token]
    assert chosen_tokens(np.array([[1.0, 3.0, 3.0]]), temperature=0, uniforms=np.zeros(1)).tolist() == [1]
    nothing_after = np.log(np.array([[0.5, 0.5, 1e-300]]))
    assert chosen_tokens(nothing_after, temperature=1.0, uniforms=np.ones(1)).tolist() == [1], "though 1 is never drawn"
    huge = np.array([[1e4, 0.0]])  # no overflow, and no token of probability 0
    assert chosen_tokens(huge, temperature=0.1, uniforms=np.array([1 - 1e-12])).tolist() == [0]


@pytest.mark.parametrize(
    ("prompts", "given", "said"),
    [
        ([], {}, "0 prompts, some empty"),
        ([()], {}, "1 prompts, some empty"),
        (ROWS, {"new_tokens": 0}, "0 new tokens"),
        (ROWS, {"new_tokens": 40}, "a prompt of 5 tokens and 40 new ones are more than the 24"),
        (ROWS, {"temperature": -1.0}, "temperature -1"),
        (ROWS, {"temperature": float("nan")}, "temperature nan"),
        ([(0, 99)], {}, "tokens 0 to 99 are not all in the vocabulary"),
        (ROWS, {"steering": [add(a_direction(layer=5), dose=1)]}, "layer 5 does not exist"),
        (ROWS, {"steering": [add(a_direction(), dose=1e30)]}, r"dose 1e\+30 .*logits would not be finite"),
        (["The food"], {}, r"prompts are text \('The food'\), .* model.token_lists\(texts, bos=True\)"),
        ("The food", {}, "prompts are text"),
        ([(0, 5.5)], {}, r"prompts hold \(0, 5.5\), which is no row of token ids"),
        (ROWS, {"new_tokens": 2.5}, "2.5 new tokens .* whole number"),
        (ROWS, {"new_tokens": "4"}, "'4' new tokens .* whole number"),
        (ROWS, {"temperature": "hot"}, "temperature 'hot': give"),
        (ROWS, {"stop_tokens": 5}, "stop_tokens are 5: give a collection of token ids"),
        (ROWS, {"stop_tokens": "."}, "stop_tokens are '.': give"),
        (ROWS, {"steering": add(a_direction(), dose=1)}, r"steering is AddDirection.* give a list of edits"),
        (ROWS, {"steering": [a_direction()]}, r"steering is \[Direction.* give a list of edits"),
        (ROWS, {"steering": None}, "steering is None: give a list of edits"),
    ],
)
def test_what_cannot_be_generated_is_refused_by_name(llama, prompts, given, said):  # noqa: F811
    with pytest.raises(InterventionError, match=said):
        generate(llama, prompts, **{"new_tokens": 4, "stop_tokens": (), **given})


@pytest.mark.parametrize("lengths", [(5, 5, 3, 3), (5, 4, 3), (5, 3), (5, 5)])
@pytest.mark.parametrize("edit", [add, clamp])
def test_a_dose_for_each_prompt_is_refused_whatever_the_lengths(llama, lengths, edit):  # noqa: F811
    # Prompts of one length run together: two doses fit 5, 5 and then 3, 3, and steered four prompts alike.
    edits = [edit(a_direction(), dose=[0.0, 30.0])]
    with pytest.raises(InterventionError, match=rf"2 doses \(0 to 30\) for {len(lengths)} prompts: .* one dose"):
        generate(llama, some_rows(lengths), steering=edits, new_tokens=2, stop_tokens=())


def test_one_dose_in_a_list_is_one_for_all(llama):  # noqa: F811
    given = {"new_tokens": 4, "stop_tokens": ()}
    listed, plain = (generate(llama, ROWS, steering=[add(a_direction(), dose=dose)], **given) for dose in ([3.0], 3.0))
    assert listed == plain


def test_edits_that_can_be_read_once_steer_all_the_same(llama):  # noqa: F811
    edits = [add(a_direction(), dose=3)]
    once, plain = (generate(llama, ROWS, steering=some, new_tokens=4, stop_tokens=()) for some in (iter(edits), edits))
    assert once == plain


def test_steerings_without_names_are_refused(llama):  # noqa: F811
    with pytest.raises(InterventionError, match="give a dict from each one's name to its edits"):
        generate_each(llama, ROWS, steerings=[[]], sampling=Sampling(4))
    with pytest.raises(InterventionError, match="steering 'much' is AddDirection"):
        generate_each(llama, ROWS, steerings={"much": add(a_direction(), dose=9)}, sampling=Sampling(4))


def test_generation_refuses_positions(llama):  # noqa: F811
    import torch

    edit = add(a_direction(), dose=1, positions=torch.ones(6, 5, dtype=torch.bool))
    with pytest.raises(InterventionError, match="without positions"):
        generate(llama, ROWS, steering=[edit], new_tokens=2, stop_tokens=())


def test_logits_that_are_not_finite_are_refused_with_the_dose(llama, monkeypatch):  # noqa: F811
    engine = Engine.of(llama)
    decoder = CachedDecoder(engine, _tensor(ROWS[:1]), steerings=[[add(a_direction(), dose=4)]], new_tokens=2)
    monkeypatch.setattr(decoder, "_forward", lambda tokens, edits: engine.W_E[tokens] * float("nan"))
    with pytest.raises(InterventionError, match="logits under dose 4 are not finite"):
        decoder.logits()


def test_a_loaded_model_stops_at_its_end_of_text_and_writes_text(tmp_path):
    model = load(f"path:{tiny_gpt2(tmp_path / 'tiny')}")
    found = generate(model, ROWS, new_tokens=6, temperature=3.0)
    assert all(1 not in each for each in found.continuations), "1 is <eos>"
    for text, tokens in zip(found.texts(model), found.continuations, strict=True):
        assert set(text.split()) <= {f"w{number}" for number in range(37)}
        assert len(text.split()) <= len(tokens)
    with pytest.raises(NotSuited, match="induction-2l@0' has no tokenizer"):
        found.texts(load("induction-2l@0"))


def test_the_example_of_the_package_runs_as_it_stands(tmp_path, capsys):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    lines = harness.steering.__doc__.splitlines()
    code = "\n".join(line.removeprefix("    ") for line in lines if line.startswith("    ") or not line)
    size = save_word_tokenizer(tmp_path, re.findall(r"\w+|[^\w\s]", code))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=size, n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=1
        )
        GPT2LMHeadModel(config).save_pretrained(tmp_path)
    assert code.count('"smollm2-135m-q4"') == 1
    found: dict[str, object] = {}
    exec(code.replace("smollm2-135m-q4", f"path:{tmp_path}"), found)
    written = capsys.readouterr().out.splitlines()[-4:]
    assert all(line.startswith("('") for line in written), "two texts for each of the four steerings"
    assert found["direction"].layer == 1
    assert found["direction"].n == 3


def _tensor(rows):
    import torch

    return torch.tensor(rows)
