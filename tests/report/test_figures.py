"""Every kind of figure: drawn, legible, refused where its data are wrong, the same bytes each time."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import StoreError
from harness.report import figures
from harness.report.bars import as_measured, without_interval
from harness.report.effects import Effect
from harness.report.figure_files import summary_forest
from harness.report.figures.style import label, thinned, token_label, wrapped
from harness.report.forests import MOST_SUMMARY_ROWS
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


TITLES = {"xlabel": "what the columns are", "ylabel": "what the rows are"}
LONG = "as many other heads of the same layers, patched from a counterpart that repeats no name, towards the first name"
SIZED: Figures = {
    "forest": lambda n: figures.draw_forest(rows(n), xlabel="effect (nats)"),
    "bars": lambda n: figures.bars([f"head {i}.{i}" for i in range(n)], np.ones(n), unit="nats"),
    "head_map": lambda n: figures.head_map(np.eye(n), unit="nats"),
    "matrix": lambda n: figures.matrix(
        np.eye(n), rows=[f"row {i}" for i in range(n)], columns=[f"column {i}" for i in range(n)], unit="nats", **TITLES
    ),
    "pattern": lambda n: figures.pattern(np.eye(n), tokens=[f" token{i}" for i in range(n)], head="1.0"),
    "distribution": lambda n: figures.distribution(
        [0.0, 1.0], [[0.5, 0.6]] * n, labels=["joint", *(f"{i}: {LONG}" for i in range(n))], unit=f"fall ({LONG})"
    ),
    "long forest": lambda n: figures.draw_forest(
        [replace(row, name=f"{row.name}: {LONG}") for row in rows(n)], xlabel="effect (nats)"
    ),
    "long bars": lambda n: figures.bars([f"{i}: {LONG}" for i in range(n)], np.ones(n), unit="nats", ylabel="set"),
    "wordy matrix": lambda n: figures.matrix(
        np.eye(n), rows=list(range(n)), columns=[f"a column of words {i}" for i in range(n)], unit="nats", **TITLES
    ),
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


def test_a_long_name_stands_there_in_full() -> None:
    assert wrapped(LONG, width=36).replace("\n", " ") == LONG
    assert max(map(len, wrapped(LONG, width=36).split("\n"))) <= 36
    assert len(wrapped("x" * 10_000, width=36).split("\n")) <= 6
    for kind in ("distribution", "long forest", "long bars"):
        names = [tick.get_text().replace("\n", " ") for tick in SIZED[kind](3).axes[0].get_yticklabels()]
        assert sum(LONG in name for name in names) == 3
    assert LONG in SIZED["distribution"](1).axes[0].get_xlabel().replace("\n", " ")


def test_the_mean_of_a_single_value_does_not_hide_it() -> None:
    axes = figures.distribution([5.0], [[0.1, 0.2]], labels=["direction", "permuted"], unit="nats").axes[0]
    first = [line for line in axes.lines if max(line.get_ydata()) < 0.5]
    assert [line.get_marker() for line in first] == ["D"]
    assert "diamond: a single value" in axes.get_xlabel()


def test_a_matrix_is_refused_without_titles_and_a_stored_one_of_older_records_is_drawn_all_the_same() -> None:
    with pytest.raises(TypeError, match="xlabel"):
        figures.matrix(np.eye(2), rows="ab", columns="cd", unit="u")  # type: ignore[call-arg]
    with pytest.raises(StoreError, match="what the columns and the rows are"):
        figures.matrix(np.eye(2), rows="ab", columns="cd", unit="u", xlabel="", ylabel="row")
    heads = {**MATRIX, "columns": ["0.1", "joint"], "rows": ["into place 0", "into place 1"]}
    axes = figures.draw(heads).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("head (layer.head); joint: together", "into place")
    axes = figures.draw(MATRIX).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("column", "row")
    axes = figures.draw({**heads, **TITLES}).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == tuple(TITLES.values())


def test_token_ids_are_called_so_on_the_axes_of_a_pattern() -> None:
    ids, words = (
        figures.pattern(np.eye(2), tokens=tokens, head="0.0").axes[0] for tokens in (["64", "7"], [" a", "7"])
    )
    assert ids.get_xlabel() == "key: token id attended to"
    assert words.get_ylabel() == "query: token attending"


def test_the_summary_fits_a_screen_and_falls_back_to_one_row_per_claim() -> None:
    def summary(count: int, *models: str) -> Any:
        claims = [claim(id=f"induction.a-{place}") for place in range(count)]
        return summary_forest([record(model, heads=1, claim=one) for one in claims for model in models])

    full = summary(MOST_SUMMARY_ROWS - 1, "gpt2-small")
    assert len(full.axes[0].get_yticklabels()) == MOST_SUMMARY_ROWS  # with the heading
    assert full.get_figheight() * full.dpi <= 1400
    names = [tick.get_text() for tick in summary(40, "gpt2-small", "smollm2-135m-q4").axes[0].get_yticklabels()]
    assert names[1] == "a-0, 2 models"
    assert len(names) == 41


def test_the_summary_has_one_mark_per_claim_and_model_and_ticks_for_its_other_seeds() -> None:
    def of(model: str, estimate: float) -> dict[str, Any]:
        return record(model, judgement=judgement("supported", [outcome("1.0", "x", estimate=estimate)]))

    records = [of("induction-2l@0", 0.9), of("induction-2l@1", 0.5), of("gpt2-small", 0.7), not_run("smollm2-135m-q4")]
    axes = summary_forest(records).axes[0]
    named = [tick.get_text() for tick in axes.get_yticklabels()]
    assert named == ["", "prefix-matching, gpt2-small", "prefix-matching, induction-2l@0..1"]
    marks = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    ticks = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "|"]
    assert marks == pytest.approx([2.5, 1.5])  # from the threshold in SESOIs of 0.2: (0.7 - 0.2) / 0.2, the worst seed
    assert ticks == pytest.approx([3.5])


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


@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_the_title_beside_a_few_bars_is_not_cut_off(count: int) -> None:
    values = np.arange(count) + 1.0
    title = "pairs of nine in the longest cascade"
    figure = figures.bars(list("abcdefghijkl")[:count], values, unit="nats", ylabel=title)
    figure.draw_without_rendering()
    box = figure.axes[0].yaxis.label.get_window_extent()
    assert box.y0 >= 0
    assert box.y1 <= figure.bbox.height


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


def test_bars_keep_what_they_say_themselves() -> None:
    measured = {"treated": {"components": ["1.0"], "values": [[1.0, 2.0, 3.0]]}, "controls": {}}
    clustered = record(measured=measured, units={"clusters": ["a", "a", "b"]})
    own = bars_of(threshold=7.0, low=[1.5, 0.4], high=[2.5, 0.6])
    assert as_measured(own, clustered) == own
    assert as_measured({"kind": "curve"}, clustered) == {"kind": "curve"}


def test_units_that_share_a_cluster_count_as_one_in_the_interval_of_a_bar() -> None:
    def low(values: list[float], clusters: list[str]) -> float:
        measured = {"treated": {"components": ["joint"], "values": [values]}, "controls": {}}
        picture = bars_of(labels=["together"], values=[float(np.mean(values))])  # known by its mean, not by its name
        return float(as_measured(picture, record(measured=measured, units={"clusters": clusters}))["low"][0])

    # Twins that say the same: t(0.975, 2) * sd / sqrt(3) of the three clusters, as if each unit stood there once.
    assert low([1.0, 1.0, 2.0, 2.0, 3.0, 3.0], list("aabbcc")) == pytest.approx(2 - 2.4841, abs=1e-4)
    # Residuals -1, 0, 1 in clusters a, a, b: sums -1 and 1; sqrt(2 / 1 * 2) / 3 * t(0.975, 1) = 0.6667 * 12.7062.
    assert low([1.0, 2.0, 3.0], list("aab")) == pytest.approx(2 - 8.4708, abs=1e-4)


def test_a_bar_has_the_interval_that_its_record_stores_for_a_share_and_none_where_nobody_knows_whose_values_it_is() -> (
    None
):
    shares = [{"component": "1.0", "share": 2.0, "low": 1.5, "high": 2.5, "passenger": False}]
    measured = {
        "treated": {"components": ["joint"], "values": [[0.0, 1.0, 0.5]]},
        "controls": {"joint | x": {"values": [0.5, 0.4, 0.6]}},  # the same mean as the treated values
    }
    kept = as_measured(bars_of(), record(measured=measured, shares=shares, units={"clusters": list("abc")}))
    assert (kept["low"][0], kept["high"][0]) == (1.5, 2.5)
    both = bars_of(labels=["one", "others"], values=[7.0, 0.5])
    # "others" is no name of a component: it is a control's mean, and only one control has it
    kept = as_measured(both, record(measured=measured, units={"clusters": list("abc")}))
    assert kept["low"][0] is None
    assert kept["low"][1] is not None
    measured["controls"]["joint | y"] = {"values": [0.5, 0.3, 0.7]}
    assert "low" not in as_measured(both, record(measured=measured, units={"clusters": list("abc")}))


def test_a_caption_says_which_bars_have_no_interval() -> None:
    entry = record()
    assert without_interval(bars_of(low=[1.0, 0.4], high=[3.0, 0.6]), entry) == ""
    assert without_interval(bars_of(low=[1.0, None], high=[3.0, None]), entry) == "no interval stored for others"
    assert without_interval(bars_of(), entry) == "no interval stored"
    assert "nothing is sampled" in without_interval(bars_of(), record(claim=claim(units=None)))
    assert without_interval({"kind": "curve"}, entry) == ""


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
    large = figures.matrix(np.ones((11, 11)), rows=many, columns=many, unit="u", **TITLES)  # 121 cells
    assert not large.axes[0].texts


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
