"""`mechclaims compare` and `baseline update`: stored runs held against each other, without a model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.evidence import Record
from harness.store import point_latest, write_record, write_run_info
from tests.cli.calling import call, refused
from tests.report import sample_records

ROOT = Path(__file__).resolve().parents[2]


def store(reports: Path, name: str, *, shift: float = 0.0, models: int = 2) -> Path:
    """A run folder whose treated values are all `shift` higher."""
    run = reports / "runs" / name
    for seed in range(models):
        plain = sample_records.record(f"induction-2l@{seed}")
        plain.pop("content_hash")
        treated = plain["measured"]["treated"]
        treated["values"] = [[value + shift for value in row] for row in treated["values"]]
        write_record(Record(**plain), folder=run)
    write_run_info(sample_records.RUN, folder=run)
    point_latest(run)
    return run


@pytest.fixture
def reports(folder: Path) -> Path:
    store(folder / "reports", "first")
    return folder / "reports"


def test_a_run_compared_with_itself_is_unchanged(reports: Path) -> None:
    assert call("compare", "first", "first").stdout == "no regression: 2 unchanged\n"
    assert call("compare", "first").stdout == "no regression: 2 unchanged\n", "without B: the newest run"


def test_regressions_are_shown_and_fail_only_where_asked(reports: Path) -> None:
    store(reports, "weaker", shift=-0.3)
    shown = call("compare", "first", "weaker")
    assert shown.exit_code == 0
    assert "2 regressions by" in shown.stdout
    failed = call("compare", "first", "weaker", "--fail", "effect:20%")
    assert failed.exit_code == 1
    assert "REGRESSION induction.prefix-matching on induction-2l@0" in failed.stdout
    assert call("compare", "first", "weaker", "--fail", "missing").exit_code == 0


def test_markdown_is_added_to_a_file(reports: Path) -> None:
    page = reports.parent / "summary.md"
    page.write_text("# Before\n", encoding="utf-8")
    call("compare", "first", "first", "--markdown", page)
    assert page.read_text(encoding="utf-8").startswith("# Before\n## Evidence against first\n")


def test_a_page_that_cannot_be_written_is_an_error_and_no_regression(reports: Path) -> None:
    for page in ("nowhere/summary.md", f"{store(reports, 'second')}/run.json/summary.md"):
        assert f"--markdown {page}: cannot be written" in refused("compare", "first", "first", "--markdown", page)


def test_a_bad_expression_or_run_is_refused(reports: Path) -> None:
    assert "Did you mean 'missing'?" in refused("compare", "first", "first", "--fail", "mising")
    assert "there is no such folder" in refused("compare", "nowhere", "first")
    assert "no run folder" in refused("compare", "first", "nowhere")
    assert "no such folder" in refused("compare", "baseline", "first")


def test_the_baseline_is_replaced_on_purpose_and_says_what_changed(reports: Path) -> None:
    assert "now holds 2 records: those of first" in call("baseline", "update", "first").stdout
    assert call("compare", "baseline", "first").stdout == "no regression: 2 unchanged\n"
    store(reports, "less", shift=-0.3, models=1)
    tried = call("baseline", "update", "less", "--dry-run").stdout
    assert "would hold 1 record: those of less" in tried
    replaced = call("baseline", "update", "less").stdout
    assert "1 changed, 1 missing" in replaced
    assert "now holds 1 record" in replaced


def test_naming_the_baseline_itself_writes_its_manifest(reports: Path) -> None:
    call("baseline", "update", "first")
    manifest = reports / "baseline" / "manifest.json"
    manifest.unlink()
    assert "no regression: 2 unchanged" in call("baseline", "update", "baseline").stdout
    assert manifest.is_file()


def test_an_edited_baseline_is_refused_by_name(reports: Path) -> None:
    call("baseline", "update", "first")
    path = next((reports / "baseline").glob("*@1__seed0.json"))
    path.write_text(path.read_text(encoding="utf-8").replace("supported", "refuted"), encoding="utf-8")
    assert f"{path.name} was edited" in refused("compare", "baseline", "first")
    assert "the old baseline is damaged" in call("baseline", "update", "first").stdout


def test_comparing_imports_neither_torch_nor_pytest(reports: Path) -> None:
    code = (
        "import sys\nfrom harness.cli import main\n"
        "main(['compare', 'first', 'first'], standalone_mode=False)\n"
        "print([name for name in ('torch', 'transformers', 'pytest', 'scipy', 'matplotlib') if name in sys.modules])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=reports.parent, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
