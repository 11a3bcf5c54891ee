"""Folders of claims: what they announce, and importing their files."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from harness.errors import DeclarationError, SubjectNotFound
from harness.mechanism import Discovery, discovery_streams, import_file, mechanisms, named, open_mechanism
from harness.selection import overlap


@pytest.fixture
def claims(tmp_path):
    """A claims folder with two mechanisms, one of which announces a discovery procedure."""
    before, path = dict(sys.modules), list(sys.path)
    for name in ("first", "second"):
        folder = tmp_path / "claims" / name
        folder.mkdir(parents=True)
        (folder / "test_it.py").write_text("", encoding="utf-8")
    (tmp_path / "claims" / "first" / "mechanism.py").write_text(
        "RAN = []\nRAN.append(1)\ndef discover(model, streams):\n    return 'found'\n", encoding="utf-8"
    )
    (tmp_path / "claims" / "notes").mkdir()
    yield tmp_path / "claims"
    for name in set(sys.modules) - set(before):
        if name.startswith("_mechclaims_"):
            del sys.modules[name]
    sys.path[:] = path


def test_every_folder_with_tests_is_a_mechanism(claims):
    assert list(mechanisms(claims)) == ["first", "second"]


def test_a_mechanism_announces_its_discovery_procedure_or_none(claims):
    assert named("first", claims=claims).discover(None, None) == "found"
    second = open_mechanism(claims / "second")
    assert second.discover is None
    assert second.subjects.models == {}


def test_an_unknown_mechanism_is_answered_with_the_known_ones(claims):
    with pytest.raises(DeclarationError, match=r"there are: first, second\. Did you mean 'first'"):
        named("firts", claims=claims)


def test_a_file_is_imported_once_by_whatever_path_it_is_named(claims, monkeypatch):
    monkeypatch.chdir(claims.parent)
    module = import_file(claims / "first" / "mechanism.py")
    assert import_file(claims.relative_to(claims.parent) / "first" / "mechanism.py") is module
    assert module.RAN == [1]


def test_files_of_one_name_in_two_places_are_two_modules(claims, tmp_path):
    other = tmp_path / "elsewhere" / "claims" / "first"
    other.mkdir(parents=True)
    (other / "mechanism.py").write_text("WHERE = 'elsewhere'\n", encoding="utf-8")
    assert not hasattr(import_file(claims / "first" / "mechanism.py"), "WHERE")
    assert import_file(other / "mechanism.py").WHERE == "elsewhere"
    assert not hasattr(import_file(claims / "first" / "mechanism.py"), "WHERE")


def test_a_file_that_fails_is_tried_again_and_not_found_half_done(claims):
    path = claims / "first" / "mechanism.py"
    path.write_text("START = 1\nraise RuntimeError('half way')\n", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="half way"):
            import_file(path)


def test_claims_can_import_what_lies_beside_their_folder(claims):
    (claims.parent / "beside_the_claims.py").write_text("VALUE = 3\n", encoding="utf-8")
    path = claims / "second" / "mechanism.py"
    path.write_text("from beside_the_claims import VALUE\n", encoding="utf-8")
    assert import_file(path).VALUE == 3


def test_a_discovered_class_is_a_subject_with_its_origin():
    found = Discovery(
        classes={"induction": ("1.0",), "previous-token": ()},
        selected_by={"induction": "prefix-matching score", "previous-token": "attention"},
    )
    subject = found.subject("induction", source="discovered now")
    assert (subject.heads, subject.selected_by, subject.split) == (("1.0",), "prefix-matching score", "discovery")
    for name in ("previous-token", "name-mover"):
        with pytest.raises(DeclarationError, match=f"no head of class '{name}'"):
            found.subject(name, source="discovered now")


MODEL = SimpleNamespace(id="tiny", fingerprint="f" * 64)


def announcing(claims, *, procedure):
    """A mechanism with this discovery procedure."""
    path = claims / "second" / "mechanism.py"
    path.write_text(procedure, encoding="utf-8")
    return open_mechanism(path.parent)


def test_discovery_gets_the_streams_of_the_discovery_split(claims):
    second = announcing(claims, procedure="def discover(model, streams):\n    return model, streams\n")
    assert second.discovered(MODEL) == (MODEL, discovery_streams("second", fingerprint="f" * 64))


def test_a_procedure_that_takes_say_is_heard_and_may_always_call_it(claims):
    second = announcing(
        claims, procedure="def discover(model, streams, *, say):\n    say('step 1')\n    return 'found'\n"
    )
    said = []
    assert second.discovered(MODEL, say=said.append) == "found"
    assert said == ["step 1"]
    assert second.discovered(MODEL) == "found"


def test_a_mechanism_without_a_procedure_says_where_it_belongs(claims):
    with pytest.raises(DeclarationError, match=r"no discovery procedure: define discover.*mechanism\.py"):
        open_mechanism(claims / "second").discovered(MODEL)


STABLE = Discovery(
    classes={"writer": ("1.0", "1.1"), "reader": ("0.1",)},
    selected_by={"writer": "direct effect", "reader": "path effect"},
    frequencies={"writer": {"1.0": 1.0, "0.7": 0.2}},
    half_samples=20,
)


def test_a_subject_knows_how_often_half_samples_select_its_heads():
    subject = STABLE.subject("writer", source="s")
    assert subject.frequencies == {"1.0": 1.0, "1.1": 0.0}  # 1.1 only in the whole sample; 0.7 is no head of the class
    assert subject.half_samples == 20


def test_a_subject_of_a_class_that_nobody_counted_has_no_frequencies():
    subject = STABLE.subject("reader", source="s")
    assert (subject.frequencies, subject.half_samples) == ({}, 0)


def test_an_empty_class_is_not_found_and_stands_among_the_classes_of_the_others():
    found = Discovery({"writer": ("1.0",), "reader": ()}, {"writer": "m", "reader": "m"})
    with pytest.raises(SubjectNotFound, match="discovery found no head of class 'reader'"):
        found.subject("reader", source="s")
    assert found.subject("writer", source="s").classes["reader"] == ()


def test_what_does_not_fit_together_is_refused_with_all_that_is_wrong():
    with pytest.raises(DeclarationError) as caught:
        Discovery(
            classes={"writer": ("1.0",)},
            selected_by={},
            frequencies={"writers": {"1.0": 1.0}},
            overlaps={"reader": overlap([], [], of=4)},
        )
    for said in (
        "frequencies of class 'writers', which is none of writer",
        "overlaps of class 'reader'",
        "class 'writer' has no selected_by",
        "shares of half_samples, which is 0",
    ):
        assert said in str(caught.value)
