"""A claim bound to one model and the user's options: what one test item stands for. No torch, no pytest."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from harness.declaration import Claim, Profile
from harness.mechanism import Mechanism


@dataclass(frozen=True)
class Options:
    """What a user may vary. Everything but the device enters the record's content hash.

    `drawn_for` is the fingerprint of the model whose prompts are drawn, where it is not the model's own: another model
    under the same id is then compared with the first on the same units.
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

    @property
    def exploratory(self) -> bool:
        """Other heads, another n or another model's prompts than registered: shown, never a verdict."""
        chosen = (self.n_units, self.subjects, self.subjects_file, self.drawn_for)
        return any(choice is not None for choice in chosen)


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


def applies(claim: Claim, model_id: str) -> bool:
    """Whether the claim makes sense on this model; local folders match `path:*` and every `*`."""
    return any(fnmatchcase(model_id, pattern) for pattern in claim.models)
