"""The plugin's command line options: declared, checked, and read back as values."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest

from harness.bound_claim import BoundClaim, Options, applies
from harness.declaration import Claim, Profile
from harness.errors import MechclaimsError
from harness.mechanism import Mechanism
from harness.planning import check_model_ids, default_models, item_slug, parse_subjects
from harness.stats.records import Verdict
from harness.store import check_writable

if TYPE_CHECKING:
    from harness.models.model import Model
    from harness.reporting import RunFolder
    from harness.sanity import Battery

_DEVICE = re.compile(r"(cpu|cuda|mps|xpu)(:\d+)?")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def add_options(parser: pytest.Parser) -> None:
    """Declare the options; claims read nothing else from the command line."""
    group = parser.getgroup("mechclaims", "claims about transformers, measured against controls")
    add = group.addoption
    add(
        "--model", action="append", metavar="ID", help="model id or path:DIR (repeatable; default: all registered ones)"
    )
    add("--data-seed", action="append", type=int, metavar="N", help="seed of the prompts (repeatable; default 0)")
    add(
        "--subjects",
        metavar="HEADS|FILE",
        help="other heads, e.g. 5.1,5.5, or a file of `mechclaims discover`: exploratory",
    )
    add("--require", choices=get_args(Verdict), help="verdict that models without an expected one must reach")
    add("--dry-run", action="store_true", help="print what would run, with minutes and memory, and stop")
    add("--n-units", type=int, metavar="N", help="another number of units than registered: exploratory")
    add("--profile", choices=get_args(Profile), default="default", help="quick: shipped models at training seed 0")
    add("--device", default="cpu", help="torch device")
    add("--dtype", default="float32", choices=("float32", "float64"), help="precision; float64: exploratory")
    add(
        "--weights", action="append", default=[], metavar="ID=FILE", help="safetensors file for claims on weights alone"
    )
    add(
        "--memory-budget",
        type=int,
        metavar="MIB",
        help="memory that interventions may take beyond the loaded model (default: 1024 MiB); moves values by rounding",
    )
    add("--evidence-dir", metavar="DIR", help="where run folders go (default: reports)")
    add("--run-label", metavar="TEXT", help="what the run folder's name ends with, to find it among others")


def chosen_models(config: pytest.Config, claim: Claim, mechanism: Mechanism) -> list[str]:
    """The models that a claim is measured on: those asked for, or the mechanism's, where claim and profile apply."""
    if config.getoption("--profile") not in claim.profiles:
        return []
    asked: Sequence[str] | None = config.getoption("--model")
    if asked is None:
        named = list(_weights(config))
        asked = default_models(mechanism, profile=config.getoption("--profile"), weights=named, claim=claim)
    return [model_id for model_id in dict.fromkeys(asked) if applies(claim, model_id)]


def data_seeds(config: pytest.Config) -> list[int]:
    """The data seeds asked for, each once, in their order; 0 where none is."""
    return list(dict.fromkeys(config.getoption("--data-seed") or [0]))


def options_of(config: pytest.Config, *, data_seed: int) -> Options:
    """What the user asked for, for one data seed."""
    subjects = _given_subjects(config)
    return Options(
        profile=config.getoption("--profile"),
        data_seed=data_seed,
        n_units=config.getoption("--n-units"),
        subjects=None if isinstance(subjects, Path) else subjects,
        subjects_file=subjects if isinstance(subjects, Path) else None,
        device=config.getoption("--device"),
        dtype=config.getoption("--dtype"),
        weights=_weights(config),
        memory_budget_mib=config.getoption("--memory-budget"),
    )


def params_of(bound: Sequence[BoundClaim]) -> list[Any]:
    """The parameters of a claim's test: in brackets the model, with the data seed where it is not the default."""
    params = []
    for entry in bound:
        slug, seed = item_slug(entry.model_id), entry.options.data_seed
        one_worker = pytest.mark.xdist_group(slug)  # which then holds one model
        marks = (*marks_of(entry.claim), one_worker)
        params.append(pytest.param(entry, marks=marks, id=slug + (f"-seed{seed}" if seed else "")))
    return params


def marks_of(claim: Claim) -> tuple[pytest.MarkDecorator, ...]:
    """What `-m` chooses by.

    A mechanism goes by its name in claims' ids, with hyphens, and by that of a folder that Python can import.
    """
    names = dict.fromkeys((claim.mechanism, claim.mechanism.replace("-", "_")))
    return (
        *(pytest.mark.mechanism(name=name) for name in names),
        pytest.mark.paper(name=claim.paper),
        pytest.mark.tier(name=claim.tier),
    )


def check_options(config: pytest.Config) -> None:
    """Refuse what cannot be meant before anything is collected."""
    try:
        check_model_ids(config.getoption("--model") or [])
        _weights(config)
        _given_subjects(config)
        if config.getoption("--evidence-dir") and not config.option.collectonly:
            check_writable(Path(config.getoption("--evidence-dir")))
    except MechclaimsError as error:
        raise pytest.UsageError(str(error)) from None
    label = config.getoption("--run-label")
    if label is not None and not _LABEL.fullmatch(label):
        raise pytest.UsageError(f"--run-label {label!r}: give up to 80 letters, digits, dots, hyphens and underscores")
    device = config.getoption("--device")
    if not _DEVICE.fullmatch(device):  # whether it is here is asked before measuring: that takes torch
        raise pytest.UsageError(f"--device {device!r} is none of torch's: cpu, cuda, cuda:1, mps, xpu")
    negative = [seed for seed in data_seeds(config) if seed < 0]
    if negative:
        raise pytest.UsageError(f"--data-seed is {negative[0]}; seeds are whole numbers from 0 on")
    budget = config.getoption("--memory-budget")
    if budget is not None and budget < 1:
        raise pytest.UsageError(f"--memory-budget is {budget} MiB; give 1 or more")
    n_units = config.getoption("--n-units")
    if n_units is not None and n_units < 2:
        raise pytest.UsageError(f"--n-units is {n_units}; an interval needs at least 2 units, a verdict at least 12")


def checked_into(run: RunFolder) -> Callable[[Model], Battery]:
    """The sanity battery, its result stored in a run's folder before the model's first claim."""

    def check(model: Model) -> Battery:
        from harness.sanity import run_battery

        battery = run_battery(model)
        run.add_sanity(battery.as_dict())
        return battery

    return check


def given_options(config: pytest.Config) -> dict[str, object]:
    """The options by name, for the provenance of the run."""
    names: tuple[str, ...] = (
        "--model",
        "--data-seed",
        "--subjects",
        "--n-units",
        "--profile",
        "--device",
        "--dtype",
        "--require",
    )
    names += ("--memory-budget",) if config.getoption("--memory-budget") else ()
    return {name.removeprefix("--"): config.getoption(name) for name in names}


def _weights(config: pytest.Config) -> dict[str, Path]:
    named = {}
    for entry in config.getoption("--weights"):
        model_id, separator, file = entry.partition("=")
        if not separator or not Path(file).is_file():
            raise pytest.UsageError(f"--weights {entry!r}: expected ID=FILE with a safetensors file that exists")
        named[model_id] = Path(file)
    return named


def _given_subjects(config: pytest.Config) -> tuple[str, ...] | Path | None:
    given = config.getoption("--subjects")
    return None if given is None else parse_subjects(given)
