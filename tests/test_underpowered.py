"""What calibration found underpowered is not registered; what is registered already stays, and is named."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.bound_claim import BoundClaim, Options
from harness.catalog import find_claim
from harness.compare.manifest import write_manifest
from harness.errors import DeclarationError, StoreError
from harness.evidence import jsonable
from harness.lock import NAME, read_lock
from harness.registering import amend, register
from harness.stats.power import Leg, claim_power, clusters_for_claim
from harness.store import open_run, write_record, write_run_info
from harness.underpowered import by_claim, power_on_record
from tests.cli.calling import CLAIM as SOURCE
from tests.cli.calling import SUBJECTS, call
from tests.report import sample_records

MODEL = "induction-2l@0"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a claim of 24 units on three models, not registered yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MECHCLAIMS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "claims" / "toy"
    folder.mkdir(parents=True)
    (folder / "test_toy.py").write_text(SOURCE, encoding="utf-8")
    (folder / "subjects.toml").write_text(SUBJECTS, encoding="utf-8")
    return tmp_path


def forget(project: Path) -> None:
    path = str((project / "claims" / "toy" / "test_toy.py").resolve())
    for name, module in list(sys.modules.items()):
        if getattr(module, "__file__", None) == path:
            del sys.modules[name]


def change(project: Path, old: str, new: str) -> None:
    path = project / "claims" / "toy" / "test_toy.py"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    forget(project)


def measured(project: Path, *, clusters: int = 24, model: str = MODEL) -> str:
    """A record of the claim as it stands in the baseline, of 24 units; its content hash."""
    entry = find_claim("toy.copies", claims=project / "claims")
    bound = BoundClaim(entry.claim, entry.test, entry.source, entry.mechanism, model, Options())
    plain = sample_records.record(model)
    plain.pop("content_hash")
    declared = jsonable(bound.claim.deciding())
    plain["claim"] = {**plain["claim"], **declared, "declaration_hash": bound.claim.hash(), "mechanism": "toy"}
    names = [f"u{number}" for number in range(24)]
    plain["units"] = {"ids": names, "clusters": [f"c{number % clusters}" for number in range(24)]}
    from harness.evidence import Record

    record = Record(**plain)
    folder = project / "reports" / "baseline"
    write_record(record, folder=folder)
    write_run_info(sample_records.RUN, folder=folder)
    write_manifest(open_run(folder))
    return record.content_hash


def row(
    content_hash: str, *, power: float, holds: tuple[float, ...], clusters: int = 24, **given: Any
) -> dict[str, Any]:
    """A row of part (e) as the calibration writes it."""
    questions = [
        {"component": "1.0", "control": f"control {place}", "clusters": clusters, "holds_at_twice": share}
        for place, share in enumerate(holds)
    ]
    line = {"claim": "toy.copies", "model": MODEL, "content_hash": content_hash, "replicates": 2000,
            "clusters": clusters, "questions": questions, "power": power, "underpowered": power < 0.8}  # fmt: skip
    return {**line, **given}


def calibrated(project: Path, *rows: dict[str, Any]) -> Path:
    place = project / "reports" / "calibration" / "summary.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"designs": rows}), encoding="utf-8")
    return project / "reports"


def registered(project: Path, **given: Any) -> Any:
    return register(project / "claims", reports=project / "reports", **given)


def test_an_underpowered_claim_is_refused_with_its_power_and_the_clusters_that_would_do(project: Path) -> None:
    content_hash = measured(project)
    calibrated(project, row(content_hash, power=0.46, holds=(0.46, 1.0)))
    with pytest.raises(DeclarationError) as error:
        registered(project)
    said = str(error.value)
    assert "toy.copies on induction-2l@0: power 46% with 24 clusters" in said
    assert "weakest: 1.0: control 0" in said
    assert "mechclaims power" in said
    assert not (project / "claims" / NAME).exists(), "nothing is registered by a command that refuses"
    # The other models are not underpowered.
    assert registered(project, models=("induction-2l@1",)).new == (("toy.copies", "induction-2l@1"),)


def test_the_clusters_that_would_do_are_those_of_the_noncentral_t(project: Path) -> None:
    shift = 0.35
    power = claim_power([Leg(shift)], clusters=24)
    reports = calibrated(project, row(measured(project), power=power, holds=(power,)))
    (found,) = power_on_record(reports).found.values()
    # The shift that gives this power at 24 clusters, found back from the power alone.
    assert found[0].needed == clusters_for_claim([Leg(shift)])
    assert claim_power([Leg(shift)], clusters=24) < 0.8


def test_a_condition_that_twice_the_sesoi_does_not_pass_is_mended_by_no_number(project: Path) -> None:
    calibrated(project, row(measured(project), power=0.0, holds=(0.0, 1.0)))
    with pytest.raises(DeclarationError, match="no number would do"):
        registered(project)


def test_a_powerful_claim_and_a_project_without_calibration_are_registered(project: Path) -> None:
    calibrated(project, row(measured(project), power=0.81, holds=(0.81,)))
    assert len(registered(project).new) == 3


def test_what_is_registered_already_stays_and_is_named(project: Path) -> None:
    registered(project)
    lock = (project / "claims" / NAME).read_bytes()
    calibrated(project, row(measured(project), power=0.46, holds=(0.46,)))
    found = registered(project)
    assert [(one.claim, one.model) for one in found.underpowered] == [("toy.copies", MODEL)]
    assert (project / "claims" / NAME).read_bytes() == lock
    done = call("register", "--check")
    assert done.exit_code == 0, "it was registered before that was known"
    assert "toy.copies on induction-2l@0: underpowered at twice its SESOI (power 46%" in done.stdout
    content = by_claim(read_lock(project / "claims" / NAME).claims, project / "reports")
    assert [one["model"] for one in content["toy.copies"]] == [MODEL]
    assert call("report", "reports/baseline").exit_code == 0
    text = (project / "reports" / "EVIDENCE.md").read_text(encoding="utf-8")
    assert "**underpowered** on <code>induction-2l@0</code>" in text.split("## Registration")[1]


def test_an_amendment_that_leaves_a_claim_underpowered_is_refused_and_changes_nothing(project: Path) -> None:
    registered(project)
    calibrated(project, row(measured(project), power=0.46, holds=(0.46,)))
    change(project, "Toys copy.", "Toys do copy.")
    source, lock = (project / "claims/toy/test_toy.py").read_bytes(), (project / "claims" / NAME).read_bytes()
    with pytest.raises(DeclarationError, match="underpowered"):
        amend("toy.copies", claims=project / "claims", reason="wording", reports=project / "reports")
    assert (project / "claims/toy/test_toy.py").read_bytes() == source
    assert (project / "claims" / NAME).read_bytes() == lock


@pytest.mark.parametrize(("units", "refused"), [("default=30", True), ("default=200", False)])
def test_an_amendment_with_the_units_that_it_takes_is_registered(project: Path, units: str, *, refused: bool) -> None:
    registered(project)
    reports = calibrated(project, row(measured(project), power=0.46, holds=(0.46,)))
    change(project, "default=24", units)
    if refused:
        with pytest.raises(DeclarationError, match="underpowered"):
            amend("toy.copies", claims=project / "claims", reason="power", reports=reports)
        return
    amendment, _ = amend("toy.copies", claims=project / "claims", reason="power", reports=reports)
    assert amendment.to_version == 2
    forget(project)
    assert registered(project).underpowered == ()


def test_where_templates_are_the_clusters_more_units_are_no_more_power(project: Path) -> None:
    registered(project)
    reports = calibrated(project, row(measured(project, clusters=12), power=0.46, holds=(0.46,), clusters=12))
    change(project, "default=24", "default=2400")
    with pytest.raises(DeclarationError, match="add templates"):
        amend("toy.copies", claims=project / "claims", reason="power", reports=reports)


def test_of_another_design_calibration_says_nothing(project: Path) -> None:
    registered(project)
    reports = calibrated(project, row(measured(project), power=0.46, holds=(0.46,)))
    change(project, "sesoi=0.25", "sesoi=0.5")
    amend("toy.copies", claims=project / "claims", reason="the paper says 0.5", reports=reports)
    assert read_lock(project / "claims" / NAME).claims["toy.copies"].version == 2


def test_a_row_whose_record_is_gone_counts_against_the_claim(project: Path) -> None:
    calibrated(project, row("f" * 64, power=0.46, holds=(0.46,)))
    with pytest.raises(DeclarationError, match="nox -s calibrate"):
        registered(project)


def test_a_withdrawn_claim_and_other_code_need_no_power(project: Path) -> None:
    registered(project)
    reports = calibrated(project, row(measured(project), power=0.46, holds=(0.46,)))
    change(project, "    evidence.decide()", "    evidence.note('n')\n    evidence.decide()")
    amend("toy.copies", claims=project / "claims", reason="a note", reports=reports, code_only=True)
    change(project, (project / "claims/toy/test_toy.py").read_text(encoding="utf-8"), "")
    assert amend("toy.copies", claims=project / "claims", reason="gone", reports=reports)[0].to_version is None
    assert registered(project).underpowered == ()


@pytest.mark.parametrize("text", ["{", "[]", '{"designs": [{"claim": "a"}]}', '{"designs": [{"underpowered": true}]}'])
def test_a_damaged_summary_is_refused_by_name(project: Path, text: str) -> None:
    calibrated(project)
    (project / "reports/calibration/summary.json").write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match=r"summary\.json: not a calibration's summary"):
        registered(project)


def test_the_family_is_asked_at_its_strictest_level(project: Path) -> None:
    one = row("f" * 64, power=0.46, holds=(0.46,))
    two = replace_questions(one, components=2)
    (alone,) = power_on_record(calibrated(project, one)).found.values()
    (family,) = power_on_record(calibrated(project, two)).found.values()
    assert family[0].needed is not None
    assert alone[0].needed is not None
    assert family[0].needed > alone[0].needed
    assert replace(alone[0], needed=None).line().endswith("weakest: 1.0: control 0 (holds in 46%)")


def replace_questions(line: dict[str, Any], *, components: int) -> dict[str, Any]:
    questions = [{**line["questions"][0], "component": f"1.{number}"} for number in range(components)]
    return {**line, "questions": questions}
