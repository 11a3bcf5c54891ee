import numpy as np
import pytest

from fixtures.prompts.repeated import LENGTHS, random_blocks
from harness.errors import NotSuited, StatisticsError
from harness.sequences import Positions

POOL = list(range(64))


def sequences(n=8, lengths=LENGTHS, bos=64, seed=0):
    return random_blocks(POOL, n=n, rng=np.random.default_rng(seed), lengths=lengths, bos=bos)


def test_the_second_copy_repeats_the_first_and_its_tokens_are_distinct():
    some = sequences()
    for row in range(len(some)):
        length, block = int(some.lengths[row]), some.block(row)
        assert some.tokens[row, 0] == 64
        assert len(set(block.tolist())) == length
        assert (some.tokens[row, 1 + length : 1 + 2 * length] == block).all()


def test_every_length_is_used_equally_often():
    counts = np.bincount(sequences(n=62).lengths)[10:]
    assert counts.tolist() == [2] * 31


def test_a_match_is_the_position_after_the_earlier_occurrence():
    some = sequences()
    at = some.second_copy()
    tokens = some.tokens
    assert (tokens[at.rows, at.queries] == tokens[at.rows, at.keys - 1]).all()
    assert (tokens[at.rows, at.queries + 1] == tokens[at.rows, at.keys]).all()


def test_no_fixed_offset_explains_the_matches():
    some = sequences(n=62)
    at = some.second_copy()
    offsets = np.bincount(at.queries - at.keys)
    assert offsets.max() / offsets.sum() < 0.06


def test_shuffling_keeps_the_tokens_and_the_first_copy_and_changes_the_order():
    some = sequences()
    shuffled = some.shuffled_second(np.random.default_rng(1))
    for row in range(len(some)):
        length = int(some.lengths[row])
        second = shuffled.tokens[row, 1 + length : 1 + 2 * length]
        assert sorted(second) == sorted(some.block(row))
        assert (second != some.block(row)).any()
    assert (shuffled.second_copy().keys == some.second_copy().keys).all()


def test_donors_have_the_same_shape_and_other_tokens():
    some = sequences()
    donor = some.donor(POOL, rng=np.random.default_rng(3))
    assert (donor.lengths == some.lengths).all()
    assert (donor.second_copy().keys == some.second_copy().keys).all()
    assert (donor.tokens != some.tokens).any(axis=1).all()


def test_batches_hold_every_row_once():
    some = sequences(n=40)
    rows = np.concatenate([index for index, _ in some.batches()])
    assert sorted(rows) == list(range(40))
    for index, batch in some.batches():
        for place, row in enumerate(index):
            assert (batch.block(place) == some.block(row)).all()


def test_streams_of_different_seeds_share_no_sequence():
    first, second = sequences(n=64, seed=1), sequences(n=64, seed=2)
    assert not {tuple(first.block(row)) for row in range(64)} & {tuple(second.block(row)) for row in range(64)}


def test_a_pool_too_small_for_distinct_tokens_is_refused():
    with pytest.raises(NotSuited, match="pool of 8: the model's vocabulary is too small"):
        random_blocks(list(range(8)), n=2, rng=np.random.default_rng(0), lengths=[10], bos=None)


def test_equal_sequences_are_refused():
    with pytest.raises(StatisticsError, match="equal"):
        random_blocks([1], n=2, rng=np.random.default_rng(0), lengths=[1], bos=None)


def test_the_mean_by_row_is_taken_over_each_rows_positions():
    at = Positions(np.array([0, 0, 1]), np.array([1, 2, 5]))
    assert at.mean_by_row(np.array([1.0, 3.0, 7.0]), count=2).tolist() == [2.0, 7.0]
    with pytest.raises(StatisticsError, match="row 2"):
        at.mean_by_row(np.array([1.0, 3.0, 7.0]), count=3)
