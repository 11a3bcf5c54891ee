"""`mechclaims new`: the folder that it makes, and that its claim runs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.catalog import all_claims
from harness.commands.template import HEADS, MODEL
from harness.models.registry import availability, find
from harness.subjects import read_subjects
from tests.cli.calling import call, refused

ROOT = Path(__file__).resolve().parents[2]


def test_new_makes_a_claim_that_holds_together(folder: Path) -> None:
    result = call("new", "own-claim")
    assert result.exit_code == 0
    assert "pytest claims/own_claim" in result.stdout
    assert 'pytest_plugins = ["harness.plugin"]' in result.stdout, "there is no conftest here yet"
    made = folder / "claims" / "own_claim"
    assert sorted(path.name for path in made.iterdir()) == ["README.md", "subjects.toml", "test_own_claim.py"]
    (entry,) = all_claims(folder / "claims")
    assert entry.claim.id == "own-claim.previous-token"
    assert list(entry.registered()) == [MODEL]


def test_new_claim_is_short_explained_and_imports_only_the_library(folder: Path) -> None:
    call("new", "own-claim")
    text = (folder / "claims" / "own_claim" / "test_own_claim.py").read_text(encoding="utf-8")
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {name.partition(".")[0] for name in imported} == {"__future__", "numpy", "torch", "harness"}
    statements = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]
    assert len(statements) <= 40
    assert text.count("#") >= 12, "comments say what to replace"
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("name", ["Own", "own_claim", "own claim", "../own", "own--claim", "1own", "", "own.x", "é"])
def test_new_refuses_names_that_no_claim_id_can_begin_with(folder: Path, name: str) -> None:
    assert "cannot name a mechanism" in refused("new", name)
    assert not (folder / "claims").exists()


def test_new_refuses_a_folder_that_exists(folder: Path) -> None:
    (folder / "claims" / "own").mkdir(parents=True)
    assert "exists already" in refused("new", "own")
    assert list((folder / "claims" / "own").iterdir()) == []


def test_new_refuses_a_file_as_the_folder_of_claims(folder: Path) -> None:
    (folder / "notes.md").write_text("", encoding="utf-8")
    assert "notes.md is a file; --claims names the folder" in refused("new", "own", "--claims", folder / "notes.md")


def test_new_claim_is_about_the_heads_that_the_repository_registers() -> None:
    registered = read_subjects(ROOT / "claims/induction/subjects.toml").classes(MODEL)["previous-token"]
    assert tuple(registered) == HEADS, "HEADS in harness/commands/template.py"


@pytest.mark.skipif(not availability(find(MODEL)).here, reason=f"the checkpoint of {MODEL} is not here")
def test_new_claim_runs_and_is_supported_far_from_this_repository(folder: Path) -> None:
    call("new", "own-claim")
    (folder / "conftest.py").write_text('pytest_plugins = ["harness.plugin"]\n', encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-m", "pytest", "claims/own_claim", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = call("show", "own-claim.previous-token").stdout
    assert re.search(r"^verdict +supported$", shown, flags=re.MULTILINE), shown
