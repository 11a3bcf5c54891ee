"""GPT-2's published numbers: measured as TransformerLens measures them, and never evidence for a mechanism."""

from __future__ import annotations

import json

import numpy as np
import pytest

from claims.ioi import test_replication as replication
from claims.ioi.measurements import behaviour, has_bos
from fixtures.prompts.ioi import notebook_prompts
from harness.bound_claim import BoundClaim, Options
from harness.claim import declared
from harness.mechanism import open_mechanism
from harness.models.model import load
from harness.report.markdown import write_report
from harness.session import Loaded, measure
from tests.paths import REPOSITORY
from tests.word_tokenizer import save_word_tokenizer, words_of_ioi

MODEL = "gpt2-small"
CLAIMS = [test for test in vars(replication).values() if hasattr(test, "__claim__")]
HOOKS = {"z": "attn.hook_z", "v": "attn.hook_v", "q": "attn.hook_q", "pattern": "attn.hook_pattern",
         "attn": "hook_attn_out", "mlp": "hook_mlp_out", "resid_pre": "hook_resid_pre"}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """As many layers and heads as GPT-2 small; every bias is random too, so that none can be forgotten."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("random-gpt2")
    size = save_word_tokenizer(folder, words_of_ioi())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=size, n_positions=64, n_embd=48, n_layer=12, n_head=12, bos_token_id=0, eos_token_id=1,
            initializer_range=0.2,
        )  # fmt: skip
        made = GPT2LMHeadModel(config)
        for name, weights in made.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(weights, std=0.2)
        made.save_pretrained(folder)
    return load(f"path:{folder}")


@pytest.fixture(scope="module")
def prompts(model):
    return notebook_prompts(model, bos=has_bos(model))


def record_of(test, model, **options):
    bound = BoundClaim(
        declared(test, where="here"), test, "here", open_mechanism(REPOSITORY / "claims" / "ioi"), MODEL, Options()
    )
    return measure(bound, loaded=Loaded(), target=model, **options)


def plain(array):
    return array.detach().numpy().astype(np.float64)


def test_direct_attribution_is_transformer_lens_own_decomposition(model, prompts):
    import torch

    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(prompts.tensor())
        heads = cache.stack_head_results(layer=-1, pos_slice=-1)  # [head prompt d_model]
        scaled = cache.apply_ln_to_stack(heads, layer=-1, pos_slice=-1)
        io, s = torch.from_numpy(prompts.io), torch.from_numpy(prompts.s)
        towards = (model.bridge.W_U[:, io] - model.bridge.W_U[:, s]).t()
        expected = plain((scaled * towards).sum(dim=-1))
    found = replication.attributions(model, prompts)
    assert np.abs(expected).mean() > 0.01  # the comparison has something to find
    np.testing.assert_allclose(found.of(model.heads()).values, expected, atol=1e-4)
    # The notebook's own value of each prompt's logit difference is what the row of that name has.
    np.testing.assert_allclose(found.of(["logit difference"]).values, behaviour(model, prompts).values, atol=1e-4)


def test_layers_are_the_sum_of_their_heads_and_the_output_bias(model, prompts):
    from harness.interventions import Engine

    found = replication.attributions(model, prompts)
    engine = Engine.of(model)
    run = engine.run(prompts.tensor())
    io, s, end = prompts.io, prompts.s, prompts.positions.end
    scale = plain(engine.final_scale(run))[np.arange(8), end]
    weights = plain(engine.W_U)
    towards = (weights[:, io] - weights[:, s]).T
    for layer in (0, 11):
        block = engine.weights.blocks[layer]
        every = plain(block.o.bias) + np.einsum(
            "he,hed->d", plain(replication.value_bias(engine, layer)), plain(engine.W_O(layer))
        )
        constant = towards @ (every - every.mean()) / scale
        heads = found.of([f"{layer}.{head}" for head in range(12)]).values.sum(axis=0)
        np.testing.assert_allclose(heads + constant, found.of([f"{layer}.attn"]).values[0], atol=1e-4)


def test_attributions_after_an_ablation_are_those_of_the_pass_without_the_head(model, prompts):
    import torch

    def without(z, hook):
        z[:, -1, 9] = bias
        return z

    from harness.interventions import Engine

    bias = replication.value_bias(Engine.of(model), 9)[9]
    with torch.no_grad():
        logits = model.bridge.run_with_hooks(prompts.tensor(), fwd_hooks=[("blocks.9.attn.hook_z", without)])[:, -1]
    rows = np.arange(len(prompts))
    expected = plain(logits)[rows, prompts.io] - plain(logits)[rows, prompts.s]
    found = replication.attributions(model, prompts, without="9.9")
    np.testing.assert_allclose(found.of(["logit difference"]).values[0], expected, atol=1e-4)
    assert np.abs(found.of(["9.9"]).values).max() < 1e-5


@pytest.mark.parametrize(
    ("target", "at"),
    [("8.6", None), ("8.6.v", None), ("10.7.q", None), ("5.5.pattern", None), ("7.resid_pre", "s2"), ("8.attn", "end"),
     ("0.mlp", "s2")],
)  # fmt: skip
def test_what_a_patch_restores_is_what_hooks_on_the_bridge_find(target, at, model, prompts):
    import torch

    layer, part = target.split(".", 1)
    site = part.split(".")[-1] if not part.isdecimal() else "z"
    hook_name = f"blocks.{layer}.{HOOKS[site]}"
    head = int(part.split(".")[0]) if part[0].isdecimal() else None
    swapped = prompts.corrupted("subject swapped")
    rows = torch.arange(len(prompts))

    def restore(value, hook):
        clean = cache[hook_name]
        if site == "pattern":
            value[:, head] = clean[:, head]
        elif head is not None:
            value[:, :, head] = clean[:, :, head]
        else:
            where = torch.from_numpy(np.ascontiguousarray(getattr(prompts.positions, at)))
            value[rows, where] = clean[rows, where]
        return value

    def difference(logits):
        end = plain(logits[:, -1])
        return end[rows, prompts.io] - end[rows, prompts.s]

    with torch.no_grad():
        clean_logits, cache = model.bridge.run_with_cache(prompts.tensor())
        patched = model.bridge.run_with_hooks(swapped.tensor(), fwd_hooks=[(hook_name, restore)])
        clean, corrupted = difference(clean_logits), difference(model.bridge(swapped.tensor()))
    expected = (difference(patched) - corrupted.mean()) / (clean.mean() - corrupted.mean())  # the notebook's formula
    found = replication.restored(model, prompts, {"it": (target, at)})
    assert found.mean()[0] == pytest.approx(expected.mean(), abs=1e-4)
    assert abs(expected.mean()) > 1e-3


@pytest.mark.parametrize("test", CLAIMS, ids=lambda test: test.__claim__["id"])
def test_no_published_number_comes_out_of_a_random_model(test, model):
    record = record_of(test, model)
    assert record.verdict == "refuted", record.judgement
    assert all(outcome["p"] is None for outcome in record.judgement["outcomes"])
    assert {row[0] for row in record.tables[0]["rows"]} == {out["component"] for out in record.judgement["outcomes"]}


@pytest.fixture
def replicated(model, prompts, monkeypatch):
    """A record in which every number is the published one, but for a rounding error that the tolerance allows."""
    from harness.values import unit_values

    def as_published(evidence, found, published):
        values = unit_values(
            np.array(list(published.values()))[:, None] + 0.0009, components=tuple(published), units=("one",)
        )
        honest(evidence, values, published)

    honest = replication.compare
    monkeypatch.setattr(replication, "compare", as_published)
    return record_of(replication.test_direct_attributions_are_the_published_ones, model)


def test_numbers_within_the_tolerance_are_the_published_ones(replicated):
    assert replicated.verdict == "supported"
    assert replicated.judgement["reason"] == "all 20 numbers are the published ones"
    assert replicated.claim["tier"] == "replication"


def test_a_replication_never_counts_as_evidence_for_a_mechanism(replicated, tmp_path):
    entry = json.loads(replicated.to_json())
    path = write_report([entry], out=tmp_path, run={"started": "now"}, papers={}, file_names={})
    text = path.read_text(encoding="utf-8")
    assert "No inference claim was part of this run." in text
    assert "M = 0 inference verdicts" in text
    first_page = text.split("<a id=")[0]
    assert "| ✓ supported | 0 | 0 | 1 |" in first_page
    assert "### Replication: the paper's own prompts and number: a test of the engine" in first_page
    assert "summary-forest" not in text
