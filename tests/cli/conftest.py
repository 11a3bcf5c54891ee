"""Folders to run the command in: an empty one, one with a claim, one with a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.evidence import Record
from harness.store import point_latest, write_record, write_run_info
from tests.cli.calling import CLAIM, MECHANISM, SUBJECTS
from tests.report import sample_records


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; caches and checkpoints of this machine are out of sight."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MECHCLAIMS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MECHCLAIMS_CHECKPOINTS", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def toy(folder: Path) -> Path:
    """A claims folder with one mechanism of one claim."""
    place = folder / "claims" / "toy"
    place.mkdir(parents=True)
    (place / "test_toy.py").write_text(CLAIM, encoding="utf-8")
    (place / "subjects.toml").write_text(SUBJECTS, encoding="utf-8")
    (place / "mechanism.py").write_text(MECHANISM, encoding="utf-8")
    return place


@pytest.fixture
def stored(folder: Path) -> Path:
    """A reports folder with one run of three records."""
    run = folder / "reports" / "runs" / "20260131T120000Z_abc"
    measured = (sample_records.record(model) for model in ("induction-2l@0", "induction-2l@1"))
    for plain in (*measured, sample_records.not_run()):
        plain.pop("content_hash")
        write_record(Record(**plain), folder=run)
    write_run_info(sample_records.RUN, folder=run)
    point_latest(run)
    return folder / "reports"


@pytest.fixture
def tiny(folder: Path) -> str:
    """The id of a tiny random GPT-2 in a local folder."""
    from tests.models.tiny import tiny_gpt2

    return f"path:{tiny_gpt2(folder / 'tiny')}"
