"""What is registered, what a changed claim runs into, and who looked before fixing it."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.body import body_sha256
from harness.bound_claim import BoundClaim, Options
from harness.catalog import find_claim
from harness.contrasts import Contrast
from harness.errors import DeclarationError, StatisticsError, StoreError
from harness.evidence import Record, from_json
from harness.filling import check_range, check_repeated, check_treated
from harness.lock import NAME, read_lock, sha256_of, write_lock
from harness.looks import looks, standing, store_folders
from harness.plugin_checks import check_places
from harness.registering import amend, register, stamp_of
from harness.registration import check_registered, with_registration
from harness.session import run, streams_of
from harness.source_version import with_version
from harness.store import write_record, write_run_info
from harness.values import unit_values
from tests.cli.calling import CLAIM as SOURCE
from tests.cli.calling import SUBJECTS
from tests.toy_claim import CLAIM

MODEL = "induction-2l@0"


@pytest.fixture
def claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A claims folder with one claim on three models, not registered yet."""
    monkeypatch.setenv("MECHCLAIMS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "claims" / "toy"
    folder.mkdir(parents=True)
    (folder / "test_toy.py").write_text(SOURCE, encoding="utf-8")
    (folder / "subjects.toml").write_text(SUBJECTS, encoding="utf-8")
    return folder.parent


def change(claims: Path, old: str, new: str, *, file: str = "test_toy.py") -> None:
    path = claims / "toy" / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    forget(path)


def forget(path: Path) -> None:
    """A file that was imported is imported again: what another process would see."""
    for name, module in list(sys.modules.items()):
        if getattr(module, "__file__", None) == str(path.resolve()):
            del sys.modules[name]


def bound(claims: Path, *, model: str = MODEL, **options: object) -> BoundClaim:
    entry = find_claim("toy.copies", claims=claims)
    return BoundClaim(entry.claim, entry.test, entry.source, entry.mechanism, model, Options(**options))  # type: ignore[arg-type]


def amended(claims: Path, reason: str = "a reason", **rest: Any):
    found = amend("toy.copies", claims=claims, reason=reason, **rest)
    forget(claims / "toy" / "test_toy.py")
    return found


# -- registering -------------------------------------------------------------------------------------------------


def test_a_claim_is_registered_on_every_model_with_a_verdict_and_then_passes(claims: Path) -> None:
    check_registered(bound(claims))  # nothing is registered: free, and said to be
    found = register(claims)
    assert found.new == tuple(("toy.copies", f"induction-2l@{seed}") for seed in range(3))
    entry = read_lock(claims / NAME).claims["toy.copies"]
    assert entry.declaration_hash == bound(claims).claim.hash()
    assert entry.models[MODEL].subjects == {"copier": "1.0"}
    assert entry.models[MODEL].expectation == "supported"
    assert entry.protocol["interval"] == {"from 12 clusters": "bootstrap-t", "from 50 clusters": "bca"}
    check_registered(bound(claims))
    assert register(claims).new == ()


def test_registering_again_changes_no_byte_and_a_new_model_leaves_the_others_as_they_were(claims: Path) -> None:
    register(claims, models=(MODEL,))
    before = read_lock(claims / NAME).claims["toy.copies"].models[MODEL]
    text = (claims / NAME).read_bytes()
    register(claims, models=(MODEL,))
    assert (claims / NAME).read_bytes() == text
    assert register(claims).new == (("toy.copies", "induction-2l@1"), ("toy.copies", "induction-2l@2"))
    assert read_lock(claims / NAME).claims["toy.copies"].models[MODEL] == before


def test_registering_moves_no_prompt(claims: Path) -> None:
    claim = bound(claims).claim
    before = streams_of(claim, fingerprint="f", data_seed=0).for_("prompts").random(4)
    register(claims)
    claim = bound(claims).claim
    np.testing.assert_array_equal(streams_of(claim, fingerprint="f", data_seed=0).for_("prompts").random(4), before)
    # The seeds' key as it was before there was a lock: claims that were measured keep their prompts.
    key = ("confirmation", claim.id, str(claim.version), claim.hash(), "f", "0")
    assert streams_of(claim, fingerprint="f", data_seed=0).key == key


def test_inconclusive_can_be_registered(claims: Path) -> None:
    with (claims / "toy" / "subjects.toml").open("a", encoding="utf-8") as file:
        file.write(f'\n[expectations."toy.copies"]\n"{MODEL}" = {{ verdict = "inconclusive", reason = "16 units" }}\n')
    register(claims)
    assert read_lock(claims / NAME).claims["toy.copies"].models[MODEL].expectation == "inconclusive"


def test_what_cannot_be_registered_is_refused_by_name(claims: Path) -> None:
    with pytest.raises(DeclarationError, match=r"no claim 'toy\.copy'.*Did you mean 'toy\.copies'"):
        register(claims, ids=("toy.copy",))
    with pytest.raises(DeclarationError, match=r"no verdict is on record for toy\.copies on model 'gpt2-small'"):
        register(claims, models=("gpt2-small",))
    assert not (claims / NAME).exists()


def test_the_commit_is_recorded_and_whether_claims_differ_from_it(claims: Path) -> None:
    assert stamp_of(claims).commit == ""
    git = ["git", "-C", str(claims), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "claims"]):
        subprocess.run([*git, *words], check=True)
    clean = stamp_of(claims)
    assert re.fullmatch("[0-9a-f]{40}", clean.commit)
    assert not clean.uncommitted
    register(claims)
    assert not stamp_of(claims).uncommitted, "the lock itself is written after the commit that it names"
    change(claims, "0.25", "0.2")
    assert stamp_of(claims).uncommitted


# -- runs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("test_toy.py", "sesoi=0.25", "sesoi=0.1", "sesoi: registered 0.25, now 0.1"),
        ("test_toy.py", "default=24", "default=48", "units.default: registered 24, now 48"),
        ("test_toy.py", '"other toys", "component"', '"other toys", "same-dose"',
         "controls[other toys].kind: registered 'component', now 'same-dose'"),
        ("test_toy.py", 'alternative="greater"', 'alternative="less"', "alternative: registered 'greater', now 'less'"),
        ("test_toy.py", 'statement="Toys copy."', 'statement="Toys err."', "statement: registered 'Toys copy.', now"),
        ("subjects.toml", 'selected_by = "s"', 'settings = { dose = 4.0 }\nselected_by = "s"',
         f"heads.copier ({MODEL}): registered '1.0', now '1.0; dose = 4.0'"),
        ("subjects.toml", 'heads = ["1.0"]', 'heads = ["1.1"]',
         f"heads.copier ({MODEL}): registered '1.0', now '1.1'"),
    ],
)  # fmt: skip
def test_a_changed_claim_fails_with_the_field_and_the_command(claims, file, old, new, said) -> None:
    register(claims)
    change(claims, old, new, file=file)
    with pytest.raises(DeclarationError) as error:
        check_registered(bound(claims))
    assert said in str(error.value)
    assert 'mechclaims amend toy.copies --reason "..."' in str(error.value)
    with pytest.raises(DeclarationError, match="is not what was registered"):
        run("toy.copies", model=MODEL, claims=claims)


def test_a_changed_verdict_and_a_model_that_was_taken_out_fail(claims: Path) -> None:
    register(claims)
    with (claims / "toy" / "subjects.toml").open("a", encoding="utf-8") as file:
        file.write(f'\n[expectations."toy.copies"]\n"{MODEL}" = {{ verdict = "refuted", reason = "it is" }}\n')
    with pytest.raises(DeclarationError, match="registered 'supported', now 'refuted'"):
        check_registered(bound(claims))
    check_registered(bound(claims, model="induction-2l@1"))
    (claims / "toy" / "subjects.toml").write_text("", encoding="utf-8")
    with pytest.raises(DeclarationError, match=r"heads\.copier \(induction-2l@0\): registered '1\.0', now nothing"):
        check_registered(bound(claims))


def test_a_changed_protocol_of_the_library_fails(claims: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(claims)
    monkeypatch.setattr("harness.registration.RESAMPLES", 99)
    with pytest.raises(DeclarationError, match="resamples: registered 9999, now 99"):
        check_registered(bound(claims))


def test_exploratory_runs_are_free_and_a_model_without_an_entry_is_not_registered(claims: Path) -> None:
    register(claims, models=(MODEL,))
    record = Record({"id": "toy.copies"}, {"id": MODEL}, {"data_seed": 0}, {}, "pytest")
    said = with_registration(record, bound(claims)).claim["registration"]
    assert said["state"] == "registered"
    assert said["sha256"] == read_lock(claims / NAME).claims["toy.copies"].sha256(MODEL)
    other = with_registration(record, bound(claims, model="induction-2l@1"))
    assert other.claim["registration"] == {"state": "not registered"}
    change(claims, "sesoi=0.25", "sesoi=0.1")
    for options in ({"subjects": ("1.1",)}, {"n_units": 12}):
        free = bound(claims, **options)
        check_registered(free)
        assert with_registration(record, free).claim["registration"] == {"state": "exploratory"}
    with pytest.raises(DeclarationError, match="sesoi"):  # its declaration is what is registered, on any model
        check_registered(bound(claims, model="induction-2l@1"))


def test_what_is_said_of_a_registration_is_no_part_of_the_content(claims: Path) -> None:
    record = Record({"id": "toy.copies"}, {"id": MODEL}, {"data_seed": 0}, {}, "pytest")
    said = with_registration(record, bound(claims))
    assert len(said.claim["body_sha256"]) == 64
    assert said.content_hash == replace(record, schema=1).content_hash == record.content_hash
    assert from_json(said.to_json(), where="memory").claim == said.claim


@pytest.mark.parametrize("schema", [1, 2])
def test_records_of_every_schema_are_read(schema: int) -> None:
    text = (Path(__file__).parent / "records" / f"schema-{schema}.json").read_text(encoding="utf-8")
    record = from_json(text, where="sample")
    assert (record.schema, record.verdict) == (schema, "supported")
    # Written when only schema 1 existed; the same measurement in schema 2 has the same hash.
    assert record.content_hash == "8be9cce751a49fabc93b0747f168fdadd6816e0e1859a0bc433335db6ccda0ed"


# -- the code that measures ----------------------------------------------------------------------------------------


MEASURED = '''
"""A module."""
from harness.claim import claim
from fixtures.sums import draw

N = 3

def helper(x: int) -> int:
    """Say what it does."""
    return x + N  # why

def unused(x):
    return x

@claim(id="toy.copies", sesoi=1)
def test_it(model):
    helper(draw(2))
'''


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("  # why", "  # another comment", True),
        ("Say what it does", "Say it otherwise", True),
        ("x: int) -> int", "x)", True),
        ("    return x\n", "    return -x\n", True),
        ("sesoi=1", "sesoi=2", True),  # declared: field by field in the lock
        ("x + N", "x - N", False),
        ("N = 3", "N = 4", False),
        ("draw(2)", "draw(3)", False),
    ],
)
def test_the_codes_hash_sees_what_is_run_and_no_more(tmp_path: Path, old: str, new: str, *, same: bool) -> None:
    hashes = []
    for number, text in enumerate((MEASURED, MEASURED.replace(old, new))):
        hashes.append(body_of(tmp_path / str(number), text, "def draw(n):\n    return n\n"))
    assert (hashes[0] == hashes[1]) is same


def test_the_codes_hash_follows_imports_of_the_project(tmp_path: Path) -> None:
    sums = ("def draw(n):\n    return n\n", "def draw(n):\n    return n + 1\n", "def draw(n):\n    return n\n\nX = 1\n")
    first, changed, more = (body_of(tmp_path / str(i), MEASURED, text) for i, text in enumerate(sums))
    assert first != changed
    assert first == more


@pytest.mark.parametrize(
    ("top", "body"),
    [
        ("import fixtures.sums as sums", "sums.draw(2)"),
        ("import fixtures.sums", "fixtures.sums.draw(2)"),
        ("import fixtures.sums, fixtures.other", "fixtures.sums.draw(2)"),
        ("import fixtures.sums\nimport fixtures.other", "fixtures.sums.draw(2)"),
        ("import fixtures", "fixtures.handed_on(2)"),
        ("import fixtures as given", "given.handed_on(2)"),
        ("from fixtures import sums", "sums.draw(2)"),
        ("", "import fixtures.sums as sums; sums.draw(2)"),
        ("", "import fixtures.sums; fixtures.sums.draw(2)"),
    ],
)
def test_the_codes_hash_follows_every_form_of_import(tmp_path: Path, top: str, body: str) -> None:
    text = MEASURED.replace("from fixtures.sums import draw", top).replace("helper(draw(2))", body)
    sums = ("def draw(n):\n    return n\n", "def draw(n):\n    return n + 1\n", "def draw(n):\n    return n  # same\n")
    first, changed, same = (body_of(tmp_path / str(i), text, each) for i, each in enumerate(sums))
    assert first != changed
    assert first == same


def test_the_codes_hash_does_not_depend_on_the_files_encoding(tmp_path: Path) -> None:
    text = MEASURED.replace("helper(draw(2))", "helper(draw(2), 'ü')")
    latin = f"# -*- coding: latin-1 -*-\n{text}".encode("latin-1")
    assert body_of(tmp_path / "0", text, "def draw(n): ...\n") == body_of(tmp_path / "1", latin, "def draw(n): ...\n")


def body_of(root: Path, test: str | bytes, sums: str) -> str:
    (root / "claims" / "toy").mkdir(parents=True)
    (root / "fixtures").mkdir()
    (root / "fixtures" / "sums.py").write_text(sums)
    (root / "fixtures" / "other.py").write_text("X = 1\n")
    (root / "fixtures" / "__init__.py").write_text("from fixtures.sums import draw as handed_on\n")
    path = root / "claims" / "toy" / "test_it.py"
    path.write_bytes(test if isinstance(test, bytes) else test.encode())
    test = test if isinstance(test, str) else test.decode("latin-1")
    scope: dict[str, object] = {"__name__": "toy"}
    without_imports = re.sub(r"^(from|import) fixtures.*$", "draw = abs", test, flags=re.MULTILINE)
    code = compile(without_imports, str(path.resolve()), "exec")
    exec(code, scope)
    return body_sha256(scope["test_it"], root=root)  # type: ignore[arg-type]


def test_other_code_is_said_and_can_be_accepted_without_new_prompts(claims: Path) -> None:
    register(claims)
    before = read_lock(claims / NAME).claims["toy.copies"]
    change(claims, "    evidence.decide()", "    evidence.note('new')\n    evidence.decide()")
    entry = bound(claims)
    check_registered(entry)  # a warning, no failure
    record = Record({"id": "toy.copies"}, {"id": MODEL}, {"data_seed": 0}, {}, "pytest")
    assert with_registration(record, entry).claim["registration"]["same_body"] is False
    assert register(claims, write=False).other_code == ("toy.copies",)
    amendment, rewritten = amended(claims, "a note for the reader", code_only=True)
    assert (rewritten, amendment.from_version, amendment.to_version) == (None, 1, 1)
    after = read_lock(claims / NAME).claims["toy.copies"]
    assert (after.declaration, after.stamp, after.models) == (before.declaration, before.stamp, before.models)
    assert with_registration(record, bound(claims)).claim["registration"]["same_body"] is True
    assert standing(read_lock(claims / NAME), ())["claims"]["toy.copies"]["earlier_code"] == [before.body_sha256[:12]]
    change(claims, "sesoi=0.25", "sesoi=0.1")
    with pytest.raises(DeclarationError, match="not only its code differs"):
        amended(claims, code_only=True)


# -- amending ----------------------------------------------------------------------------------------------------


def test_an_amended_claim_passes_with_new_prompts_and_its_reason_on_record(claims: Path) -> None:
    register(claims)
    old = read_lock(claims / NAME).claims["toy.copies"]
    before = bound(claims).claim
    change(claims, "sesoi=0.25", "sesoi=0.1")
    amendment, rewritten = amended(claims, "the paper says 0.1")
    assert rewritten is not None
    assert "version=2" in rewritten.diff()
    now = bound(claims)
    assert now.claim.version == 2
    check_registered(now)
    draws = [streams_of(one, fingerprint="f", data_seed=0).for_("prompts").random() for one in (before, now.claim)]
    assert draws[0] != draws[1]
    lock = read_lock(claims / NAME)
    assert lock.claims["toy.copies"].amendments == (amendment,)
    assert (amendment.reason, amendment.from_version, amendment.to_version) == ("the paper says 0.1", 1, 2)
    assert [one.line() for one in amendment.changes] == [
        "sesoi: registered 0.25, now 0.1", "version: registered 1, now 2"
    ]  # fmt: skip
    assert amendment.before[MODEL] == old.sha256(MODEL)
    change(claims, "sesoi=0.1", "sesoi=0.3")
    amended(claims, "again")
    assert [one.to_version for one in read_lock(claims / NAME).claims["toy.copies"].amendments] == [2, 3]


def test_a_version_raised_by_hand_is_kept_and_a_lowered_one_refused(claims: Path) -> None:
    change(claims, 'reason="power"),', 'reason="power"), version=4,')
    register(claims)
    change(claims, "version=4", "version=5")
    amendment, rewritten = amended(claims)
    assert (rewritten, amendment.to_version) == (None, 5)
    change(claims, "version=5", "version=4")
    with pytest.raises(DeclarationError, match="version 4 is lower than the registered 5"):
        amended(claims)


def test_amending_takes_a_registered_claim_that_changed_and_a_reason(claims: Path) -> None:
    with pytest.raises(DeclarationError, match="not registered"):
        amended(claims)
    register(claims)
    with pytest.raises(DeclarationError, match="nothing to amend"):
        amended(claims)
    change(claims, "sesoi=0.25", "sesoi=0.1")
    with pytest.raises(DeclarationError, match="--reason is empty"):
        amended(claims, " ")


def test_a_claim_that_is_gone_is_reported_and_can_be_withdrawn(claims: Path) -> None:
    register(claims)
    source = (claims / "toy" / "test_toy.py").read_text(encoding="utf-8")
    change(claims, source, "")
    assert register(claims, write=False).gone == ("toy.copies",)
    assert amended(claims, "it asked nothing")[0].to_version is None
    assert register(claims, write=False).gone == ()
    with pytest.raises(DeclarationError, match="withdrawn already"):
        amended(claims)
    (claims / "toy" / "test_toy.py").write_text(source, encoding="utf-8")
    forget(claims / "toy" / "test_toy.py")
    with pytest.raises(DeclarationError, match="withdrawn: registered True, now False"):
        check_registered(bound(claims))
    assert amended(claims, "and yet")[0].to_version == 2
    check_registered(bound(claims))


def test_a_model_that_is_gone_is_reported_and_taken_out_by_an_amendment(claims: Path) -> None:
    register(claims)
    text = SUBJECTS.split("\n[models", 1)[0]  # induction-2l@0 alone
    (claims / "toy" / "subjects.toml").write_text(text, encoding="utf-8")
    assert register(claims, write=False).gone == ("toy.copies on induction-2l@1", "toy.copies on induction-2l@2")
    lines = [one.line() for one in amended(claims)[0].changes]
    assert "model (induction-2l@1): registered 'registered', now 'taken out'" in lines
    assert set(read_lock(claims / NAME).claims["toy.copies"].models) == {MODEL}


def test_a_lock_that_cannot_be_written_leaves_the_source_as_it_was(claims, monkeypatch: pytest.MonkeyPatch) -> None:
    register(claims)
    change(claims, "sesoi=0.25", "sesoi=0.1")
    source = (claims / "toy" / "test_toy.py").read_text(encoding="utf-8")

    def full(_: object) -> None:
        raise StoreError("registry.lock: cannot be written (No space left on device)")

    monkeypatch.setattr("harness.registering.write_lock", full)
    with pytest.raises(StoreError, match="No space left"):
        amended(claims)
    assert (claims / "toy" / "test_toy.py").read_text(encoding="utf-8") == source


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("@claim(a=1, version=1)\ndef test_it(): ...\n", "@claim(a=1, version=2)\ndef test_it(): ...\n"),
        ("@claim(a=1)\ndef test_it(): ...\n", "@claim(a=1, version=2)\ndef test_it(): ...\n"),
        ("@claim(\n    a=f(1),\n)\ndef test_it(): ...\n",
         "@claim(\n    a=f(1),\n    version=2,\n)\ndef test_it(): ...\n"),
        ('s = "ü"\r\n@claim(a="ü", version=11)  # ü\r\ndef test_it(): ...\r\n',
         's = "ü"\r\n@claim(a="ü", version=2)  # ü\r\ndef test_it(): ...\r\n'),
        ("@claim(**D, version=1)\ndef test_it(): ...\n", "@claim(**D, version=2)\ndef test_it(): ...\n"),
        ("@claim(version=7)\ndef test_other(): ...\n\n@claim(version=1)\ndef test_it(): ...\n",
         "@claim(version=7)\ndef test_other(): ...\n\n@claim(version=2)\ndef test_it(): ...\n"),
    ],
)  # fmt: skip
def test_only_the_version_of_the_claims_own_decorator_is_rewritten(tmp_path, source, expected) -> None:
    path = tmp_path / "test_it.py"
    path.write_bytes(source.encode())
    assert with_version(path, test="test_it", version=2).after == expected
    assert path.read_bytes() == source.encode()


@pytest.mark.parametrize(
    "source",
    ["@claim(**D)\ndef test_it(): ...\n", "@claim(version=N)\ndef test_it(): ...\n", "def test_it(): ...\n",
     "@declare()\ndef test_it(): ...\n", "@claim(version=True)\ndef test_it(): ...\n",
     "test_it = claim(version=1)(f)\n", "# coding: latin-1\n@claim(version=1)\ndef test_it(): 'ü'\n"],
)  # fmt: skip
def test_a_version_that_does_not_stand_there_is_to_be_raised_by_hand(tmp_path: Path, source: str) -> None:
    path = tmp_path / "test_it.py"
    path.write_bytes(source.encode("latin-1"))
    with pytest.raises(DeclarationError, match="set it to 2 by hand"):
        with_version(path, test="test_it", version=2)


# -- the file ----------------------------------------------------------------------------------------------------


def test_a_damaged_lock_is_refused_by_name(claims: Path) -> None:
    register(claims)
    path = claims / NAME
    text = path.read_text(encoding="utf-8")
    for old, new, said in [
        (text, text[:-200], "not readable as a lock"),
        (text, "[]", "no lock of registered claims"),
        (text, '{"schema": 1}', "an entry is damaged"),
        ('"schema": 1', '"schema": 99', "schema 99 is newer than 1"),
        ('"sesoi": 0.25', '"sesoi": 0.1', "the declaration of toy.copies was edited"),
        ('"copier": "1.0"', '"copier": "1.1"', f"the entry of toy.copies on {MODEL} was edited"),
        ('"expectation": "supported"', '"expectation": "refuted"', "was edited"),
        ('"protocol"', '"protocoll"', "an entry is damaged"),
    ]:
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(StoreError, match=re.escape(said)) as error:
            read_lock(path)
        assert str(error.value).startswith(str(path))
        with pytest.raises(StoreError):
            check_registered(bound(claims))
        with pytest.raises(StoreError):
            register(claims)
        assert path.read_text(encoding="utf-8") == text.replace(old, new), "a damaged lock is not written over"


def test_a_lock_with_impossible_values_is_refused_even_where_its_hashes_fit(claims: Path) -> None:
    register(claims)
    content = json.loads((claims / NAME).read_text(encoding="utf-8"))
    entry = content["claims"]["toy.copies"]
    entry["declaration"]["sesoi"] = -0.25
    entry["declaration_hash"] = sha256_of(entry["declaration"])
    (claims / NAME).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(StoreError, match="was edited"):  # each model's entry covers the declaration
        read_lock(claims / NAME)
    del entry["models"]["induction-2l@1"], entry["models"]["induction-2l@2"]
    models = {MODEL: {**entry["models"][MODEL], "expectation": "true"}}
    content["claims"]["toy.copies"] = {**entry, "models": models}
    one = entry["models"][MODEL]
    deciding = {"declaration_hash": entry["declaration_hash"], "protocol": entry["protocol"], "model": MODEL}
    models[MODEL]["sha256"] = sha256_of({**deciding, "subjects": one["subjects"], "expectation": "true"})
    (claims / NAME).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(StoreError, match=r"verdict 'true' is none of supported.*sesoi -0\.25"):
        read_lock(claims / NAME)


def test_a_lock_comes_back_as_it_was_written(claims: Path) -> None:
    register(claims)
    change(claims, "sesoi=0.25", "sesoi=0.1")
    amended(claims)
    text = (claims / NAME).read_text(encoding="utf-8")
    write_lock(read_lock(claims / NAME))
    assert (claims / NAME).read_text(encoding="utf-8") == text


def test_two_commands_at_once_lose_no_entry(claims: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    models = [f"induction-2l@{seed}" for seed in range(3)]
    running = [spawn.Process(target=_register_one, args=(claims, model)) for model in models]
    for process in running:
        process.start()
    for process in running:
        process.join(60)
        assert process.exitcode == 0
    assert set(read_lock(claims / NAME).claims["toy.copies"].models) == set(models)
    assert [path.name for path in claims.iterdir() if path.name.startswith(".")] == []


def _register_one(claims: Path, model: str) -> None:
    register(claims, models=(model,))


# -- who looked before -------------------------------------------------------------------------------------------


def record_at(at: str, *, model: str = MODEL, value: float = 1.0, **rest: object) -> Record:
    claim = {"id": "toy.copies", "version": 1}
    judged = {"verdict": "supported", "outcomes": [], "value": value}
    seeds = {"data_seed": 0, "split": "confirmation"}
    return Record(claim, {"id": model}, seeds, {}, "pytest", **{"judgement": judged, "cost": {"at": at}, **rest})  # type: ignore[arg-type]


def run_of(reports: Path, name: str, *records: Record, started: str = "") -> Path:
    folder = reports / "runs" / name
    for record in records:
        write_record(record, folder=folder)
    if started:
        write_run_info({"started": started}, folder=folder)
    return folder


def test_measurements_from_before_are_counted_once_each(tmp_path: Path) -> None:
    first, later = record_at("2026-01-01T10:00:00Z"), record_at("2026-03-01T10:00:00Z", value=2.0)
    run_of(tmp_path, "20260101T090000Z_a", first, started="2026-01-01T09:00:00Z")
    run_of(tmp_path, "20260102T090000Z_a", replace(first, cost={}), started="2026-01-02T09:00:00Z")  # a copy
    run_of(tmp_path, "20260201T090000Z_a", later, started="2026-02-01T09:00:00Z")  # began before, measured after
    missing = {"judgement": None, "not_run": {"reason": "not here", "remedy": "install it"}}
    run_of(tmp_path, "20260103T090000Z_a", record_at("", **missing))
    found = looks(store_folders(tmp_path), until="2026-02-15T00:00:00Z")
    assert [(look.model, look.at) for look in found] == [(MODEL, "2026-01-01T10:00:00Z")]


def test_an_older_record_has_its_runs_time_and_one_without_any_counts_as_before(tmp_path: Path) -> None:
    run_of(tmp_path, "20260101T090000Z_a", record_at("", value=1.0), started="2026-01-05T00:00:00Z")
    run_of(tmp_path, "20260102T090000Z_killed", record_at("", value=2.0))
    run_of(tmp_path, "unnamed", record_at("", value=3.0))
    found = looks(store_folders(tmp_path), until="2026-02-01T00:00:00Z")
    assert sorted(look.at for look in found) == ["", "2026-01-02T09:00:00Z", "2026-01-05T00:00:00Z"]
    run_of(tmp_path, "20260301T090000Z_later", record_at("", value=4.0))
    assert len(looks(store_folders(tmp_path), until="2026-02-01T00:00:00Z")) == 3


def test_a_record_laid_out_otherwise_is_read_as_well(tmp_path: Path) -> None:
    folder = run_of(tmp_path, "20260101T090000Z_a", record_at("2026-01-01T10:00:00Z"))
    path = next(folder.glob("*.json"))
    before = looks([folder], until="2027")
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True), encoding="utf-8")
    assert looks([folder], until="2027") == before != ()


def test_a_damaged_record_of_the_store_is_named(tmp_path: Path) -> None:
    folder = run_of(tmp_path, "20260101T090000Z_a", record_at(""))
    path = next(folder.glob("*.json"))
    path.write_text("{", encoding="utf-8")
    with pytest.raises(StoreError, match=re.escape(path.name)):
        looks([folder], until="2027")


def test_looks_before_count_for_the_claim_and_for_a_model_that_came_later(claims: Path, tmp_path: Path) -> None:
    def lock_at(**dates: str):
        register(claims)
        lock = read_lock(claims / NAME)
        entry = lock.claims["toy.copies"]
        models = {
            model: replace(one, stamp=replace(one.stamp, date=dates.get(f"s{model[-1]}", dates["claim"])))
            for model, one in entry.models.items()
        }
        entry = replace(entry, stamp=replace(entry.stamp, date=dates["claim"]), models=models)
        return replace(lock, claims={"toy.copies": entry})

    reports = tmp_path / "reports"
    run_of(reports, "20260110T000000Z_a", record_at("2026-01-10T00:00:00Z", model=MODEL))
    run_of(reports, "20260111T000000Z_a", record_at("2026-01-11T00:00:00Z", model="induction-2l@2", value=2.0))
    folders = store_folders(reports)
    # Fixed before both: nobody looked. The declaration after the first: one look, whichever model it was on.
    before = standing(lock_at(claim="2026-01-01T00:00:00Z"), folders)["claims"]["toy.copies"]
    assert before["before"] == 0
    between = standing(lock_at(claim="2026-01-10T12:00:00Z"), folders)["claims"]["toy.copies"]
    assert (between["before"], between["models"]["induction-2l@1"]["before"]) == (1, 1)
    # The declaration stood before both, and the third model was added after its own record.
    added = standing(lock_at(claim="2026-01-01T00:00:00Z", s2="2026-02-01T00:00:00Z"), folders)["claims"]["toy.copies"]
    assert (added["before"], added["models"][MODEL]["before"], added["models"]["induction-2l@2"]["before"]) == (1, 0, 1)


def test_looks_stay_known_when_the_store_is_measured_again(claims: Path, tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    first = run_of(reports, "20260110T000000Z_a", record_at("2026-01-10T00:00:00Z", model=MODEL))
    register(claims, models=(MODEL,), reports=reports)
    run_of(reports, "20260111T000000Z_a", record_at("2026-01-11T00:00:00Z", model="induction-2l@1", value=2.0))
    run_of(reports, "20990111T000000Z_a", record_at("2099-01-11T00:00:00Z", model="induction-2l@1", value=3.0))
    register(claims, reports=reports)
    entry = read_lock(claims / NAME).claims["toy.copies"]
    assert [len(entry.looks), *(len(one.looks) for one in entry.models.values())] == [1, 0, 1, 0]
    before = standing(read_lock(claims / NAME), store_folders(reports))
    shutil.rmtree(first)
    assert standing(read_lock(claims / NAME), store_folders(reports)) == before
    shutil.rmtree(reports / "runs")
    claim = standing(read_lock(claims / NAME), store_folders(reports))["claims"]["toy.copies"]
    assert (claim["before"], claim["models"]["induction-2l@1"]["before"]) == (2, 2)
    change(claims, "sesoi=0.25", "sesoi=0.1")
    run_of(reports, "20260112T000000Z_a", record_at("2026-01-12T00:00:00Z", model=MODEL, value=4.0))
    amended(claims, "because", reports=reports)
    assert len(read_lock(claims / NAME).claims["toy.copies"].looks) == 3


def test_measurements_in_a_cell_of_the_matrix_are_looks(claims: Path, tmp_path: Path) -> None:
    cell = tmp_path / "reports" / "matrix" / "toy__induction-2l@0"
    run_of(cell, "20260101T000000Z_a", record_at("2026-01-01T00:00:00Z"))
    register(claims, reports=tmp_path / "reports")
    lock = read_lock(claims / NAME)
    (look,) = lock.claims["toy.copies"].looks
    assert standing(lock, store_folders(tmp_path / "reports"))["claims"]["toy.copies"]["before"] == 1
    copied = tmp_path / "reports" / "runs" / "20260101T000000Z_a"
    shutil.copytree(cell / "runs" / "20260101T000000Z_a", copied)
    assert [one.name for one in looks(store_folders(tmp_path / "reports"), until="2027")] == [look]


@pytest.mark.parametrize("laid_out", [None, {"sort_keys": True}])
def test_a_renamed_claim_was_looked_at_under_its_former_name(claims: Path, tmp_path: Path, laid_out) -> None:
    def recorded(at: str, value: float) -> Record:
        claim = bound(claims).claim
        record = record_at(at, value=value)
        return replace(record, claim={"id": claim.id, "version": claim.version, "declaration_hash": claim.hash()})

    reports = tmp_path / "reports"
    run = run_of(reports, "20260101T000000Z_a", recorded("2026-01-01T00:00:00Z", 1.0))
    register(claims, reports=reports)
    change(claims, "sesoi=0.25", "sesoi=0.2")  # a sibling that differs in any other field is another claim
    run_of(reports, "20260102T000000Z_a", recorded("2026-01-02T00:00:00Z", 2.0))
    change(claims, "sesoi=0.2,", "sesoi=0.25,")
    if laid_out:
        path = next(run.glob("*.json"))
        path.write_text(json.dumps(json.loads(path.read_text()), **laid_out), encoding="utf-8")
    change(claims, '"toy.copies"', '"toy.repeats"')
    register(claims, reports=reports)
    lock = read_lock(claims / NAME)
    assert lock.claims["toy.repeats"].looks == lock.claims["toy.copies"].looks != ()
    assert standing(lock, store_folders(reports))["claims"]["toy.repeats"]["before"] == 1


def test_a_look_that_is_no_hash_is_damage(claims: Path) -> None:
    register(claims)
    text = (claims / NAME).read_text(encoding="utf-8")
    (claims / NAME).write_text(text.replace('"looks": []', '"looks": ["|a|"]', 1), encoding="utf-8")
    with pytest.raises(StoreError, match="are no hashes"):
        read_lock(claims / NAME)


def test_amending_after_looking_is_set_after_looking(claims: Path, tmp_path: Path) -> None:
    register(claims)
    run_of(tmp_path / "reports", "20260101T000000Z_a", record_at("2026-01-01T00:00:00Z"))
    claim = standing(read_lock(claims / NAME), store_folders(tmp_path / "reports"))["claims"]["toy.copies"]
    assert claim["before"] == 1
    change(claims, "sesoi=0.25", "sesoi=0.1")
    amended(claims, "because")
    claim = standing(read_lock(claims / NAME), store_folders(tmp_path / "reports"))["claims"]["toy.copies"]
    assert claim["before"] == 1
    assert claim["amendments"][0]["changes"][0] == "sesoi: registered 0.25, now 0.1"


# -- values that cannot be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "binary", "treated", "control", "said"),
    [
        ("probability", False, 0.9, 0.1, None),
        ("nats", False, 9.0, -9.0, None),
        ("attention probability", False, 1.0 + 1e-7, -1.2, None),
        ("probability", False, 5.4, 0.1, "the treated values has 5.4, no probability"),
        ("attention probability", False, 0.4, -2.5, "a control has -2.5"),
        ("share of prompts", True, 1.0, 0.35, None),
        ("share of prompts", True, 1.0, 1.5, "a control has 1.5"),
    ],
)
def test_values_that_the_unit_cannot_have_are_refused(unit, binary, treated, control, said) -> None:
    claim = replace(CLAIM, metric=replace(CLAIM.metric, unit=unit, binary=binary))
    rows = [unit_values(np.full((1, 12), one), components=["1.0"], units=[f"u{i}" for i in range(12)])
            for one in (treated, control)]  # fmt: skip
    if said is None:
        check_range(claim, rows[0], control=rows[1])
    else:
        with pytest.raises(StatisticsError, match=re.escape(said)):
            check_range(claim, rows[0], control=rows[1])


def test_a_binary_metric_takes_0_and_1_alone_and_what_stands_in_for_it_against_a_control_may_be_a_share() -> None:
    claim = replace(CLAIM, metric=replace(CLAIM.metric, unit="share of prompts", binary=True))
    units = [f"u{i}" for i in range(12)]
    half = unit_values(np.full((1, 12), 0.5), components=["joint"], units=units)
    with pytest.raises(StatisticsError, match="is binary and has other values"):
        check_treated(claim, half, n_units=12, subject=None)
    check_treated(claim, replace(half, values=np.ones((1, 12))), n_units=12, subject=None)
    check_range(claim, half, control=half)


def test_prompts_repeated_under_other_names_are_refused() -> None:
    claim = replace(CLAIM, metric=replace(CLAIM.metric, unit="nats"))
    drawn = np.random.default_rng(0).normal(size=(2, 64))
    repeated = np.tile(drawn[:, :2], 32)
    units = [f"u{i}" for i in range(64)]

    def asked(values: Any, clusters: Any = None) -> None:
        rows = [unit_values(row[None], components=[name], units=units, clusters=clusters)
                for name, row in zip(("joint", "control", "mean of others"), values, strict=False)]  # fmt: skip
        kinds = ("label", "component")[: len(rows) - 1]
        against = [Contrast("joint", "c", kind, 1.0, rows[0], row) for kind, row in zip(kinds, rows[1:], strict=True)]
        check_repeated(claim, rows[0], contrasts=against)

    with pytest.raises(StatisticsError, match=r"62 of 64 units have the very values .* \('u2' those of 'u0'\)"):
        asked(repeated)
    asked(drawn)
    asked(repeated, [f"c{i % 2}" for i in range(64)])  # one cluster each: they count once
    asked(np.stack([repeated[0], drawn[1]]))  # another control on each: certain, not repeated
    asked(repeated > 0)
    asked(np.round(3 * repeated) / 3)
    asked(np.full((2, 64), 0.123456789))  # no variation, which is said elsewhere

    # Other components are measured as the subject is; what one control draws for each unit does not tell copies apart.
    others = drawn[1].copy()
    copies = np.stack([repeated[0], drawn[1], repeated[1]])
    with pytest.raises(StatisticsError, match=r"62 of 64 units .* in the subject and all other components"):
        asked(copies)
    some = np.stack([drawn[0], others, drawn[0]])
    some[::2, :32] = some[::2, 32:]
    with pytest.raises(StatisticsError, match="32 of 64 units"):
        asked(some)
    some[::2, :4] = drawn[0, :4]
    asked(some)  # fewer than half


# -- under pytest ------------------------------------------------------------------------------------------------


RUNNABLE = """
from harness.claim import Control, Metric, Units, claim, unit_values

@claim(
    id="toy.larger", paper="toy2026", statement="Larger.", metric=Metric("value", unit="nats"), sesoi=0.5,
    sesoi_reason="a toy", alternative="greater", controls=(Control("shuffled", "input"), Control("permuted", "label")),
    rival="noise", exposed_by="shuffled", units=Units(default=24, quick=16, reason="a toy"),
)
def test_larger(weights, evidence, rng):
    units = [f"u{i}" for i in range(evidence.n_units)]
    for name, mean in (("treated", 2.0), ("shuffled", 0.0), ("permuted", 0.0)):
        values = unit_values(rng.for_(name).normal(mean, 0.5, (1, len(units))), components=["model"], units=units)
        evidence.treated(values) if name == "treated" else evidence.control(name, values)
    evidence.decide()
"""


def test_a_run_fails_before_measuring_where_a_threshold_was_lowered(claims: Path) -> None:
    (claims.parent / "conftest.py").write_text('pytest_plugins = ["harness.plugin"]\n')
    change(claims, SOURCE, RUNNABLE)
    said = _pytest(claims)
    assert "1 passed" in said
    assert "not registered: 1 of 1 verdicts" in said
    register(claims, models=(MODEL,))
    said = _pytest(claims)
    assert "1 passed" in said
    assert "not registered" not in said
    (record,) = (json.loads(path.read_text()) for path in sorted(claims.parent.glob("reports/runs/*/toy*.json"))[-1:])
    assert record["claim"]["registration"]["state"] == "registered"
    change(claims, "sesoi=0.5", "sesoi=0.05")
    runs = len(list(claims.parent.glob("reports/runs/*")))
    said = _pytest(claims)
    assert "1 failed" in said or "1 error" in said
    assert "sesoi: registered 0.5, now 0.05" in said
    assert "mechclaims amend toy.larger" in said
    assert len(list(claims.parent.glob("reports/runs/*"))) == runs, "nothing was measured"


def test_a_damaged_lock_stops_a_run_before_its_first_test(claims: Path) -> None:
    (claims / NAME).write_text("{", encoding="utf-8")
    with pytest.raises(pytest.UsageError, match="not readable as a lock"):
        check_places([bound(claims)], reports=claims.parent / "reports")


def _pytest(claims: Path) -> str:
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "pytest", "claims", "--import-mode=importlib", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--model", MODEL],
        cwd=claims.parent, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.stdout + done.stderr
