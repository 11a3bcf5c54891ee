"""Which components a claim is about on which model, where they came from, and the verdict registered for it.

One `subjects.toml` per mechanism:

    [models."induction-2l@0".classes.induction]
    heads = ["1.1", "1.4"]
    selected_by = "prefix-matching score"
    source = "mechclaims discover induction"
    split = "discovery"
    selection_frequency = [1.0, 0.95]     # of each head, in half_samples random halves of the discovery prompts
    half_samples = 20

    [expectations."induction.ablation"]
    "smollm2-135m-q4" = { verdict = "refuted", reason = "..." }

The last two lines of a class may be missing. `heads = []` says that discovery looked for the class and found none:
claims about it are `invalid` on that model. A class about a direction has the place in the residual stream where its
claims use it, and may have numbers that were chosen with it:

    [models."smollm2-135m-q4".classes.sentiment]
    heads = ["14.resid_post"]
    settings = { dose = 4.0 }

Further keys are for readers and mean nothing here.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard, get_args

from harness.errors import DeclarationError, SubjectNotFound
from harness.stats.records import Verdict

_EVERY = "*"
"""Any key of a table."""
_HEAD = re.compile(r"(\d+)\.(\d+)")
_FORM = "; write layer.head, e.g. 5.1, or a place in the residual stream, e.g. 5.resid_post"
_SITE = re.compile(r"(\d+)\.resid_(?:pre|mid|post)")


@dataclass(frozen=True)
class Subject:
    """The components of one class on one model.

    Attributes:
        class_name: `"induction"`.
        heads: `"layer.head"`, at least one; or the place of a direction, `"layer.resid_post"`.
        selected_by: the metric that found them; a claim on that same metric is tier `reliability`.
        source: the paper, or the command that discovered them.
        split: the split on which they were found, or `"published"` or `"given"`.
        classes: all classes of the model, for claims that need a second one; an empty one was looked for in vain.
        frequencies: share of half-samples of the discovery prompts that select each head, where that was counted.
        half_samples: how many half-samples there were; 0 where nothing was counted.
        settings: numbers that were chosen together with the components, such as a dose.
    """

    class_name: str
    heads: tuple[str, ...]
    selected_by: str
    source: str
    split: str
    classes: Mapping[str, tuple[str, ...]]
    frequencies: Mapping[str, float] = field(default_factory=dict)
    half_samples: int = 0
    settings: Mapping[str, float] = field(default_factory=dict)

    def layers(self) -> tuple[int, ...]:
        """Layer of each component, in order."""
        return tuple(int(head.split(".")[0]) for head in self.heads)

    def of_class(self, name: str) -> tuple[str, ...]:
        """Heads of another class of the same model; SubjectNotFound where discovery looked for it and found none."""
        if name not in self.classes:
            raise DeclarationError(f"no class {name!r} among this model's subjects: {', '.join(sorted(self.classes))}")
        if not self.classes[name]:
            raise no_head(name, source=self.source, split=self.split)
        return self.classes[name]


@dataclass(frozen=True)
class Expectation:
    """The verdict registered for a claim on a model, with its reason."""

    verdict: str = "supported"
    reason: str = ""


@dataclass(frozen=True)
class SubjectsFile:
    """One mechanism's subjects and registered verdicts."""

    path: Path
    models: Mapping[str, Mapping[str, Any]]
    expectations: Mapping[str, Mapping[str, Expectation]]

    def classes(self, model_id: str) -> dict[str, tuple[str, ...]]:
        """All classes of a model: name to heads; empty where the model has none registered."""
        listed = self.models.get(model_id, {}).get("classes", {})
        return {name: tuple(entry["heads"]) for name, entry in listed.items()}

    def subject(self, model_id: str, *, class_name: str) -> Subject | None:
        """The subject of a class on a model, or None where the class is not registered.

        Raises:
            SubjectNotFound: the class is registered as empty.
        """
        entry = self.models.get(model_id, {}).get("classes", {}).get(class_name)
        if entry is None:
            return None
        heads, source, split = tuple(entry["heads"]), entry.get("source", ""), entry.get("split", "")
        if not heads:
            raise no_head(class_name, source=source, split=split)
        return Subject(
            class_name=class_name,
            heads=heads,
            selected_by=entry.get("selected_by", ""),
            source=source,
            split=split,
            classes=self.classes(model_id),
            frequencies=dict(zip(heads, entry.get("selection_frequency", ()), strict=False)),
            half_samples=entry.get("half_samples", 0),
            settings=self.settings(model_id, class_name=class_name),
        )

    def fingerprint(self, model_id: str) -> str | None:
        """Of the model on which its heads were found; None where nobody wrote it down."""
        found = self.models.get(model_id, {}).get("discovery", {}).get("fingerprint")
        return None if found is None else str(found)

    def settings(self, model_id: str, *, class_name: str) -> dict[str, float]:
        """The numbers registered with a class on a model; empty where there are none."""
        entry = self.models.get(model_id, {}).get("classes", {}).get(class_name, {})
        return {name: float(value) for name, value in entry.get("settings", {}).items()}

    def misfits(self, names: Sequence[str], *, class_name: str) -> list[str]:
        """What keeps components that a user names from standing in for a class: heads for a place, places for one."""
        entries = (model.get("classes", {}).get(class_name, {}) for model in self.models.values())
        registered = [entry["heads"] for entry in entries if entry.get("heads")]
        kinds = sorted({_kind(name) for heads in registered for name in heads})
        wanted = f"{class_name} is {' or '.join(kinds)}, such as {registered[0][0]}" if kinds else ""
        problems = [f"{name} is {_kind(name)}; {wanted}" for name in names if kinds and _kind(name) not in kinds]
        if kinds and "a head" not in kinds and len(names) > max(map(len, registered)):
            problems.append(f"{', '.join(names)} are {len(names)} places; {wanted}: name one")
        return problems

    def expectation(self, claim_id: str, *, model_id: str) -> Expectation | None:
        """The verdict on record: the one in the file, else `supported` for a registered model, else None."""
        named = self.expectations.get(claim_id, {}).get(model_id)
        return named if named is not None or model_id not in self.models else Expectation()


def read_subjects(path: Path) -> SubjectsFile:
    """The subjects file at `path`; a mechanism without one has no registered models.

    Raises:
        DeclarationError: the file cannot be read or is no TOML, or entries are malformed; all problems are listed.
    """
    if not path.exists():
        return SubjectsFile(path=path, models={}, expectations={})
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # no TOML, or no UTF-8
        what = "cannot be read" if isinstance(error, OSError) else "not valid TOML"
        raise DeclarationError(f"{path}: {what}: {error}") from error
    problems = _shape_problems(content) or [*_class_problems(content), *_expectation_problems(content)]
    if problems:
        raise DeclarationError(f"{path}:\n" + "\n".join(f"  - {problem}" for problem in problems))
    expectations = {
        claim_id: {model: Expectation(entry["verdict"], entry.get("reason", "")) for model, entry in models.items()}
        for claim_id, models in content.get("expectations", {}).items()
    }
    return SubjectsFile(path=path, models=content.get("models", {}), expectations=expectations)


def no_head(class_name: str, *, source: str, split: str) -> SubjectNotFound:
    """The error that a class is empty on a model, and who says so."""
    if split == "discovery":
        return SubjectNotFound(f"discovery found no head of class {class_name!r} ({source})")
    return SubjectNotFound(f"no head of class {class_name!r} is known on this model ({source})")


def parse_head(name: str) -> tuple[int, int]:
    """(layer, head) of `"5.1"`; DeclarationError where it is not of that form."""
    match = _HEAD.fullmatch(name.strip())
    if match is None:
        raise DeclarationError(f"{name!r} is not a head; write layer.head, e.g. 5.1")
    return int(match[1]), int(match[2])


def is_component(name: str) -> bool:
    """Whether it names a head or a place in the residual stream."""
    return bool(_HEAD.fullmatch(name) or _SITE.fullmatch(name))


def require_component(name: str) -> str:
    """The name, if it is that of a head or of a place in the residual stream; DeclarationError else."""
    if not is_component(name):
        raise DeclarationError(f"{name!r} is not a head{_FORM}")
    return name


def _kind(name: str) -> str:
    return "a head" if _HEAD.fullmatch(name) else f"a place in the stream, {name.partition('.')[2]}"


def head_problems(heads: Sequence[str], *, model_id: str, n_layers: int, n_heads: int) -> list[str]:
    """What is wrong with these heads on a model of this size."""
    problems = [] if heads else [f"no heads are named for {model_id!r}"]
    for name in heads:
        head = _HEAD.fullmatch(name)
        place = head or _SITE.fullmatch(name)
        if place is None:
            problems.append(f"{name!r} is not a head{_FORM}")
        elif int(place[1]) >= n_layers or (head is not None and int(head[2]) >= n_heads):
            size = f"layers 0..{n_layers - 1}" + ("" if head is None else f" and heads 0..{n_heads - 1}")
            problems.append(f"subject {name} is not in model {model_id!r}, which has {size}")
    twice = [] if len(set(heads)) == len(heads) else [f"a head is named twice in {', '.join(heads)}"]
    return problems + twice


def _shape_problems(content: Mapping[str, Any]) -> list[str]:
    """What is no table where one is needed; nothing else can be read then."""
    forms = {
        "models": ((_EVERY, "classes", _EVERY), '[models."ID".classes.NAME] with heads, selected_by, source and split'),
        "expectations": (
            (_EVERY, _EVERY),
            '[expectations."CLAIM"] with "ID" = { verdict = "refuted", reason = "..." }',
        ),
    }
    return [
        f"{where} is {given!r}, expected {form}"
        for top, (below, form) in forms.items()
        for where, given in _not_tables(content.get(top, {}), top, below)
    ]


def _not_tables(given: Any, where: str, below: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Where something else stands than a table, here or below the keys that lead on."""
    if not isinstance(given, dict):
        yield where, given
        return
    for name, entry in given.items():
        if below and below[0] in (_EVERY, name):
            yield from _not_tables(entry, f"{where}.{name}", below[1:])


def _class_problems(content: Mapping[str, Any]) -> list[str]:
    problems = []
    for model_id, entry in content.get("models", {}).items():
        for name, listed in entry.get("classes", {}).items():
            where = f"models.{model_id}.classes.{name}"
            heads = listed.get("heads")
            if not isinstance(heads, list) or not all(isinstance(head, str) for head in heads):
                problems.append(f"{where}: heads is {heads!r}, expected a list like ['5.1'], or [] for none found")
            else:
                problems += [f"{where}: {problem}" for problem in _frequency_problems(listed, heads=len(heads))]
            settings = listed.get("settings", {})
            if not isinstance(settings, dict) or not all(map(_is_number, settings.values())):
                problems.append(f"{where}: settings is {settings!r}, expected numbers by name like {{ dose = 4.0 }}")
            missing = [key for key in ("selected_by", "source", "split") if not listed.get(key)]
            problems += [f"{where}: {key} is missing" for key in missing]
    return problems


def _frequency_problems(listed: Mapping[str, Any], *, heads: int) -> list[str]:
    if "selection_frequency" not in listed and "half_samples" not in listed:
        return []
    shares, halves = listed.get("selection_frequency"), listed.get("half_samples")
    problems = []
    if not isinstance(shares, list) or len(shares) != heads or not all(map(_is_share, shares)):
        problems.append(f"selection_frequency is {shares!r}, expected {heads} numbers from 0 to 1, one for each head")
    if isinstance(halves, bool) or not isinstance(halves, int) or halves < 1:
        problems.append(f"half_samples is {halves!r}, expected how many halves selection_frequency was counted in")
    return problems


def _is_share(value: object) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _expectation_problems(content: Mapping[str, Any]) -> list[str]:
    problems = []
    for claim_id, models in content.get("expectations", {}).items():
        for model_id, entry in models.items():
            where, verdict = f"expectations.{claim_id}.{model_id}", entry.get("verdict")
            if verdict not in get_args(Verdict):
                problems.append(f"{where}: verdict {verdict!r} is none of {get_args(Verdict)}")
            if verdict != "supported" and not entry.get("reason"):
                problems.append(f"{where}: a verdict other than supported needs its reason")
    return problems
