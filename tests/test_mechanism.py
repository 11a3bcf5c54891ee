"""Folders of claims: what they announce, and importing their files."""

from __future__ import annotations

import sys

import pytest

from harness.errors import DeclarationError
from harness.mechanism import Discovery, import_file, mechanisms, named, open_mechanism


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
