"""The gate: a run held against a baseline, refused before any compute where it cannot be, and judged after the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.bound_claim import BoundClaim
from harness.compare import (
    DEFAULT,
    Comparison,
    Rules,
    compare_runs,
    comparison_markdown,
    comparison_text,
    open_baseline,
    parse_rules,
)
from harness.errors import ComparisonError, MechclaimsError
from harness.plugin_checks import bound_of
from harness.reporting import RunFolder
from harness.store import Run, write_atomically
from harness.workers import is_worker

NAME = "mechclaims-gate"
MARKDOWN = "comparison.md"
"""What the gate leaves in the run folder, for the page of a CI job."""

_LEFT_OUT = "mechclaims_left_out"
_ENDED_EARLY = (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR)


def add_compare_options(parser: pytest.Parser) -> None:
    """Declare the options of the gate."""
    add = parser.getgroup("mechclaims").addoption
    add("--compare", metavar="PATH", help="a baseline or run folder; says after the run what changed against it")
    example = DEFAULT.replace("%", "%%")  # argparse formats help texts
    add("--compare-fail", metavar="EXPR", help=f"fail on regressions by these rules, e.g. {example}")
    add(
        "--compare-any-model",
        action="store_true",
        help="another model under the same id is no difference: draws the baseline's prompts; exploratory",
    )


def start_gate(config: pytest.Config, *, folder: RunFolder) -> None:
    """Check expression and baseline, and put the gate in its place where a comparison was asked for."""
    try:
        rules, baseline = _asked_for(config)
    except MechclaimsError as error:
        raise pytest.UsageError(str(error)) from None
    if baseline is not None:
        config.pluginmanager.register(Gate(config, baseline, rules=rules, folder=folder), NAME)


def bound_to_baseline(bound: Sequence[BoundClaim], config: pytest.Config) -> list[BoundClaim]:
    """The claims as they are; with `--compare-any-model` on the prompts that the baseline's model was asked."""
    gate = config.pluginmanager.get_plugin(NAME)
    if gate is None or not config.getoption("--compare-any-model"):
        return list(bound)
    return [gate.on_its_prompts(entry) for entry in bound]


class Gate:
    """Compares the finished run with the baseline; regressions make the session fail."""

    def __init__(self, config: pytest.Config, baseline: Run, *, rules: Rules, folder: RunFolder) -> None:
        self.config, self.baseline, self.rules, self.folder = config, baseline, rules, folder
        self.any_model = bool(config.getoption("--compare-any-model"))
        self.fails = config.getoption("--compare-fail") is not None
        self.left_out: set[tuple[str, str, int]] = set()
        self.found: Comparison | None = None
        self._fingerprints: dict[tuple[str, str, int], str] | None = None

    def on_its_prompts(self, bound: BoundClaim) -> BoundClaim:
        """The claim with the prompts of the baseline's model, where the baseline has a record of it."""
        if self._fingerprints is None:
            records = (record for _, record in self.baseline.plain_records() if record["model"].get("fingerprint"))
            self._fingerprints = {_key(record): record["model"]["fingerprint"] for record in records}
        drawn_for = self._fingerprints.get((bound.claim.id, bound.model_id, bound.options.data_seed))
        return replace(bound, options=replace(bound.options, drawn_for=drawn_for)) if drawn_for else bound

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Remember what `-k`, `-m` and the like left out: it is not missing."""
        for item in items:
            if bound := bound_of(item):
                self.left_out.add((bound.claim.id, bound.model_id, bound.options.data_seed))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """What an xdist worker left out; the controller collects nothing itself."""
        self.left_out |= {tuple(key) for key in getattr(node, "workeroutput", {}).get(_LEFT_OUT, ())}

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Compare; runs after the run folder was completed."""
        if is_worker(self.config):
            self.config.workeroutput[_LEFT_OUT] = [list(key) for key in self.left_out]  # type: ignore[attr-defined]
            return
        if self.config.option.collectonly or self.config.getoption("--dry-run") or exitstatus in _ENDED_EARLY:
            return
        run = Run(self.folder.path, {"finished": True})
        self.found = compare_runs(
            self.baseline, run, rules=self.rules, any_model=self.any_model, asked=_Scope(self.config, self.left_out)
        )
        if run.path.is_dir():
            write_atomically(run.path / MARKDOWN, text=comparison_markdown(self.found))
        if self.fails and self.found.regressions:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print what changed."""
        if self.found is None:
            return
        terminalreporter.section(f"compared with {self.baseline.path}")
        terminalreporter.write_line(comparison_text(self.found))
        if not self.fails:
            terminalreporter.write_line("shown only; with --compare-fail EXPR regressions fail the run")


class _Scope:
    """Which records of the baseline this run was asked for, by its arguments and options."""

    def __init__(self, config: pytest.Config, left_out: set[tuple[str, str, int]]) -> None:
        self.root, self.left_out = config.rootpath, left_out
        self.models: list[str] | None = config.getoption("--model")
        self.seeds = set(config.getoption("--data-seed") or [0])
        self.profile = config.getoption("--profile")
        self.places = [_place(argument, base=config.invocation_params.dir) for argument in config.args]

    def __call__(self, record: Mapping[str, Any]) -> bool:
        _, model, seed = key = _key(record)
        if key in self.left_out or seed not in self.seeds or (self.models is not None and model not in self.models):
            return False
        # Which models another profile takes is not known here.
        same_profile = self.models is not None or record["options"]["profile"] == self.profile
        file, _, test = str(record["claim"].get("source", "")).partition("::")
        source = (self.root / file).resolve()
        return same_profile and any(
            (source == place or place in source.parents) and named in ("", test) for place, named in self.places
        )


def _asked_for(config: pytest.Config) -> tuple[Rules, Run | None]:
    path, expression = config.getoption("--compare"), config.getoption("--compare-fail")
    rules = parse_rules(DEFAULT if expression is None else expression)
    if path is None:
        if expression is not None or config.getoption("--compare-any-model"):
            raise ComparisonError("--compare-fail and --compare-any-model belong to --compare PATH; name a baseline")
        return rules, None
    if config.getoption("--subjects") or config.getoption("--n-units"):
        raise ComparisonError(
            "--compare with --subjects or --n-units: such records are exploratory, without a counterpart; leave one out"
        )
    return rules, open_baseline(Path(path))


def _place(argument: str, *, base: Path) -> tuple[Path, str]:
    """File or folder of an argument, and its test's name without the model in brackets."""
    file, _, test = argument.partition("::")
    return (base / file).resolve(), test.partition("[")[0]


def _key(record: Mapping[str, Any]) -> tuple[str, str, int]:
    return str(record["claim"]["id"]), str(record["model"]["id"]), int(record["seeds"]["data_seed"])
