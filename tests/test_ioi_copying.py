"""Copying by the OV circuit: by hand, on a model in which a head was made to copy, and on models in which none does."""

from __future__ import annotations

import numpy as np
import pytest

from claims.ioi import test_copying as copying
from fixtures.prompts.ioi import single_tokens
from fixtures.prompts.ioi_words import NAMES
from harness.bound_claim import BoundClaim, Options
from harness.claim import declared
from harness.errors import ModelError
from harness.interventions import Engine
from harness.mechanism import open_mechanism
from harness.models.model import lesioned, load, with_head_weights
from harness.seeding import Streams
from harness.session import Loaded, measure
from harness.subjects import Subject
from tests.paths import REPOSITORY
from tests.word_tokenizer import save_word_tokenizer, words_of_ioi

CLAIMS = {test.__claim__["subject"]: test for test in vars(copying).values() if hasattr(test, "__claim__")}
COPIER, NEGATOR = "3.1", "2.5"
CLASSES = {"name-mover": (COPIER,), "negative-name-mover": (NEGATOR,), "s-suppressor": (NEGATOR,)}
STREAMS = Streams(("test",))
PLANTED = 3.0
"""Strength of the planted heads: their copying scores come to some logits, those of random heads to hundredths."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("random-gpt2")
    size = save_word_tokenizer(folder, words_of_ioi())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=size, n_positions=64, n_embd=96, n_layer=4, n_head=8, bos_token_id=0, eos_token_id=1
        )
        made = GPT2LMHeadModel(config)
        for name, weights in made.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(weights, std=0.1)
        made.transformer.wte.weight.data *= 10  # and with it the unembedding: logits come to more than hundredths
        made.save_pretrained(folder)
    return load(f"path:{folder}")


@pytest.fixture(scope="module")
def planted(model):
    """One head copies names and one negates them: W_V turns a name into a code, W_O turns codes into unembeddings."""
    import torch

    engine = Engine.of(model)
    names = single_tokens(model, [name for some in NAMES.values() for name in some])
    codes = np.random.default_rng(0).normal(size=(len(names), model.d_head))
    unembed = engine.W_U[:, list(names.values())].double().numpy()
    weights = {}
    for head, sign in ((COPIER, 1.0), (NEGATOR, -1.0)):
        read = normed(resid_after_first_block(model, names))
        common = read.mean(axis=0)  # what all names have in common tells none of them, and the bias takes it away
        w_v = np.linalg.pinv(read - common, rcond=0.02) @ codes
        w_o = sign * PLANTED * codes.T @ np.linalg.pinv(unembed, rcond=0.02)
        for weight, values in (("W_V", w_v), ("b_V", -common @ w_v), ("W_O", w_o)):
            weights[head, weight] = torch.from_numpy(values).float()
    return with_head_weights(model, weights, label="copies-names")


def resid_after_first_block(model, names):
    """[name d_model] at the name that follows BOS, by TransformerLens."""
    import torch

    tokens = torch.tensor([[model.bos_token_id, token] for token in names.values()])
    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(tokens)
    return cache["blocks.0.hook_resid_post"][:, 1].double().numpy()


def normed(x):
    """LayerNorm without gain, which is folded."""
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)


def record_of(test, model, heads):
    claim = declared(test, where="here")
    mechanism, unchanged = open_mechanism(REPOSITORY / "claims" / "ioi"), model.id.partition("~")[0]
    bound = BoundClaim(claim, test, "here", mechanism, unchanged, Options())
    subject = Subject(claim.subject, heads, "nothing", "a test", "given", CLASSES)
    return measure(bound, loaded=Loaded(), target=model, subject=subject)


def test_a_score_is_the_own_logit_above_the_mean_of_the_others():
    # One head, three names. Reading the first adds 5 to its own logit and 1 and 3 to the others': 5 - 2 = 3;
    # the second 0 - (2 + 4) / 2 = -3; the third 7 - (1 + 1) / 2 = 6.
    logits = np.array([[[5.0, 1.0, 3.0], [2.0, 0.0, 4.0], [1.0, 1.0, 7.0]]])
    copies = copying.Copies(logits, ("0.0",), ("Ann", "Bob", "Cid"))
    np.testing.assert_allclose(copies.own().values, [[3.0, -3.0, 6.0]])
    # Scored for the next name instead: 1 - (5 + 3) / 2 = -3, 4 - 1 = 3, 1 - 4 = -3.
    np.testing.assert_allclose(copies.above_others(np.array([1, 2, 0])).values, [[-3.0, 3.0, -3.0]])


def test_a_head_that_raises_every_name_or_some_names_always_does_not_copy():
    rng = np.random.default_rng(0)
    always = np.tile(rng.normal(size=40), (40, 1)) + 3  # the same logits, whichever name is read
    copies = copying.Copies(always[None], ("0.0",), tuple(f"n{i}" for i in range(40)))
    assert copies.own().mean() == pytest.approx(0, abs=1e-12)
    assert copies.shuffled(rng).mean() == pytest.approx(0, abs=1e-12)


def test_shuffled_names_are_never_scored_for_themselves_and_keep_nothing_of_a_copying_head():
    n = 50
    copies = copying.Copies(np.eye(n)[None] * 4, ("0.0",), tuple(f"n{i}" for i in range(n)))
    assert (copies.own().values == 4).all()
    # Another name's logit is 0, and the mean of all the rest has the own 4 among n - 1: -4 / 49, in every shuffle.
    np.testing.assert_allclose(copies.shuffled(np.random.default_rng(1)).values, -4 / 49)


def test_what_heads_write_is_what_transformer_lens_weights_write(model):
    names = copying.drawn_names(model, STREAMS, split="discovery", n=12)
    found = copying.copies(model, names, scale=2.0).logits
    read = resid_after_first_block(model, names)
    attention = model.bridge.blocks[2].attn
    w_v, b_v, w_o = (weights.detach().double().numpy() for weights in (attention.W_V, attention.b_V, attention.W_O))
    unembed = model.bridge.W_U.detach().double().numpy()[:, list(names.values())]
    for head in (0, 5):
        values = normed(read) @ w_v[head] + b_v.reshape(model.n_heads, -1)[head]
        expected = values @ w_o[head] @ unembed / 2.0
        np.testing.assert_allclose(found[2 * model.n_heads + head], expected, atol=1e-5)


def test_heads_of_the_first_block_read_the_embedding(model):
    names = copying.drawn_names(model, STREAMS, split="discovery", n=12)
    found = copying.copies(model, names, scale=1.0).logits[3]
    engine = Engine.of(model)
    tokens = list(names.values())
    embedded = (engine.weights.embed[tokens] + engine.weights.pos_embed[1]).detach().double().numpy()
    block = engine.weights.blocks[0]
    values = normed(embedded) @ engine.W_V(0)[3].detach().double().numpy()
    values += block.v.bias.detach().double().numpy().reshape(model.n_heads, -1)[3]
    expected = values @ engine.W_O(0)[3].detach().double().numpy() @ engine.W_U[:, tokens].detach().double().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_papers_score_counts_names_among_the_five_highest_logits(planted):
    names = copying.drawn_names(planted, STREAMS, split="discovery", n=60)
    engine = Engine.of(planted)
    unembed = engine.W_U.detach().double().numpy()
    bias = engine.b_U.detach().double().numpy()
    for head, sign in ((COPIER, 1.0), (NEGATOR, -1.0), (NEGATOR, 1.0), ("3.2", 1.0)):
        layer, number = map(int, head.split("."))
        values = normed(resid_after_first_block(planted, names)) @ engine.W_V(layer)[number].double().numpy()
        values += engine.weights.blocks[layer].v.bias.double().numpy().reshape(planted.n_heads, -1)[number]
        logits = normed(sign * values @ engine.W_O(layer)[number].double().numpy()) @ unembed + bias
        own = logits[np.arange(60), list(names.values())]
        expected = ((logits > own[:, None]).sum(axis=1) < 5).mean()
        assert copying.top_five(planted, names, head, sign=sign) == pytest.approx(expected)


def test_a_planted_copying_head_is_found_and_a_negating_one_with_the_other_sign(planted):
    record = record_of(CLAIMS["name-mover"], planted, (COPIER,))
    assert record.verdict == "supported", record.judgement
    assert record.ranks[0]["rank"] == 1
    for name in ("negative-name-mover", "s-suppressor"):
        assert record_of(CLAIMS[name], planted, (NEGATOR,)).verdict == "supported"


def test_a_head_of_the_wrong_sign_is_not_supported(planted):
    assert record_of(CLAIMS["name-mover"], planted, (NEGATOR,)).verdict != "supported"
    assert record_of(CLAIMS["negative-name-mover"], planted, (COPIER,)).verdict != "supported"


@pytest.mark.parametrize("name", CLAIMS)
def test_a_random_model_is_never_supported(name, model):
    record = record_of(CLAIMS[name], model, CLASSES[name])
    assert record.verdict in {"refuted", "inconclusive", "too small"}, record.judgement


@pytest.mark.parametrize("name", CLAIMS)
def test_a_head_whose_output_is_replaced_by_noise_is_never_supported(name, planted):
    changed = lesioned(planted, CLASSES[name], which="W_O", seed=0)
    record = record_of(CLAIMS[name], changed, CLASSES[name])
    assert record.verdict in {"refuted", "inconclusive", "too small"}, record.judgement


def test_names_are_drawn_from_their_own_split_without_repetition(model):
    names = {split: copying.drawn_names(model, STREAMS, split=split, n=60) for split in ("discovery", "confirmation")}
    for split, some in names.items():
        assert len(set(some.values())) == 60
        assert set(some) <= set(NAMES[split])
    assert not set(names["discovery"]) & set(names["confirmation"])
    with pytest.raises(ModelError, match="1000 are needed"):
        copying.drawn_names(model, STREAMS, split="discovery", n=1000)


def test_a_record_has_the_papers_score_of_subject_and_others(planted):
    record = record_of(CLAIMS["name-mover"], planted, (COPIER,))
    shares = {row[0]: row[1] for row in record.tables[0]["rows"]}
    others = [name for name in shares if name.startswith("mean of")]
    assert shares[COPIER] > shares[others[0]]
    assert record.prompts["clusters"] == 60
