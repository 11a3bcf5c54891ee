"""What the sessions of nox run, without nox: which run the session of the claims reports."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from harness.reporting import RunFolder
from tests.paths import REPOSITORY
from tests.test_evidence import RECORD


class CommandFailed(Exception):  # noqa: N818 - nox calls it so
    """A command of a session ended with another code than 0."""


def session_of(*given: Any, **_: Any) -> Any:
    """`nox.session` and `nox.parametrize`: with and without arguments."""
    return given[0] if given and callable(given[0]) else lambda function: function


@pytest.fixture
def noxfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The noxfile, as of a checkout in an empty folder."""
    nox: Any = ModuleType("nox")
    nox.options, nox.session, nox.parametrize, nox.Session = SimpleNamespace(), session_of, session_of, object
    command: Any = ModuleType("nox.command")
    command.CommandFailed = CommandFailed
    monkeypatch.setitem(sys.modules, "nox", nox)
    monkeypatch.setitem(sys.modules, "nox.command", command)
    spec = importlib.util.spec_from_file_location("checked_noxfile", REPOSITORY / "noxfile.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


class Session:
    """Runs pytest by hand: it stores a record in its own run folder, and so does another invocation at once."""

    def __init__(self, reports: Path, *, stores: bool = True, fails: bool = False) -> None:
        self.reports, self.stores, self.fails = reports, stores, fails
        self.posargs: tuple[str, ...] = ()
        self.cache_dir = reports
        self.own: Path | None = None
        self.reported: list[str] | None = None
        self.said = ""

    def run(self, *command: str) -> None:
        if "pytest" not in command:
            self.reported = list(command[1:])
            return
        label = next(word.partition("=")[2] for word in command if word.startswith("--run-label="))
        if self.stores:
            mine = RunFolder(self.reports, label=label)
            mine.add(RECORD)
            self.own = mine.path
        RunFolder(self.reports, label="nox-another").add(RECORD)
        if self.fails:
            raise CommandFailed

    def log(self, text: str) -> None:
        self.said = text


def test_the_claims_are_reported_from_their_own_run_though_another_one_is_newer(noxfile: Any, tmp_path: Path) -> None:
    session = Session(tmp_path / "reports")
    noxfile.claims(session)
    assert session.reported == ["report", str(session.own)]


def test_refuted_claims_are_reported_and_the_session_fails(noxfile: Any, tmp_path: Path) -> None:
    session = Session(tmp_path / "reports", fails=True)
    with pytest.raises(CommandFailed):
        noxfile.claims(session)
    assert session.reported == ["report", str(session.own)]


def test_without_a_record_of_its_own_the_report_stays_as_it_is(noxfile: Any, tmp_path: Path) -> None:
    session = Session(tmp_path / "reports", stores=False)
    noxfile.claims(session)
    assert session.reported is None
    assert "stays as it is" in session.said
