"""The pytest plugin: claims become one test per model and data seed, and every test leaves an evidence record.

Opt in with one line in a conftest: `pytest_plugins = ["harness.plugin"]`. Importing it imports no torch.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.claim import Evidence, declared
from harness.declaration import Claim
from harness.errors import MechclaimsError, ModelNotHere
from harness.evidence import Record
from harness.outcomes import outcome_of, properties_of
from harness.papers import place_problems
from harness.planning import availability_of, plan_lines, subject_problems
from harness.plugin_checks import bound_of, check_chosen, check_places, check_shadowing, claims_something, lock_lines
from harness.plugin_compare import add_compare_options, bound_to_baseline, start_gate
from harness.plugin_faults import Faults
from harness.plugin_folders import Folders
from harness.plugin_left_out import LeftOut
from harness.plugin_options import (
    add_options,
    check_options,
    checked_into,
    chosen_models,
    data_seeds,
    given_options,
    options_of,
    params_of,
)
from harness.progress import announcer, closing_lines
from harness.registration import check_registered, with_registration
from harness.reporting import RunFolder
from harness.seeding import Streams
from harness.session import BoundClaim, Loaded, Prepared, asking, measuring, not_run, prepare
from harness.subjects import Subject
from harness.workers import is_worker, share_cores

FIXTURES = ("model", "weights", "subject", "evidence", "rng")

_run = pytest.StashKey[RunFolder]()
_faults = pytest.StashKey[Faults]()
_loaded = pytest.StashKey[Loaded]()
_folders = pytest.StashKey[Folders]()
_left_out = pytest.StashKey[LeftOut]()
_ids = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options; `mechclaims` runs read nothing else from the command line."""
    add_options(parser)
    add_compare_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register markers, keep one model in one worker, and choose the run folder."""
    for name in ("mechanism", "paper", "tier"):
        config.addinivalue_line("markers", f"{name}(name): choose claims with -m '{name}(name=\"...\")'")
    config.addinivalue_line("markers", "xdist_group(name): tests of one model stay in one worker")
    if getattr(config.option, "dist", "no") == "load":
        config.option.dist = "loadgroup"
    check_options(config)
    folder = getattr(config, "workerinput", {}).get("mechclaims_run")
    reports = Path(config.getoption("--evidence-dir") or config.rootpath / "reports")
    label, given = config.getoption("--run-label"), given_options(config)
    config.stash[_run] = RunFolder(reports, path=folder and Path(folder), label=label, options=given)
    config.stash[_faults] = Faults(config.stash[_run])
    config.stash[_left_out] = LeftOut(config)
    for plugin in (config.stash[_faults], config.stash[_left_out]):
        config.pluginmanager.register(plugin)
    config.stash[_loaded] = Loaded(check=checked_into(config.stash[_run]))
    config.stash[_folders] = Folders()
    config.stash[_ids] = {}
    start_gate(config, folder=config.stash[_run])


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker which run folder to write to."""
    node.workerinput["mechclaims_run"] = str(node.config.stash[_run].path)


# -- collection --------------------------------------------------------------------------------------------------


def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> list[pytest.Item] | None:
    """Check a claim's declaration before pytest makes tests of it; all problems of a claim in one error."""
    if not claims_something(collector, name=name, obj=obj):
        return None
    mechanism = collector.config.stash[_folders].around(collector)
    if mechanism is None:
        return []
    where = f"{collector.path.name}::{name}"
    try:

        def around_it(claim: Claim) -> list[str]:
            models = chosen_models(collector.config, claim, mechanism)
            wrong_subjects = subject_problems(claim, mechanism, models=models)
            return [*place_problems(claim, mechanism=mechanism.folder), *wrong_subjects]

        claim = declared(obj, where=where, also=around_it)  # type: ignore[arg-type]
        collector.config.stash[_folders].check_family(claim)
    except MechclaimsError as error:
        raise collector.CollectError(str(error)) from error
    seen = collector.config.stash[_ids]
    source = f"{collector.path}::{name}"
    if seen.setdefault(claim.id, source) != source:
        raise collector.CollectError(f"claim id {claim.id!r} is declared twice: in {seen[claim.id]} and in {where}")
    return None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per model and data seed."""
    test = metafunc.function
    if not hasattr(test, "__claim__"):
        return
    config = metafunc.config
    claim = declared(test, where=(source := metafunc.definition.nodeid))
    mechanism = config.stash[_folders].mechanism(metafunc.definition.path.parent)
    bound = [
        BoundClaim(claim, test, source, mechanism, model_id, options_of(config, data_seed=seed))
        for model_id in chosen_models(config, claim, mechanism)
        for seed in data_seeds(config)
    ]
    metafunc.parametrize("bound_claim", params_of(bound_to_baseline(bound, config)), indirect=True)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let `-k` choose by claim id too."""
    if bound := bound_of(item):
        item.extra_keyword_matches.add(bound.claim.id)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Measure model by model, so that each is loaded once; refuse fixtures that shadow ours."""
    config.stash[_left_out].take_from(items)
    order: dict[str, int] = {}
    for item in items:
        bound = bound_of(item)
        if bound is None:
            continue
        order.setdefault(bound.model_id, len(order))
        check_shadowing(item, names=FIXTURES, plugin=__name__)
    if not is_worker(config):
        check_chosen(_bound_of(items), require=config.getoption("--require"))
    items.sort(key=lambda item: order.get(entry.model_id, -1) if (entry := bound_of(item)) else -1)


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """With --dry-run print the plan and run nothing; else refuse places that cannot be used, before the first test."""
    config = session.config
    if not config.getoption("--dry-run"):
        if not config.option.collectonly and not is_worker(config):
            check_places(_bound_of(session.items), reports=config.stash[_run].reports)
        return None
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    bound = _bound_of(session.items)
    for line in (*plan_lines(bound), *lock_lines(bound)):
        reporter.write_line(line)
    return True


# -- what a claim's body takes -----------------------------------------------------------------------------------


@pytest.fixture
def bound_claim(request: pytest.FixtureRequest) -> BoundClaim:
    """The claim bound to the model of this test."""
    bound: BoundClaim = request.param
    return bound


@pytest.fixture
def prepared_claim(bound_claim: BoundClaim, request: pytest.FixtureRequest) -> Prepared:
    """Model, subject, evidence and streams; skips as `not run` where the model is not here."""
    config = request.config
    share_cores(config)
    try:
        check_registered(bound_claim)
        where = availability_of(bound_claim)
        if not where.here:
            raise ModelNotHere(f"{bound_claim.model_id} is not on this machine.", remedy=where.remedy)
        ready = prepare(bound_claim, loaded=config.stash[_loaded], announce=announcer(config))
    except MechclaimsError as error:
        problem = error
    else:
        request.node.prepared_claim = ready
        return ready
    # Outside the except block: pytest would print the error a second time as the context of the outcome.
    if isinstance(problem, ModelNotHere):
        record = not_run(bound_claim, reason=str(problem).split(" To bring it:")[0], remedy=problem.remedy)
        config.stash[_faults].store(request.node, with_registration(record, bound_claim))
        request.node.user_properties += properties_of(record)
        pytest.skip(outcome_of(record).reason)
    pytest.fail(str(problem), pytrace=False)


@pytest.fixture
def model(prepared_claim: Prepared) -> Any:
    """The loaded model."""
    return prepared_claim.target


@pytest.fixture
def weights(prepared_claim: Prepared) -> Any:
    """The model's attention weights, read from a file as they are asked for."""
    return prepared_claim.target


@pytest.fixture
def subject(prepared_claim: Prepared) -> Subject | None:
    """The heads that the claim is about."""
    return prepared_claim.subject


@pytest.fixture
def evidence(prepared_claim: Prepared) -> Evidence:
    """Where the body puts what it measured."""
    return prepared_claim.evidence


@pytest.fixture
def rng(prepared_claim: Prepared) -> Streams:
    """Random streams by purpose."""
    return prepared_claim.evidence.streams


# -- running -----------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Run a claim's body, store its record, and pass or fail by its verdict."""
    ready: Prepared | None = getattr(pyfuncitem, "prepared_claim", None)
    if ready is None:
        return (yield)
    if ready.evidence.decided:
        pyfuncitem.obj = _nothing_to_ask
    result = problem = None
    try:
        with measuring(ready.bound), asking(ready.evidence):
            result = yield
        record = with_registration(ready.record(), ready.bound)
    except MechclaimsError as error:
        problem = f"{type(error).__name__}: {error}"
    if problem is not None:  # outside the except block, so that pytest prints it once
        pytest.fail(problem, pytrace=False)
    _finish(pyfuncitem, record)
    return result


def _nothing_to_ask(**_: object) -> None:
    """In place of the body of a claim that has no subject on this model."""


def _finish(item: pytest.Item, record: Record) -> None:
    config = item.config
    config.stash[_faults].store(item, record)
    item.user_properties += properties_of(record)
    given = config.getoption("--subjects") is not None
    outcome = outcome_of(record, require=config.getoption("--require"), subjects_given=given)
    if outcome.status == "failed":
        from harness.report.terminal import record_text

        pytest.fail(f"{outcome.reason}\n\n{record_text(record.as_dict())}", pytrace=False)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Complete the run folder; exit 5 where nothing but missing models was found."""
    config = session.config
    if is_worker(config) or config.option.collectonly:
        return
    stopped = exitstatus in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR) or bool(session.shouldstop)
    records = config.stash[_faults].finish(session, interrupted=stopped or bool(session.shouldfail))
    if records and exitstatus == pytest.ExitCode.OK and all(record.not_run for record in records):
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the verdicts and where the evidence lies."""
    faults, folder = config.stash[_faults], config.stash[_run].path
    records = faults.records()
    lines = [*closing_lines(records, require=config.getoption("--require"), folder=folder)] if records else []
    if lines := [*lines, *faults.lines()]:
        terminalreporter.section("claims")
        for line in lines:
            terminalreporter.write_line(line)


# -- private -----------------------------------------------------------------------------------------------------


def _bound_of(items: Sequence[pytest.Item]) -> list[BoundClaim]:
    return [bound for bound in map(bound_of, items) if bound is not None]
