"""The IOI claims on a random model: discovery runs, every claim runs to its end, and none is supported."""

from __future__ import annotations

import pytest

from claims.ioi import behaviour, mechanism, name_movers, s_inhibition
from claims.ioi.measurements import draw, means, relabelled
from harness.bound_claim import BoundClaim, Options
from harness.claim import declared
from harness.mechanism import Mechanism
from harness.models.model import load
from harness.seeding import Streams
from harness.session import Loaded, discovery_streams, measure
from harness.subjects import Subject, read_subjects
from tests.paths import REPOSITORY
from tests.word_tokenizer import save_word_tokenizer, words_of_ioi

CLAIMS = [
    test
    for module in (behaviour, name_movers, s_inhibition)
    for test in vars(module).values()
    if hasattr(test, "__claim__")
]
CLASSES = {
    "name-mover": ("3.0", "3.1"),
    "s-suppressor": ("3.2",),
    "negative-name-mover": ("2.3",),
    "s-inhibition": ("1.1",),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("random-gpt2")
    size = save_word_tokenizer(folder, words_of_ioi())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=size, n_positions=64, n_embd=48, n_layer=4, n_head=12, bos_token_id=0, eos_token_id=1
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
    return load(f"path:{folder}")


@pytest.fixture(scope="module")
def ioi():
    folder = REPOSITORY / "claims" / "ioi"
    return Mechanism("ioi", folder, read_subjects(folder / "subjects.toml"), mechanism)


@pytest.mark.parametrize("test", CLAIMS, ids=lambda test: test.__claim__["id"])
def test_no_ioi_claim_is_supported_on_a_random_model(test, model, ioi):
    claim = declared(test, where="here")
    bound = BoundClaim(claim, test, "here", ioi, model.id, Options(profile="quick"))
    subject = None
    if claim.subject is not None:
        heads = CLASSES[claim.subject]
        subject = Subject(claim.subject, heads, "nothing", "a test", "discovery", CLASSES)
    record = measure(bound, loaded=Loaded(), target=model, subject=subject)
    assert record.verdict in {"refuted", "inconclusive", "too small"}, record.judgement


def test_discovery_finds_no_heads_in_a_random_model_and_ranks_them_all(model):
    streams = discovery_streams("ioi", fingerprint=model.fingerprint)
    found = mechanism.discover(model, streams)
    assert not any(found.classes.values())
    assert set(found.scores[mechanism.DIRECT]) == set(model.heads())
    asked = mechanism.discover(model, streams, thresholds=False)
    assert len(asked.classes["negative-name-mover"]) == mechanism.MOST_HEADS


def test_exchanged_labels_turn_the_sign_in_half_of_the_prompts(model):
    streams = Streams(("test",))
    prompts = draw(model, streams, split="discovery", n=60)
    values = behaviour.behaviour(model, prompts)
    turned = relabelled(values, prompts, streams)
    signs = (turned.values / values.values)[0]
    assert set(signs) == {-1.0, 1.0}
    assert abs((signs == 1).mean() - 0.5) <= 0.25
    assert turned.clusters == prompts.templates
    assert set(means(values)) == {"model"}
