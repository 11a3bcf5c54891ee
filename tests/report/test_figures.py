"""Every kind of figure: drawn, legible, refused where its data are wrong, the same bytes each time."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import StoreError
from harness.report import figures
from harness.report.bars import as_measured
from harness.report.effects import Effect
from harness.report.figures.style import label, thinned, token_label
from tests.report.sample_pictures import pictures
from tests.report.sample_records import claim, exact_record, judgement, not_run, outcome, record

Figures = dict[str, Callable[[int], Any]]


def rows(count: int) -> list[figures.ForestRow]:
    """Rows with finite and infinite intervals, some of which hold."""
    made = []
    for place in range(count):
        low = -math.inf if place % 7 == 3 else 0.1 * (place % 5)
        effect = Effect(0.5, low, 0.9, 0.2, math.inf, low > 0.2, "1.0", "control")
        made.append(figures.ForestRow(f"1.{place}: a control with rather a long name", (effect,), "0.5 [0.1, 0.9]"))
    return made


SIZED: Figures = {
    "forest": lambda n: figures.draw_forest(rows(n), xlabel="effect (nats)"),
    "bars": lambda n: figures.bars([f"head {i}.{i}" for i in range(n)], np.ones(n), unit="nats"),
    "head_map": lambda n: figures.head_map(np.eye(n), unit="nats"),
    "matrix": lambda n: figures.matrix(
        np.eye(n), rows=[f"row {i}" for i in range(n)], columns=[f"column {i}" for i in range(n)], unit="nats"
    ),
    "pattern": lambda n: figures.pattern(np.eye(n), tokens=[f" token{i}" for i in range(n)], head="1.0"),
}


MATRIX = {"kind": "matrix", "name": "x", "unit": "u", "rows": ["a", "b"], "columns": ["c", "d"], "values": np.eye(2)}


@pytest.mark.parametrize("count", [1, 5, 40])
@pytest.mark.parametrize("kind", SIZED)
def test_tick_labels_do_not_overlap(kind: str, count: int) -> None:
    figure = SIZED[kind](count)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    for ticks, ends in ((axes.get_yticklabels(), ("y0", "y1")), (axes.get_xticklabels(), ("x0", "x1"))):
        boxes = [tick.get_window_extent() for tick in ticks if tick.get_text()]
        spans = sorted((getattr(box, ends[0]), getattr(box, ends[1])) for box in boxes)
        assert all(before[1] <= after[0] + 1 for before, after in pairwise(spans))


@pytest.mark.parametrize("kind", SIZED)
def test_nothing_lies_outside_the_picture(kind: str) -> None:
    figure = SIZED[kind](5)
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert box.x0 >= -0.01
    assert box.y0 >= -0.01
    assert box.x1 <= width + 0.01
    assert box.y1 <= height + 0.01


@pytest.mark.parametrize("picture", pictures(), ids=lambda picture: picture["kind"])
def test_every_kind_of_stored_picture_is_drawn_with_units_on_its_axes(picture: dict[str, Any]) -> None:
    figure = figures.draw(picture)
    words = " ".join([axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes])
    words += " ".join(legend.get_title().get_text() for legend in figure.legends)
    unit = picture.get("unit") or picture.get("ylabel") or "attention probability"
    assert unit in words


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_figure_is_the_same_bytes_every_time(tmp_path: Path, suffix: str) -> None:
    first = figures.save(figures.forest([record()]), tmp_path / f"a{suffix}").read_bytes()
    again = figures.save(figures.forest([record()]), tmp_path / f"b{suffix}").read_bytes()
    assert first == again
    assert b"matplotlib" not in first.lower() or suffix == ".svg"


def test_a_users_matplotlib_settings_change_no_byte_and_are_left_alone(tmp_path: Path) -> None:
    import matplotlib as mpl

    plain = figures.save(figures.forest([record()]), tmp_path / "a.png").read_bytes()
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "savefig.dpi": 30}):
        styled = figures.save(figures.forest([record()]), tmp_path / "b.png").read_bytes()
        assert mpl.rcParams["font.size"] == 20
    assert plain == styled


def test_forty_rows_stay_below_eighty_kilobytes(tmp_path: Path) -> None:
    path = figures.save(SIZED["forest"](40), tmp_path / "forest.png")
    assert path.stat().st_size < 80_000


def test_drawing_never_imports_pyplot() -> None:
    script = (
        "import sys; from harness.report import figures; assert 'matplotlib' not in sys.modules;"
        "figures.bars(['a'], [1.0], unit='nats'); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, cwd=Path(__file__).parents[2])


def test_a_filled_mark_holds_and_a_hollow_one_does_not() -> None:
    made = [Effect(0.5, 0.4, 0.6, 0.2, math.inf, holds=holds, component="1.0", control="x") for holds in (True, False)]
    figure = figures.draw_forest([figures.ForestRow("a", (effect,)) for effect in made], xlabel="nats")
    faces = [line.get_markerfacecolor() for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert faces[1] == "white"
    assert faces[0] != "white"


def test_an_infinite_interval_ends_in_an_arrow_at_the_edge() -> None:
    effect = Effect(0.5, -math.inf, math.inf, 0.2, math.inf, holds=False, component="1.0", control="x")
    axes = figures.draw_forest([figures.ForestRow("a", (effect,))], xlabel="nats").axes[0]
    arrows = {line.get_marker(): line.get_xdata()[0] for line in axes.lines if line.get_marker() in ("<", ">")}
    assert arrows == {"<": axes.get_xlim()[0], ">": axes.get_xlim()[1]}


def test_the_forest_of_a_record_has_a_row_for_each_control_and_the_exact_claim_a_diamond() -> None:
    axes = figures.forest([record(heads=2)]).axes[0]
    assert len(axes.get_yticklabels()) == 1 + 2 * 3  # a heading, two heads, three controls each
    assert any(line.get_marker() == "D" for line in figures.forest([exact_record()]).axes[0].lines)


def test_text_that_looks_like_mathematics_or_has_no_glyph_is_drawn_as_text() -> None:
    figure = figures.head_map([[0.1, 0.2]], unit="$x_{", title="中 \x00 $a^b$ \\frac")
    figure.draw_without_rendering()
    assert figure.axes[0].get_title(loc="left") == "U+4E2D $a^b$ \\frac"


def test_large_negative_cells_of_a_signed_map_carry_a_minus_that_is_seen_in_grey() -> None:
    def minuses(values: list[list[float]]) -> list[tuple[float, float]]:
        (axes, *_) = figures.head_map(values, unit="logits").axes
        return [point for line in axes.lines if line.get_marker() == "_" for point in line.get_xydata().tolist()]

    assert minuses([[-2.0, 1.0], [0.5, -0.4]]) == [[0.0, 0.0]]  # -0.4 is less than a fourth of 2
    assert minuses([[0.0, 1.0], [2.0, 0.5]]) == []


def test_heads_that_were_not_measured_are_hatched_not_zero() -> None:
    figure = figures.head_map([[0.1, None], [0.3, 0.4]], unit="nats")
    image = figure.axes[0].images[0]
    assert bool(image.get_array().mask[0, 1])
    assert figure.axes[0].patch.get_hatch()


def test_labels_are_shortened_in_the_middle_and_tokens_show_their_spaces() -> None:
    assert label("abcdefghij", length=7) == "abcd…ij"
    assert token_label(" the") == "·the"
    assert token_label("\n") == "↵"


@pytest.mark.parametrize(("count", "step"), [(1, 1), (24, 1), (25, 2), (49, 5), (1000, 50)])
def test_labels_are_thinned_in_round_steps(count: int, step: int) -> None:
    assert thinned(count, at_most=24)[:2] == list(range(0, count, step))[:2]


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        ({"kind": "headmap", "name": "x"}, "Did you mean 'head_map'"),
        ({"kind": "head_map", "name": "x", "unit": "nats"}, "has no 'values'"),
        ({"kind": "head_map", "name": "x", "unit": "nats", "values": []}, "not empty"),
        ({"kind": "head_map", "name": "x", "unit": "nats", "values": [[1.0], [1.0, 2.0]]}, "not a rectangular array"),
        ({"kind": "head_map", "name": "x", "unit": "nats", "values": [[None]]}, "expected finite numbers"),
        ({"kind": "head_map", "name": "x", "unit": "nats", "values": [[1.0]], "marked": ["7.1"]}, "marked head '7.1'"),
        ({**MATRIX, "rows": ["a"]}, "1 row names for 2 rows"),
        ({**MATRIX, "columns": ["a", "a"]}, "column 'a' stands twice"),
        ({**MATRIX, "marked": [["a", "a"]]}, "marked cell"),
        ({**MATRIX, "marked": ["a"]}, "marked cell"),
        ({**MATRIX, "values": [0.1, 0.2]}, "2 axes"),
        ({"kind": "pattern", "name": "x", "matrix": [[1.0]], "tokens": ["a", "b"], "head": "1.0"}, "for 2 tokens"),
        ({"kind": "curve", "name": "x", "x": [1], "y": [1, 2], "xlabel": "", "ylabel": ""}, "lengths differ"),
        ({"kind": "distribution", "name": "x", "treated": [], "control": [[1.0]], "unit": "nats"}, "not empty"),
        (
            {"kind": "distribution", "name": "x", "treated": [1], "control": [[1]], "labels": ["a"], "unit": "u"},
            "1 labels for 2 groups",
        ),
        ({"kind": "bars", "name": "x", "labels": ["a"], "values": [1.0, 2.0], "unit": "nats"}, "1 labels for 2 values"),
        ({"kind": "bars", "name": "x", "labels": ["a"], "values": [math.inf], "unit": "nats"}, "finite"),
    ],
)
def test_wrong_data_are_refused_by_name(picture: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message.replace("(", r"\(")):
        figures.draw(picture)


def test_a_forest_of_nothing_or_of_two_units_is_refused() -> None:
    with pytest.raises(StoreError, match="at least one measured effect"):
        figures.forest([not_run()])
    with pytest.raises(StoreError, match="one forest per unit"):
        figures.forest([record(), exact_record()])


def test_under_narrow_axes_the_legend_of_a_forest_is_not_cut_off() -> None:
    effect = Effect(0.5, 0.4, 0.6, 0.2, math.inf, holds=True, component="1.0", control="x")
    row = figures.ForestRow("a name as long as it may be, and then some words", (effect,), "0.5 [0.4, 0.6], above 0.2")
    figure = figures.draw_forest([row], xlabel="effect (nats)")
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    assert box.x0 >= -0.01
    assert box.x1 <= figure.get_size_inches()[0] + 0.01
    assert "grey zone" in figure.get_supxlabel()


def test_a_margin_in_another_unit_stands_in_words_and_not_on_the_axis() -> None:
    margins = [{"name": "share", "unit": "ratio", "reason": "r", "at_most": 0.05, "at_least": -0.05}]
    share = outcome("1.0", "share", estimate=0.01, half=0.01, threshold=-0.05, upper=0.05, rule="equivalence")
    effect = outcome("1.0", "shuffled", estimate=4.0)
    axes = figures.forest(
        [record(claim=claim(margins=margins), judgement=judgement("supported", [effect, share]))]
    ).axes[0]
    assert [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"] == [4.0]
    assert "0.01 [0, 0.02], within [-0.05, 0.05] ✓" in [text.get_text() for text in axes.texts]


def test_the_names_of_framed_heads_are_never_cut_in_the_middle() -> None:
    heads = [f"17.{head}" for head in range(9)] + [f"18.{head}" for head in range(9)]
    for marked in (heads[:1], heads[:4], heads):
        title = figures.head_map(np.eye(30), unit="nats", marked=marked, title="Score").axes[0].get_title(loc="left")
        first, _, named = title.partition("\n")
        assert first == "Score"
        shown = named.removeprefix("framed: ").partition(", ...")[0].split(", ")
        assert shown == marked[: len(shown)]
        assert len(shown) == len(marked) or f"({len(marked)} heads)" in named


def bars_of(**changes: Any) -> dict[str, Any]:
    """A stored picture of bars, the first of which is the mean of the treated values."""
    return {"kind": "bars", "name": "b", "unit": "nats", "labels": ["1.0", "others"], "values": [2.0, 0.5], **changes}


def test_bars_of_raw_means_have_their_intervals_and_no_threshold_of_differences() -> None:
    values = [1.0, 2.0, 3.0]
    measured = {"treated": {"components": ["1.0"], "values": [values]}, "controls": {}}
    kept = as_measured(bars_of(threshold=0.2), record(measured=measured, units={"clusters": ["a", "b", "c"]}))
    assert "threshold" not in kept
    # t(0.975, 2) * sd / sqrt(3) = 4.3027 * 1 / 1.7321
    assert (kept["low"][0], kept["high"][0]) == pytest.approx((2 - 2.4841, 2 + 2.4841), abs=1e-4)
    assert (kept["low"][1], kept["high"][1]) == (None, None)  # the record has no values of which 0.5 is the mean
    assert "line: 95 % interval" in figures.draw(kept).axes[0].get_xlabel()


def test_bars_keep_what_they_say_themselves_and_get_no_interval_from_units_that_share_a_cluster() -> None:
    measured = {"treated": {"components": ["1.0"], "values": [[1.0, 2.0, 3.0]]}, "controls": {}}
    clustered = record(measured=measured, units={"clusters": ["a", "a", "b"]})
    assert "low" not in as_measured(bars_of(), clustered)
    own = bars_of(threshold=7.0, low=[1.5, 0.4], high=[2.5, 0.6])
    assert as_measured(own, clustered) == own
    assert as_measured({"kind": "curve"}, clustered) == {"kind": "curve"}


def test_only_png_and_svg_are_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"\.png or \.svg"):
        figures.save(figures.bars(["a"], [1.0], unit="nats"), tmp_path / "a.pdf")


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ([[0.5, -0.25], [0.0, 0.1]], (-0.5, 0.5)),  # both signs: zero in the middle
        ([[0.5, -0.01], [0.0, 0.1]], (-0.01, 0.5)),  # a trace of the other sign: as it is
        ([[0.2, 0.2], [0.2, 0.2]], (-0.3, 0.7)),  # all equal: half a unit to both sides
    ],
)
def test_a_map_of_both_signs_has_zero_in_the_middle(values, limits):
    figure = figures.head_map(values, unit="logits")
    (image,) = figure.axes[0].get_images()
    assert image.get_clim() == pytest.approx(limits)


def test_the_cells_of_a_small_matrix_have_their_numbers_and_those_of_a_large_one_do_not():
    axes = figures.draw({**MATRIX, "values": [[0.5, -0.001], [None, 1.0]]}).axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.50", "0.00", "1.00"]  # what was not measured has none
    many = [str(place) for place in range(11)]
    assert not figures.matrix(np.ones((11, 11)), rows=many, columns=many, unit="u").axes[0].texts  # 121 cells


def test_numbers_stand_out_from_their_cells():
    from matplotlib.colors import to_rgb

    axes = figures.draw({**MATRIX, "values": [[0.0, 0.4], [0.6, 1.0]]}).axes[0]
    (image,) = axes.get_images()
    for text in axes.texts:
        column, row = text.get_position()
        cell = np.mean(image.to_rgba(image.get_array()[int(row), int(column)])[:3])
        assert abs(np.mean(to_rgb(text.get_color())) - cell) > 0.35


def test_marked_cells_of_a_matrix_are_framed_by_their_names():
    axes = figures.draw({**MATRIX, "marked": [["b", "c"]]}).axes[0]
    assert {patch.get_xy() for patch in axes.patches} == {(-0.5, 0.5)}
