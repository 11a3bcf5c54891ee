"""Year movers and relays selected from planted effects: what reaches, what is stable, what permuted labels find."""

from __future__ import annotations

import numpy as np
import pytest

from claims.greater_than.finding import LEAST_PROB, MOST_HEADS, Carriers, exchanged_labels
from harness.effects import Effects
from harness.seeding import Streams
from harness.values import UnitValues

TEMPLATES = tuple(f"template-{number // 2}" for number in range(30))  # as discovery has them: 15 with 2 prompts each
FIRST, LAST = np.arange(14), np.arange(14, 28)
STREAMS = Streams(("test",))


def carriers(falls, attention, *, clean=0.8, thresholds=True):
    """Heads whose patching lowers a probability difference of `clean` by these falls, each [prompt] or one number."""
    names = tuple(falls)
    units = tuple(f"prompt-{number}" for number in range(30))
    lowered = np.stack([np.broadcast_to(fall, (30,)) for fall in falls.values()])
    to_year = np.stack([np.broadcast_to(attention.get(name, 0.0), (30,)) for name in names])
    effects = Effects(names, clean - lowered, np.full(30, clean), np.ones_like(lowered), units, TEMPLATES, "fast")
    return Carriers(effects, UnitValues(to_year, names, units, TEMPLATES), STREAMS, thresholds=thresholds)


def test_a_head_is_a_year_mover_or_a_relay_by_where_it_attends_and_neither_below_the_threshold():
    # 5 % of 0.8 is 0.04.
    found = carriers({"1.0": 0.05, "1.1": 0.3, "1.2": 0.039, "2.0": 0.1}, {"1.0": 0.2, "1.1": 0.9, "1.2": 0.9})
    assert found.select() == {"year-mover": ("1.1", "1.0"), "relay": ("2.0",)}
    assert found.candidates(FIRST, LAST) == {"year-mover": 3, "relay": 1}


def test_the_threshold_is_never_below_its_least_value():
    falls = {"1.0": LEAST_PROB * 0.99, "1.1": LEAST_PROB * 1.01}
    assert carriers(falls, {}, clean=0.1).select()["relay"] == ("1.1",)


def test_a_head_that_few_templates_carry_reaches_the_threshold_and_is_not_stable():
    falls = np.zeros(30)
    falls[:4] = 0.5  # two of 15 templates: 0.067 on average, and 0 in the halves that hold neither
    found = carriers({"1.0": falls, "1.1": 0.2}, {})
    assert found.select()["relay"] == ("1.1",)
    shares = found.frequencies()["relay"]
    assert shares["1.1"] == 1.0
    assert 0.4 < shares["1.0"] < 0.8  # 1 - (8/15)(7/14) = 0.73 of all halves hold one of them


def test_on_half_of_the_prompts_only_these_count():
    falls = np.zeros(30)
    falls[FIRST] = 0.2
    found = carriers({"1.0": falls, "1.1": 0.2}, {})
    assert found.select(FIRST)["relay"] == ("1.0", "1.1")
    assert found.select(LAST)["relay"] == ("1.1",)


def test_classes_are_no_larger_than_the_published_one():
    found = carriers({f"1.{head}": 0.1 + head / 100 for head in range(9)}, {})
    assert found.select()["relay"] == tuple(f"1.{head}" for head in range(8, 8 - MOST_HEADS, -1))


def test_exchanged_labels_are_half_of_each_template_s_prompts():
    templates = ["a"] * 4 + ["b"] * 3 + ["a"] * 2
    drawn = np.array([exchanged_labels(templates, rng=np.random.default_rng(seed)) for seed in range(200)])
    names = np.array(templates)
    assert set(drawn[:, names == "a"].sum(axis=1)) == {0.0}
    assert set(drawn[:, names == "b"].sum(axis=1)) == {-1.0, 1.0}
    assert np.abs(drawn.mean(axis=0)).max() < 0.25  # each prompt's sign is fair: 3.5 standard errors of 200


def test_permuted_labels_select_no_head_however_large_its_effect():
    noise = np.random.default_rng(0).normal(0.0, 0.02, (5, 30))
    found = carriers({f"1.{head}": 0.3 + noise[head] for head in range(5)}, {})
    rng = np.random.default_rng(1)
    selected = [found.select(signs=exchanged_labels(TEMPLATES, rng=rng)) for _ in range(20)]
    assert len(found.select()["relay"]) == 5
    assert not any(each["relay"] for each in selected)


def test_exchanging_every_label_turns_every_effect():
    found = carriers({"1.0": 0.2, "1.1": -0.2}, {})
    assert found.select()["relay"] == ("1.0",)
    assert found.select(signs=-np.ones(30))["relay"] == ("1.1",)


@pytest.mark.parametrize("columns", [None, FIRST])
def test_without_thresholds_every_head_is_in_a_class(columns):
    found = carriers({"1.0": -0.1, "1.1": 0.0}, {}, thresholds=False)
    assert found.select(columns) == {"year-mover": ("1.1", "1.0"), "relay": ()}
