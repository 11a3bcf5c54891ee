"""`mechclaims show` and `report`: stored evidence, read without a model."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.store import write_run_info
from tests.cli.calling import call, refused
from tests.report import sample_records

ROOT = Path(__file__).resolve().parents[2]


def test_show_prints_a_record_file(stored: Path) -> None:
    path = next(stored.glob("runs/*/*induction-2l@0*.json"))
    shown = call("show", path).stdout
    assert "induction.prefix-matching on induction-2l@0" in shown
    assert "supported" in shown
    assert "Reproduce:" in shown


def test_show_prints_every_record_of_a_claim_or_the_one_of_a_model(stored: Path) -> None:
    assert call("show", "induction.prefix-matching").stdout.count("Reproduce:") == 3
    one = call("show", "induction.prefix-matching", "--model", "induction-2l@1").stdout
    assert one.count("Reproduce:") == 1
    assert "on induction-2l@1" in one


def test_show_takes_a_run_by_name_or_the_baseline(stored: Path) -> None:
    named = next(stored.glob("runs/*"))
    assert call("show", "induction.prefix-matching", "--run", named.name).stdout.count("Reproduce:") == 3
    shutil.copytree(named, stored / "baseline")
    shutil.rmtree(named)
    assert call("show", "induction.prefix-matching", "--run", "baseline").stdout.count("Reproduce:") == 3
    assert "no run folder" in refused("show", "induction.prefix-matching", "--run", "yesterday")


def test_where_there_is_no_run_or_none_of_that_name_those_that_there_are_are_named(stored: Path) -> None:
    (run,) = stored.glob("runs/*")
    for command in (("verify",), ("report",), ("compare",), ("compare", run.name)):
        assert f"Runs that can be named: {run.name}" in refused(*command, "nosuch"), command
    run.rename(stored / "baseline")
    (stored / "latest").unlink()
    said = refused("show", "nosuch")
    assert "no run folder here" in said
    assert "Runs that can be named: baseline" in said
    for number in range(8):
        (stored / "runs" / f"2026013{number}T120000Z_abc").mkdir()
    assert "baseline, 20260137T120000Z_abc, 2" in (said := refused("verify", "nosuch"))
    assert said.rstrip().endswith("20260132T120000Z_abc and 2 older ones")


def test_show_refuses_what_is_no_record(stored: Path) -> None:
    (stored / "cut.json").write_text('{"schema": 1, ', encoding="utf-8")
    (stored / "binary.json").write_bytes(b"\xff\xfe\x00")
    assert "cut short" in refused("show", stored / "cut.json")
    assert "binary.json" in refused("show", stored / "binary.json")
    assert "no record file" in refused("show", stored / "absent.json")
    assert "Did you mean 'induction.prefix-matching'?" in refused("show", "induction.prefix-machting")
    assert "it has: gpt2-small, induction-2l@0" in refused("show", "induction.prefix-matching", "--model", "gpt3")


def test_show_refuses_a_record_that_was_edited(stored: Path) -> None:
    path = next(stored.glob("runs/*/*induction-2l@0*.json"))
    path.write_text(path.read_text(encoding="utf-8").replace('"supported"', '"refuted"', 1), encoding="utf-8")
    assert "edited" in refused("show", path)


def test_report_is_written_without_torch(stored: Path) -> None:
    code = (
        "import sys\nfrom harness.cli import main\n"
        f"main(['report', '--claims', {str(ROOT / 'claims')!r}], standalone_mode=False)\n"
        "print([name for name in ('torch', 'transformers', 'pytest') if name in sys.modules])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=stored.parent, env=environment, check=True, capture_output=True, text=True)
    assert "3 records of 20260131T120000Z_abc (2 supported, 1 not run)" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
    pages = [stored / "EVIDENCE.md", *sorted((stored / "evidence").glob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert "In-context Learning and Induction Heads" in text, "the paper's title, from papers.toml"
    assert next(stored.glob("runs/*/*induction-2l@0*.json")).name in text.replace("\\", ""), "in Markdown, _ is escaped"
    shown = re.findall(r"\((?:\.\./)?(figures/[^)]+)\)", text)
    assert shown
    assert all((stored / figure).is_file() for figure in shown)


def test_report_takes_a_run_by_folder_or_name_and_another_place(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[dict[str, Any]] = []

    def keep(records: list[Any], *, out: Path, **rest: Any) -> Path:  # drawing is tested above
        written.append({"records": len(records), "out": out, **rest})
        return out / "EVIDENCE.md"

    monkeypatch.setattr("harness.report.write_report", keep)
    for named in ("20260131T120000Z_abc", stored / "runs" / "20260131T120000Z_abc"):
        assert call("report", named, "--out", "elsewhere").exit_code == 0
    assert [(one["records"], one["out"], one["papers"]) for one in written] == [(3, Path("elsewhere"), {})] * 2


def test_report_writes_vector_files_beside_the_others_where_asked_the_same_on_every_run(stored: Path) -> None:
    def figures(folder: str, *options: str) -> dict[str, bytes]:
        assert call("report", "--out", folder, *options).exit_code == 0
        return {path.name: path.read_bytes() for path in Path(folder, "figures").iterdir()}

    first, again = figures("a", "--svg"), figures("b", "--svg")
    assert first == again
    stems = {suffix: {name[:-4] for name in first if name.endswith(suffix)} for suffix in (".png", ".svg")}
    assert stems[".png"] == stems[".svg"] != set()
    assert all(b"<svg" in content for name, content in first.items() if name.endswith(".svg"))
    assert figures("a") == {name: content for name, content in first.items() if name.endswith(".png")}
    for other in ("--html", "--no-figures"):
        assert "leave out --html and --no-figures" in call("report", "--svg", other).stderr


def test_report_without_a_run_names_the_command_that_makes_one(folder: Path) -> None:
    assert "pytest claims/" in refused("report")
    assert "no run folder" in refused("report", "no-such-run")


@pytest.mark.parametrize("summary", ["as a kill leaves it", "none"])
def test_a_run_that_was_killed_is_shown_and_reported_as_not_finished(stored: Path, summary: str) -> None:
    run = next(stored.glob("runs/*"))
    if summary == "none":
        (run / "run.json").unlink()
        (stored / "latest").unlink()
    else:
        write_run_info({**sample_records.RUN, "interrupted": True, "finished": None}, folder=run)
    shown = call("show", "induction.prefix-matching")
    assert shown.stdout.count("Reproduce:") == 3
    assert f"note: {run.name} was not finished" in shown.stderr
    reported = call("report")
    assert "3 records" in reported.stdout
    assert "was not finished" in reported.stderr
    assert "This run was not finished" in (stored / "EVIDENCE.md").read_text(encoding="utf-8")


def test_nothing_is_said_of_a_run_that_was_finished(stored: Path) -> None:
    assert call("show", "induction.prefix-matching").stderr == ""
