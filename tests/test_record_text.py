"""Records read section by section say what they say when they are parsed whole, and every edit is still found."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.compare.manifest import read_manifest, read_records, write_manifest
from harness.errors import StoreError
from harness.evidence import SCHEMA, Record, plain_from_json
from harness.record_text import some_sections, without_values
from harness.report import for_tables
from harness.store import MANIFEST, Run, open_run, write_record, write_run_info
from tests.report import sample_records

HOSTILE = 'a line\n "measured": {},\n "judgement": null\n}\n \\ "quoted" \u2028 \u00e9 ],'


def record(**changes: Any) -> Record:
    plain = sample_records.record("induction-2l@0")
    plain.pop("content_hash")
    return Record(**{**plain, **changes})


SAMPLES = {
    "measured": record(),
    "hostile text": record(notes=(HOSTILE, "\n "), command=HOSTILE),
    "not run": Record(**{key: value for key, value in sample_records.not_run().items() if key != "content_hash"}),
    "exact": record(measured={}, exact={"distance": 0.1, "population": [0.1, 0.2]}),
    "some units": record(
        measured={
            "treated": {"components": ["1.0"], "values": [[0.1]]},
            "controls": {
                "a": {"units": ["s0", "\n    ]"], "values": [0.1, 0.2]},
                "b": {"units": [], "values": []},
                "c": {"units": 0, "values": [1]},
                "d": {"values": [2]},
            },
            "margins": {"e": {"units": ["s0"], "values": [1]}},
        }
    ),
    "cut in order": record(
        measured={"controls": {name: {"units": ["s0", name], "values": [0.1]} for name in ("a", "b")}}
    ),
    "lists within": record(
        measured={
            "margins": {"a": {"values": [[0.1, 0.2], [0.3]], "relative_to": [[1.0], []], "units": ["s0"]}},
            "controls": {"b": {"deep": {"values": [1, 2], "units": ["s0"]}, "values": [3]}, "c": {"values": [4]}},
        }
    ),
    "what stands for a cut": record(
        measured={"controls": {"a": {"units": ["s0"], "name": "\x000"}, "b": {"name": "\x00", "units": ["s1"]}}}
    ),
    "no components first": record(measured={"controls": {}, "treated": {"values": [[0.1]], "components": ["1.0"]}}),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_sections_are_those_of_the_whole_record(name: str) -> None:
    text = SAMPLES[name].to_json()
    whole = plain_from_json(text, where="x")
    for wanted in (("claim",), ("measured", "judgement", "notes"), tuple(whole)):
        assert some_sections(text, wanted=wanted, where="x") == {section: whole[section] for section in wanted}


@pytest.mark.parametrize("name", SAMPLES)
def test_without_values_a_record_is_what_the_tables_are_made_of(name: str) -> None:
    text = SAMPLES[name].to_json()
    assert for_tables(without_values(text, where="x")) == for_tables(plain_from_json(text, where="x"))


def test_text_laid_out_otherwise_is_parsed_whole() -> None:
    whole = json.loads(SAMPLES["measured"].to_json())
    compact = json.dumps(whole)
    assert some_sections(compact, wanted=("claim",), where="x") == plain_from_json(compact, where="x")
    assert without_values(compact, where="x")["measured"] == whole["measured"]


def test_a_record_without_a_later_section_has_its_default() -> None:
    older = {key: value for key, value in json.loads(SAMPLES["measured"].to_json()).items() if key != "shares"}
    text = json.dumps(older, indent=1) + "\n"
    assert some_sections(text, wanted=("shares",), where="x")["shares"] == []
    assert without_values(text, where="x")["shares"] == []


@pytest.mark.parametrize("read", [without_values, partial(some_sections, wanted=("claim",))])
def test_a_newer_schema_and_what_is_no_record_are_refused(read: Any) -> None:
    text = record(schema=SCHEMA + 1).to_json()
    with pytest.raises(StoreError, match="newer than"):
        read(text, where="x")
    with pytest.raises(StoreError, match="x: no"):
        read('{\n "a": 1\n}\n', where="x")


# -- a run's records ---------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two records with a manifest."""
    for model in ("induction-2l@0", "induction-2l@1"):
        plain = sample_records.record(model)
        plain.pop("content_hash")
        write_record(Record(**plain), folder=tmp_path)
    write_run_info(sample_records.RUN, folder=tmp_path)
    write_manifest(open_run(tmp_path))
    return open_run(tmp_path)


def edited(run: Run, old: str = '"supported"', new: str = '"refuted"') -> Path:
    path = run.record_files()[0]
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize("lean", [False, True])
def test_records_are_read_with_a_manifest_as_without(run: Run, *, lean: bool) -> None:
    def found() -> list[Any]:
        return [for_tables(one) if lean else one for _, one in read_records(run, lean=lean)]

    known = found()
    (run.path / MANIFEST).unlink()
    assert found() == known
    assert len(known) == 2


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"supported"', '"refuted"'),
        ("\n     0.7", "\n     0.8"),  # a unit's value, which tables do not show
        (' "exploratory": false', ' "exploratory":  true'),
    ],
)
def test_an_edited_record_is_refused_by_name(run: Run, old: str, new: str, *, lean: bool) -> None:
    path = edited(run, old, new)
    with pytest.raises(StoreError, match=path.name):
        list(read_records(run, lean=lean))


def test_a_record_whose_hash_in_the_manifest_was_edited_too_is_refused(run: Run) -> None:
    import hashlib

    path = edited(run)
    place = run.path / MANIFEST
    content = json.loads(place.read_text(encoding="utf-8"))
    content["records"][path.name]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    place.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(StoreError, match=r"manifest\.json: no manifest of records \(its sha256 does not fit\)"):
        list(read_records(run, lean=True))
    # One that states no sha256 of its own is of an older version: then the content hash is computed of every record.
    del content["sha256"]
    place.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(StoreError, match="content hash does not fit"):
        list(read_records(run, lean=True))


def test_what_is_no_part_of_the_content_may_be_edited_where_nothing_names_the_bytes(run: Run) -> None:
    edited(run, '"seconds": ', '"seconds": 1')
    assert len(list(read_records(run, lean=True))) == 2


def test_line_ends_of_a_checkout_change_nothing(run: Run) -> None:
    known = [one for _, one in read_records(run, lean=True)]
    for path in run.record_files():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert [one for _, one in read_records(run, lean=True)] == known


def test_a_manifest_states_its_own_hash(run: Run) -> None:
    manifest = read_manifest(run.path)
    assert manifest is not None
    assert manifest.sealed
    assert list(manifest.records) == [path.name for path in run.record_files()]
