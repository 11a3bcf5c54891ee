"""Circuit graphs and faithfulness template by template, also those that are drawn from a record's tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import StoreError
from harness.report import figures, write_report
from harness.report.derived import derived_pictures
from tests.report.sample_records import RUN, record


def marks(figure: Any) -> dict[str, tuple[str, Any]]:
    """Shape and filling of every class by its name in the legend."""
    lines = [line for line in figure.axes[0].lines if line.get_label().endswith(")")]
    return {line.get_label(): (line.get_marker(), line.get_markerfacecolor()) for line in lines}


def legend_of(figure: Any) -> list[str]:
    """What the legend under the figure says."""
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def inside(figure: Any) -> bool:
    """Whether nothing of a figure lies outside of it."""
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    boxes = [figure.get_tightbbox(), *(legend.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
                                      for legend in figure.legends)]  # fmt: skip
    return all(
        box.x0 >= -0.02 and box.y0 >= -0.02 and box.x1 <= width + 0.02 and box.y1 <= height + 0.02 for box in boxes
    )


def test_a_component_stands_in_its_layer_and_later_layers_stand_higher() -> None:
    figure = figures.circuit({"5.1": "a", "5.10": "a", "5.9": "a", "0.mlp": "b", "embed": "in", "logits": "out"})
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["in", "0", "5", "out"]  # by hand: 4 rows from below
    heights = {text.get_text(): text.xy[1] for text in axes.texts}
    assert heights == {"embed": 0, "0.mlp": 1, "5.1": 2, "5.9": 2, "5.10": 2, "logits": 3}
    across = {text.get_text(): text.xy[0] for text in axes.texts}
    assert across["5.1"] < across["5.9"] < across["5.10"]
    assert axes.get_ylabel() == "layer"


def test_classes_are_told_apart_by_shape_or_filling_never_by_colour_alone() -> None:
    found = marks(figures.circuit({f"0.{place}": f"class {place}" for place in range(30)}))
    assert len(found) == 30
    assert len(set(found.values())) == 30


def test_edges_are_as_wide_as_their_weights_and_dashed_where_negative() -> None:
    nodes = {"0.0": "a", "1.0": "b", "2.0": "b"}
    figure = figures.circuit(nodes, edges=[["0.0", "1.0", 2.0], ["1.0", "2.0", -1.0]], unit="logits")
    wide, narrow = figure.axes[0].patches
    assert wide.get_linewidth() > narrow.get_linewidth()
    assert (wide.get_linestyle(), narrow.get_linestyle()) == ("-", "--")
    assert "logits" in figure.legends[0].get_title().get_text()


@pytest.mark.parametrize(
    ("nodes", "edges", "message"),
    [
        ({}, [], "no component"),
        ({"head": "a"}, [], "'head' has no layer"),
        ({"1.": "a"}, [], "has no layer"),
        ({"²·1": "a"}, [], "has no layer"),
        ({"0.0": "a", "1.0": "b"}, [["0.0", "1.1"]], "Did you mean '1.0'"),
        ({"0.0": "a", "1.0": "b"}, [["1.0", "0.0"]], "does not lead to a later layer"),
        ({"0.0": "a", "1.0": "b"}, [["0.0"]], "is not (from, to)"),
        ({"0.0": "a", "1.0": "b"}, ["01"], "is not (from, to)"),
        ({"0.0": "a", "1.0": "b"}, [["0.0", "1.0", None]], "has no finite weight"),
        ({"0.0": "a", "1.0": "b"}, [["0.0", "1.0", float("nan")]], "has no finite weight"),
        (["0.0"], [], "no component"),
        ({f"0.{place}": f"{place}" for place in range(31)}, [], "31 classes, and 30"),
    ],
)
def test_a_circuit_that_is_none_is_refused(nodes: dict[str, str], edges: list[Any], message: str) -> None:
    with pytest.raises(StoreError, match=re.escape(message)):
        figures.circuit(nodes, edges=edges)


def test_no_name_touches_another_and_nothing_is_cut_off() -> None:
    crowded = {
        f"{layer}.{head}": f"a class with rather a long name {head % 9}" for layer in range(3) for head in range(20)
    }
    figure = figures.circuit(crowded)
    assert inside(figure)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 60
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[place + 1 :])


def test_the_zone_and_the_marks_of_every_stratum_are_where_they_belong() -> None:
    figure = figures.faithfulness(["x", "y"], {"ABBA": [1.0, 0.7], "BABA": [1.3, None]}, unit="F(C) / F(M)")
    axes = figure.axes[0]
    shown = {line.get_label(): list(line.get_xdata()) for line in axes.lines if line.get_label() in ("ABBA", "BABA")}
    assert shown["ABBA"] == [1.0, 0.7]
    assert shown["BABA"][0] == 1.3
    assert np.isnan(shown["BABA"][1])
    assert "[0.8, 1.25]" in axes.get_xlabel()
    assert "1 of 3 marks do" in axes.get_xlabel()  # by hand: 1.0 lies inside, 0.7 and 1.3 do not, one is missing
    assert "not shown, since the ratio is not defined: 1 of 4" in axes.get_xlabel()
    assert legend_of(figure) == ["ABBA", "BABA"]
    assert inside(figure)


def test_what_is_said_of_ratios_that_are_not_shown_is_not_cut_off() -> None:
    names = [f"confirmation-{place:02}" for place in range(20)]  # as long as the names of a real split
    assert inside(figures.faithfulness(names, {"ABBA": [1.0] * 20, "BABA": [*[1.0] * 19, None]}))


def test_where_every_ratio_is_shown_none_is_called_missing() -> None:
    assert "not shown" not in figures.faithfulness(["x"], {"ABBA": [1.0]}).axes[0].get_xlabel()


def test_a_ratio_far_out_is_an_arrow_at_the_edge_and_leaves_the_others_their_room() -> None:
    axes = figures.faithfulness(["x", "y", "z"], {"ABBA": [1.0, 1e6, -1e6]}).axes[0]
    low, high = axes.get_xlim()
    assert -1 < low < high < 4  # three widths of 0.45 on both sides of the zone, and the margin
    arrows = {line.get_marker(): line.get_xdata().tolist() for line in axes.lines if line.get_marker() in "<>"}
    assert arrows["<"] == pytest.approx([0.8 - 3 * 0.45])
    assert arrows[">"] == pytest.approx([1.25 + 3 * 0.45])


@pytest.mark.parametrize(
    ("ratios", "zone", "message"),
    [
        ({}, (0.8, 1.25), "0 strata"),
        ({f"{place}": [1.0] for place in range(7)}, (0.8, 1.25), "7 strata"),
        ({"a": [1.0, 2.0]}, (0.8, 1.25), "lengths differ"),
        ({"a": [1.0]}, (1.25, 0.8), "is not (lower end"),
        ({"a": [None]}, (0.8, 1.25), "expected finite numbers"),
    ],
)
def test_wrong_ratios_are_refused(ratios: dict[str, Any], zone: tuple[float, float], message: str) -> None:
    with pytest.raises(StoreError, match=re.escape(message)):
        figures.faithfulness(["x"], ratios, zone=zone)


HEADS = {
    "name": "Heads of the circuit",
    "columns": ["head", "class", "K"],
    "rows": [["9.9", "name-mover", ""], ["5.5", "induction", "6.9"]],
}
TEMPLATES = {
    "name": "Faithfulness by template and order, logits",
    "columns": ["template", "order", "F(M)", "F(C) / F(M)"],
    "rows": [["t1", "ABBA", 2.0, 1.1], ["t1", "BABA", 2.0, 0.9], ["t2", "ABBA", 0.0, "not defined"]],
}


def test_tables_of_heads_and_of_templates_have_their_pictures() -> None:
    graph, ratios = derived_pictures(record(tables=[HEADS, TEMPLATES]))
    assert graph["nodes"] == {"9.9": "name-mover", "5.5": "induction"}
    assert ratios["templates"] == ["t1", "t2"]
    assert ratios["ratios"] == {"ABBA": [1.1, None], "BABA": [0.9, None]}
    for picture in (graph, ratios):
        figures.draw(picture)


def test_what_a_record_stored_is_not_drawn_twice_and_other_tables_have_no_picture() -> None:
    stored = [{"kind": "circuit", "name": "c", "caption": "c", "nodes": {"0.0": "a"}}]
    assert list(derived_pictures(record(tables=[HEADS], pictures=stored))) == []
    assert list(derived_pictures(record())) == []
    for rows in ([], [["joint", "all", ""], ["5.5", "induction", ""]]):
        assert list(derived_pictures(record(tables=[{**HEADS, "rows": rows}]))) == []


def test_the_report_shows_them_with_n(tmp_path: Path) -> None:
    write_report([record(tables=[HEADS, TEMPLATES])], out=tmp_path, run=RUN, workers=1)
    text = (tmp_path / "evidence" / "induction.md").read_text(encoding="utf-8")
    assert "2 heads of 2 classes; no edges are measured (smollm2-135m-q4); n = 2 heads" in text
    assert "n = 2 templates" in text
    assert len(list((tmp_path / "figures").glob("*circuit-s-heads*.png"))) == 1
