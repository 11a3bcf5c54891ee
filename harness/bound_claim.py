"""A claim bound to one model and the user's options: what one test item stands for. No torch, no pytest."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, Literal, get_args

from harness.declaration import Claim, Profile
from harness.errors import DeclarationError, did_you_mean
from harness.mechanism import Mechanism

Split = Literal["confirmation", "exploratory"]
CONFIRMATION: Final = "confirmation"
EXPLORATORY: Final = "exploratory"
"""The split of heads that a user names: other prompts than those that confirm."""


@dataclass(frozen=True)
class Options:
    """What a user may vary. Everything but the device enters the record's content hash.

    `drawn_for` is the fingerprint of the model whose prompts are drawn, where it is not the model's own: another model
    under the same id is then compared with the first on the same units. `ignore_preconditions` measures and judges all
    the same where the model is not sound or a precondition fails.

    Raises:
        DeclarationError: a value that no option takes; all of them at once.
    """

    profile: Profile = "default"
    data_seed: int = 0
    n_units: int | None = None
    subjects: tuple[str, ...] | None = None
    subjects_file: Path | None = None
    device: str = "cpu"
    dtype: str = "float32"
    weights: Mapping[str, Path] = field(default_factory=dict)
    memory_budget_mib: int | None = None
    drawn_for: str | None = None
    ignore_preconditions: bool = False

    def __post_init__(self) -> None:
        """Refuse what no option takes."""
        if problems := _problems(self):
            raise DeclarationError("; ".join(problems))

    @property
    def exploratory(self) -> bool:
        """Other heads, another n, another precision or another model's prompts than registered: never a verdict.

        Neither is one without preconditions. Prompts derive from the model's fingerprint, and that from its precision:
        float64 would be a second draw.
        """
        chosen = (self.n_units, self.subjects, self.subjects_file, self.drawn_for)
        other = self.ignore_preconditions or self.dtype != "float32"
        return other or any(choice is not None for choice in chosen)

    @property
    def split(self) -> Split:
        """On which prompts is measured: heads that a user names are never tried on those that confirm."""
        return CONFIRMATION if self.subjects is None and self.subjects_file is None else EXPLORATORY


@dataclass(frozen=True)
class BoundClaim:
    """A claim bound to one model: what a test item stands for."""

    claim: Claim
    test: Callable[..., None]
    source: str
    mechanism: Mechanism
    model_id: str
    options: Options

    @property
    def needs_weights_only(self) -> bool:
        """True where the test reads weights from a file and runs no forward pass."""
        return "weights" in inspect.signature(self.test).parameters

    def command(self) -> str:
        """The one command that measures exactly this record again."""
        options, quoted = self.options, shlex.quote
        parts = [f"pytest {quoted(self.source)} --model {quoted(self.model_id)}"]
        parts += [f"--data-seed {options.data_seed}"] if options.data_seed else []
        parts += [f"--profile {options.profile}"] if options.profile != "default" else []
        parts += [f"--n-units {options.n_units}"] if options.n_units else []
        parts += [f"--subjects {','.join(options.subjects)}"] if options.subjects else []
        parts += [f"--subjects {quoted(str(options.subjects_file))}"] if options.subjects_file else []
        reads_file = self.needs_weights_only and self.model_id in options.weights
        parts += [f"--weights {quoted(self.model_id)}=FILE"] if reads_file else []
        parts += [f"--device {options.device}"] if options.device != "cpu" else []
        parts += [f"--dtype {options.dtype}"] if options.dtype != "float32" else []
        parts += [f"--memory-budget {options.memory_budget_mib}"] if options.memory_budget_mib else []
        return " ".join(parts)


def options_of(given: Mapping[str, Any]) -> Options:
    """The options that a user gives by name.

    Raises:
        DeclarationError: there is no such option, or it does not take this value; the message says which there are.
    """
    names = [each.name for each in fields(Options)]
    for name in given:
        if name not in names:
            near = did_you_mean(name, names)
            raise DeclarationError(f"there is no option {name!r}.{near} There are {', '.join(names)}")
    subjects = given.get("subjects")
    return Options(**{**given, "subjects": tuple(subjects) if isinstance(subjects, list) else subjects})


def applies(claim: Claim, model_id: str) -> bool:
    """Whether the claim makes sense on this model; local folders match `path:*` and every `*`."""
    return any(fnmatchcase(model_id, pattern) for pattern in claim.models)


def _problems(options: Options) -> list[str]:
    """What is wrong with options that come from Python; the command line checks its own."""
    problems = []
    if options.profile not in get_args(Profile):
        problems.append(f"profile is {options.profile!r}; one of {', '.join(get_args(Profile))}")
    if not (options.subjects is None or _are_names(options.subjects)):
        problems.append(f"subjects is {options.subjects!r}; give a tuple of heads such as ('5.1', '5.5')")
    if not isinstance(options.subjects_file, Path | None):
        problems.append(f"subjects_file is {options.subjects_file!r}; give a pathlib.Path")
    if options.subjects is not None and options.subjects_file is not None:
        problems.append("subjects and subjects_file are both given; give one of them")
    if not (options.n_units is None or _is_whole(options.n_units, least=2)):
        problems.append(f"n_units is {options.n_units!r}; give a whole number from 2 on: an interval needs two units")
    if not _is_whole(options.data_seed, least=0):
        problems.append(f"data_seed is {options.data_seed!r}; give a whole number from 0 on")
    if not (options.memory_budget_mib is None or _is_whole(options.memory_budget_mib, least=1)):
        problems.append(f"memory_budget_mib is {options.memory_budget_mib!r}; give a whole number of MiB from 1 on")
    if not isinstance(options.ignore_preconditions, bool):
        problems.append(f"ignore_preconditions is {options.ignore_preconditions!r}; give True or False")
    return problems


def _are_names(subjects: Any) -> bool:
    return isinstance(subjects, tuple) and bool(subjects) and all(isinstance(name, str) for name in subjects)


def _is_whole(value: Any, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
