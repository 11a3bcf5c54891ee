"""Every shipped mechanism leads its claims to the discovery split, where its number of units is chosen."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from fixtures.prompts import greater_than_words, ioi_words
from fixtures.prompts.contrasts import CONTRASTS
from fixtures.prompts.neutral_text import PARITY
from fixtures.prompts.sums import in_split, uniform_sums
from harness.bound_claim import BoundClaim, Options
from harness.catalog import all_claims, find_claim
from harness.errors import DeclarationError
from harness.evidence import Record
from harness.mechanism import named
from harness.memory import Loaded
from harness.pilot import NOTE, measure_pilot, only_discovery, pilot_path, read_pilot, write_pilot
from tests.cli.calling import call
from tests.paths import REPOSITORY
from tests.word_tokenizer import save_word_tokenizer, words_of_ioi

CLAIMS = REPOSITORY / "claims"
SHIPPED = ("induction", "ioi", "greater_than", "arithmetic", "steering")


def bound(claim_id: str, *, model: str = "induction-2l@0", **options: object) -> BoundClaim:
    entry = find_claim(claim_id, claims=CLAIMS)
    return BoundClaim(entry.claim, entry.test, entry.source, entry.mechanism, model, Options(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_mechanism_announces_its_pilots(name: str) -> None:
    with named(name, claims=CLAIMS).announced.pilots():  # type: ignore[union-attr]
        pass


@pytest.mark.parametrize(
    ("name", "tables"),
    [
        ("ioi", (ioi_words.TEMPLATES, ioi_words.NAMES)),
        ("greater_than", (greater_than_words.TEMPLATES, greater_than_words.NOUNS)),
    ],
)
def test_within_a_pilot_no_word_of_another_split_can_be_drawn(name: str, tables: tuple[dict[str, object], ...]) -> None:
    before = [dict(table) for table in tables]
    with named(name, claims=CLAIMS).announced.pilots():  # type: ignore[union-attr]
        assert all(words == table["discovery"] for table in tables for words in table.values())
    assert [dict(table) for table in tables] == before
    with pytest.raises(KeyError), named(name, claims=CLAIMS).announced.pilots():  # type: ignore[union-attr]
        raise KeyError("a body failed")
    assert [dict(table) for table in tables] == before


def test_within_a_pilot_no_text_of_another_split_can_be_drawn_for_steering() -> None:
    with named("steering", claims=CLAIMS).announced.pilots():  # type: ignore[union-attr]
        for contrast in CONTRASTS.values():
            assert all(material is contrast.splits["discovery"] for material in contrast.splits.values())
        assert set(PARITY.values()) == {PARITY["discovery"]}
    assert CONTRASTS["sentiment"].splits["confirmation"] is not CONTRASTS["sentiment"].splits["discovery"]
    assert PARITY["confirmation"] != PARITY["discovery"]


def test_within_a_pilot_every_sum_lies_in_the_discovery_split() -> None:
    with named("arithmetic", claims=CLAIMS).announced.pilots():  # type: ignore[union-attr]
        sums = uniform_sums(200, split="confirmation", rng=np.random.default_rng(0))
    assert in_split(sums.a, sums.b, split="discovery").all()
    assert not in_split(sums.a, sums.b, split="confirmation").any()


def test_tables_that_cannot_be_led_elsewhere_are_refused() -> None:
    with pytest.raises(DeclarationError, match="entry for the discovery split"), only_discovery({"confirmation": 1}):
        pass
    with pytest.raises(DeclarationError, match="is no dict"), only_discovery([("discovery", 1)]):  # type: ignore[arg-type]
        pass


def test_what_samples_nothing_and_what_repeats_a_papers_number_has_no_pilot() -> None:
    for claim_id, said in (("ioi.published-logit-differences", "samples nothing"), (_replication(), "the paper's n")):
        with pytest.raises(DeclarationError, match=said):
            measure_pilot(bound(claim_id), loaded=Loaded())


def _replication() -> str:
    """A claim that repeats a paper's number on sampled units."""
    claims = [entry.claim for entry in all_claims(CLAIMS)]
    return next(claim.id for claim in claims if claim.tier == "replication" and claim.units is not None)


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """The pilot of a shipped claim on a tiny random model."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from harness.models.model import load

    folder = tmp_path_factory.mktemp("random-gpt2")
    size = save_word_tokenizer(folder, words_of_ioi())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=size, n_positions=64, n_embd=24, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=1
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
    model = f"path:{folder}"
    return measure_pilot(bound("ioi.behaviour", model=model), loaded=Loaded(), target=load(model))


def test_a_shipped_claim_is_measured_on_discovery_prompts_as_many_as_its_templates_allow(pilot: Record) -> None:
    assert pilot.seeds["split"] == "discovery"
    assert pilot.notes[0] == NOTE
    # The claim is registered with 40 units; discovery has 15 templates in both orders.
    assert pilot.prompts is not None
    assert (pilot.prompts["n"], pilot.prompts["clusters"]) == (60, 15)
    assert "mechclaims pilot ioi.behaviour --model path:" in pilot.command
    assert pilot.command.endswith("--units 60")
    openings = {_opening(text) for text in ioi_words.TEMPLATES["discovery"]}
    assert {_first_word(text) for text in pilot.prompts["examples"]} <= openings


def test_power_answers_from_a_shipped_claims_pilot(
    pilot: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    write_pilot(pilot, reports=tmp_path / "reports")
    model = str(pilot.model["id"])
    path = pilot_path("ioi.behaviour", model_id=model, reports=tmp_path / "reports")
    assert read_pilot(path).content_hash == pilot.content_hash
    shown = call("power", "ioi.behaviour", "--model", model).stdout
    assert "a pilot of 15 clusters on the discovery split" in shown
    assert re.search(r"^\d+ clusters have 80 % power", shown, flags=re.MULTILINE)


def _opening(template: str) -> str:
    return template.split()[0].strip(",")


def _first_word(text: str) -> str:
    return text.replace("<bos>", "").split()[0].strip(",")
