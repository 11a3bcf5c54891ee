"""Verdicts that the interval of their design does not carry are marked wherever they are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import StoreError
from harness.miscalibrated import by_claim, standing_of
from harness.report.calibrated_verdicts import bounds_measured
from harness.report.figure_files import FigureFiles
from harness.report.forests import summary_forest_job
from harness.report.registration import claim_calibration, registration_summary, signs, signs_read, standing_marks
from harness.report.summary import summary
from harness.store import read_record

ROOT = Path(__file__).parents[1]
CLAIM, MODEL = "steering.formality-transfers", "smollm2-135m-q4"
LOCK = ROOT / "claims" / "registry.lock"
RECORD = read_record(ROOT / "reports" / "baseline" / f"{CLAIM}__{MODEL}__seed0.json").as_dict()


@pytest.fixture
def record() -> dict[str, Any]:
    return dict(RECORD)


def reports(folder: Path, **given: Any) -> Path:
    row = {"claim": CLAIM, "model": MODEL, "content_hash": "a" * 64, "holds": False, "most_misses": 296,
           "allowed": 83, "replicates": 2_000, "stricter": [[0.0175, 200, 0.8], [0.0025, 59, 0.4]],
           "declaration_hash": RECORD["claim"]["declaration_hash"], "underpowered": False,
           "verdict": "supported", "verdict_there": "inconclusive"}  # fmt: skip
    place = folder / "calibration" / "summary.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps({"designs": [{**row, **given}]}), encoding="utf-8")
    return folder


def test_a_verdict_that_falls_where_its_design_holds_is_marked(tmp_path: Path, record: dict[str, Any]) -> None:
    lock = standing_of(LOCK, reports=reports(tmp_path))
    assert signs([record], lock).endswith("‡")
    assert "not carried by its interval" in signs_read([record], lock)
    assert "not carried by its interval" in standing_marks([record], lock)
    assert "1 **not carried by its interval**" in registration_summary([record], lock)
    assert (
        "**not carried by its interval** on <code>smollm2-135m-q4</code>: a bound misses in 14.8% of samples "
        "(2.5% nominal); at 0.25%, where the design holds, the verdict is inconclusive"
    ) in claim_calibration([record], lock)


def test_a_design_that_holds_at_no_level_carries_no_verdict(tmp_path: Path, record: dict[str, Any]) -> None:
    nowhere = reports(tmp_path, stricter=[[0.0025, 98, 0.4]], verdict_there=None)
    lock = standing_of(LOCK, reports=nowhere)
    assert signs([record], lock).endswith("‡")
    assert "too often at every level tried, to 0.25%" in claim_calibration([record], lock)


@pytest.mark.parametrize(
    "given", [{"verdict_there": "supported"}, {"verdict": "inconclusive", "verdict_there": None}, {"holds": True}]
)
def test_a_verdict_that_stays_or_decides_nothing_has_no_sign(
    tmp_path: Path, record: dict[str, Any], given: dict[str, Any]
) -> None:
    lock = standing_of(LOCK, reports=reports(tmp_path, **given))
    assert "‡" not in signs([record], lock)
    assert "not carried" not in registration_summary([record], lock) + claim_calibration([record], lock)


def test_what_was_calibrated_is_held_against_a_claim_only_as_it_was_declared(
    tmp_path: Path, record: dict[str, Any]
) -> None:
    lock = standing_of(LOCK, reports=reports(tmp_path))
    changed = {**record, "claim": {**record["claim"], "declaration_hash": "0"}}
    elsewhere = {**record, "model": {**record["model"], "id": "toy@0"}}
    assert signs([changed], lock) == signs([elsewhere], lock) == ""


def test_the_picture_of_all_claims_has_the_sign_too(tmp_path: Path, record: dict[str, Any]) -> None:
    lock = standing_of(LOCK, reports=reports(tmp_path))
    texts = [text.get_text() for text in summary_forest_job([record], lock=lock)().axes[0].texts]
    assert "✓ supported ‡" in texts
    files = FigureFiles(tmp_path)
    assert "‡ not carried by its interval_" in summary([record], run={}, files=files, lock=lock)
    without = [text.get_text() for text in summary_forest_job([record])().axes[0].texts]
    assert "✓ supported" in without


def test_a_damaged_summary_is_named(tmp_path: Path) -> None:
    damaged = reports(tmp_path, most_misses=None)
    with pytest.raises(StoreError, match=r"summary\.json: not a calibration's summary"):
        by_claim(damaged)


def test_the_first_page_counts_verdicts_with_and_without_a_calibrated_design(
    tmp_path: Path, record: dict[str, Any]
) -> None:
    lock = standing_of(LOCK, reports=reports(tmp_path))
    elsewhere = {**record, "model": {**record["model"], "id": "toy@0"}, "content_hash": "c" * 64}
    said = bounds_measured([record, elsewhere], lock)
    assert "for the designs of 1 of these verdicts; not calibrated: 1. In the designs of 1 a bound misses" in said
    assert "not calibrated" not in bounds_measured([record], lock)
    none = bounds_measured([elsewhere], lock)
    assert "not known here: calibration has measured the design of none of these verdicts (not calibrated: 1;" in none
    assert "misses more often" not in none


def test_the_design_of_a_record_is_known_by_its_content_or_by_how_its_claim_was_declared(
    tmp_path: Path, record: dict[str, Any]
) -> None:
    content = str(record["content_hash"])
    folder = reports(tmp_path, content_hash=content, declaration_hash=None, holds=True)
    measured_again = {**record, "content_hash": "d" * 64}
    assert "designs of 1 of these verdicts." in bounds_measured([record], standing_of(LOCK, reports=folder))
    assert "not calibrated: 1" in bounds_measured([measured_again], standing_of(LOCK, reports=folder))
    (folder / "baseline").symlink_to(ROOT / "reports" / "baseline")  # holds the record that the summary names
    known = standing_of(LOCK, reports=folder)
    assert "designs of 1 of these verdicts." in bounds_measured([measured_again], known)
    changed = {**measured_again, "claim": {**record["claim"], "declaration_hash": "0"}}
    assert "not calibrated: 1" in bounds_measured([changed], known)


def test_without_a_calibration_that_is_said(tmp_path: Path, record: dict[str, Any]) -> None:
    for without in (standing_of(LOCK, reports=tmp_path), None):
        assert "is not known: no calibration lies beside these records" in bounds_measured([record], without)
    assert bounds_measured([], standing_of(LOCK, reports=reports(tmp_path))) == ""
