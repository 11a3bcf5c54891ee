"""Completeness, minimality and random circuits on toy models in numpy whose answers are known by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.circuits import (
    completeness,
    endpoints,
    greedy_completeness,
    greedy_part,
    inflated_circuits,
    minimality,
    necessity,
    random_parts,
    sufficiency,
)
from harness.errors import InterventionError, StatisticsError
from harness.stats.circuit_tests import equivalence_test
from harness.stats.faithfulness import faithfulness
from harness.stats.random_circuits import minimality_test, partial_necessity_test, sufficiency_test

Score = Callable[[frozenset[str]], float]
"""F of the components that are kept."""


class Toy:
    """A model whose score is a function of the components that are kept, plus the same noise of each unit."""

    def __init__(self, components: str, score: Score, *, units: int = 8, split: str = "confirmation") -> None:
        self.components = tuple(components.split())
        self.units = tuple(f"{split} {unit}" for unit in range(units))
        self.clusters = self.units
        self.noise = np.random.default_rng(0).normal(0, 0.1, units)
        self.calls: list[tuple[str, list[tuple[str, ...]]]] = []
        self._score = score

    def without(self, sets: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        self.calls.append(("without", [tuple(each) for each in sets]))
        return self._rows([frozenset(self.components) - frozenset(each) for each in sets])

    def only(self, sets: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        self.calls.append(("only", [tuple(each) for each in sets]))
        return self._rows([frozenset(each) for each in sets])

    def _rows(self, kept: list[frozenset[str]]) -> NDArray[np.float64]:
        return np.array([self._score(each) + self.noise for each in kept])


WEIGHTS = {"a1": 2.0, "a2": 1.0, "b1": 4.0, "passenger": 0.0, "x": 0.5, "y": -0.25, "z": 0.0}


def additive(**options: Any) -> Toy:
    """The score is the sum of the kept components' weights: 7.25 for the model, 7 for a1, a2, b1 and passenger."""
    return Toy(" ".join(WEIGHTS), lambda kept: sum(WEIGHTS[name] for name in kept), **options)


CIRCUIT = ("a1", "a2", "b1", "passenger")
CLASSES = {"a": ("a1", "a2"), "b": ("b1", "passenger")}


def backed_up(**options: Any) -> Toy:
    """3 if any of `primary` and `backup` is there, and 1 for `other`."""
    return Toy(
        "primary backup other", lambda kept: 3.0 * bool(kept & {"primary", "backup"}) + ("other" in kept), **options
    )


def three_ways(**options: Any) -> Toy:
    """3 if any of `p`, `q` and `r` is there, and 1 for `other`: each stands in for the others."""
    return Toy("other p q r", lambda kept: 3.0 * bool(kept & {"p", "q", "r"}) + ("other" in kept), **options)


def test_endpoints_are_the_model_the_circuit_and_nothing() -> None:
    toy = additive()
    found = endpoints(toy, CIRCUIT)
    assert found.components == ("model", "circuit", "empty")
    np.testing.assert_allclose(found.mean() - toy.noise.mean(), [7.25, 7.0, 0.0])
    assert found.units == toy.units
    values = found.values
    whole = faithfulness(
        values[0], values[1], empty=values[2], clusters=found.clusters, rng=np.random.default_rng(0)
    ).whole
    assert whole.recovered.estimate == pytest.approx(7 / 7.25)


def test_an_additive_circuit_misses_the_same_under_every_k() -> None:
    # F(M\K) - F(C\K) is the weight of what the circuit leaves out, x + y + z = .25, whatever K is.
    found = completeness(
        additive(), CIRCUIT, sets={**CLASSES, **random_parts(CIRCUIT, draws=20, rng=np.random.default_rng(0))}
    )
    assert len(found.sets) == 2 + 15  # a circuit of 4 has 15 non-empty parts
    assert list(found.incompleteness.values()) == pytest.approx([0.25] * 17)
    np.testing.assert_allclose(found.difference.values, -0.25)


def test_completeness_by_hand() -> None:
    toy = additive()
    found = completeness(toy, CIRCUIT, sets=CLASSES)
    assert found.sets == {"a": ("a1", "a2"), "b": ("b1", "passenger")}
    np.testing.assert_allclose(found.circuit.mean() - toy.noise.mean(), [4.0, 3.0])
    np.testing.assert_allclose(found.model.mean() - toy.noise.mean(), [4.25, 3.25])
    assert toy.calls == [
        ("only", [("b1", "passenger"), ("a1", "a2")]),
        ("without", [("a1", "a2"), ("b1", "passenger")]),
    ]


def test_a_missing_backup_passes_faithfulness_and_breaks_completeness_under_its_class() -> None:
    toy, circuit = backed_up(), ("primary", "other")
    ends = endpoints(toy, circuit)
    np.testing.assert_array_equal(ends.of(["model"]).values, ends.of(["circuit"]).values)
    found = completeness(toy, circuit, sets={"primary": ("primary",), "other": ("other",)})
    assert found.incompleteness == pytest.approx({"primary": 3.0, "other": 0.0})
    with_backup = completeness(toy, toy.components, sets={"movers": ("primary", "backup"), "other": ("other",)})
    assert with_backup.incompleteness == pytest.approx({"movers": 0.0, "other": 0.0})


def test_a_backup_of_two_classes_shows_only_under_greedy_k() -> None:
    circuit = ("p", "q", "other")
    classes = {"p": ("p",), "q": ("q",), "other": ("other",)}
    assert set(completeness(three_ways(), circuit, sets=classes).incompleteness.values()) == {0.0}
    found = greedy_completeness(circuit, search=three_ways(split="discovery"), score=three_ways())
    assert set(found.sets["greedy"]) >= {"p", "q"}
    assert found.incompleteness == pytest.approx({"greedy": 3.0})


def test_greedy_takes_the_smallest_k_on_its_way_that_breaks_most() -> None:
    # other lies first in the model's order and is as good as p or q at the first step, where nothing breaks.
    assert greedy_part(three_ways(), ("p", "q", "other")) == ("other", "p", "q")
    assert greedy_part(three_ways(), ("p", "q")) == ("p", "q")
    assert greedy_part(backed_up(), ("primary", "other")) == ("primary",)


def test_greedy_asks_for_all_candidates_of_a_step_at_once_and_stops_at_the_largest() -> None:
    toy = three_ways()
    assert len(greedy_part(toy, ("p", "q", "other"), largest=1)) == 1
    assert [(how, len(sets)) for how, sets in toy.calls] == [("only", 3), ("without", 3)]


def test_greedy_with_drawn_candidates_finds_what_its_generator_lets_it_try() -> None:
    def found(seed: int) -> tuple[str, ...]:
        return greedy_part(three_ways(), ("p", "q", "other"), largest=2, candidates=1, rng=np.random.default_rng(seed))

    assert found(3) == found(3)
    assert len({found(seed) for seed in range(20)}) > 1


def test_greedy_does_not_score_where_it_searched() -> None:
    with pytest.raises(StatisticsError, match="8 units, 'confirmation 0' among them, are both searched and scored on"):
        greedy_completeness(("p", "q"), search=three_ways(), score=three_ways())


def test_random_parts_are_distinct_seeded_and_independent_of_the_order_given() -> None:
    circuit = [f"1.{head}" for head in range(12)]
    drawn = random_parts(circuit, draws=100, rng=np.random.default_rng(1))
    assert len(drawn) == len(set(drawn.values())) == 100
    assert all(part and set(part) <= set(circuit) for part in drawn.values())
    assert drawn == random_parts(frozenset(circuit), draws=100, rng=np.random.default_rng(1))
    assert drawn != random_parts(circuit, draws=100, rng=np.random.default_rng(2))
    # Each component is in half of the parts: 50 with a standard deviation of 5.
    assert all(30 <= sum(name in part for part in drawn.values()) <= 70 for name in circuit)


def test_random_parts_of_a_small_circuit_are_all_there_are() -> None:
    drawn = random_parts(["a", "b", "c"], draws=7, rng=np.random.default_rng(0))
    assert sorted(drawn) == ["a", "a+b", "a+b+c", "a+c", "b", "b+c", "c"]


def test_random_parts_are_never_empty() -> None:
    for seed in range(20):
        drawn = random_parts(["a", "b", "c"], draws=6, rng=np.random.default_rng(seed))
        assert all(drawn.values())


def test_minimality_of_an_additive_circuit_is_each_weight_and_a_passenger_has_none() -> None:
    toy = additive()
    found = minimality(toy, CIRCUIT, classes=CLASSES)
    assert found.scores == pytest.approx({"a1": 2.0, "a2": 1.0, "b1": 4.0, "passenger": 0.0})
    assert found.knocked_out == {"a1": ("a2",), "a2": ("a1",), "b1": ("passenger",), "passenger": ("b1",)}
    np.testing.assert_allclose(found.difference.of(["a1"]).values, -2.0)
    np.testing.assert_allclose(found.without_k.of(["a1"]).mean() - toy.noise.mean(), 6.0)
    # Both members of a class leave the same circuit behind: 4 + 2 sets, asked for once each.
    assert [(how, len(sets)) for how, sets in toy.calls] == [("only", 6)]


def test_a_backup_looks_superfluous_until_its_class_is_gone() -> None:
    circuit = ("primary", "backup", "other")
    alone = minimality(backed_up(), circuit, classes={name: (name,) for name in circuit})
    assert alone.scores == pytest.approx({"primary": 0.0, "backup": 0.0, "other": 1.0})
    by_class = minimality(backed_up(), circuit, classes={"movers": ("primary", "backup"), "rest": ("other",)})
    assert by_class.scores == pytest.approx({"primary": 3.0, "backup": 3.0, "other": 1.0})


def test_k_may_be_given_for_some_components() -> None:
    circuit = ("primary", "backup", "other")
    classes = {name: (name,) for name in circuit}
    found = minimality(backed_up(), circuit, classes=classes, knocked_out={"backup": ("primary",), "other": ()})
    assert found.knocked_out == {"primary": (), "backup": ("primary",), "other": ()}
    assert found.scores == pytest.approx({"primary": 0.0, "backup": 3.0, "other": 1.0})


def test_sufficiency_and_necessity_hold_the_circuit_beside_random_ones() -> None:
    toy = additive()
    others = [("x", "y", "z", "passenger"), ("a1", "x", "y", "z")]
    alone, missing = sufficiency(toy, CIRCUIT, random=others), necessity(toy, CIRCUIT, random=others)
    noise = toy.noise.mean()
    assert alone.random.components == ("passenger+x+y+z", "a1+x+y+z")
    np.testing.assert_allclose(alone.random.mean() - noise, [0.25, 2.25])
    np.testing.assert_allclose(missing.random.mean() - noise, [7.0, 5.0])
    np.testing.assert_allclose([alone.circuit.mean()[0] - noise, missing.circuit.mean()[0] - noise], [7.0, 0.25])
    np.testing.assert_allclose([alone.model.mean(), missing.model.mean()], 7.25 + noise)
    assert alone.mean_overlap == missing.mean_overlap == 0.25  # one of four in either


def test_the_tests_against_random_circuits_take_these_scores() -> None:
    names = " ".join([*CIRCUIT, *(f"{layer}.{head}" for layer in range(10) for head in range(4))])
    toy = Toy(names, lambda kept: sum(WEIGHTS.get(name, 0.01) for name in kept))
    others = [tuple(f"{layer}.{head}" for layer in (first, second) for head in (0, 3))
              for first in range(10) for second in range(first)]  # fmt: skip
    alone, missing = sufficiency(toy, CIRCUIT, random=others), necessity(toy, CIRCUIT, random=others)
    for test, found, named in (
        (sufficiency_test, alone, "random"),
        (partial_necessity_test, missing, "without_random"),
    ):
        result = test(found.model.values[0], found.circuit.values[0], **{named: found.random.values})
        assert (result.statistic, result.supports) == (45.0, True)
    even = equivalence_test(alone.model.values[0], alone.circuit.values[0], clusters=toy.clusters)
    assert not even.supports


def test_inflated_circuits_feed_the_minimality_test() -> None:
    names = " ".join([*CIRCUIT, *(f"9.{head}" for head in range(60))])
    toy = Toy(names, lambda kept: sum(WEIGHTS.get(name, 0.01) for name in kept))
    found = inflated_circuits(toy, CIRCUIT, additions=[(f"9.{head}", f"9.{(head + 1) % 60}") for head in range(60)])
    noise = toy.noise.mean()
    assert found.without.components == CIRCUIT
    np.testing.assert_allclose(found.without.mean() - noise, [5.0, 6.0, 3.0, 7.0])
    np.testing.assert_allclose(found.inflated.mean() - noise, 7.02)
    np.testing.assert_allclose(found.inflated_without.mean() - noise, 7.01)
    assert [how for how, _ in toy.calls] == ["only"]
    result = minimality_test(
        found.circuit.values[0],
        dict(zip(found.without.components, found.without.values, strict=True)),
        inflated=found.inflated.values,
        inflated_without=found.inflated_without.values,
    )
    assert result.redundant == ("passenger",)


def test_the_first_component_of_an_addition_is_removed_again() -> None:
    toy = additive()
    found = inflated_circuits(toy, CIRCUIT, additions=[("y", "x"), ("x", "y"), ("x",)])
    np.testing.assert_allclose(found.inflated.mean() - toy.noise.mean(), [7.25, 7.25, 7.5])
    np.testing.assert_allclose(found.inflated_without.mean() - toy.noise.mean(), [7.5, 6.75, 7.0])


def test_a_circuit_of_everything_is_complete_and_is_the_model() -> None:
    toy = three_ways()
    ends = endpoints(toy, toy.components)
    np.testing.assert_array_equal(ends.values[0], ends.values[1])
    parts = random_parts(toy.components, draws=15, rng=np.random.default_rng(0))
    assert set(completeness(toy, toy.components, sets=parts).incompleteness.values()) == {0.0}


def test_names_the_model_does_not_have_are_refused() -> None:
    with pytest.raises(InterventionError, match=r"the circuit names 'pasenger', which .* Did you mean 'passenger'"):
        endpoints(additive(), ("a1", "pasenger"))
    with pytest.raises(InterventionError, match="a random circuit names 'w'"):
        sufficiency(additive(), ("a1",), random=[("w",)])


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda toy: endpoints(toy, ()), "is empty or names a component twice"),
        (lambda toy: endpoints(toy, ("a1", "a1")), "is empty or names a component twice"),
        (lambda toy: completeness(toy, CIRCUIT, sets={}), "no set K is given"),
        (
            lambda toy: completeness(toy, CIRCUIT, sets={"k": ("x",)}),
            "K 'k' holds 'x', which is no part of the circuit",
        ),
        (lambda toy: completeness(toy, CIRCUIT, sets={"k": ()}), r"K 'k' \(\) is empty"),
        (lambda toy: completeness(toy, CIRCUIT, sets={"k": "a1"}), "K 'k' is the string 'a1'"),
        (lambda _: random_parts(CIRCUIT, draws=0, rng=np.random.default_rng(0)), "draws is 0"),
        (lambda toy: greedy_part(toy, CIRCUIT, candidates=2), "pass rng"),
        (lambda toy: greedy_part(toy, CIRCUIT, largest=0), "largest is 0"),
        (lambda toy: minimality(toy, CIRCUIT, classes={"a": ("a1", "a2")}), "component 'b1' is in no class"),
        (lambda toy: minimality(toy, CIRCUIT, classes={"a": CIRCUIT, "b": ("b1",)}), "'b1' is in the classes a, b"),
        (lambda toy: minimality(toy, ("a1",), classes={}, knocked_out={"a1": ("a1",)}), "holds 'a1' itself"),
        (
            lambda toy: minimality(toy, ("a1",), classes={}, knocked_out={"a1": ("x",)}),
            "which is no part of the circuit",
        ),
        (lambda toy: minimality(toy, ("a1",), classes=CLASSES, knocked_out={"x": ()}), "K is given for 'x'"),
        (lambda toy: sufficiency(toy, ("a1", "a2"), random=[]), "no random circuit"),
        (lambda toy: sufficiency(toy, ("a1", "a2"), random=[("x",)]), "has 1 components, the circuit 2"),
        (lambda toy: necessity(toy, ("a1", "a2"), random=[("a2", "a1")]), "is the circuit itself"),
        (lambda toy: necessity(toy, ("a1",), random=[("x",), ("y",), ("x",)]), "x stands twice"),
        (lambda toy: inflated_circuits(toy, ("a1",), additions=[]), "no addition is given"),
        (lambda toy: inflated_circuits(toy, ("a1",), additions=[("a1",)]), "'a1', which is in the circuit already"),
        (lambda toy: inflated_circuits(toy, ("a1",), additions=[("x",), ("x",)]), "stands twice"),
    ],
)
def test_what_is_no_circuit_measure_is_refused_by_name(ask: Callable[[Toy], Any], message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        ask(additive())


def test_scores_of_the_wrong_shape_or_not_finite_are_refused() -> None:
    toy = Toy("a b", lambda kept: np.nan if kept == {"b"} else 1.0)
    with pytest.raises(StatisticsError, match="the score for b, unit 'confirmation 0', is nan"):
        completeness(toy, ("a", "b"), sets={"a": ("a",)})
    toy.units = toy.units[:3]
    with pytest.raises(StatisticsError, match=r"scores of 1 sets on 3 units have shape \(1, 8\)"):
        endpoints(toy, ("a",))
