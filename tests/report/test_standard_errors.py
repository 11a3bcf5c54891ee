"""Standard errors from a record's values, where the seeds of a table need them, with and without figures."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import sem
from statsmodels.stats.meta_analysis import combine_effects

from harness.compare import write_manifest
from harness.evidence import Record
from harness.report import for_tables
from harness.report.data_seeds import data_seeds_text, redrawn
from harness.report.seeds import combine_trained
from harness.report.standard_errors import asked_of_values, standard_error_of, standard_errors
from harness.report.text import interval, number
from harness.store import open_run, write_run_info
from tests.cli.calling import call
from tests.report import sample_records
from tests.report.sample_records import judgement, outcome, record

UNITS = 400


def bounded(
    model: str, values: Any, *, method: str = "gaffke", data_seed: int = 0, clusters: list[str] | None = None
) -> dict[str, Any]:
    """A record of one control, against which the differences are `values`, with an interval by limits of the values."""
    ids, values = [f"s{unit}" for unit in range(len(values))], np.asarray(values, dtype=np.float64)
    names = ids if clusters is None else clusters
    low, high = float(values.mean() - 3.7 / UNITS * values.mean()), float(values.mean() + 3.7 / UNITS)
    changes = {"low": low, "high": high, "method": method, "clusters": len(set(names))}
    judged = outcome("1.0", "shuffled", estimate=float(values.mean()), **changes)
    made = record(
        model,
        judgement=judgement("supported", [judged]),
        units={"ids": ids, "clusters": names},
        seeds={"data_seed": data_seed, "split": "confirmation"},
        measured={
            "treated": {"components": ["1.0"], "values": [(values + 0.25).tolist()]},
            "controls": {"1.0 | shuffled": {"units": ids, "values": [0.25] * len(ids)}},
        },
    )
    made["model"]["fingerprint"] = model
    return made


def rare(model: str, *, share: float, seed: int, **changes: Any) -> dict[str, Any]:
    """One question in many is answered otherwise than the others."""
    return bounded(model, np.random.default_rng(seed).random(UNITS) < share, **changes)


def trainings(**changes: Any) -> list[dict[str, Any]]:
    """Five trainings of one model, of which some show the rare thing more often."""
    shares = (0.9, 0.95, 0.98, 0.97, 0.93)
    return [rare(f"induction-2l@{seed}", share=share, seed=seed, **changes) for seed, share in enumerate(shares)]


@pytest.mark.parametrize("method", ["gaffke", "clopper-pearson", "bootstrap-t"])
def test_seeds_are_combined_with_the_standard_errors_of_their_values(method: str) -> None:
    made = combine_trained(trainings(method=method))
    assert made is not None
    rows = [
        np.random.default_rng(seed).random(UNITS) < share for seed, share in enumerate((0.9, 0.95, 0.98, 0.97, 0.93))
    ]
    variances = np.array([sem(row) ** 2 for row in rows])
    oracle = combine_effects(np.array([row.mean() for row in rows]), variances, method_re="iterated", atol=1e-10)
    assert oracle.tau2 > 0
    assert made["rows"][0][3].split(" ")[0] == number(math.sqrt(oracle.tau2))
    assert made["rows"][0][6].split(" ")[0] == number(float(oracle.mean_effect_re))


def test_without_values_the_width_of_a_bootstrap_interval_serves_and_that_of_gaffkes_bounds_does_not() -> None:
    lean = [for_tables(one) for one in trainings()]
    made = combine_trained(lean)
    assert made is not None
    control, mean, low_high, tau, _, seeds, check = made["rows"][0]
    assert (control, tau, seeds, check) == ("shuffled", "-", 5, "-")
    estimates = [one["judgement"]["outcomes"][0]["estimate"] for one in lean]
    assert mean == number(float(np.mean(estimates)))
    assert low_high.startswith("[")
    resampled = combine_trained([for_tables(one) for one in trainings(method="bca")])
    assert resampled is not None
    assert resampled["rows"][0][3] != "-"


def test_a_seed_whose_values_are_all_equal_leaves_tau_undefined() -> None:
    five = trainings()
    five[2] = bounded("induction-2l@2", np.ones(UNITS))
    made = combine_trained(five)
    assert made is not None
    assert [made["rows"][0][column] for column in (3, 6)] == ["-", "-"]
    assert made["rows"][0][2].startswith("[")
    assert made["rows"][0][4].startswith("[")


def test_seeds_nearer_together_than_their_errors_explain_have_a_tau_of_0_without_interval() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.permutation(np.r_[np.ones(200 + one), np.zeros(200 - one)]) for one in range(3)]
    made = combine_trained([bounded(f"induction-2l@{seed}", row) for seed, row in enumerate(rows)])
    assert made is not None
    assert made["rows"][0][3] == "0 -"


def test_draws_with_gaffkes_bounds_differ_by_the_errors_of_their_values() -> None:
    first, second = (rare("smollm2", share=share, seed=seed, data_seed=seed) for seed, share in ((0, 0.01), (1, 0.06)))
    (found,) = redrawn([first, second])
    values = [np.random.default_rng(seed).random(UNITS) < share for seed, share in ((0, 0.01), (1, 0.06))]
    error = math.hypot(*(sem(row) for row in values))
    assert found.nearest.low is not None
    assert found.nearest.difference - found.nearest.low == pytest.approx(1.965 * error, rel=0.005)
    # without the values nothing is said; with the errors beside it, the same
    assert redrawn([for_tables(first), for_tables(second)]) == []
    beside = [{**for_tables(one), "standard_errors": standard_errors(one)} for one in (first, second)]
    assert redrawn(beside) == [found]


def test_draws_that_show_no_spread_are_told_apart_without_an_interval() -> None:
    draws = [bounded("smollm2", np.full(UNITS, value), data_seed=seed) for seed, value in enumerate((0.0, 1.0))]
    assert redrawn(draws)[0].differs
    assert "| 1 - | < 0.0001 |" in data_seeds_text(draws)


def test_a_margin_has_the_error_of_its_own_clusters_and_a_ratio_that_of_its_linearised_values() -> None:
    rng = np.random.default_rng(4)
    own, above, below = rng.random(60), rng.random(20), rng.random(20) + 1
    made = bounded("smollm2", rng.random(20), clusters=[f"c{unit // 2}" for unit in range(20)])
    made["measured"]["margins"] = {
        "own": {"components": ["1.0"], "values": [own.tolist()], "relative_to": None},
        "share": {"components": ["1.0"], "values": [above.tolist()], "relative_to": [below.tolist()]},
        "else": {"components": ["1.0"], "values": [own[:30].tolist()], "relative_to": None},
    }
    asked = {"kind": "margin", "rule": "non-inferiority"}
    own_error, share_error, unknown = (
        standard_error_of(made, outcome("1.0", name, estimate=0.5, clusters=clusters, **asked))
        for name, clusters in (("own", 60), ("share", 10), ("else", 10))
    )
    assert own_error == pytest.approx(sem(own))
    means = [row.reshape(10, 2).mean(axis=1) for row in (above, below)]
    ratio = means[0].mean() / means[1].mean()
    assert share_error == pytest.approx(sem(means[0] - ratio * means[1]) / means[1].mean())
    assert unknown is None


def test_values_are_asked_of_several_trainings_and_of_several_draws_with_bounds_by_limits() -> None:
    five, alone = trainings(), rare("smollm2", share=0.9, seed=0)
    assert asked_of_values([*five, alone]) == five
    assert asked_of_values([five[0], alone]) == []
    again = rare("smollm2", share=0.9, seed=0, data_seed=1)
    assert asked_of_values([alone, again]) == [alone, again]
    resampled = [rare("smollm2", share=0.9, seed=0, data_seed=seed, method="bca") for seed in (0, 1)]
    assert asked_of_values(resampled) == []
    assert asked_of_values([{**five[0], "exploratory": True}, five[1]]) == []


def test_a_report_combines_seeds_alike_with_and_without_values(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "20260131T120000Z_abc"
    folder.mkdir(parents=True)
    write_run_info(sample_records.RUN, folder=folder)
    records = [*trainings(), rare("induction-2l@0", share=0.5, seed=9, data_seed=1)]
    for one in records:
        one = json.loads(json.dumps(one))
        one.pop("content_hash")
        name = f"{one['claim']['id']}__{one['model']['id']}__seed{one['seeds']['data_seed']}.json"
        (folder / name).write_text(Record(**one).to_json(), encoding="utf-8")
    write_manifest(open_run(folder))
    done = call("report", folder, "--out", tmp_path / "out", "--no-figures")
    assert done.exit_code == 0, done.output
    text = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "out").rglob("*.md")).replace("\\", "")
    whole = combine_trained(trainings())
    assert whole is not None
    shown = re.findall(r"\| shuffled \| [^|]* \| [^|]* \| ([^|]*) \| [^|]* \| 5 \| ([^|]*) \|", text)
    assert shown == [(whole["rows"][0][3], whole["rows"][0][6])]
    (drawn,) = redrawn(records)
    assert drawn.nearest.low is not None
    assert drawn.nearest.high is not None
    assert f"{number(drawn.nearest.difference)} {interval(drawn.nearest.low, drawn.nearest.high)}" in text
