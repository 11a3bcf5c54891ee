"""What a folder of claims announces: how to discover its subjects, how to train its models. Imports nothing heavy.

A mechanism is a folder with `test_*.py`; `subjects.toml` and `mechanism.py` are optional. `mechanism.py` may define

    discover(model, streams) -> Discovery     which heads play the parts, found on the discovery split
    contrasts() -> Sequence[SteeringContrast] what `mechclaims steer` can steer along (`harness.steering.contrasts`)

(a procedure that takes minutes may also take the keyword `say`, a function that is called with lines of progress)
and may register how its shipped models are trained again (`harness.models.recipes.register_recipe`).
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from harness.errors import DeclarationError, did_you_mean
from harness.seeding import Streams
from harness.selection import Overlap, Permuted
from harness.subjects import Subject, SubjectsFile, no_head, read_subjects

if TYPE_CHECKING:
    from harness.models.model import Model

Announce = Callable[[str], None]


@dataclass(frozen=True)
class Discovery:
    """Heads found on the discovery split, by class, and how stable that is. Classes may be empty.

    Attributes:
        classes: class to heads, the highest first.
        selected_by: class to the name of the metric that selected it.
        scores: that metric's value for every head.
        frequencies: class to the share of half-samples that select each head (`harness.selection`).
        half_samples: how many half-samples there were.
        overlaps: class to the agreement of two disjoint discovery samples.
        permuted: class to what permuted labels select.
        notes: what else a reader of the subjects should know.
        settings: class to numbers that were chosen with its components, such as a dose.
        prompts_sha256: of the prompts that the heads were found on.
        n_prompts: how many those were.
    """

    classes: Mapping[str, tuple[str, ...]]
    selected_by: Mapping[str, str]
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    frequencies: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    half_samples: int = 0
    overlaps: Mapping[str, Overlap] = field(default_factory=dict)
    permuted: Mapping[str, Permuted] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    prompts_sha256: str = ""
    n_prompts: int = 0

    def __post_init__(self) -> None:
        """Refuse what does not fit together; all problems in one DeclarationError."""
        named = {
            "frequencies": self.frequencies,
            "overlaps": self.overlaps,
            "permuted": self.permuted,
            "settings": self.settings,
        }
        problems = [
            f"{what} of class {name!r}, which is none of {', '.join(self.classes)}"
            for what, given in named.items()
            for name in given
            if name not in self.classes
        ]
        problems += [f"class {name!r} has no selected_by" for name in self.classes if name not in self.selected_by]
        if self.frequencies and self.half_samples < 1:
            problems.append(f"frequencies are shares of half_samples, which is {self.half_samples}; say how many")
        if problems:
            raise DeclarationError("a Discovery does not hold together: " + "; ".join(problems))

    def subject(self, class_name: str, *, source: str) -> Subject:
        """The subject of one class; SubjectNotFound where the procedure found no head of it."""
        heads = self.classes.get(class_name, ())
        if not heads:
            raise no_head(class_name, source=source, split="discovery")
        frequencies = self.selection_frequency(class_name)
        return Subject(
            class_name=class_name,
            heads=heads,
            selected_by=self.selected_by[class_name],
            source=source,
            split="discovery",
            classes=dict(self.classes),
            frequencies=frequencies,
            half_samples=self.half_samples if frequencies else 0,
            settings=self.settings.get(class_name, {}),
        )

    def selection_frequency(self, class_name: str) -> dict[str, float]:
        """Share of half-samples that select each head of a class, 0 where none does; empty where nobody asked."""
        if class_name not in self.frequencies:
            return {}
        return {head: self.frequencies[class_name].get(head, 0.0) for head in self.classes[class_name]}


@dataclass(frozen=True)
class Mechanism:
    """One folder of claims."""

    name: str
    folder: Path
    subjects: SubjectsFile
    announced: ModuleType | None

    @property
    def discover(self) -> Callable[..., Discovery] | None:
        """The discovery procedure, or None."""
        return getattr(self.announced, "discover", None)

    def discovered(self, model: Model, *, say: Announce | None = None) -> Discovery:
        """What the procedure finds on a model, from the streams of the discovery split.

        Args:
            model: the model.
            say: handed on to a procedure that takes it; without it such a procedure talks to nobody.

        Raises:
            DeclarationError: the mechanism has no discovery procedure.
        """
        discover = self.discover
        if discover is None:
            raise DeclarationError(
                f"mechanism {self.name!r} has no discovery procedure: define discover(model, streams) in "
                f"{self.folder / 'mechanism.py'}, or name heads with --subjects 5.1,5.5."
            )
        streams = discovery_streams(self.name, fingerprint=model.fingerprint)
        if "say" in inspect.signature(discover).parameters:
            return discover(model, streams, say=say or _unheard)
        return discover(model, streams)


def discovery_streams(mechanism: str, *, fingerprint: str, data_seed: int = 0) -> Streams:
    """Discovery streams of a mechanism on a model; disjoint from every claim's confirmation streams."""
    return Streams(("discovery", mechanism, fingerprint, str(data_seed)))


def open_mechanism(folder: Path) -> Mechanism:
    """The mechanism in a folder: its subjects and what its `mechanism.py` announces."""
    path = folder / "mechanism.py"
    announced = import_file(path) if path.exists() else None
    return Mechanism(folder.name, folder, read_subjects(folder / "subjects.toml"), announced)


def mechanisms(claims: Path) -> dict[str, Mechanism]:
    """All mechanisms below a claims folder, by name."""
    folders = sorted({path.parent for path in claims.glob("*/test_*.py")})
    return {folder.name: open_mechanism(folder) for folder in folders}


def folder_of(claim_id: str, *, claims: Path) -> Path:
    """The folder of the mechanism that a claim's id begins with; `-` may stand for `_`, so that it can be imported."""
    name = claim_id.split(".")[0]
    importable = claims / name.replace("-", "_")
    return importable if importable.is_dir() else claims / name


def misplaced(claim_id: str, *, folder: Path) -> list[str]:
    """What is wrong with the id of a claim that lies in `folder`: commands look for it where its id begins."""
    begins, dot, rest = claim_id.partition(".")
    here = folder.name.replace("_", "-")
    if not dot or begins.replace("_", "-") == here:
        return []
    return [f"id {claim_id!r} begins otherwise than its folder {folder.name}/; call it {f'{here}.{rest}'!r}"]


def named(name: str, *, claims: Path) -> Mechanism:
    """The mechanism of that name, or of that beginning of claims' ids; DeclarationError that lists what there is."""
    found = mechanisms(claims)
    spelt = {each.replace("-", "_"): each for each in found}
    folder = name if name in found else spelt.get(name.replace("-", "_"))
    if folder is None:
        listed = ", ".join(sorted(found)) or "none"
        raise DeclarationError(f"no mechanism {name!r} below {claims}; there are: {listed}.{did_you_mean(name, found)}")
    return found[folder]


def import_file(path: Path) -> ModuleType:
    """The module in a file, imported once per path under a name that cannot clash with an installed package.

    The folder that holds `claims/` is put on `sys.path`, so that claims can import `fixtures` and each other.
    """
    path = path.resolve()
    name = "_mechclaims_" + "_".join(path.parts[-3:]).replace(".", "_").replace("-", "_")
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    root = str(path.parents[min(2, len(path.parents) - 1)])
    if root not in sys.path:
        sys.path.append(root)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise DeclarationError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # a second attempt must not find the half of it that ran
        raise
    return module


def _unheard(line: str) -> None:
    """Progress that nobody asked to see."""
