"""IOI claims run on tiny GPT-2s of random or planted weights, about heads that a test names."""

from __future__ import annotations

import itertools

from harness.bound_claim import BoundClaim, Options
from harness.claim import declared
from harness.mechanism import Mechanism
from harness.memory import Loaded
from harness.models.model import load
from harness.session import measure
from harness.subjects import Subject, SubjectsFile
from tests.paths import REPOSITORY
from tests.word_tokenizer import save_word_tokenizer, words_of_ioi


def saved_gpt2(folder, *, n_embd, n_layer, n_head, plant=None):
    """A GPT-2 of random weights whose tokenizer knows the prompts' words; `plant` changes the weights."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    size = save_word_tokenizer(folder, words_of_ioi())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=size, n_positions=64, n_embd=n_embd, n_layer=n_layer, n_head=n_head,
            bos_token_id=0, eos_token_id=1,
        )  # fmt: skip
        hf = GPT2LMHeadModel(config)
    if plant is not None:
        with torch.no_grad():
            plant(hf)
    hf.save_pretrained(folder)
    return load(f"path:{folder}")


def record_of(test, model, *, classes, profile="quick"):
    """The record of a claim's body on a model, about the circuit of these classes."""
    claim = declared(test, where="here")
    folder = REPOSITORY / "claims" / "ioi"
    ioi = Mechanism("ioi", folder, SubjectsFile(folder / "none.toml", {}, {}), None)
    bound = BoundClaim(claim, test, "here", ioi, model.id, Options(profile=profile))
    heads = tuple(dict.fromkeys(itertools.chain.from_iterable(classes.values())))
    subject = Subject("circuit", heads, "nothing", "a test", "discovery", {**classes, "circuit": heads})
    return measure(bound, loaded=Loaded(), target=model, subject=subject)
