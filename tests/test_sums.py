from __future__ import annotations

import numpy as np
import pytest

from fixtures.prompts.sums import (
    OperandError,
    Sums,
    answer_position,
    carry_twins,
    cascade_sums,
    in_split,
    operand_positions,
    parse,
    parse_all,
    sums_with_carry,
    uniform_sums,
)
from harness.errors import MechclaimsError, StatisticsError

SPLITS = ("discovery", "confirmation", "audit")


def rng(seed=0):
    return np.random.default_rng(seed)


def numbers(digits):
    return digits @ 10 ** np.arange(digits.shape[1] - 1, -1, -1)


def test_answers_are_those_of_python():
    some = uniform_sums(500, split="discovery", rng=rng())
    assert (numbers(some.answers) == numbers(some.a) + numbers(some.b)).all()


def test_a_sum_worked_out_by_hand():
    # 03456 + 06549 = 010005: the 6+9 carries, 5+4 and 4+5 pass it on, 3+6 passes it on, 0+0 takes it.
    one = parse("03456+06549")
    assert one.answers.tolist() == [[0, 1, 0, 0, 0, 5]]
    assert one.pair_sums.tolist() == [[0, 9, 9, 9, 15]]
    assert one.carries.tolist() == [[0, 1, 1, 1, 1, 0]]
    assert one.nines.tolist() == [[False, True, True, True, False]]
    assert one.runs.tolist() == [[0, 3, 2, 1, 0, 0]]
    assert one.cascades.tolist() == [[0, 3, 2, 1, 0, 0]]
    assert one.longest_cascade.tolist() == [3]
    assert one.tokens().tolist() == [[0, 3, 4, 5, 6, 10, 0, 6, 5, 4, 9, 11, 0, 1, 0, 0, 0]]
    assert one.units == one.clusters == one.templates == ("03456+06549",)


def test_a_run_of_nines_without_a_carry_is_no_cascade():
    one = parse("12345+87653")  # pairs 9 9 9 9 8
    assert one.runs.tolist() == [[4, 3, 2, 1, 0, 0]]
    assert one.cascades.tolist() == [[0] * 6]


def test_positions_of_the_text():
    text = "12345+67890=080235"
    one = parse(text[:11])
    tokens = one.tokens()[0]
    assert [int(text[position + 1]) for position in map(answer_position, range(6))] == one.answers[0].tolist()
    for pair in range(5):
        first, second = operand_positions(pair)
        assert (tokens[first], tokens[second]) == (one.a[0, pair], one.b[0, pair])
        assert (text[first], text[second]) == (str(one.a[0, pair]), str(one.b[0, pair]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1234+67890", "first operand .* has 4 digits"),
        ("12345+678901", "second operand .* has 6 digits"),
        ("12345+6789x", "holds 'x', which is no digit"),
        ("-2345+67890", "holds '-'"),
        ("1234\u0665+67890", "no digit"),  # an Arabic-Indic five, for which str.isdigit() is true
        ("12345", "0 plus signs"),
        ("12345+67890+1", "2 plus signs"),
        ("12345 + 67890", "holds ' '"),
        ("+", "has 0 digits"),
    ],
)
def test_what_is_no_sum_is_refused_by_name(text, said):
    with pytest.raises(ValueError, match=said) as caught:
        parse(text)
    assert isinstance(caught.value, MechclaimsError)


def test_texts_are_read_back():
    some = uniform_sums(20, split="audit", rng=rng())
    assert parse_all(some.texts()).sha256() == some.sha256()


def test_equal_sums_and_wrong_digits_are_refused():
    with pytest.raises(StatisticsError, match=r"00001\+00002 stands twice"):
        parse_all(["00001+00002", "00003+00002", "00001+00002"])
    with pytest.raises(StatisticsError, match="not 0 to 9"):
        Sums(np.full((1, 5), 10), np.zeros((1, 5), dtype=np.int64))
    with pytest.raises(StatisticsError, match="shape"):
        Sums(np.zeros((1, 4), dtype=np.int64), np.zeros((1, 4), dtype=np.int64))
    with pytest.raises(StatisticsError, match="shape"):
        parse_all(["00001+00002"]).rows(np.array([], dtype=np.int64))


def test_every_sum_is_in_exactly_one_split():
    a, b = rng().integers(0, 10, (2, 20_000, 5))
    shares = np.stack([in_split(a, b, split=split) for split in SPLITS])
    assert (shares.sum(axis=0) == 1).all()
    # binomial standard error 0.0035 at most
    assert np.allclose(shares.mean(axis=1), [0.4, 0.4, 0.2], atol=0.015)
    with pytest.raises(StatisticsError, match="Did you mean 'discovery'"):
        in_split(a, b, split="discovry")


def test_the_split_depends_on_both_operands():
    a, b = rng().integers(0, 10, (2, 5_000, 5))
    here = in_split(a, b, split="discovery")
    assert abs(np.corrcoef(here, in_split(b, a, split="discovery"))[0, 1]) < 0.06  # standard error 0.014


@pytest.mark.parametrize("split", SPLITS)
def test_generators_stay_in_their_split(split):
    twins = carry_twins(30, place=1, split=split, rng=rng())
    drawn = [
        uniform_sums(30, split=split, rng=rng()),
        cascade_sums(30, length=3, split=split, rng=rng()),
        sums_with_carry(30, place=1, carry=True, split=split, rng=rng()),
        twins.without,
        twins.carrying,
    ]
    for sums in drawn:
        assert len(sums) == 30
        assert in_split(sums.a, sums.b, split=split).all()


def test_same_generator_draws_the_same_sums():
    first, again, other = (uniform_sums(50, split="audit", rng=rng(seed)) for seed in (0, 0, 1))
    assert first.sha256() == again.sha256() != other.sha256()


@pytest.mark.parametrize("length", range(5))
def test_strata_hold_the_cascades_that_they_say(length):
    some = cascade_sums(1000, length=length, split="discovery", rng=rng())
    assert (some.longest_cascade == length).all()


def test_strata_are_uniform_over_their_sums():
    # A slow oracle: keep the uniform sums whose longest cascade is 1, and compare what they are like.
    planted = cascade_sums(4000, length=1, split="discovery", rng=rng())
    uniform = uniform_sums(60_000, split="discovery", rng=rng(1))
    kept = uniform.rows(np.flatnonzero(uniform.longest_cascade == 1))
    assert len(kept) > 4000
    for statistic in (lambda s: s.carries, lambda s: s.nines, lambda s: s.a / 9, lambda s: s.cascades == 1):
        # means over 4,000 sums each: standard error of the difference 0.011 at most
        assert np.abs(statistic(planted).mean(axis=0) - statistic(kept).mean(axis=0)).max() < 0.045


@pytest.mark.parametrize("carry", [True, False])
def test_sums_with_a_given_carry_have_it(carry):
    for place in range(5):
        some = sums_with_carry(200, place=place, carry=carry, split="discovery", rng=rng())
        assert (some.carries[:, place] == int(carry)).all()


@pytest.mark.parametrize("place", range(5))
def test_twins_differ_in_one_carry_and_one_answer_digit_only(place):
    twins = carry_twins(400, place=place, split="discovery", rng=rng())
    carries = twins.carrying.carries - twins.without.carries
    answers = (twins.carrying.answers - twins.without.answers) % 10
    only = np.eye(6, dtype=np.int64)[place]
    assert (carries == only).all()
    assert (answers == only).all()
    elsewhere = [pair for pair in range(5) if pair != place]
    assert (twins.without.a[:, elsewhere] == twins.carrying.a[:, elsewhere]).all()
    assert (twins.without.b[:, elsewhere] == twins.carrying.b[:, elsewhere]).all()


def test_twins_agree_in_the_digit_sum_mod_ten_of_the_changed_pair():
    twins = carry_twins(900, place=2, split="discovery", rng=rng())
    assert (twins.carrying.pair_sums[:, 2] % 10 == twins.sum_mod_ten).all()
    counts = np.bincount(twins.sum_mod_ten, minlength=10)
    assert counts[9] == 0
    assert counts[:9].min() > 60  # expected 100, standard error 9.4


def test_impossible_requests_are_refused():
    for place in (5, -1, 1.0):
        with pytest.raises(StatisticsError, match=f"answer place that a carry reaches is {place}; .* 0 to 4"):
            carry_twins(1, place=place, split="discovery", rng=rng())
        with pytest.raises(StatisticsError, match="answer place that a carry reaches"):
            sums_with_carry(1, place=place, carry=True, split="discovery", rng=rng())
    for length in (5, -1, 1.5):
        with pytest.raises(StatisticsError, match=f"length of the cascade is {length}; .* 0 to 4"):
            cascade_sums(1, length=length, split="discovery", rng=rng())
    for n in (0, -3, 2.5, 3.0, None, True, "3"):
        with pytest.raises(StatisticsError, match=f"number of sums is {n!r}; .*1 or more"):
            uniform_sums(n, split="discovery", rng=rng())
    assert len(uniform_sums(np.int64(3), split="discovery", rng=rng())) == 3


@pytest.mark.parametrize("place", [6, -1, 7, 2.0, "2", None, True])
def test_a_place_that_no_sum_has_is_refused(place):
    with pytest.raises(StatisticsError, match=f"answer place is {place!r}; .*0 to 5"):
        answer_position(place)


@pytest.mark.parametrize("pair", [5, -1, 9, 2.0, None])
def test_a_pair_that_no_sum_has_is_refused(pair):
    with pytest.raises(StatisticsError, match=f"digit pair is {pair!r}; .*0 to 4"):
        operand_positions(pair)
    assert operand_positions(np.int64(4)) == (4, 10)


@pytest.mark.parametrize("text", [None, 12345, b"12345+67890", ["12345+67890"]])
def test_what_is_no_text_is_refused(text):
    with pytest.raises(OperandError, match=r"is no text; write a sum as 12345\+67890"):
        parse(text)


def test_texts_that_are_none_or_a_single_one_are_refused():
    with pytest.raises(OperandError, match="at least one"):
        parse_all([])
    for texts in ("12345+67890", None, 5):
        with pytest.raises(OperandError, match="is no list of texts"):
            parse_all(texts)


def test_digits_may_come_as_lists_and_must_be_whole():
    given = Sums([[1, 2, 3, 4, 5]], [[6, 7, 8, 9, 0]])
    assert given.texts() == ["12345+67890"]
    assert given.a.dtype == np.int64
    good = np.zeros((1, 5), dtype=np.int64)
    for wrong, said in (
        (good + 1.5, r"holds .*1\.5.* whole numbers"),
        (good.astype(bool), "bool"),
        ([["1", "2", "3", "4", "5"]], "whole numbers"),
        ([[1, 2, 3, 4]], "shape"),
        ([[1, 2, 3, 4, 5], [1]], "no table of digits"),
        ([[1, 2, 3, 4, None]], "whole numbers"),
        (good - 1, "from -1 to -1"),
        (None, "shape"),
    ):
        with pytest.raises(StatisticsError, match=f"operand b .*{said}"):
            Sums(good, wrong)
    with pytest.raises(StatisticsError, match="2 operands a for 1 operands b"):
        Sums(np.arange(10).reshape(2, 5), good)


def test_batches_cover_all_rows_once():
    some = uniform_sums(600, split="discovery", rng=rng())
    rows = [index for index, _ in some.batches()]
    assert np.concatenate(rows).tolist() == list(range(600))
    assert some.tensor().shape == some.real_positions().shape == (600, 17)
