"""How long evidence takes at scale: 10,000 records read, written as tables, and compared with another 10,000.

The records are those of the report's tests, 24 units, two heads, three controls: 14 kB each. What the claims of this
repository leave behind is 40 kB on average, and takes up to three times as long where records have to be read.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from harness.compare import DEFAULT, write_manifest
from harness.evidence import Record
from harness.store import Run, open_run, write_run_info
from tests.report import sample_records

RECORDS, CLAIMS, MODELS = 10_000, 40, 5
REPORT_SECONDS, COMPARE_SECONDS, MIB = 10.0, 5.0, 1024
ROOT = Path(__file__).resolve().parents[1]


def store(folder: Path, *, rounding: float = 0.0, weaker: int = 0, verdict: str = "") -> Run:
    """A run of 10,000 records; with other rounding errors all differ, and the first `weaker` lost 30 % besides.

    Only for what may be a regression, and for what a table shows, an interval is resampled, 10 ms each. With another
    `verdict` all records have that one, for the same values.
    """
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    write_run_info(sample_records.RUN, folder=folder)
    seeds = RECORDS // (CLAIMS * MODELS)
    texts = [sample_records.record(f"induction-2l@{model}") for model in range(MODELS)]
    for number in range(RECORDS):
        claim, rest = divmod(number, MODELS * seeds)
        model, seed = divmod(rest, seeds)
        plain = json.loads(json.dumps(texts[model]))
        plain["claim"] = sample_records.claim(f"induction.number-{claim}")
        plain["seeds"]["data_seed"] = seed
        if rounding:
            factor = 0.7 if number < weaker else 1.0
            treated = factor * np.asarray(plain["measured"]["treated"]["values"])
            plain["measured"]["treated"]["values"] = (treated + rng.normal(0, rounding, treated.shape)).tolist()
        if verdict:
            plain["judgement"] |= {"verdict": verdict, "reason": f"some bound is in doubt in run {number}"}
        plain.pop("content_hash")
        name = f"induction.number-{claim}__induction-2l@{model}__seed{seed}.json"
        (folder / name).write_text(Record(**plain).to_json(), encoding="utf-8")
    run = open_run(folder)
    write_manifest(run)
    return run


class Runs(NamedTuple):
    """The same 10,000 measurements: as they were, with other rounding, with other verdicts, and truly moved."""

    before: Run
    again: Run
    doubted: Run
    moved: Run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return Runs(
        store(folder / "before"),
        store(folder / "again", rounding=1e-6, weaker=20),
        store(folder / "doubted", verdict="inconclusive"),
        store(folder / "moved", rounding=1e-2),
    )


def seconds(work) -> tuple[float, object]:
    """The faster of two times: what the code costs, without what else the machine was doing."""
    best, found = float("inf"), None
    for _ in range(2):
        start = time.perf_counter()
        found = work()
        best = min(best, time.perf_counter() - start)
    return best, found


def command(*arguments: object) -> str:
    """What the command prints, run in a process of its own: its start is part of the time."""
    code = "import sys\nfrom harness.cli import main\nmain(sys.argv[1:], standalone_mode=False)\n"
    words = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_comparing_a_rerun_of_10_000_records_takes_under_5_seconds(runs):
    took, said = seconds(lambda: command("compare", runs.before.path, runs.before.path))
    assert said.splitlines()[-1] == "no regression: 10000 unchanged"
    assert took < COMPARE_SECONDS


@pytest.mark.parametrize(
    ("name", "rules", "said"),
    [
        ("again", "effect:20%", "20 regressions by effect:20%: "),
        ("moved", "effect:20%", "no regression: 99"),  # of a few effects the mean happens to be where it was
        ("doubted", DEFAULT, f"10000 regressions by {DEFAULT}: 10000 changed"),
    ],
    ids=["other rounding", "all moved within their limits", "all other verdicts"],
)
def test_comparing_10_000_records_that_all_differ_takes_under_5_seconds(runs, name, rules, said):
    other = getattr(runs, name).path
    took, text = seconds(lambda: command("compare", runs.before.path, other, "--fail", rules))
    assert text.splitlines()[-1].startswith(said)
    assert took < COMPARE_SECONDS


def test_reading_10_000_records_and_writing_their_tables_takes_under_10_seconds_and_a_gibibyte(runs, tmp_path):
    took, _ = seconds(lambda: command("report", runs.before.path, "--out", tmp_path, "--no-figures"))
    pages = "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.md"))
    assert pages.count("record again:") >= RECORDS // 50  # one data seed of fifty has a section, the others a row
    assert took < REPORT_SECONDS
    # In KiB on Linux: the largest of this process's children.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024 < MIB
