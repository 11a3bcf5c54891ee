"""Claims by models: what is finished, what is measured again, and that a kill at any moment loses no record."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from harness.cli import main
from harness.commands.matrix import _check, _report
from harness.errors import DeclarationError, ModelError, StoreError
from harness.evidence import from_json
from harness.matrix import Asked, cells, combined, held, measure_cell, missing
from harness.mechanism import named
from harness.planning import item_slug
from harness.registration import body_of
from harness.store import write_record
from tests.cli.calling import CLAIM as WITH_SUBJECT
from tests.paths import REPOSITORY
from tests.sharp_model import save_sharp_model
from tests.test_plugin import CLAIM, CONFTEST

SECOND = """

@claim(**{**DECLARATION, "id": "toy.second"})
def test_second(model, evidence, rng):
    if WAIT:
        open("waiting", "w").close()
        time.sleep(WAIT)
    test_larger(model, evidence, rng)
"""
HEAD = """
import os
import time
WAIT = float(os.environ.get("TOY_WAIT", "0"))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A project with one mechanism of two claims; each run of a body adds a line to `measured`."""
    folder = tmp_path_factory.mktemp("project")
    toy = folder / "claims" / "toy"
    toy.mkdir(parents=True)
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    counted = CLAIM.replace("EFFECT", "2.0").replace(
        "    evidence.decide()", '    open("measured", "a").write(evidence.claim.id + "\\n")\n    evidence.decide()'
    )
    (toy / "test_toy.py").write_text(HEAD + counted + SECOND, encoding="utf-8")
    save_sharp_model(folder / "tiny.safetensors")
    return folder


@pytest.fixture
def asked(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return Asked(Path("claims"), Path("reports/matrix"), models=(f"path:{place / 'tiny.safetensors'}",))


def lines(place):
    path = place / "measured"
    return path.read_text(encoding="utf-8").split() if path.exists() else []


OPTIONS = ("--import-mode=importlib", "-p", "no:cacheprovider", "-q")


@pytest.mark.slow
def test_a_killed_cell_keeps_what_was_finished_and_goes_on_with_the_rest(place, asked):
    (cell,) = cells(asked)
    assert [entry.claim.id for entry, _ in missing(cell)] == ["toy.larger", "toy.second"]
    code = f"from harness.cli import main; main(['matrix', '--model', {asked.models[0]!r}, '--', *{OPTIONS!r}])"
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "TOY_WAIT": "120"}, start_new_session=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + 240
    while not (place / "waiting").exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)  # the command and the pytest process that it started
    process.wait()
    assert lines(place) == ["toy.larger"]
    assert list(held(cell).records) == [("toy.larger", 0)]
    assert [run.finished for run in held(cell).runs] == [False]
    _, info, _ = combined(asked)
    assert (info["interrupted"], info["options"]["unfinished cells"]) == (True, 1)

    said = []
    assert measure_cell(cell, say=said.append, options=OPTIONS)
    assert said == [f"{cell.name}: 1 of 2 to measure"]
    assert lines(place) == ["toy.larger", "toy.second"]
    assert measure_cell(cell, say=said.append, options=OPTIONS)
    assert said[-1] == f"{cell.name}: finished, 2 records"
    assert lines(place) == ["toy.larger", "toy.second"]
    records, info, names = combined(asked)
    assert {record["claim"]["id"] for record in records} == {"toy.larger", "toy.second"}
    assert info["interrupted"] is False
    assert [one["model"] for one in info["sanity"]] == list(asked.models)
    assert all((asked.out / name).is_file() for name in names.values())


def claim_section(cell, claim_id):
    entry = next(entry for entry in cell.claims if entry.claim.id == claim_id)
    return {"id": claim_id, "version": 1, "declaration_hash": entry.claim.hash()}


def measured(path, cell, *, claim_id="toy.larger", **changes):
    """A record as a run of this cell leaves it."""
    from harness.evidence import Record

    record = Record(
        claim=claim_section(cell, claim_id), model={"id": cell.model_id},
        seeds={"data_seed": 0}, options={"profile": "default"}, command="pytest", judgement={"verdict": "supported"},
    )  # fmt: skip
    return write_record(replace(record, **changes), folder=cell.folder / "runs" / path)


@pytest.fixture
def cell(asked, tmp_path):
    (found,) = cells(replace(asked, out=tmp_path))
    return found


def test_only_whole_records_of_the_present_declaration_profile_and_seed_count(cell):
    measured("20260101T000000Z_a-1", cell)
    assert list(held(cell).records) == [("toy.larger", 0)]
    for changes in (
        {"claim": {"id": "toy.second", "version": 1, "declaration_hash": "of another declaration"}},
        {"claim_id": "toy.second", "options": {"profile": "quick"}},
        {"claim_id": "toy.second", "options": {"profile": "default", "dtype": "float64"}},
        {"claim": {**claim_section(cell, "toy.second"), "body_sha256": "f" * 64}},
        {"claim_id": "toy.second", "seeds": {"data_seed": 1}},
        {"claim_id": "toy.second", "exploratory": True},
        {"claim_id": "toy.second", "model": {"id": "another"}},
        {"claim_id": "toy.second", "judgement": None, "not_run": {"reason": "not here", "remedy": "bring it"}},
    ):
        measured("20260102T000000Z_a-1", cell, **changes)
        assert list(held(cell).records) == [("toy.larger", 0)], changes


def test_a_record_of_the_present_code_counts(cell):
    (entry,) = (entry for entry in cell.claims if entry.claim.id == "toy.larger")
    section = {**claim_section(cell, "toy.larger"), "body_sha256": body_of(entry.test, entry.mechanism)}
    measured("20260101T000000Z_a-1", cell, claim=section)
    assert list(held(cell).records) == [("toy.larger", 0)]


@pytest.fixture
def own_weights(asked, tmp_path):
    """A cell on a copy of the model that may be overwritten, with both records and the stamp of its weights."""
    path = tmp_path / "own.safetensors"
    shutil.copyfile(asked.models[0].removeprefix("path:"), path)
    (found,) = cells(replace(asked, out=tmp_path / "matrix", models=(f"path:{path}",)))
    for claim_id in ("toy.larger", "toy.second"):
        measured("20260101T000000Z_a-1", found, claim_id=claim_id)
    assert measure_cell(found, say=lambda line: None)
    return found, path


def test_other_weights_under_the_same_name_are_measured_again(own_weights, monkeypatch):
    cell, path = own_weights
    before, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as large and as old as the former ones
    assert len(missing(cell)) == 2
    with pytest.raises(StoreError, match="no record of this matrix yet"):
        combined(cell.asked)

    def measure(command, **_):
        for claim_id in ("toy.larger", "toy.second"):
            measured(f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}_a-1", cell, claim_id=claim_id)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("subprocess.run", measure)
    said = []
    assert measure_cell(cell, say=said.append)
    assert said == [f"{cell.name}: 2 of 2 to measure"]
    assert not any(path.parent.name.startswith("20260101") for path, _ in held(cell).records.values())
    path.write_bytes(content)  # the former ones again: the last measurement is not theirs
    assert len(missing(cell)) == 2


def test_weights_that_were_written_again_with_the_same_content_are_the_same(own_weights):
    cell, path = own_weights
    path.write_bytes(path.read_bytes())
    assert not missing(cell)
    stamp = (cell.folder / "weights.json").read_text(encoding="utf-8")
    assert measure_cell(cell, say=lambda line: None)
    renewed = (cell.folder / "weights.json").read_text(encoding="utf-8")
    assert (json.loads(renewed)["since"], renewed != stamp) == ("", True)


def test_a_stamp_that_cannot_be_read_is_named(own_weights):
    cell, _ = own_weights
    (cell.folder / "weights.json").write_text("{}", encoding="utf-8")
    with pytest.raises(StoreError, match=r"weights\.json: cannot be read"):
        held(cell)


@pytest.mark.parametrize(
    ("heads", "reason", "counts"),
    [
        (None, "discovery finds no head", True),
        ("[]", "no head of class 'copier' is known on this model", True),
        ('["1.0"]', "discovery finds no head", False),
        ('["1.0"]', "the model fails the sanity battery (ablation: nothing happens)", True),
    ],
)
def test_a_record_without_heads_counts_while_none_are_registered(tmp_path, heads, reason, counts):
    folder = tmp_path / "claims" / "toy"
    folder.mkdir(parents=True)
    (folder / "test_toy.py").write_text(WITH_SUBJECT, encoding="utf-8")
    classes = '[models."induction-2l@0".classes.copier]\nselected_by = "s"\nsource = "s"\nsplit = "s"\nheads = '
    (folder / "subjects.toml").write_text("" if heads is None else classes + heads, encoding="utf-8")
    asked = Asked(tmp_path / "claims", tmp_path, models=("induction-2l@0",))
    (cell,) = cells(asked)
    measured("20260101T000000Z_a-1", cell, claim_id="toy.copies", judgement={"verdict": "invalid", "reason": reason})
    assert bool(held(cell).records) == counts


@pytest.mark.parametrize("option", ["--dtype=float64", "--dtype", "--n-units", "--subjects=1.0"])
def test_what_makes_records_exploratory_is_refused_since_no_cell_would_be_finished(option):
    with pytest.raises(click.UsageError, match=r"makes exploratory records, which no matrix holds"):
        _check(["-q", option])
    _check(["-q", "-k", "n-units"])


def test_a_damaged_record_is_named_left_as_it_lies_and_measured_again(cell, monkeypatch):
    path = measured("20260101T000000Z_a-1", cell)
    measured("20260101T000000Z_a-1", cell, claim_id="toy.second")
    path.write_text(path.read_text(encoding="utf-8").replace("supported", "refuted"), encoding="utf-8")
    assert list(held(cell).records) == [("toy.second", 0)]
    commands, said = [], []

    class Done:
        returncode = 1

    monkeypatch.setattr("subprocess.run", lambda command, **_: commands.append(command) or Done())
    assert not measure_cell(cell, say=said.append)
    assert "content hash does not fit" in said[0]
    assert str(path) in said[0]
    slug = item_slug(cell.model_id)
    assert commands[0][3] == f"claims/toy/test_toy.py::test_larger[{slug}]"
    assert not any("test_second" in part for part in commands[0])
    assert "toy.larger" in said[-1]
    assert path.exists()


def test_the_newest_run_counts_and_nothing_measured_is_an_error_with_the_way_out(cell):
    with pytest.raises(StoreError, match="mechclaims matrix"):
        combined(cell.asked)
    measured("20260101T000000Z_a-1", cell)
    newer = measured("20260201T000000Z_a-1", cell, judgement={"verdict": "refuted"})
    assert held(cell).records["toy.larger", 0][0] == newer
    (record,), _, names = combined(cell.asked)
    assert record["judgement"]["verdict"] == "refuted"
    assert from_json(newer.read_text(encoding="utf-8"), where="here").content_hash in names


def test_a_model_that_is_no_default_is_reported_once_it_was_measured_and_asked_again(cell):
    unasked = replace(cell.asked, models=())
    assert cell.name not in [one.name for one in cells(unasked)]
    damaged = measured("20260101T000000Z_a-1", cell)
    assert cell.name in [one.name for one in cells(unasked)]
    damaged.write_text("{", encoding="utf-8")
    assert cell.name not in [one.name for one in cells(unasked)]
    measured("20260201T000000Z_a-1", cell)
    records, _, _ = combined(unasked)
    assert [record["model"]["id"] for record in records] == [cell.model_id]


def test_a_cell_that_another_process_measures_is_left_to_it(cell):
    from filelock import FileLock

    cell.folder.mkdir(parents=True)
    said = []
    with FileLock(cell.folder / ".measuring"):
        assert not measure_cell(cell, say=said.append)
    assert "another process is measuring it" in said[-1]


def test_a_cell_that_cannot_be_written_is_refused_by_its_folder(cell):
    cell.folder.parent.mkdir(parents=True, exist_ok=True)
    cell.folder.write_text("a file")
    with pytest.raises(StoreError, match=rf"{cell.name}: cannot be written .*--reports DIR"):
        measure_cell(cell, say=lambda line: None)


def test_an_unknown_model_is_refused_before_anything_is_measured(asked):
    with pytest.raises(ModelError, match="Did you mean 'gpt2-small'"):
        cells(replace(asked, models=("gpt2-smal",)))


def test_an_unknown_mechanism_is_refused_and_either_spelling_is_known(asked):
    with pytest.raises(DeclarationError, match=r"no mechanism 'toi' below claims.* Did you mean 'toy'"):
        cells(replace(asked, mechanisms=("toi",)))
    own = replace(asked, claims=REPOSITORY / "claims", models=("smollm2-135m-q4",))
    for spelling in ("greater-than", "greater_than"):
        (found,) = cells(replace(own, mechanisms=(spelling,)))
        assert found.name == "greater_than__smollm2-135m-q4"
    assert named("greater-than", claims=own.claims).folder == named("greater_than", claims=own.claims).folder


def test_a_folder_with_hyphens_is_found_by_its_name_with_underscores(tmp_path):
    (tmp_path / "my-toy").mkdir()
    (tmp_path / "my-toy" / "test_toy.py").write_text("", encoding="utf-8")
    assert named("my_toy", claims=tmp_path).folder == named("my-toy", claims=tmp_path).folder


def test_a_request_without_a_cell_is_said(asked, capsys):
    request = ["matrix", "--mechanism", "arithmetic", "--model", "gpt2-small", "--do", "measure"]
    with pytest.raises(SystemExit) as ended:
        main([*request, "--claims", str(REPOSITORY / "claims")])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "no claim below" in said
    assert "of arithmetic is about gpt2-small in profile 'default'" in said


def test_the_report_alone_measures_nothing(cell, monkeypatch, capsys):
    monkeypatch.setattr("harness.commands.matrix.combined", lambda asked: (_ for _ in ()).throw(StoreError("empty")))
    monkeypatch.setattr("subprocess.run", None)
    with pytest.raises(SystemExit) as ended:
        main(["matrix", "--do", "report"])
    assert ended.value.code == 2
    assert "empty" in capsys.readouterr().err


def test_the_report_reads_the_looks_of_the_runs_that_it_reports(cell, monkeypatch):
    path = measured("20260101T000000Z_a-1", cell)
    given = {}
    monkeypatch.setattr("harness.commands.matrix.standing_of", lambda lock, **rest: given.update(rest))
    monkeypatch.setattr("harness.report.write_report", lambda records, **rest: rest["out"])
    _report(cell.asked, reports=Path("elsewhere"))
    assert list(given["also"]) == [path.parent]


def test_nox_names_the_models_that_the_claims_are_measured_on():
    source = ast.parse((REPOSITORY / "noxfile.py").read_text(encoding="utf-8"))
    wanted = {"SEEDS", "FAMILIES", "MODELS"}
    assigned = [
        node for node in source.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in wanted
    ]  # fmt: skip
    scope: dict[str, object] = {}
    exec(compile(ast.Module(assigned, type_ignores=[]), "noxfile.py", "exec"), scope)
    found = {cell.model_id for cell in cells(Asked(REPOSITORY / "claims", Path("nowhere")))}
    assert found <= set(scope["MODELS"])  # the models of seeds that are not trained yet may be missing here
