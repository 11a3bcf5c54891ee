"""What is refused of a pytest run once its tests are known, before a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.bound_claim import BoundClaim
from harness.errors import MechclaimsError
from harness.mechanism import Mechanism
from harness.planning import given_subject_problems
from harness.registration import lock_of
from harness.store import baseline_of, check_writable, supported_claims
from harness.subjects import read_subjects


def bound_of(item: pytest.Item) -> BoundClaim | None:
    """The claim bound to a model that this test stands for; None for any other test."""
    callspec = getattr(item, "callspec", None)
    bound = None if callspec is None else callspec.params.get("bound_claim")
    return bound if isinstance(bound, BoundClaim) else None


def claims_something(collector: pytest.Collector, *, name: str, obj: object) -> bool:
    """Whether this is a claim of which pytest makes tests.

    Raises:
        CollectError: a file declares a claim under a name that pytest passes over; nothing would ever run it.
    """
    if not hasattr(obj, "__claim__"):
        return False
    assert isinstance(collector, pytest.Module | pytest.Class)
    if collector.funcnamefilter(name):
        return True
    module = collector.getparent(pytest.Module)
    if module is not None and getattr(obj, "__module__", None) == module.obj.__name__:
        where = f"{collector.path.name}::{name}"
        raise collector.CollectError(f"{where} declares a claim and is no test: call it test_{name}")
    return False  # imported under another name, to be used


def without_model(item: pytest.Item) -> bool:
    """A claim that applies to none of the chosen models: pytest makes one placeholder of it."""
    return hasattr(getattr(item, "function", None), "__claim__") and bound_of(item) is None


def check_shadowing(item: pytest.Item, *, names: Sequence[str], plugin: str) -> None:
    """Raise UsageError where a fixture of the user's hides one of ours."""
    for name in names:
        found = item._fixtureinfo.name2fixturedefs.get(name)  # type: ignore[attr-defined]
        if found and found[-1].func.__module__ != plugin:
            raise pytest.UsageError(
                f"{item.nodeid}: fixture {name!r} from {found[-1].func.__module__} hides the plugin's; rename it"
            )


def check_chosen(bound: Sequence[BoundClaim], *, require: str | None) -> None:
    """Raise UsageError where `--subjects` names heads that a model lacks, or `--require` is asked of no test."""
    problems = dict.fromkeys(problem for entry in bound for problem in given_subject_problems(entry))
    if problems:
        raise pytest.UsageError(f"--subjects: {'; '.join(problems)}")
    check_subjects_file(bound)
    if require is not None and bound and not any(requirable(entry) for entry in bound):
        raise pytest.UsageError(
            f"--require {require}: every chosen test has an expected verdict, by which it passes or fails. --require "
            "is for models without one (your own), and for --subjects and --n-units; leave it out here"
        )


def check_subjects_file(bound: Sequence[BoundClaim]) -> None:
    """Raise UsageError where the file of `--subjects` is about none of the models that claims are asked of."""
    asked = [entry for entry in bound if entry.options.subjects_file and entry.claim.subject is not None]
    if not asked:
        return
    path = asked[0].options.subjects_file
    assert path is not None
    about, models = list(read_subjects(path).models), {entry.model_id: None for entry in asked}
    if not set(about) & set(models):
        raise pytest.UsageError(f"--subjects: {path} is about {', '.join(about)}; asked is {', '.join(models)}")


def requirable(bound: BoundClaim) -> bool:
    """Whether `--require` decides this test: no verdict is expected, or the record will be exploratory."""
    expected = bound.mechanism.subjects.expectation(bound.claim.id, model_id=bound.model_id)
    return expected is None or bound.options.exploratory


def check_places(bound: Sequence[BoundClaim], *, reports: Path) -> None:
    """Raise UsageError where evidence cannot be written, baseline or lock are damaged, or the device is not here."""
    if not bound:
        return
    try:
        check_writable(reports)
        for folder in {baseline_of(entry.mechanism.folder) for entry in bound} - {None}:
            assert folder is not None
            supported_claims(folder)
        for mechanism in _mechanisms(bound):
            lock_of(mechanism)
        for device in {entry.options.device for entry in bound} - {"cpu"}:
            _check_device(device)
    except MechclaimsError as error:
        raise pytest.UsageError(str(error)) from None


def lock_lines(bound: Sequence[BoundClaim]) -> list[str]:
    """What a plan says of the lock: that there is none. UsageError where it is damaged, as the run itself would."""
    try:
        locks = {lock_of(mechanism).path for mechanism in _mechanisms(bound)}
    except MechclaimsError as error:
        raise pytest.UsageError(str(error)) from None
    return [
        f"{lock}: not there, so that no claim is held to what was registered; `mechclaims register` writes it"
        for lock in sorted(locks)
        if not lock.exists()
    ]


def _mechanisms(bound: Sequence[BoundClaim]) -> list[Mechanism]:
    return list({entry.mechanism.folder: entry.mechanism for entry in bound}.values())


def _check_device(device: str) -> None:
    from harness.models.model import check_device

    check_device(device)
