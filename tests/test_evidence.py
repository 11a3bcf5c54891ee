import json
from dataclasses import replace

import pytest

from harness.compare.manifest import verified, write_manifest
from harness.errors import StoreError
from harness.evidence import SCHEMA, Record, from_json, jsonable
from harness.lock import read_lock
from harness.reporting import RunFolder
from harness.store import (
    Run,
    baseline_of,
    check_writable,
    open_run,
    point_latest,
    read_sanity,
    record_name,
    run_name,
    supported_claims,
    write_atomically,
    write_record,
    write_run_info,
    write_sanity,
)
from tests.paths import REPOSITORY

RECORD = Record(
    claim={"id": "induction.test", "version": 1},
    model={"id": "induction-2l@0"},
    seeds={"data_seed": 0, "split": "confirmation"},
    options={"profile": "default"},
    command="pytest claims/",
    judgement={"verdict": "supported", "outcomes": [{"low": float("-inf"), "high": 0.5}]},
    cost={"seconds": 1.0},
)


def test_a_record_comes_back_from_its_json():
    again = from_json(RECORD.to_json(), where="memory")
    assert again.as_dict() == RECORD.as_dict()
    assert again.judgement["outcomes"][0]["low"] == "-inf"


def test_cost_and_command_do_not_enter_the_hash_and_values_do():
    assert replace(RECORD, cost={"seconds": 9.0}, command="other").content_hash == RECORD.content_hash
    assert replace(RECORD, seeds={"data_seed": 1}).content_hash != RECORD.content_hash


def test_a_record_cut_short_is_refused_by_name():
    with pytest.raises(StoreError, match=r"a\.json: not readable"):
        from_json(RECORD.to_json()[:-40], where="a.json")


def test_a_record_edited_by_hand_is_refused():
    with pytest.raises(StoreError, match="it was edited"):
        from_json(RECORD.to_json().replace("supported", "refuted"), where="a.json")


def test_a_newer_schema_is_refused():
    content = json.loads(RECORD.to_json()) | {"schema": SCHEMA + 1}
    with pytest.raises(StoreError, match="newer"):
        from_json(json.dumps(content), where="a.json")


def test_nan_is_refused_where_it_would_be_stored():
    with pytest.raises(StoreError, match="NaN"):
        jsonable({"value": float("nan")})


def test_a_run_folder_is_found_through_latest(tmp_path):
    folder = tmp_path / "runs" / run_name(commit="abc")
    write_record(RECORD, folder=folder)
    write_run_info({"commit": "abc"}, folder=folder)
    point_latest(folder)
    run = open_run(tmp_path)
    assert run.info["commit"] == "abc"
    assert [record.claim["id"] for record in run.records()] == ["induction.test"]
    assert ":" not in folder.name


def test_models_whose_names_differ_in_separators_alone_have_files_of_their_own(tmp_path):
    ids = ["path:runs/a", "path:runs-a", "path:runs a"]
    for model_id in ids:
        write_record(replace(RECORD, model={"id": model_id}), folder=tmp_path)
        write_sanity({"model": model_id}, folder=tmp_path)
    assert sorted(record.model["id"] for record in Run(tmp_path, {}).records()) == sorted(ids)
    assert sorted(battery["model"] for battery in read_sanity(tmp_path)) == sorted(ids)


def test_the_names_of_the_committed_records_are_those_that_are_written_now():
    for path in (REPOSITORY / "reports" / "baseline").glob("*__seed*.json"):
        claim_id, model_id, seed, *exploratory = path.stem.split("__")
        again = record_name(claim_id, model_id, int(seed.removeprefix("seed")), exploratory=bool(exploratory))
        assert again == path.name


def test_a_run_that_was_killed_is_the_newest_and_is_not_finished(tmp_path):
    before = RunFolder(tmp_path)
    before.add(RECORD)
    before.finish(interrupted=False)
    assert open_run(tmp_path).finished
    killed = RunFolder(tmp_path, path=tmp_path / "runs" / "29990101T000000Z_abc-1")
    killed.add(RECORD)  # and nothing after it
    found = open_run(tmp_path)
    assert (found.path, found.finished, len(found.records())) == (killed.path, False, 1)
    assert found.info["finished"] is None


def test_records_without_a_summary_are_a_run_that_was_not_finished(tmp_path):
    for name in ("20260131T120000Z_a-1", "20260201T120000Z_a-1"):
        write_record(RECORD, folder=tmp_path / "runs" / name)
    (tmp_path / "null-worlds.json").write_text("{}")
    for place in (tmp_path, tmp_path / "runs" / "20260201T120000Z_a-1"):
        run = open_run(place)
        assert (run.path.name, run.finished) == ("20260201T120000Z_a-1", False)
    point_latest(tmp_path / "runs" / "cleared-away")
    assert open_run(tmp_path).path.name == "20260201T120000Z_a-1"


@pytest.mark.parametrize("content", [b"\xff\xfer\x00u\x00n\x00", b"runs/\x00", b"runs/a\nruns/b", b"x" * 5000])
def test_a_damaged_latest_is_named_with_what_to_do(tmp_path, content):
    run = tmp_path / "runs" / "20260201T120000Z_a-1"
    write_record(RECORD, folder=run)
    (tmp_path / "latest").write_bytes(content)
    with pytest.raises(StoreError, match=r"latest: .*Remove it: the newest run is then found by the names"):
        open_run(tmp_path)
    assert open_run(run).path == run, "a run that is named needs no `latest`"


@pytest.mark.parametrize("name", ["run.json", "manifest.json", "a.json", "sanity/a.json", "registry.lock"])
def test_a_file_that_is_no_text_is_named(tmp_path, name):
    write_record(RECORD, folder=tmp_path)
    (tmp_path / "sanity").mkdir()
    (tmp_path / name).write_bytes(b"\xff\xfe")
    with pytest.raises(StoreError, match=name):
        verified(open_run(tmp_path)) if name != "registry.lock" else read_lock(tmp_path / name)


def test_a_manifest_is_not_written_of_what_is_no_text(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    with pytest.raises(StoreError, match=r"a\.json: cannot be read as a record"):
        write_manifest(Run(tmp_path, {}))


def test_a_folder_without_a_run_says_what_makes_one(tmp_path):
    with pytest.raises(StoreError, match="pytest claims/"):
        open_run(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_half_one(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomically(path, text="old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(StoreError, match="No space left"):
        write_atomically(path, text="new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ['{"schema": 1}', '{"schema": "x"}', '{"schema": 2}', "[]", "{"])
def test_what_is_no_record_is_refused_by_name(text):
    with pytest.raises(StoreError, match=r"^a\.json: "):
        from_json(text, where="a.json")


def test_the_baseline_of_a_mechanism_lies_in_its_project(tmp_path):
    mechanism = tmp_path / "claims" / "toy"
    mechanism.mkdir(parents=True)
    assert baseline_of(mechanism) is None
    baseline = tmp_path / "reports" / "baseline"
    baseline.mkdir(parents=True)
    assert baseline_of(mechanism) == baseline
    assert baseline_of(tmp_path / "claims") == baseline


def test_the_baseline_names_the_claims_that_are_supported_somewhere(tmp_path):
    write_record(RECORD, folder=tmp_path)
    write_record(replace(RECORD, claim={"id": "toy.given", "version": 1}, exploratory=True), folder=tmp_path)
    refuted = {"verdict": "refuted", "outcomes": []}
    write_record(replace(RECORD, claim={"id": "toy.refuted", "version": 1}, judgement=refuted), folder=tmp_path)
    write_run_info({}, folder=tmp_path)
    assert {(each.claim, each.version) for each in supported_claims(tmp_path)} == {("induction.test", 1)}


def test_an_edited_or_cut_record_of_the_baseline_is_refused_by_name(tmp_path):
    path = write_record(replace(RECORD, judgement={"verdict": "refuted", "outcomes": []}), folder=tmp_path)
    assert supported_claims(tmp_path) == frozenset()
    path.write_text(path.read_text().replace("refuted", "supported"))  # no measurement said so
    with pytest.raises(StoreError, match=rf"{path.name}: its content hash does not fit"):
        supported_claims(tmp_path)
    path.write_text("{")
    with pytest.raises(StoreError, match=rf"{path.name}: not readable as JSON"):
        supported_claims(tmp_path)


def test_a_place_is_tried_without_leaving_a_trace_and_refused_where_it_cannot_be_written(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="evidence cannot be written here"):
        check_writable(tmp_path / "file" / "below")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
