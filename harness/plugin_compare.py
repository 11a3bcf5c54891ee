"""The gate: a run held against a baseline, refused before any compute where it cannot be, and judged after the run."""

from __future__ import annotations

from collections.abc import Sequence
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
from harness.plugin_scope import Invocation, Key, key_of
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
    if baseline is None:
        return
    if config.pluginmanager.register(Gate(config, baseline, rules=rules, folder=folder), NAME) is None:
        raise pytest.UsageError(f"--compare: `-p no:{NAME}` blocks the comparison; take it out of the configuration")


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
        self.invocation = Invocation(config)
        self.found: Comparison | None = None
        self._fingerprints: dict[Key, str] | None = None

    def on_its_prompts(self, bound: BoundClaim) -> BoundClaim:
        """The claim with the prompts of the baseline's model, where the baseline has a record of it."""
        if self._fingerprints is None:
            records = (record for _, record in self.baseline.plain_records() if record["model"].get("fingerprint"))
            self._fingerprints = {key_of(record): record["model"]["fingerprint"] for record in records}
        drawn_for = self._fingerprints.get(_key(bound))
        return replace(bound, options=replace(bound.options, drawn_for=drawn_for)) if drawn_for else bound

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Remember what the invocation's own `-k` and `-m` left out: it is not missing."""
        left_out = map(bound_of, self.invocation.left_out_of(items))
        self.invocation.left_out |= {_key(bound) for bound in left_out if bound}

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell an xdist worker what the invocation chooses by; its own arguments do not say it."""
        self.invocation.tell(node)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """What an xdist worker left out; the controller collects nothing itself."""
        self.invocation.left_out |= {Key(*key) for key in getattr(node, "workeroutput", {}).get(_LEFT_OUT, ())}

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Compare; runs after the run folder was completed."""
        if is_worker(self.config):
            self.config.workeroutput[_LEFT_OUT] = [list(key) for key in self.invocation.left_out]  # type: ignore[attr-defined]
            return
        if exitstatus in _ENDED_EARLY or not self.invocation.measures:
            return
        run = Run(self.folder.path, {"finished": True})
        self.found = compare_runs(
            self.baseline, run, rules=self.rules, any_model=self.any_model, asked=self.invocation.asks_for
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


def _key(bound: BoundClaim) -> Key:
    return Key(bound.claim.id, bound.model_id, bound.options.data_seed)
