"""Verdicts that the interval of their design does not carry are marked wherever they are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import StoreError
from harness.miscalibrated import by_claim, standing_of
from harness.report.registration import claim_calibration, registration_summary, signs, signs_read, standing_marks
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


def test_a_damaged_summary_is_named(tmp_path: Path) -> None:
    damaged = reports(tmp_path, most_misses=None)
    with pytest.raises(StoreError, match=r"summary\.json: not a calibration's summary"):
        by_claim(damaged)
