"""Worlds with nothing to find: freshly initialised models of one architecture, on which every claim is asked.

In every world discovery runs anew, without thresholds: as many components as the trained model has are asked, the
highest, however low. Preconditions are off, and a claim that is certain to be `invalid` ends early. Every world has its
own prompts, since they derive from its fingerprint. One line is stored for each claim in each world, as it is finished:
the verdict, and how often each control's own condition held. `benchmarks.calibration.summary` counts them.

    nox -s calibrate -- induction-2l --worlds 93
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.calibration.early import ending_early
from benchmarks.calibration.lines import append_line, products_of, read_lines
from benchmarks.calibration.products import Products, products_in
from harness.catalog import CatalogEntry, all_claims
from harness.errors import NotCovered, NotSuited, SubjectNotFound
from harness.evidence import Record
from harness.mechanism import Discovery, Mechanism, discovery_streams
from harness.negatives import measured_on
from harness.session import BoundClaim, Options, applies
from harness.stats.exact import LARGEST_SHARE
from harness.stats.ranks import ENOUGH_SETS

if TYPE_CHECKING:
    from harness.declaration import Claim
    from harness.models.model import Model
    from harness.subjects import Subject



@dataclass(frozen=True)
class Architecture:
    """The model whose untrained twins are the worlds, and the mechanisms whose claims are asked there."""

    model_id: str
    mechanisms: tuple[str, ...]
    worlds: int = 93


ARCHITECTURES = {
    "induction-1l": Architecture("induction-1l@0", ("induction",)),
    "induction-2l": Architecture("induction-2l@0", ("induction",)),
    "addition-5d-1l": Architecture("addition-5d-1l@0", ("arithmetic",)),
    "addition-5d-2l": Architecture("addition-5d-2l@0", ("arithmetic",)),
    "modular-addition-113": Architecture("modular-addition-113@0", ("arithmetic",)),
    "smollm2-135m": Architecture("smollm2-135m-q4", ("induction", "greater_than", "ioi", "steering"), worlds=20),
}
"""By the name on the command line. A claim of another mechanism that takes every model (`*`) is left out."""
SEEDS = 5
"""Training seeds of each architecture that this repository trains."""
FIRST = 1_000
"""Seed of the first world; the twins of the tests have small ones."""
_MEMBER = re.compile(r" \([^()]*\)$")


@dataclass(frozen=True)
class World:
    """One world: its number, its model, and what discovery finds in it, mechanism by mechanism."""

    number: int
    model: Model
    model_id: str
    found: dict[str, Discovery | None]

    def subject(self, entry: CatalogEntry) -> Subject | None:
        """The subject of a claim as discovered here, as large as that of the trained model; None without a class.

        Raises:
            SubjectNotFound: discovery finds no component of the class even without thresholds.
        """
        mechanism, class_name = entry.mechanism, entry.claim.subject
        if class_name is None:
            return None
        if mechanism.name not in self.found:
            self.found[mechanism.name] = _discovered(mechanism, self.model)
        found = self.found[mechanism.name]
        if found is None:
            raise SubjectNotFound(f"{mechanism.name} does not suit this architecture")
        classes = as_many_as(mechanism.subjects.classes(self.model_id), found=found.classes)
        return replace(found, classes=classes).subject(class_name, source="discovered in a null world")


def as_many_as(
    registered: Mapping[str, Sequence[str]], *, found: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Each class cut to as many heads as are registered, the highest; without any it stays as the procedure found it.

    A class that is all the others together, such as a circuit, stays that.
    """
    cut = {name: heads[: len(registered[name])] if registered.get(name) else heads for name, heads in found.items()}
    for name, heads in found.items():
        others = [other for other in found if other != name and found[other]]
        if len(others) > 1 and set(heads) == {head for other in others for head in found[other]}:
            left = {head for other in others for head in cut[other]}
            cut[name] = tuple(head for head in heads if head in left)
    return cut


def asked(architecture: str, *, claims: Path, profile: str = "default", only: str | None = None) -> list[CatalogEntry]:
    """The claims that are asked in the worlds of an architecture; replications of published numbers are not."""
    named = ARCHITECTURES[architecture]
    entries = [entry for name in named.mechanisms for entry in all_claims(claims, mechanism=name)]
    entries = [entry for entry in entries if _suits(entry, named.model_id, profile)]
    return [entry for entry in entries if only is None or entry.claim.id.startswith(only)]


def measure_worlds(
    architecture: str,
    *,
    claims: Path,
    out: Path,
    worlds: int,
    first: int = FIRST,
    profile: str = "default",
    only: str | None = None,
    products: Products = "float32",
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Ask every claim in every world; what is stored already is passed over, and an error stops: it is no verdict.

    With `products` in bfloat16 the lines say so, and claims that were measured in float32 are measured again beside it.
    """
    from harness.models.model import load, untrained_twin

    model_id = ARCHITECTURES[architecture].model_id
    entries = asked(architecture, claims=claims, profile=profile, only=only)
    lines = [line for line in read_lines(out) if products_of(line) == products]
    done = {(line["world"], line["claim"], line["version"]) for line in lines}
    trained = load(model_id)
    for number in range(first, first + worlds):
        missing = [entry for entry in entries if (number, entry.claim.id, entry.claim.version) not in done]
        if not missing:
            continue
        began = time.perf_counter()
        world = World(number, untrained_twin(trained, number), model_id, {})
        with products_in(products), ending_early():
            for entry in missing:
                line = _asked_in(world, entry, profile)
                append_line(out, line if products == "float32" else {**line, "products": products})
        seconds = time.perf_counter() - began
        say(f"{architecture}: world {number - first + 1} of {worlds}, {len(missing)} claims in {seconds:.0f} s")


def legs_of(record: Mapping[str, Any]) -> dict[str, list[int]]:
    """By condition, for how many components it held by itself, and of how many.

    The 95th-percentile member is another one in each world, so its name is left out. An exact claim has two
    conditions: its distance to the 95th percentile, and its rank.
    """
    held: Counter[str] = Counter()
    of: Counter[str] = Counter()
    for outcome in (record.get("judgement") or {}).get("outcomes", ()):
        name = _MEMBER.sub("", outcome["control"]) if "95th percentile" in outcome["control"] else outcome["control"]
        of[name] += 1
        held[name] += bool(outcome["holds"])
    exact = record.get("exact")
    if exact:
        sesoi = float(record["claim"]["sesoi"])
        conditions = {"distance to the 95th percentile": exact["distance"] >= sesoi}
        if exact["of"] >= ENOUGH_SETS:
            conditions["rank in the top 5 %"] = exact["rank"] <= LARGEST_SHARE * exact["of"]
        for name, holds in conditions.items():
            of[name], held[name] = 1, int(holds)
    return {name: [held[name], count] for name, count in of.items()}


def _asked_in(world: World, entry: CatalogEntry, profile: Any) -> dict[str, Any]:
    began = time.perf_counter()
    claim = entry.claim
    model_id = _seed_that_suits(claim, world.model_id)
    assert model_id is not None, "claims that suit no seed are not asked"
    bound = BoundClaim(claim, entry.test, entry.source, entry.mechanism, model_id, Options(profile=profile))
    line = {"world": world.number, "claim": claim.id, "version": claim.version, "tier": claim.tier, "profile": profile}
    try:
        subject = world.subject(entry)
    except SubjectNotFound as error:
        seconds = round(time.perf_counter() - began, 3)
        return {**line, "verdict": "invalid", "reason": str(error), "legs": {}, "some_component": False,
                "largest": None, "seconds": seconds}  # fmt: skip
    record: Record = measured_on(bound, world.model, subject=subject)  # type: ignore[arg-type]
    plain = record.as_dict()
    judgement = plain["judgement"] or {}
    estimates = [abs(float(outcome["estimate"])) for outcome in judgement.get("outcomes", ())]
    return {
        **line,
        "verdict": record.verdict,
        "reason": judgement.get("reason", "") if record.verdict in ("invalid", "supported") else "",
        "legs": legs_of(plain),
        "some_component": any(part["verdict"] == "supported" for part in judgement.get("components", ())),
        "largest": max(estimates, default=None),
        "seconds": round(time.perf_counter() - began, 3),
    }


def _discovered(mechanism: Mechanism, model: Model) -> Discovery | None:
    """What the mechanism's procedure finds without thresholds; None where it does not suit the model."""
    if mechanism.discover is None:
        return None
    try:
        return mechanism.discover(
            model, discovery_streams(mechanism.name, fingerprint=model.fingerprint), thresholds=False
        )
    except (NotSuited, NotCovered, SubjectNotFound):
        return None


def _suits(entry: CatalogEntry, model_id: str, profile: str) -> bool:
    claim = entry.claim
    suits = _seed_that_suits(claim, model_id) is not None
    return suits and claim.tier != "replication" and profile in claim.profiles


def _seed_that_suits(claim: Claim, model_id: str) -> str | None:
    """The model, or another training seed of it where a claim is about others alone: all have the same twins."""
    family = model_id.partition("@")[0]
    seeds = [model_id, *(f"{family}@{seed}" for seed in range(SEEDS))] if "@" in model_id else [model_id]
    return next((each for each in seeds if applies(claim, each)), None)
