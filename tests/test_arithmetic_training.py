from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from claims.arithmetic import accuracy, recipe_addition, recipe_modular, training
from claims.arithmetic.accuracy import accuracy_by_stratum, read_accuracy, stratum, wrong_digits
from claims.arithmetic.recipe_modular import CurvePoint, finished, partition, read_curve
from claims.induction import recipe as recipe_induction
from fixtures.prompts.sums import parse_all, uniform_sums
from harness.errors import ModelError
from harness.interventions import Engine
from harness.mechanism import open_mechanism
from harness.models.config_file import header
from harness.models.model import load
from harness.models.native import boot_native, save_native, weights_by_name
from harness.models.recipes import recipe_for
from harness.models.recipes import train as train_again
from harness.models.registry import find
from harness.models.unfinished import GOING_ON, Interrupted
from harness.seeding import Streams

CHECKPOINTS = Path(__file__).resolve().parents[1] / "fixtures" / "checkpoints"
FAMILIES = ("addition-5d-1l", "addition-5d-2l", "modular-addition-113")
IDS = [f"{family}@{seed}" for family in FAMILIES for seed in range(5)]


def checkpoint(model_id: str) -> Path:
    return CHECKPOINTS / (model_id.replace("@", "-") + ".safetensors")


HERE = [model_id for model_id in IDS if checkpoint(model_id).is_file()]


def perturbed(config):
    """A bridge whose every parameter, biases and norms included, is away from its initial value."""
    bridge = boot_native(config)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in bridge.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return bridge, weights_by_name(bridge)


def gradients(bridge, loss):
    bridge.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in weights_by_name(bridge).items()}


@pytest.mark.parametrize("layers", [1, 2])
def test_addition_is_trained_on_the_logits_of_the_bridge_itself(layers):
    bridge, weights = perturbed(recipe_addition.configuration(layers=layers, seed=0))
    tokens = recipe_addition.batch(seed=3, step=0, size=16)
    fast = recipe_addition.answer_logits(weights, tokens, layers=layers)
    slow = bridge(tokens[:, :17])[:, 11:]
    assert slow.std() > 0.5
    assert torch.allclose(fast, slow, atol=1e-4)
    ours, theirs = (gradients(bridge, logits.sin().sum()) for logits in (fast, slow))
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-3, rtol=1e-3) for name in theirs)


def test_modular_addition_is_trained_on_the_logits_of_the_bridge_itself():
    bridge, weights = perturbed(recipe_modular.configuration(seed=0))
    pairs = partition(0).train
    a, b = torch.from_numpy(pairs.a[:64]), torch.from_numpy(pairs.b[:64])
    fast = recipe_modular.answer_logits(weights, a, b)
    slow = bridge(torch.from_numpy(pairs.tokens()[:64]))[:, -1]
    assert slow.std() > 0.5
    assert torch.allclose(fast, slow, atol=1e-4)
    ours, theirs = (gradients(bridge, logits.sin().sum()) for logits in (fast, slow))
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-3, rtol=1e-3) for name in theirs)


def test_training_sums_are_right_and_follow_from_seed_and_step():
    tokens = recipe_addition.batch(seed=0, step=7, size=1024).numpy()
    powers = 10 ** np.arange(5, -1, -1)
    assert ((tokens[:, :5] + tokens[:, 6:11]) @ powers[1:] == tokens[:, 12:] @ powers).all()
    assert (tokens[:, [5, 11]] == [10, 11]).all()
    assert torch.equal(recipe_addition.batch(seed=0, step=7), recipe_addition.batch(seed=0, step=7))
    others = [recipe_addition.batch(seed=0, step=8), recipe_addition.batch(seed=1, step=7)]
    assert not any(torch.equal(recipe_addition.batch(seed=0, step=7), other) for other in others)


def test_training_sums_are_rich_in_nines_with_and_without_a_carry():
    tokens = np.concatenate([recipe_addition.batch(seed=0, step=step, size=1024).numpy() for step in range(8)])
    sums = parse_all(dict.fromkeys("".join(map(str, row[:5])) + "+" + "".join(map(str, row[6:11])) for row in tokens))
    long = sums.runs.max(axis=1) == 4
    cascades = sums.longest_cascade == 4
    # a quarter of the sums has a planted run, a quarter of which has length four
    assert long.mean() == pytest.approx(1 / 16, abs=0.01)
    assert (cascades & long).sum() / long.sum() == pytest.approx(0.5, abs=0.07)


def tiny(monkeypatch, *, steps_between=2):
    """Recipes that take a second: few rows, frequent saves, a handful of sums for the accuracy."""
    monkeypatch.setattr(recipe_addition, "BATCH", 8)
    monkeypatch.setattr(recipe_addition, "SAVE_EVERY", steps_between)
    monkeypatch.setattr(recipe_addition, "batch", partial(recipe_addition.batch, size=8))
    monkeypatch.setattr(recipe_induction, "STEPS", 7)
    monkeypatch.setattr(recipe_induction, "SAVE_EVERY", steps_between)
    monkeypatch.setattr(recipe_induction, "batch", partial(recipe_induction.batch, size=4))
    monkeypatch.setattr(accuracy, "UNIFORM", 20)
    monkeypatch.setattr(accuracy, "IN_STRATUM", 10)


def train_addition(out, *, progress=lambda done, total, text: None):
    recipe_addition.train(find("addition-5d-2l@1"), 1, out=out, progress=progress, steps=7)


def train_modular(out, *, progress=lambda done, total, text: None):
    recipe_modular.train(find("modular-addition-113@1"), 1, out=out, progress=progress, limit=7, every=2)


def train_induction(out, *, progress=lambda done, total, text: None):
    recipe_induction.train(find("induction-1l@1"), 1, out=out, progress=progress)


def stops_at(step):
    def progress(done, total, text):
        if done == step:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("train", [train_addition, train_modular, train_induction])
@pytest.mark.parametrize("step", [1, 5, 7])  # before the first save, between two, and after the last step
def test_interrupted_training_goes_on_after_the_step_that_it_was_stopped_in_to_the_same_bits(
    tmp_path, monkeypatch, train, step
):
    tiny(monkeypatch)
    torch.manual_seed(0)
    train(tmp_path / "whole.safetensors")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts.safetensors", progress=stops_at(step))
    assert not (tmp_path / "parts.safetensors").exists()
    torch.manual_seed(1)
    reports = []
    train(tmp_path / "parts.safetensors", progress=lambda *report: reports.append(report))
    assert reports[0] == (step, 7, GOING_ON)
    assert [done for done, _, _ in reports[1:]] == list(range(step + 1, 8))
    whole, parts = (header(tmp_path / f"{name}.safetensors") for name in ("whole", "parts"))
    assert whole == parts  # sha256 of the weights, losses, curve and accuracy
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.safetensors", "whole.safetensors"]


def test_ctrl_c_in_the_middle_of_a_step_loses_nothing(tmp_path, monkeypatch):
    tiny(monkeypatch)
    open_mechanism(CHECKPOINTS.parents[1] / "claims" / "arithmetic")
    monkeypatch.setattr(recipe_addition, "STEPS", {2: 7})
    whole = train_again("addition-5d-2l@1", out=tmp_path / "whole.safetensors")
    step, taken = recipe_addition._step, []

    def signalled(*given, **options):
        taken.append(len(taken) + 1)
        if len(taken) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*given, **options)

    monkeypatch.setattr(recipe_addition, "_step", signalled)
    with pytest.raises(Interrupted) as caught:
        train_again("addition-5d-2l@1", out=tmp_path / "parts.safetensors")
    assert (caught.value.done, caught.value.total) == (4, 7)
    parts = train_again("addition-5d-2l@1", out=tmp_path / "parts.safetensors")
    assert taken == list(range(1, 8))
    assert header(parts) == header(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.safetensors", "whole.safetensors"]


def test_every_arithmetic_model_has_its_recipe():
    open_mechanism(CHECKPOINTS.parents[1] / "claims" / "arithmetic")
    trained_by = {model_id: recipe_for(find(model_id)) for model_id in IDS}
    assert trained_by["addition-5d-1l@4"].train is recipe_addition.train
    assert trained_by["addition-5d-2l@0"].train is recipe_addition.train
    assert trained_by["modular-addition-113@2"].train is recipe_modular.train
    assert all(recipe.minutes < 40 for recipe in trained_by.values())  # issue 5


def test_progress_is_told_every_step_and_resumed_steps_are_not_repeated(tmp_path, monkeypatch):
    tiny(monkeypatch)
    seen = []
    with pytest.raises(KeyboardInterrupt):
        train_addition(tmp_path / "a.safetensors", progress=stops_at(5))
    train_addition(tmp_path / "a.safetensors", progress=lambda done, total, text: seen.append((done, total)))
    assert seen == [(5, 7), (6, 7), (7, 7)]  # saved after 4


def test_a_save_that_is_cut_short_leaves_the_one_before(tmp_path, monkeypatch):
    tiny(monkeypatch)
    out = tmp_path / "a.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train_addition(out, progress=stops_at(3))
    before = out.with_suffix(".resume").read_bytes()

    def cut_short(state, path):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", cut_short)
    with pytest.raises(KeyboardInterrupt):
        train_addition(out)
    assert out.with_suffix(".resume").read_bytes() == before


def test_the_state_of_another_recipe_is_refused(tmp_path, monkeypatch):
    tiny(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train_addition(tmp_path / "a.safetensors", progress=stops_at(3))
    with pytest.raises(ModelError, match=r"a\.resume holds an unfinished training of .*addition-5d-2l@1.*Delete it"):
        train_modular(tmp_path / "a.safetensors")


def test_checkpoint_says_how_it_was_made(tmp_path, monkeypatch):
    tiny(monkeypatch)
    train_addition(tmp_path / "a.safetensors")
    train_modular(tmp_path / "m.safetensors")
    addition, modular = header(tmp_path / "a.safetensors"), header(tmp_path / "m.safetensors")
    for metadata in (addition, modular):
        assert {"recipe", "train_seed", "data_seed", "train_loss", "sha256"} <= set(metadata)
        assert float(metadata["train_loss"]) > 0
    assert set(read_accuracy(addition)) == {"uniform", *(f"cascade {length}" for length in range(5))}
    assert [point.epoch for point in read_curve(modular)] == [2, 4, 6, 7]


def test_the_rate_warms_up_and_falls_to_zero():
    rates = [training.cosine_rate(step, steps=100, warm_up=10, peak=2.0) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) < 2.0
    assert rates[50] == pytest.approx(1.0)
    assert rates[100] == 0.0


def test_pairs_of_a_seed_are_told_apart_again():
    first, again, other = partition(0), partition(0), partition(1)
    assert len(first.train) == 3831  # round(0.3 * 113**2)
    assert (first.train.a == again.train.a).all()
    assert (first.train.a != other.train.a).any()
    pairs = {
        (a, b) for part in (first.train, first.test) for a, b in zip(part.a.tolist(), part.b.tolist(), strict=True)
    }
    assert pairs == {(a, b) for a in range(113) for b in range(113)}
    assert len(first.train) + len(first.test) == 113**2
    assert (first.train.answers == (first.train.a + first.train.b) % 113).all()


def test_training_ends_once_the_test_loss_has_stayed_low():
    low = [CurvePoint(100 * n, 1e-7, 5e-4) for n in range(recipe_modular.STAY)]
    assert finished(low)
    assert not finished(low[1:])
    assert not finished([*low[:-1], CurvePoint(9_999, 1e-7, 2e-3)])
    assert finished([CurvePoint(0, 1.0, 9.0), *low])


def answering(rule):
    """Logits of a model that answers by a rule, from tokens."""

    def answer(tokens):
        return torch.nn.functional.one_hot(torch.as_tensor(rule(tokens.numpy())), 12).double()

    return answer


def right(tokens):
    return parse_all("".join(map(str, row[:5])) + "+" + "".join(map(str, row[6:11])) for row in tokens.tolist()).answers


def without_carries(tokens):
    return np.pad((tokens[:, :5] + tokens[:, 6:11]) % 10, ((0, 0), (1, 0)))


def test_errors_of_a_model_that_cannot_err_and_of_one_that_ignores_carries():
    some = uniform_sums(1000, split="discovery", rng=np.random.default_rng(0))
    perfect = stratum(answering(right), some)
    assert (perfect.sums, perfect.errors, perfect.digit_errors) == (1000, 0, (0,) * 6)
    assert perfect.most_errors_prob == pytest.approx(1 - 0.05 ** (1 / 1000))  # Clopper-Pearson with no errors
    wrong = wrong_digits(answering(without_carries), some)
    assert (wrong == some.carries.astype(bool)).all()
    assert stratum(answering(without_carries), some).errors == int(some.carries.any(axis=1).sum())


def test_accuracy_is_asked_in_every_stratum():
    found = accuracy_by_stratum(
        answering(without_carries), split="discovery", streams=Streams(("test",)), uniform=50, in_stratum=40
    )
    assert [found[name].sums for name in ("uniform", "cascade 0", "cascade 4")] == [50, 40, 40]
    assert all(found[f"cascade {length}"].errors == 40 for length in range(1, 5))


@pytest.mark.parametrize("model_id", HERE)
def test_shipped_checkpoint_is_small_and_reaches_what_it_says(model_id):
    path = checkpoint(model_id)
    assert path.stat().st_size < 2_000_000
    metadata = header(path)
    assert metadata["train_seed"] == model_id[-1]
    if model_id.startswith("modular"):
        assert all(point.test_loss_nats < 1e-3 for point in read_curve(metadata)[-recipe_modular.STAY :])
        return
    found = read_accuracy(metadata)
    assert found["uniform"].sums == 10_000
    assert all(found[f"cascade {length}"].sums >= 1_000 for length in range(5))
    if model_id.startswith("addition-5d-2l"):
        assert found["uniform"].errors <= 4  # issue: 99.9 % correct by the exact one-sided bound


@pytest.mark.parametrize("model_id", [f"{family}@0" for family in FAMILIES])
def test_loading_and_the_fast_engine_keep_what_the_raw_weights_answer(tmp_path, monkeypatch, model_id):
    modular = model_id.startswith("modular")
    layers = find(model_id).n_layers
    config = recipe_modular.configuration(seed=0) if modular else recipe_addition.configuration(layers=layers, seed=0)
    bridge, weights = perturbed(config)
    save_native(bridge, tmp_path / checkpoint(model_id).name, metadata={"train_seed": "0"})
    monkeypatch.setenv("MECHCLAIMS_CHECKPOINTS", str(tmp_path))
    if modular:
        tokens = torch.from_numpy(partition(0).test.tokens()[:50])
        expected = recipe_modular.answer_logits(weights, tokens[:, 0], tokens[:, 1])[:, None]
    else:
        tokens = uniform_sums(50, split="discovery", rng=np.random.default_rng(1)).tensor()
        expected = recipe_addition.answer_logits(weights, tokens, layers=layers)
    model = load(model_id)
    assert model.source.parent == tmp_path
    answers = slice(-expected.shape[1], None)
    engine = Engine.of(model)
    with torch.inference_mode():
        by_bridge, by_engine = model.bridge(tokens)[:, answers], engine.logits(engine.run(tokens))[:, answers]
    # folding centres the unembedding, which log-probabilities do not see
    for answered in (by_bridge, by_engine):
        assert torch.allclose(answered.log_softmax(-1), expected.log_softmax(-1), atol=1e-4)


def test_header_holds_no_more_than_a_curve_needs():
    points = [[100 * n, 1.234e-7, 2.345e1] for n in range(400)]
    assert len(json.dumps(points, separators=(",", ":"))) < 12_000
