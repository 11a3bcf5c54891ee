"""The greater-than claims on random models of both kinds of tokenizer: every one runs, and none is supported."""

from __future__ import annotations

import re

import numpy as np
import pytest

from claims.greater_than import mechanism
from claims.greater_than.finding import MOST_HEADS
from claims.greater_than.measurements import (
    ProbabilityDifference,
    attention_to_year,
    behaviour,
    by_year,
    draw,
    effects_through_mlps,
    means,
    rises,
    same_dose_effects,
    total_effects,
)
from fixtures.prompts.greater_than_words import NOUNS, TEMPLATES
from harness.bound_claim import BoundClaim, Options, applies
from harness.catalog import all_claims
from harness.errors import InterventionError
from harness.interventions.readout import LogitReadout
from harness.models.model import load
from harness.seeding import Streams
from harness.session import Loaded, discovery_streams, measure
from harness.subjects import Subject
from tests.paths import REPOSITORY

CLAIMS = all_claims(REPOSITORY / "claims", mechanism="greater_than")
CLASSES = {"year-mover": ("1.1", "2.3"), "relay": ("3.2",)}
STREAMS = Streams(("test",))


def save_year_tokenizer(folder, *, width):
    """A tokenizer of words whose numbers fall apart into pieces of `width` digits; its number of tokens."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    texts = [re.sub(r"\{\w+\}", "", text) for some in TEMPLATES.values() for text in some]
    words = [word for some in NOUNS.values() for word in some]
    words += [word for text in texts for word in re.findall(r"\w+|[^\w\s]", text)]
    digits = [f"{number:0{width}d}" for number in range(10**width)]
    listed = dict.fromkeys(("<bos>", "<eos>", "<unk>", *digits, *words))
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(listed)}, unk_token="<unk>"))
    pieces = pre_tokenizers.Split(Regex(rf"\d{{{width}}}"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pieces])
    named = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(folder)
    return len(listed)


@pytest.fixture(scope="module", params=[2, 1], ids=["two digits", "digit by digit"])
def model(request, tmp_path_factory):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("random-gpt2")
    size = save_year_tokenizer(folder, width=request.param)
    layers = 10 if request.param == 2 else 4  # with two digits, as GPT-2 small has them: up to its published head 9.1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=size, n_positions=64, n_embd=48, n_layer=layers, n_head=12, bos_token_id=0, eos_token_id=1
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
    return load(f"path:{folder}")


@pytest.fixture(scope="module")
def prompts(model):
    return draw(model, STREAMS, split="discovery", n=30)


@pytest.mark.parametrize("entry", CLAIMS, ids=lambda entry: entry.claim.id)
def test_no_greater_than_claim_is_supported_on_a_random_model(entry, model):
    bound = BoundClaim(entry.claim, entry.test, entry.source, entry.mechanism, model.id, Options(profile="quick"))
    subject = None
    if entry.claim.subject is not None:
        heads = CLASSES[entry.claim.subject]
        subject = Subject(entry.claim.subject, heads, "nothing", "a test", "discovery", CLASSES)
        if model.n_layers == 10:
            subject = entry.mechanism.subjects.subject("gpt2-small", class_name=entry.claim.subject)
    record = measure(bound, loaded=Loaded(), target=model, subject=subject)
    assert record.verdict in {"refuted", "inconclusive", "too small"}, record.judgement


def test_the_claims_make_sense_on_models_with_text_only():
    assert len(CLAIMS) == 6
    for entry in CLAIMS:
        assert applies(entry.claim, "gpt2-small")
        assert applies(entry.claim, "smollm2-135m-q4")
        assert not applies(entry.claim, "induction-2l@0")


def test_claims_that_measure_what_discovery_selected_by_are_reliability():
    tiers = {entry.claim.id.partition(".")[2]: entry.claim.tier for entry in CLAIMS}
    selecting = ("year-movers-attend", "year-movers-matter", "mlps-read-the-year")
    assert {tiers[name] for name in selecting} == {"reliability"}
    assert tiers["year-movers-move-the-boundary"] == "inference"


def test_discovery_finds_no_heads_in_a_random_model_and_ranks_them_all(model):
    streams = discovery_streams("greater_than", fingerprint=model.fingerprint)
    found = mechanism.discover(model, streams)
    assert not any(found.classes.values())
    assert not any(found.overlaps[name].comparable or found.permuted[name].comparable for name in found.overlaps)
    assert found.overlaps.keys() == found.permuted.keys() == {"relay"}  # no head attends to the year
    assert set(found.scores[mechanism.EFFECT]) == set(model.heads()) == set(found.scores[mechanism.ATTENTION])
    assert list(found.scores[mechanism.MLP_EFFECT]) == [f"{layer}.mlp" for layer in range(model.n_layers)]
    asked = mechanism.discover(model, streams, thresholds=False)
    assert len(asked.classes["year-mover"]) == MOST_HEADS
    assert asked.classes["year-mover"][0] == max(found.scores[mechanism.EFFECT].items(), key=lambda item: item[1])[0]


def test_the_probability_difference_is_mass_on_right_answers_minus_mass_on_wrong_ones():
    import torch

    # By hand: probabilities 0.1, 0.2, 0.3, 0.4; token 1 is wrong, token 2 neither, token 3 right: 0.4 - 0.2.
    probabilities = torch.tensor([[[0.25, 0.25, 0.25, 0.25], [0.1, 0.2, 0.3, 0.4]]])
    metric = ProbabilityDifference(torch.tensor([1, 2, 3]), torch.tensor([[-1.0, 0.0, 1.0]]), torch.tensor([1]))
    metric.check(batch=1, pos=2, d_vocab=4)
    read = LogitReadout(probabilities.log() + 5.0)  # logits are log-probabilities up to a constant
    assert metric(read).tolist() == [[pytest.approx(0.2, abs=1e-6)]]


def test_the_metric_refuses_signs_answers_and_positions_that_do_not_fit():
    import torch

    answers, signs, end = torch.tensor([1, 2]), torch.ones(3, 2), torch.tensor([4, 4, 4])
    with pytest.raises(InterventionError, match="signs are"):
        ProbabilityDifference(answers, signs, end).check(batch=2, pos=5, d_vocab=9)
    with pytest.raises(InterventionError, match="not all in the vocabulary"):
        ProbabilityDifference(answers, signs, end).check(batch=3, pos=5, d_vocab=2)
    with pytest.raises(InterventionError, match="positions must lie"):
        ProbabilityDifference(answers, signs, end).check(batch=3, pos=4, d_vocab=9)


def test_behaviour_is_what_the_softmax_of_the_models_own_logits_gives(model, prompts):
    import torch

    found = behaviour(model, prompts)
    assert len(set(prompts.lengths)) > 2  # padded in their batches
    for row in range(0, 30, 7):
        one = prompts.rows(np.array([row]))
        with torch.no_grad():
            last = model.bridge(one.tensor())[0, -1].double().softmax(dim=-1).numpy()
        expected = (last[prompts.answers] * prompts.sign[row]).sum()
        assert found.values[0, row] == pytest.approx(expected, abs=1e-5)  # float32 by another exact route
    assert found.clusters == prompts.templates


def test_tables_by_decade_hold_every_prompt_once(model, prompts):
    values = behaviour(model, prompts)
    rows = by_year(prompts, values)
    assert [row[0] for row in rows] == ["2_", "3_", "4_", "5_", "6_", "7_"]
    assert sum(row[1] for row in rows) == len(prompts)
    assert sum(row[1] * row[2] for row in rows) == pytest.approx(values.values.sum())


def test_patching_from_the_same_tokens_changes_nothing(model, prompts):
    same = prompts.corrupted("shuffled years")
    sets = {"joint": ("0.1", "2.3")}
    assert total_effects(model, prompts, ["0.1", "2.mlp"], other=same).fall().values == pytest.approx(0, abs=1e-6)
    assert effects_through_mlps(model, prompts, sets, other=same).fall().values == pytest.approx(0, abs=1e-6)


def test_patching_all_heads_and_mlps_at_the_end_gives_the_other_prompts_prediction(model, prompts):
    from harness.effects import effects_over, mask
    from harness.interventions import patch

    other = prompts.corrupted("01")
    everything = [*model.heads(), *(f"{layer}.mlp" for layer in range(model.n_layers))]

    def make(runs, batch):
        return [patch(runs, everything, positions=mask(batch.positions.end, runs), name="all")]

    found = effects_over(
        model, prompts, corrupted=other, make=make, metric=ProbabilityDifference.of, keep=("z", "mlp_out")
    )
    # The last token is the same on both sides, so that its stream is its embedding and what these write.
    assert found.values[0] == pytest.approx(behaviour(model, other).values[0], abs=1e-5)


def test_only_the_mlps_notice_what_is_followed_through_them(model, prompts):
    from harness.interventions import Engine, Intervention, Replace, Runs, patch
    from harness.interventions import measure as measured

    head = f"{model.n_layers - 1}.0"  # the last layer's, so that one MLP can notice
    index, batch = next(prompts.batches())
    other = prompts.corrupted("01")
    engine = Engine.of(model)
    runs = Runs.of(engine, batch.tensor(), corrupted=other.rows(index).tensor(), keep=("z", "mlp_out"))
    # By hand: what that MLP writes when the head is patched, and nothing else of it.
    last = model.n_layers - 1
    patched = engine.run(batch.tensor(), edits=patch(runs, [head]).edits, keep={"mlp_out": [last]})
    by_hand = Intervention("by hand", (Replace(last, "mlp_out", patched.kept("mlp_out", last)),))
    expected = measured(runs, [by_hand], metric=ProbabilityDifference.of(batch)).values
    found = effects_through_mlps(model, prompts, {"joint": (head,)}, other=other)
    assert found.values[:, index] == pytest.approx(expected, abs=1e-6)
    assert np.abs(found.fall().values).max() > 1e-6


def test_a_dose_is_as_long_as_what_the_head_would_have_written(model, prompts):
    other = prompts.corrupted("01")
    doses = same_dose_effects(model, prompts, ["2.3"], other=other, streams=STREAMS)
    patched = total_effects(model, prompts, ["2.3"], other=other)
    assert doses.names == patched.names
    assert doses.change_norm == pytest.approx(patched.change_norm, rel=1e-4)
    assert not np.allclose(doses.values, patched.values)


def test_rises_are_falls_with_the_other_sign(model, prompts):
    effects = total_effects(model, prompts, ["2.3"], other=prompts.corrupted("01"))
    assert rises(effects).values == pytest.approx(-effects.fall().values)


def test_attention_to_the_year_is_attention_from_the_end_to_its_token(model, prompts):
    found = attention_to_year(model, prompts)
    assert set(means(found)) == set(model.heads())
    # An untrained model attends evenly: over n tokens each gets 1/n.
    assert found.values.mean() == pytest.approx((1 / prompts.lengths).mean(), rel=0.1)
    assert found.clusters == prompts.templates
