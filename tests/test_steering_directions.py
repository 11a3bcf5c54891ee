"""Directions from activations, and doses along them: by hand, against planted ones, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import InterventionError, StatisticsError
from harness.steering import (
    DOSE_UNIT,
    METHODS,
    Direction,
    Place,
    add,
    additions,
    clamp,
    mean_difference,
    paired_contrast,
    placements,
    principal_direction,
    probe_direction,
)

AT = Place("resid_pre", 3, 20.0)
D = 12


def planted(*, n: int = 200, step: float = 3.0, seed: int = 0):
    """A unit vector and two classes that differ along it, within noise that is widest along another axis."""
    rng = np.random.default_rng(seed)
    vector = rng.standard_normal(D)
    vector /= np.linalg.norm(vector)
    noise = rng.standard_normal((2, n, D))
    noise[:, :, 0] *= 5.0
    return vector, noise[0] + 5 + step / 2 * vector, noise[1] + 5 - step / 2 * vector


def test_mean_difference_by_hand():
    # Means (2, 1) and (-1, -3): difference (3, 4), of length 5.
    found = mean_difference(np.array([[1.0, 0.0], [3.0, 2.0]]), np.array([[-1.0, -3.0]]), at=AT)
    np.testing.assert_allclose(found.vector, [0.6, 0.8], rtol=1e-12)
    assert (found.site, found.layer, found.norm, found.method, found.n) == (
        "resid_pre",
        3,
        20.0,
        "mean difference",
        3,
    )


def test_components_are_counted_in_tenths_of_the_mean_norm():
    direction = Direction(np.array([0.6, 0.8]), "resid_pre", 3, 20.0, "by hand", 2)
    assert DOSE_UNIT == 0.1
    assert direction.unit == 2.0  # a tenth of 20
    # 0.6 * 10 + 0.8 * 5 = 10, in units of 2.
    np.testing.assert_allclose(direction.components(np.array([[10.0, 5.0], [0.0, 0.0]])), [5.0, 0.0], rtol=1e-12)


def test_paired_contrast_of_equal_pairs_is_the_difference_of_means():
    _, ones, zeros = planted()
    one, other = paired_contrast(ones, zeros, at=AT), mean_difference(ones, zeros, at=AT)
    assert one.cosine(other) == pytest.approx(1.0, abs=1e-12)
    assert (one.n, other.n) == (200, 200)


def test_weights_decide_which_pairs_a_contrast_is_of():
    ones, zeros = np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros((2, 2))
    # Three quarters of the first pair's difference and one of the second's: (3, 1) / sqrt(10).
    found = paired_contrast(ones, zeros, at=AT, weights=[3.0, 1.0])
    np.testing.assert_allclose(found.vector, np.array([3.0, 1.0]) / np.sqrt(10), rtol=1e-12)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_finds_a_planted_direction_and_its_sign(method):
    vector, ones, zeros = planted()
    if method is principal_direction:  # noise that is wider than the contrast would be its first component
        ones, zeros = ones * ([0.1] + [1.0] * (D - 1)), zeros * ([0.1] + [1.0] * (D - 1))
        vector = vector * ([0.1] + [1.0] * (D - 1))
        vector /= np.linalg.norm(vector)
    forth, back = method(ones, zeros, at=AT), method(zeros, ones, at=AT)
    assert forth.vector @ vector > 0.95
    assert forth.cosine(back) == pytest.approx(-1.0, abs=1e-3)  # a fitted probe is symmetric up to its tolerance


def test_a_probe_discounts_the_axis_in_which_all_texts_vary():
    # The first axis tells the classes apart by what the planted vector has there, within noise five times as wide.
    vector, ones, zeros = planted()
    by_probe, by_means = probe_direction(ones, zeros, at=AT), mean_difference(ones, zeros, at=AT)
    assert abs(by_probe.vector[0]) < 0.5 * abs(vector[0])
    assert by_probe.vector[1:] @ vector[1:] > 0.9
    assert abs(by_means.vector[0]) > abs(by_probe.vector[0])


def test_principal_direction_by_hand():
    # Differences (3, 0), (3, 0), (0, 1): second moments diag(18, 1), the first axis; its mean points to +.
    ones = np.array([[3.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(principal_direction(ones, ones * 0, at=AT).vector, [1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(principal_direction(ones * 0, ones, at=AT).vector, [-1.0, 0.0], atol=1e-12)


def test_without_a_contrast_the_direction_is_one_of_noise():
    # Null: the component of held-out texts does not tell the classes apart; AUC 1/2 within 4 SE of 0.041.
    rng = np.random.default_rng(5)
    direction = mean_difference(*rng.standard_normal((2, 100, D)), at=AT)
    held_out = [direction.components(each) for each in rng.standard_normal((2, 100, D))]
    assert abs(float(placements(*held_out).auc) - 0.5) < 0.16


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_what_gives_no_direction_is_refused_by_name(method):
    _, ones, zeros = planted(n=8)
    with pytest.raises(StatisticsError, match=r"at resid_pre of layer 3 has zero norm .*both classes have one mean"):
        method(ones, ones.copy(), at=AT)
    with pytest.raises(StatisticsError, match="the negative class is empty"):
        method(ones, zeros[:0], at=AT)
    with pytest.raises(StatisticsError, match="the positive class is empty"):
        method(ones[:0], zeros, at=AT)
    ones[3, 2] = np.nan
    with pytest.raises(StatisticsError, match="positive class at resid_pre of layer 3 hold NaN or infinity"):
        method(ones, zeros, at=AT)
    with pytest.raises(StatisticsError, match=r"\(12,\), not \[text, d_model\]"):
        method(zeros, zeros[0], at=AT)


def test_differences_that_rounding_leaves_are_no_direction():
    ones = np.full((4, D), 100.0)
    with pytest.raises(StatisticsError, match="zero norm"):
        mean_difference(ones + 1e-6, ones, at=AT)  # a float32 of 100 is off by 4e-6


def test_pairs_that_do_not_pair_up_are_refused():
    _, ones, zeros = planted(n=8)
    for method in (paired_contrast, principal_direction):
        with pytest.raises(StatisticsError, match="not row by row pairs"):
            method(ones, zeros[:5], at=AT)
    for weights in ([1.0] * 7, [-1.0] + [1.0] * 7, [0.0] * 8, [np.nan] * 8):
        with pytest.raises(StatisticsError, match="one finite number >= 0 for each of 8 pairs"):
            paired_contrast(ones, zeros, at=AT, weights=weights)


def test_one_text_of_many_that_rounding_moved_farther_makes_no_principal_direction():
    # Activations sqrt(12) * 100 = 346 long: what is below 3.5e-4 is rounding. Differences of 4e-4 with signs dealt
    # evenly are longer, and their mean is 0; those of one pair in 40 alone have a mean of 1e-5.
    ones, step = np.full((40, D), 100.0), np.zeros((40, D))
    step[:, 0] = np.tile([4e-4, -4e-4], 20)
    alone = step * (np.arange(40) == 0)[:, None]
    for moved in (step, alone):
        with pytest.raises(StatisticsError, match=r"principal direction .* has zero norm .*both classes have one mean"):
            principal_direction(ones + moved, ones, at=AT)


def test_pairs_that_point_nowhere_together_have_no_sign():
    # Differences (3, 0), (-3, 0), (0, 1): the first axis, and a mean (0, 1/3) at right angles to it.
    ones = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0]])
    with pytest.raises(StatisticsError, match="cannot be oriented"):
        principal_direction(ones, ones * 0, at=AT)


@pytest.mark.parametrize(("vector", "norm"), [([1.0, 1.0], 1.0), ([np.nan, 1.0], 1.0), ([[1.0]], 1.0)])
def test_a_direction_has_length_one(vector, norm):
    with pytest.raises(StatisticsError, match="of length 1"):
        Direction(np.array(vector), "resid_pre", 0, norm, "m", 1)


@pytest.mark.parametrize("norm", [0.0, -1.0, float("nan"), float("inf")])
def test_a_place_without_a_norm_has_no_doses(norm):
    with pytest.raises(StatisticsError, match="doses have no unit there"):
        Direction(np.array([1.0, 0.0]), "resid_pre", 0, norm, "m", 1)


def test_a_direction_cannot_be_written_into_and_keeps_no_hold_of_what_it_was_made_from():
    source = np.array([1.0, 0.0])
    direction = Direction(source, "resid_pre", 0, 1.0, "m", 1)
    source[:] = 7.0
    assert direction.vector.tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match="read-only"):
        direction.vector[0] = 2.0
    with pytest.raises(StatisticsError, match="have no angle"):
        direction.cosine(Direction(np.array([1.0, 0.0, 0.0]), "resid_pre", 0, 1.0, "m", 1))
    with pytest.raises(StatisticsError, match="d_model = 2"):
        direction.components(np.zeros((3, 4)))


def along_the_first() -> Direction:
    return Direction(np.array([1.0, 0.0]), "resid_pre", 0, 1.0, "by hand", 1)


@pytest.mark.parametrize(
    ("dose", "said"),
    [
        (float("inf"), "dose inf is not a finite number"),
        ([1.0, float("nan")], "dose nan is not a finite number"),
        (None, "dose nan is not a finite number"),
        ([], r"dose \[\] is not a number: give one number, or one for each prompt"),
        ("much", "dose 'much' is not a number"),
        ([[1.0], [2.0]], r"dose \[\[1.0\], \[2.0\]\] is not a number"),
        ([[1.0], 2.0], "is not a number"),
    ],
)
def test_what_is_no_dose_is_refused_in_words(dose, said):
    for make in (lambda: add(along_the_first(), dose=dose), lambda: clamp(along_the_first(), dose=dose)):
        with pytest.raises(InterventionError, match=said):
            make()


@pytest.mark.parametrize("doses", [(0.3, 0.30000001), (4, 2, 4)])
def test_additions_that_would_share_a_name_are_refused(doses):
    with pytest.raises(InterventionError, match=rf"two additions are called 'd at dose {doses[0]}' .*differ in their"):
        additions({"d": along_the_first()}, doses=doses)
    assert len(additions({"d": along_the_first(), "e": along_the_first()}, doses=(0.3, 0.3001))) == 4
