"""Every induction claim on GPT-2 small runs on a random GPT-2 with as many heads, and none is supported there."""

from __future__ import annotations

import pytest

from harness.catalog import all_claims
from harness.mechanism import open_mechanism
from harness.models.model import load
from harness.negatives import measured_on
from harness.session import BoundClaim, Options, applies
from tests.paths import REPOSITORY

MODEL = "gpt2-small"
CLAIMS = [
    entry for entry in all_claims(REPOSITORY / "claims", mechanism="induction") if applies(entry.claim, MODEL)
]  # those on prompts of words need their words: tests/test_ioi_claims.py


@pytest.fixture(scope="module")
def random_gpt2(tmp_path_factory):
    """Eight layers of twelve heads, so that 7.10 exists; the vocabulary is large enough for blocks of 40 tokens."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("gpt2")
    words = {"<bos>": 0, "<eos>": 1, "<unk>": 2} | {f"w{number}": number for number in range(3, 96)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=96, n_positions=128, n_embd=48, n_layer=8, n_head=12, bos_token_id=0, eos_token_id=1
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
    return load(f"path:{folder}")


@pytest.mark.parametrize("entry", CLAIMS, ids=lambda entry: entry.claim.id)
def test_a_claim_on_gpt2_runs_on_a_random_one_and_is_not_supported(entry, random_gpt2):
    mechanism = open_mechanism(REPOSITORY / "claims" / entry.claim.mechanism)
    subject = mechanism.subjects.subject(MODEL, class_name=entry.claim.subject or "induction")
    bound = BoundClaim(entry.claim, entry.test, entry.source, mechanism, MODEL, Options(profile="quick"))
    record = measured_on(bound, random_gpt2, subject=subject)
    assert record.verdict in {"refuted", "inconclusive", "too small"}, record.judgement
    assert record.judgement["outcomes"] or record.exact
