"""The IOI claims on a random model: discovery runs, every claim runs to its end, and none is supported."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from claims.ioi import mechanism
from claims.ioi.comparing import FIRST, LAST, against_place
from claims.ioi.finding import DIRECT, PARTS, USUAL, Found
from claims.ioi.measurements import behaviour, draw, means, relabelled
from harness.bound_claim import BoundClaim, Options
from harness.catalog import all_claims
from harness.effects import dose_factors
from harness.interventions import engine_of
from harness.mechanism import Mechanism, discovery_streams
from harness.models.model import load
from harness.seeding import Streams
from harness.session import Loaded, applies, measure
from harness.subjects import Subject, SubjectsFile
from harness.values import UnitValues
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
STREAMS = Streams(("test",))
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


def test_without_a_repeated_name_effects_count_towards_the_first_and_towards_the_last_name():
    filled = {}
    evidence = SimpleNamespace(control=lambda name, values: filled.update({name: values.values.tolist()}))
    values = UnitValues(np.array([[2.0, 3.0, 5.0]]), ("joint",), ("a", "b", "c"), ("t", "t", "u"))
    # IO stands first in ABBA: 2 and 5 towards the first name, 3 towards the last one.
    against_place(evidence, values, ["ABBA", "BABA", "ABBA"])
    assert filled == {FIRST.name: [[2.0, -3.0, 5.0]], LAST.name: [[-2.0, 3.0, -5.0]]}


def test_a_head_that_favours_the_first_name_alone_is_not_supported_against_that_control():
    # Planted: where nothing is repeated the effect is 1 towards the first name; towards IO that is 0 on average.
    orders = ["ABBA", "BABA"] * 20
    units = tuple(f"u{row}" for row in range(40))
    by_place = np.where(np.array(orders) == "ABBA", 1.0, -1.0)[None]
    filled = {}
    evidence = SimpleNamespace(control=lambda name, values: filled.update({name: values.values.mean()}))
    against_place(evidence, UnitValues(by_place, ("joint",), units, units), orders)
    assert by_place.mean() == 0.0
    assert filled == {FIRST.name: 1.0, LAST.name: -1.0}


def test_dose_factors_are_those_of_all_prompts_together(model):
    import torch

    prompts = draw(model, STREAMS, split="discovery", n=30)
    factors = dose_factors(model, prompts, layers=[2, model.n_layers])
    engine, samples = engine_of(model), {2: [], model.n_layers: []}
    for row in range(len(prompts)):  # by hand, one prompt after the other
        one = prompts.rows(np.array([row]))
        run = engine.run(one.tensor(), keep=("resid_pre",))
        samples[2].append(run.resid_pre[2][0, one.start :])
        samples[model.n_layers].append(run.resid[0, one.start :])
    for layer, found in samples.items():
        stream = torch.cat(found).double().numpy()
        directions = stream / np.linalg.norm(stream, axis=1, keepdims=True)
        factor = factors[layer].numpy()
        np.testing.assert_allclose(factor @ factor.T, np.cov(directions, rowvar=False), atol=1e-6)  # oracle: numpy


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


@pytest.mark.parametrize("layer", [0, 5])
@pytest.mark.parametrize("entry", CLAIMS, ids=lambda entry: entry.claim.id)
def test_classes_in_one_layer_end_a_claim_with_a_verdict(entry, layer, model, ioi):
    # What null worlds and other models may bring: no path leads from one class to another, no layer is nearby.
    assert model.n_layers == 6
    classes = {name: (f"{layer}.{number % model.n_heads}",) for number, name in enumerate(CLASSES)}
    bound = BoundClaim(entry.claim, entry.test, entry.source, ioi, model.id, Options(profile="quick"))
    subject = None
    if (name := entry.claim.subject) is not None:
        subject = Subject(name, classes[name], "nothing", "a test", "discovery", classes)
    record = measure(bound, loaded=Loaded(), target=model, subject=subject)
    assert record.verdict in {"refuted", "inconclusive", "too small", "invalid"}, record.judgement


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


def test_null_worlds_have_heads_to_ask_in_every_class_and_no_second_search(model):
    said = []
    streams = discovery_streams("ioi", fingerprint=model.fingerprint)
    found = mechanism.discover(model, streams, say=said.append, thresholds=False)
    sizes = {name: len(heads) for name, heads in found.classes.items() if name != "circuit"}
    assert sizes == {name: min(USUAL[name], sizes[name]) for name in USUAL}
    needs_earlier_heads = {"backup-name-mover", "s-inhibition"}  # a name mover in the last or first layer has none
    assert not [name for name, size in sizes.items() if not size and name not in needs_earlier_heads]
    assert set(found.classes["circuit"]) == {head for name in sizes for head in found.classes[name]}
    assert found.overlaps == {}
    assert not any("two halves" in line for line in said)


def test_null_worlds_take_the_largest_effect_among_those_that_look_there_most(model):
    prompts = draw(model, Streams(("test",)), split="discovery", n=30)
    names, units = ("0.0", "0.1", "0.2"), prompts.units

    def rows(*values):
        return UnitValues(np.repeat(np.array(values)[:, None], 30, axis=1), names, units, prompts.templates)

    to = {"io": rows(0.03, 0.01, 0.02), "s1": rows(0.01, 0.01, 0.01), "s2": rows(0.029, 0.02, 0.01)}
    found = Found(
        prompts, 0.05, {("end", key): values for key, values in to.items()}, thresholds=False,
        effects={DIRECT: rows(-0.2, 0.3, -0.1)},
    )  # fmt: skip
    by_name = {part.name: part for part in PARTS}
    assert found.select(by_name["name-mover"]) == ("0.2", "0.0")  # the larger first, though both are below zero
    assert found.select(by_name["s-suppressor"]) == ("0.1",)
    strict = replace(found, thresholds=True)
    assert strict.select(by_name["name-mover"]) == ()
