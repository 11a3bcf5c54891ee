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
