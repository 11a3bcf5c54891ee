"""How alike two circuits are: the agreement by hand, and the README's table is what the code prints."""

from __future__ import annotations

import pytest

from claims.ioi.comparison import agreement, comparison, depths
from harness.subjects import read_subjects
from tests.paths import REPOSITORY

FOLDER = REPOSITORY / "claims" / "ioi"


@pytest.mark.parametrize(
    ("second", "tau", "share"),
    [
        ([1.0, 2.0, 3.0], 1.0, 1 / 6),  # one order of six agrees fully
        ([1.0, 3.0, 2.0], 1 / 3, 3 / 6),  # the identity and both exchanges of neighbours
        ([3.0, 2.0, 1.0], -1.0, 1.0),
    ],
)
def test_agreement_of_three_classes_by_hand(second, tau, share):
    assert agreement([0.1, 0.2, 0.3], second) == (pytest.approx(tau), pytest.approx(share))


def test_depth_is_the_median_layer_over_the_last():
    subjects = read_subjects(FOLDER / "subjects.toml")
    # 7.3 7.9 8.6 8.10: median 7.5 of 11
    assert depths(subjects, "gpt2-small")["s-inhibition"] == pytest.approx(7.5 / 11)


def test_the_readme_holds_the_table_as_the_code_prints_it():
    printed = comparison(read_subjects(FOLDER / "subjects.toml"))
    assert printed in (FOLDER / "README.md").read_text(encoding="utf-8")
