"""The run folder of one invocation: records as they come, provenance at the end, also after an interruption."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.compare.manifest import write_manifest
from harness.evidence import Record
from harness.store import (
    RUN_INFO,
    RUNS,
    Run,
    point_latest,
    read_sanity,
    run_name,
    write_record,
    write_run_info,
    write_sanity,
)

_PACKAGES = ("mechclaims", "torch", "transformers", "transformer-lens", "numpy", "scipy", "statsmodels", "pytest")


class RunFolder:
    """Where the records of one invocation go. Nothing is created before the first record."""

    def __init__(
        self,
        reports: Path,
        *,
        path: Path | None = None,
        label: str | None = None,
        options: Mapping[str, object] | None = None,
    ) -> None:
        """Choose the folder's name.

        Args:
            reports: the reports folder, which holds `runs/` and `latest`.
            path: the folder that another process of the same invocation chose.
            label: what the folder's name ends with, for whoever started this and looks for it.
            options: what the user asked for, for `run.json`.
        """
        self.reports = reports
        self.commit, self.dirty = _git_state()
        ending = f"-{label}" if label else ""
        self.path = path or _free(reports / RUNS / f"{run_name(commit=self.commit)}-{os.getpid()}{ending}")
        self.options = dict(options or {})
        self.started = _now()

    def add(self, record: Record) -> Path:
        """Store one record now, and make the run the newest with its first, so that a killed run is found too."""
        first = not (self.path / RUN_INFO).exists()
        if first:
            write_run_info({**self._info(interrupted=True), "finished": None}, folder=self.path)
        path = write_record(record, folder=self.path)
        if first:
            point_latest(self.path)
        return path

    def add_sanity(self, battery: Mapping[str, object]) -> None:
        """Store the checks of one model, before its first record; a file of its own, for workers have other models."""
        write_sanity(battery, folder=self.path)

    def records(self) -> list[Record]:
        """The records so far; none where nothing was measured."""
        return Run(self.path, {}).records() if self.path.exists() else []

    def finish(self, *, interrupted: bool) -> list[Record]:
        """Write the manifest and, for good, `run.json`, and point `latest` here; returns the records."""
        records = self.records()
        if records:
            write_manifest(Run(self.path, {}))
            write_run_info(self._info(interrupted=interrupted), folder=self.path)
            point_latest(self.path)
        return records

    def _info(self, *, interrupted: bool) -> dict[str, object]:
        return {
            "started": self.started,
            "finished": _now(),
            "commit": self.commit,
            "dirty": self.dirty,
            "interrupted": interrupted,
            "versions": {name: _version(name) for name in _PACKAGES} | {"python": platform.python_version()},
            "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
            "options": self.options,
            "sanity": read_sanity(self.path),
        }


def _free(path: Path) -> Path:
    """The path, or with a number where a run of this process has that name already: two within one second."""
    tried = (path, *(path.with_name(f"{path.name}.{number}") for number in range(2, 1_000)))
    return next(each for each in tried if not each.exists())


def _git_state() -> tuple[str, bool]:
    """Commit and whether the tree differs from it; empty where this is no git checkout."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changes = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "", False
    return commit, bool(changes.strip())


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
