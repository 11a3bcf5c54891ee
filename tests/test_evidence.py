import json
from dataclasses import replace

import pytest

from harness.errors import StoreError
from harness.evidence import SCHEMA, Record, from_json, jsonable
from harness.store import open_run, point_latest, run_name, write_atomically, write_record, write_run_info

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
