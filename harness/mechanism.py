"""What a folder of claims announces: how to discover its subjects, how to train its models. Imports nothing heavy.

A mechanism is a folder with `test_*.py`; `subjects.toml` and `mechanism.py` are optional. `mechanism.py` may define

    discover(model, streams) -> Discovery     which heads play the parts, found on the discovery split

and may register how its shipped models are trained again (`harness.models.recipes.register_recipe`).
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from harness.errors import DeclarationError, SubjectNotFound, did_you_mean
from harness.subjects import Subject, SubjectsFile, read_subjects


@dataclass(frozen=True)
class Discovery:
    """Heads found on the discovery split, by class, and the metric that selected them."""

    classes: Mapping[str, tuple[str, ...]]
    selected_by: Mapping[str, str]
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def subject(self, class_name: str, *, source: str) -> Subject:
        """The subject of one class; SubjectNotFound where the procedure found no head of it."""
        heads = self.classes.get(class_name, ())
        if not heads:
            raise SubjectNotFound(f"discovery found no head of class {class_name!r} ({source})")
        return Subject(class_name, heads, self.selected_by[class_name], source, "discovery", dict(self.classes))


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


def open_mechanism(folder: Path) -> Mechanism:
    """The mechanism in a folder: its subjects and what its `mechanism.py` announces."""
    path = folder / "mechanism.py"
    announced = import_file(path) if path.exists() else None
    return Mechanism(folder.name, folder, read_subjects(folder / "subjects.toml"), announced)


def mechanisms(claims: Path) -> dict[str, Mechanism]:
    """All mechanisms below a claims folder, by name."""
    folders = sorted({path.parent for path in claims.glob("*/test_*.py")})
    return {folder.name: open_mechanism(folder) for folder in folders}


def named(name: str, *, claims: Path) -> Mechanism:
    """The mechanism of that name; DeclarationError that lists what there is."""
    found = mechanisms(claims)
    if name not in found:
        listed = ", ".join(sorted(found)) or "none"
        raise DeclarationError(f"no mechanism {name!r} below {claims}; there are: {listed}.{did_you_mean(name, found)}")
    return found[name]


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
