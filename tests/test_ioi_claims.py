"""The IOI claims on a random model: discovery runs, every claim runs to its end, and none is supported."""

from __future__ import annotations

import numpy as np
import pytest

from claims.ioi import mechanism
from claims.ioi.finding import DIRECT
from claims.ioi.measurements import behaviour, draw, means, relabelled
from harness.bound_claim import BoundClaim, Options
from harness.catalog import all_claims
from harness.mechanism import Mechanism, discovery_streams
from harness.models.model import load
from harness.seeding import Streams
from harness.session import Loaded, applies, measure
from harness.subjects import Subject, SubjectsFile
from tests.paths import REPOSITORY
from tests.word_tokenizer import save_word_tokenizer, words_of_ioi

ELSEWHERE = ("test_circuit.py", "test_circuit_parts.py", "test_copying.py")
"""Claims with a test file of their own."""
CLAIMS = [
    entry
    for entry in all_claims(REPOSITORY / "claims")
    if entry.claim.mechanism == "ioi"
    and applies(entry.claim, "path:DIR")
    and not any(name in entry.source for name in ELSEWHERE)
]
CLASSES = {
    "name-mover": ("4.0", "4.1"),
    "s-suppressor": ("4.2",),
    "negative-name-mover": ("4.3",),
    "backup-name-mover": ("5.0", "5.1"),
    "s-inhibition": ("3.1", "3.4"),
    "duplicate-token": ("1.1",),
    "induction": ("2.2", "2.3"),
    "previous-token": ("1.2",),
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
            vocab_size=size, n_positions=64, n_embd=48, n_layer=6, n_head=12, bos_token_id=0, eos_token_id=1
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
    return load(f"path:{folder}")


@pytest.fixture(scope="module")
def ioi():
    folder = REPOSITORY / "claims" / "ioi"
    return Mechanism("ioi", folder, SubjectsFile(folder / "none.toml", {}, {}), mechanism)


@pytest.mark.parametrize("entry", CLAIMS, ids=lambda entry: entry.claim.id)
def test_no_ioi_claim_is_supported_on_a_random_model(entry, model, ioi):
    bound = BoundClaim(entry.claim, entry.test, entry.source, ioi, model.id, Options(profile="quick"))
    subject = None
    if (name := entry.claim.subject) is not None:
        subject = Subject(name, CLASSES[name], "nothing", "a test", "discovery", CLASSES)
    record = measure(bound, loaded=Loaded(), target=model, subject=subject)
    # A random model takes no notice of S2, so that ABC changes no answer of it at all.
    constant = record.judgement["reason"].startswith("no variation")
    assert record.verdict in {"refuted", "inconclusive", "too small"} or constant, record.judgement


def test_discovery_finds_no_heads_in_a_random_model_and_ranks_them_all(model):
    streams = discovery_streams("ioi", fingerprint=model.fingerprint)
    found = mechanism.discover(model, streams)
    assert not any(found.classes.values())
    assert set(found.scores[DIRECT]) == set(model.heads())
    assert not any(any(shares.values()) for shares in found.frequencies.values())


def test_exchanged_labels_turn_the_sign_in_half_of_the_prompts(model):
    streams = Streams(("test",))
    prompts = draw(model, streams, split="discovery", n=60)
    values = behaviour(model, prompts)
    turned = relabelled(values, prompts, streams)
    shares = (turned.values / values.values)[0]
    # Ten draws of a sign: shares are -1, -.8 ... 1, and half of each template's prompts is exchanged in every draw.
    assert np.allclose(shares * 5, np.round(shares * 5))
    assert abs(shares.mean()) < 0.01
    assert turned.clusters == prompts.templates
    assert set(means(values)) == {"model"}
