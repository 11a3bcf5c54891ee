import numpy as np
import pytest

from harness.errors import StatisticsError
from harness.seeding import Streams, derive_seed
from harness.values import UnitValues


def values(rows, components=("a", "b"), units=("u0", "u1", "u2")):
    return UnitValues(np.array(rows, dtype=float), components, units, units)


def test_rows_are_taken_by_name_in_the_order_asked_for():
    two = values([[1, 2, 3], [4, 5, 6]])
    assert two.of(["b", "a"]).values.tolist() == [[4, 5, 6], [1, 2, 3]]
    assert two.without(["a"]).components == ("b",)


def test_a_single_row_is_subtracted_from_every_row():
    two, one = values([[1, 2, 3], [4, 5, 6]]), values([[1, 1, 1]], components=("c",))
    assert two.minus(one).values.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_rows_are_averaged_unit_by_unit_under_the_name_that_they_are_given():
    four = values([[1, 2, 3], [4, 5, 6], [3, 8, 1], [0, 0, 9]], ("a 1", "b 1", "a 2", "a 3"))
    mean = four.averaged({"b": ["b 1"], "a": ["a 1", "a 2", "a 3"]})
    assert mean.components == ("b", "a")
    assert (mean.units, mean.clusters) == (four.units, four.clusters)
    # By hand: (1 + 3 + 0) / 3, (2 + 8 + 0) / 3, (3 + 1 + 9) / 3.
    np.testing.assert_allclose(mean.values, [[4, 5, 6], [4 / 3, 10 / 3, 13 / 3]])


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({}, "no rows to average"),
        ({"a": []}, "no rows to average for 'a'"),
        ({"a": ["x"]}, "no values for component 'x'"),
        ({"a": ["a", "a"]}, "'a' stands twice"),
    ],
)
def test_an_average_of_nothing_or_of_a_row_twice_is_refused(groups, said):
    with pytest.raises(StatisticsError, match=said):
        values([[1, 2, 3], [4, 5, 6]]).averaged(groups)


def test_other_units_are_refused_as_unpaired():
    one, other = values([[1, 2, 3]], ("a",)), values([[1, 2, 3]], ("a",), units=("u0", "u1", "x"))
    with pytest.raises(StatisticsError, match="different units"):
        one.minus(other)


@pytest.mark.parametrize(
    ("rows", "components", "units", "said"),
    [
        ([[1.0, np.nan, 3.0]], ("a",), ("u0", "u1", "u2"), "unit 'u1' is nan"),
        ([[1.0, 2.0, np.inf]], ("a",), ("u0", "u1", "u2"), "inf"),
        ([[1.0, 2.0]], ("a",), ("u0", "u0"), "'u0' stands twice"),
        ([[1.0, 2.0]], ("a", "b"), ("u0", "u1"), "expected"),
        ([], (), (), "not empty"),
    ],
)
def test_hostile_values_are_refused_by_name(rows, components, units, said):
    with pytest.raises(StatisticsError, match=said):
        UnitValues(np.array(rows), components, units, units)


def test_streams_are_the_same_on_every_call_and_differ_by_purpose_and_key():
    streams = Streams(("a", "b"))
    first = streams.for_("prompts").random(4).tolist()
    assert first == streams.for_("prompts").random(4).tolist()
    assert first != streams.for_("controls").random(4).tolist()
    assert first != Streams(("a", "c")).for_("prompts").random(4).tolist()


def test_parts_of_a_seed_do_not_run_together():
    assert derive_seed("ab", "c") != derive_seed("a", "bc")
