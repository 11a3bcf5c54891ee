"""What goes wrong around evidence: it is survived with nothing lost, or the run stops and says what and where.

A single record that is cut short, edited or of a newer schema: `test_evidence.py`; `show` and `report` of one:
`cli/test_evidence_commands.py`; a matrix that is killed: `test_matrix.py`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import time
from dataclasses import replace

import pytest

from harness.errors import StoreError
from harness.evidence import SCHEMA
from harness.reporting import RunFolder
from harness.store import open_run, read_record, write_atomically, write_record
from tests.cli.calling import call, refused
from tests.test_evidence import RECORD
from tests.test_plugin import records, suite, tiny_model, toy

pytest_plugins = ["pytester"]
__all__ = ["suite", "tiny_model"]


def claimed(number, **changes):
    return replace(RECORD, claim={"id": f"toy.number-{number}", "version": 1}, **changes)


# -- damaged records ----------------------------------------------------------------------------------------------


def cut_short(text):
    return text[: len(text) // 2]


def edited(text):
    return text.replace("supported", "refuted")


def newer(text):
    return json.dumps(json.loads(text) | {"schema": SCHEMA + 1})


DAMAGED = [(cut_short, "it was cut short"), (edited, "it was edited"), (newer, f"schema {SCHEMA + 1} is newer")]


@pytest.mark.parametrize(("damage", "said"), DAMAGED)
def test_a_damaged_record_stops_whoever_reads_the_run_and_is_named_the_others_stay(tmp_path, damage, said):
    run = RunFolder(tmp_path)
    for number in range(3):
        run.add(claimed(number))
    run.finish(interrupted=False)
    path = sorted(run.path.glob("toy.*"))[1]
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(StoreError, match=said) as error:
        open_run(tmp_path).records()
    assert str(path) in str(error.value)
    assert path.name in refused("report", run.path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert sum(other.claim["id"] != "toy.number-1" for other in map(read_record, _others(run.path, path))) == 2


def _others(folder, path):
    return [each for each in sorted(folder.glob("toy.*")) if each != path]


def test_reading_verifies_ten_thousand_hashes_in_seconds(tmp_path):
    # Measured 2026-11: 0.1 ms for each of these small records; 10,000 of the size of the baseline's in benchmarks/.
    write_record(RECORD, folder=tmp_path)
    (path,) = tmp_path.glob("*.json")
    started = time.process_time()
    for _ in range(500):
        read_record(path)
    assert (time.process_time() - started) / 500 * 10_000 < 10


def test_a_run_whose_summary_is_cut_short_is_refused_by_name(tmp_path):
    run = RunFolder(tmp_path)
    run.add(RECORD)
    (run.path / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(StoreError, match=r"run\.json: not readable"):
        open_run(tmp_path)


# -- a full disk --------------------------------------------------------------------------------------------------


@pytest.fixture
def small_files():
    """No file may grow beyond a size: the kernel itself then refuses to write on, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_where_the_system_cannot_write_on_the_old_file_stays_whole_and_no_half_one_is_left(tmp_path, small_files):
    path = tmp_path / "a.json"
    write_atomically(path, text="old")
    small_files(4096)
    with pytest.raises(StoreError, match=r"a\.json: cannot be written .*; free space or pass --evidence-dir"):
        write_atomically(path, text="x" * 100_000)
    small_files(resource.RLIM_INFINITY)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


FULL = """
import os
import harness.store

pytest_plugins = ["harness.plugin"]
replaced = os.replace

def full(source, target):
    if "seed1" in str(target):
        raise OSError(28, "No space left on device")
    replaced(source, target)

harness.store.os = type("Disk", (), {**{name: getattr(os, name) for name in dir(os)}, "replace": staticmethod(full)})
"""


def test_a_disk_that_fills_stops_the_run_with_one_message_and_keeps_what_was_stored(suite, pytester, monkeypatch):
    monkeypatch.setattr("tests.test_plugin.CONFTEST", FULL)
    seeds = [part for seed in range(4) for part in ("--data-seed", str(seed))]
    result = suite(toy(), *seeds)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    said = str(result.stdout)
    assert "measured (supported), and not stored" in said
    assert "evidence cannot be stored: " in said
    assert "No space left on device" in said
    assert "Traceback" not in said + str(result.stderr)
    assert [record["seeds"]["data_seed"] for record in records(pytester)] == [0]
    run = open_run(pytester.path / "reports")
    assert (run.finished, len(run.records())) == (False, 1)


# -- two runs at once ---------------------------------------------------------------------------------------------


def _write_a_run(reports, worker):
    run = RunFolder(reports)
    for number in range(20):
        run.add(claimed(number, options={"worker": worker}))
    run.finish(interrupted=False)


def test_runs_that_write_at_the_same_time_get_folders_of_their_own_and_latest_names_a_whole_one(tmp_path):
    context = multiprocessing.get_context("fork")
    working = [context.Process(target=_write_a_run, args=(tmp_path, worker)) for worker in range(3)]
    for process in working:
        process.start()
    for process in working:
        process.join(120)
    runs = [open_run(path) for path in sorted((tmp_path / "runs").iterdir())]
    assert len(runs) == 3
    for run in runs:
        assert run.finished
        assert len(run.records()) == 20
        assert len({record.options["worker"] for record in run.records()}) == 1
    assert open_run(tmp_path).path in [run.path for run in runs]
    assert not list((tmp_path / "runs").rglob("*.tmp"))


def test_two_runs_of_one_process_within_a_second_do_not_share_a_folder(tmp_path):
    first = RunFolder(tmp_path)
    first.add(RECORD)
    second = RunFolder(tmp_path)
    second.add(claimed(1))
    assert first.path != second.path
    assert [len(run.finish(interrupted=False)) for run in (first, second)] == [1, 1]


# -- workers ------------------------------------------------------------------------------------------------------


KILLED = """    if evidence.streams.key[-1] == "1" and not os.path.exists("killed"):
        open("killed", "w").close()
        os.kill(os.getpid(), 9)
    units = ["""


@pytest.mark.slow
def test_a_killed_worker_loses_its_own_test_alone_and_the_run_says_so(suite, pytester):
    source = toy(x=("    units = [", KILLED))["test_toy.py"]
    seeds = [part for seed in range(3) for part in ("--data-seed", str(seed))]
    result = suite({"test_toy.py": "import os\n" + source}, *seeds, "-n", "2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*worker gw? died: finished records are kept; the test that it was at*"])
    # xdist gives the rest of the group, the test that crashed among it, to another worker.
    assert {0, 2} <= {record["seeds"]["data_seed"] for record in records(pytester)}
    assert open_run(pytester.path / "reports").finished is False


# -- places that cannot be written --------------------------------------------------------------------------------

NOWHERE = "/proc/no-such-folder"
"""Even root cannot make a folder there."""


def test_workers_are_not_started_for_a_place_that_cannot_be_written(suite):
    result = suite(toy(), "-n", "2", "--evidence-dir", NOWHERE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{NOWHERE}: evidence cannot be written here*"])


def test_a_report_that_cannot_be_written_is_refused_with_its_place(tmp_path):
    run = RunFolder(tmp_path)
    run.add(RECORD)
    run.finish(interrupted=False)
    said = call("report", run.path, "--out", f"{NOWHERE}/out")
    assert said.exit_code == 2
    assert NOWHERE in said.stderr


def test_a_folder_that_becomes_read_only_on_the_way_is_said_once_and_the_run_stays_open(tmp_path, monkeypatch):
    run = RunFolder(tmp_path)
    run.add(RECORD)

    def read_only(*_, **__):
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr("tempfile.mkstemp", read_only)
    with pytest.raises(StoreError, match="Read-only file system"):
        run.add(claimed(1))
    with pytest.raises(StoreError, match="Read-only file system"):
        run.finish(interrupted=False)
    monkeypatch.undo()
    assert (open_run(tmp_path).finished, len(open_run(tmp_path).records())) == (False, 1)
