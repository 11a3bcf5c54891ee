"""Dose curves beside controls, trade-offs, power and calibration curves."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import StoreError
from harness.report import figures
from harness.report.calibration import write_calibration
from tests.report.test_figures_of_circuits import inside, legend_of

ROOT = Path(__file__).parents[2]
AXES = {"xlabel": "dose (share)", "ylabel": "change (nats)"}


def lines(figure: Any) -> dict[str, Any]:
    """The lines of the first axes by their labels."""
    return {line.get_label(): line for line in figure.axes[0].lines}


def test_doses_are_joined_in_their_order_whatever_order_they_came_in() -> None:
    figure = figures.dose_response([1.0, 0.0, 0.5], [3.0, 0.0, 1.0], **AXES)
    subject = lines(figure)["subject"]
    assert subject.get_xdata().tolist() == [0.0, 0.5, 1.0]
    assert subject.get_ydata().tolist() == [0.0, 1.0, 3.0]


def test_every_control_has_a_dash_and_a_mark_of_its_own_and_a_band_where_it_has_one() -> None:
    controls = [{"label": f"control {name}", "values": [0.1, 0.2]} for name in "abcdef"]
    controls[0] |= {"low": [0.0, 0.1], "high": [0.2, 0.3]}
    figure = figures.dose_response([0.0, 1.0], [0.0, 2.0], low=[-1.0, 1.0], high=[1.0, 3.0], controls=controls, **AXES)
    found = {name: (str(line.get_linestyle()), line.get_marker()) for name, line in lines(figure).items()}
    drawn = [look for name, look in found.items() if not name.startswith("_")]
    assert len(drawn) == 7
    assert len({marker for _, marker in drawn}) == 7
    assert len(figure.axes[0].collections) == 2  # the bands of the subject and of one control
    assert "control a (95 % band)" in legend_of(figure)
    assert "control b" in legend_of(figure)
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("dose (share)", "change (nats)")
    assert inside(figure)


@pytest.mark.parametrize("length", [5, 40, 200])
def test_a_legend_is_never_cut_off(length: int) -> None:
    controls = [{"label": "x" * length, "values": [0.1, 0.2]} for _ in range(3)]
    assert inside(figures.dose_response([0, 1], [0, 1], controls=controls, line="y" * length, **AXES))
    assert inside(figures.trade_off([0, 1], [0, 1], doses=["d" * length, 2], **AXES))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": [1.0]}, "subject: lengths differ: doses has 2, values has 1"),
        ({"doses": [1.0, 1.0]}, "a dose stands twice"),
        ({"low": [0.0], "high": [1.0]}, "lengths differ: values has 2, low has 1"),
        ({"controls": [{"label": "c", "values": [1.0]}]}, "dose response: c: lengths differ"),
        ({"controls": [{"values": [1.0, 1.0]}] * 7}, "7 controls"),
        ({"values": [1.0, float("inf")]}, "expected finite numbers"),
    ],
)
def test_wrong_doses_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        figures.dose_response(**{"doses": [0.0, 1.0], "values": [1.0, 2.0], **AXES, **changes})


def test_a_trade_off_joins_its_points_in_the_order_of_doses_and_names_them() -> None:
    figure = figures.trade_off([0.5, 0.1, 2.0], [1.0, 2.0, 3.0], doses=[1, 2, 4.0], **AXES)
    assert lines(figure)["subject"].get_xdata().tolist() == [0.5, 0.1, 2.0]
    assert {text.get_text(): text.xy for text in figure.axes[0].texts} == {"1": (0.5, 1), "2": (0.1, 2), "4": (2, 3)}
    assert inside(figure)


def test_no_dose_is_written_over_a_mark() -> None:
    # a control's mark lies where the dose of the second point would stand: to its right and a little below
    control = {"label": "random", "cost": [0.53, 0.5], "effect": [0.96, 0.2], "joined": False}
    figure = figures.trade_off([0.0, 0.5, 1.0], [0.0, 1.0, 2.0], doses=[0, 1, 2], controls=[control], **AXES)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    marks = np.concatenate([line.get_transform().transform(line.get_xydata()) for line in axes.lines[:2]])
    for text in axes.texts:
        assert not any(text.get_window_extent().padded(3).contains(*mark) for mark in marks), text.get_text()
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2"]


def test_doses_at_one_place_are_not_written_over_each_other() -> None:
    figure = figures.trade_off([0.0, 0.001, 1.0], [0.0, 0.001, 1.0], doses=[0, 1, 2], **AXES)
    assert [text.get_text() for text in figure.axes[0].texts] == ["0", "2"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"doses": [1]}, "1 doses for 2 points"),
        ({"effect": [1.0]}, "lengths differ: cost has 2, effect has 1"),
        ({"controls": [{"cost": [1.0], "effect": [1.0]}] * 7}, "7 controls"),
    ],
)
def test_wrong_trade_offs_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        figures.trade_off(**{"cost": [0.0, 1.0], "effect": [1.0, 2.0], "doses": [1, 2], **AXES, **changes})


def test_power_shows_the_median_of_the_designs_and_the_lowest() -> None:
    figure = figures.power([2.0, 1.0], [[1.0, 0.0], [0.5, 0.02], [0.8, 0.01]])
    found = lines(figure)
    assert found["median of 3 designs"].get_xdata().tolist() == [1.0, 2.0]
    assert found["median of 3 designs"].get_ydata().tolist() == pytest.approx([1.0, 80.0])  # by hand, in per cent
    assert found["lowest at each effect"].get_ydata().tolist() == pytest.approx([0.0, 50.0])
    assert "80 %" in found
    assert "(%)" in figure.axes[0].get_ylabel()
    assert "SESOI" in figure.axes[0].get_xlabel()
    assert inside(figure)


def test_power_of_one_design_is_a_line() -> None:
    figure = figures.power([0.0, 1.0], [0.0, 0.9], aim=0.9)
    assert "share supported" in lines(figure)
    assert "90 %" in lines(figure)
    assert not figure.axes[0].collections


def test_calibration_sorts_each_tail_and_shows_the_nominal_level() -> None:
    figure = figures.calibration([0.03, 0.01], [0.02, 0.04], allowed=0.0415)
    found = lines(figure)
    assert found["lower bound above the truth"].get_ydata().tolist() == pytest.approx([1.0, 3.0])
    assert found["upper bound below the truth"].get_ydata().tolist() == pytest.approx([2.0, 4.0])
    assert found["lower bound above the truth"].get_xdata().tolist() == pytest.approx([25.0, 75.0])
    assert found["nominal: 2.5 %"].get_ydata()[0] == pytest.approx(2.5)
    assert "most allowed: 4.2 %" in found
    assert "n = 2" in figure.axes[0].get_xlabel()
    assert inside(figure)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: figures.power([1.0], [[1.2]]), "all from 0 to 1"),
        (lambda: figures.power([1.0, 2.0], [[0.5]]), "shape (1, 1) for 2 effects"),
        (lambda: figures.calibration([2.5], [0.1]), "not from 0 to 1"),
        (lambda: figures.calibration([], [0.1]), "not empty"),
    ],
)
def test_shares_that_are_none_are_refused(draw: Any, message: str) -> None:
    with pytest.raises(StoreError, match=re.escape(message)):
        draw()


def test_the_page_of_the_calibration_shows_both_curves(tmp_path: Path) -> None:
    content = json.loads((ROOT / "reports" / "calibration" / "summary.json").read_text(encoding="utf-8"))
    page = write_calibration(content, out=tmp_path)
    shown = re.findall(r"\]\((figures/[^)]+)\)", page.read_text(encoding="utf-8"))
    assert len(shown) == 2
    assert all((tmp_path / name).stat().st_size > 3000 for name in shown)


def test_plain_arrays_of_a_notebook_are_taken() -> None:
    doses = np.linspace(0, 1, 5)
    figures.dose_response(doses, doses**2, **AXES)
    figures.power(doses, np.tile(doses, (3, 1)))
    figures.calibration(doses / 10, tuple(doses / 20))
