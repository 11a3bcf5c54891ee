"""Which tests there will be, and what they will cost, decided without loading a model. No torch, no pytest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.bound_claim import applies
from harness.declaration import Claim, Profile
from harness.errors import DeclarationError
from harness.mechanism import Mechanism
from harness.models.registry import Availability, ModelSpec, availability, find, known_models
from harness.subjects import head_problems, read_subjects, require_component

if TYPE_CHECKING:
    from harness.bound_claim import BoundClaim

_TOKENS_PER_SECOND_PER_MIB = 300_000
"""Forward passes here: 600 tokens a second for a model of 515 MiB; small models are bound by overhead instead."""
_OVERHEAD_TOKENS_PER_SECOND = 100_000
CLAIMED_ON = ("confirmation", "audit")
"""Splits on which claims are decided, and subjects therefore never selected."""
_DEQUANTISED = 5.5
"""How much larger the packaged 4-bit weights are in memory than on disk."""


def default_models(
    mechanism: Mechanism, *, profile: Profile, weights: Sequence[str], claim: Claim | None = None
) -> list[str]:
    """The models of a mechanism: the registered ones, or all known ones that are here where none is registered.

    For a claim without a subject, which needs no registration, also the shipped models that it names (every seed of
    `modular-addition-113@*`). `quick` keeps shipped models at training seed 0 and those whose weights the user named.
    """
    ids = list(mechanism.subjects.models)
    if not ids:
        ids = [spec.id for spec in known_models() if availability(spec).here and not _is_reference(spec)]
    elif claim is not None and claim.subject is None:
        families = {pattern.partition("@")[0] for pattern in claim.models}
        shipped = [spec.id for spec in known_models() if spec.kind == "shipped" and spec.family in families]
        ids += [model_id for model_id in shipped if model_id not in ids and applies(claim, model_id)]
    if profile == "quick":
        ids = [model_id for model_id in ids if _quick(find(model_id)) or model_id in weights]
    return ids


def check_model_ids(ids: Sequence[str]) -> None:
    """Raise ModelError for the first id that names no model."""
    for model_id in ids:
        find(model_id)


def availability_of(bound: BoundClaim) -> Availability:
    """Whether what the claim reads is here: its model, or a weights file that the user named."""
    file = bound.options.weights.get(bound.model_id)
    if bound.needs_weights_only and file is not None:
        return Availability(here=True, where=file, bytes=file.stat().st_size, remedy="")
    found = availability(find(bound.model_id))
    if bound.needs_weights_only and not found.here:
        remedy = f"{found.remedy} (or, for this claim alone: --weights {bound.model_id}=FILE)"
        return Availability(here=False, where=None, bytes=0, remedy=remedy)
    return found


def subject_problems(claim: Claim, mechanism: Mechanism, *, models: Sequence[str]) -> list[str]:
    """What is wrong with the registered subjects of a claim, by layers and heads from the registry alone."""
    if claim.subject is None:
        return []
    problems = []
    for model_id in models:
        problems += _split_problems(claim, mechanism, model_id=model_id)
        heads = mechanism.subjects.classes(model_id).get(claim.subject)
        if heads is None:
            if model_id in mechanism.subjects.models or mechanism.discover is None:
                problems.append(f"no class {claim.subject!r} for model {model_id!r} in {mechanism.subjects.path}")
            continue
        if not heads:
            continue  # discovery found none: the claim runs and its record says so, `invalid` with that reason
        spec = find(model_id)
        problems += head_problems(heads, model_id=model_id, n_layers=spec.n_layers, n_heads=spec.n_heads)
    return problems


def given_subject_problems(bound: BoundClaim) -> list[str]:
    """What is wrong with heads given by `--subjects` for the claim and on its model, by the registry alone."""
    heads = bound.options.subjects
    if heads is None or bound.claim.subject is None:
        return []
    spec = find(bound.model_id)
    problems = head_problems(heads, model_id=bound.model_id, n_layers=spec.n_layers, n_heads=spec.n_heads)
    return [*problems, *bound.mechanism.subjects.misfits(heads, class_name=bound.claim.subject)]


def parse_subjects(given: str) -> tuple[str, ...] | Path:
    """Heads of `--subjects 5.1,5.5`, or the file of `mechclaims discover` that it names.

    Raises:
        DeclarationError: neither heads nor a file, or a file that is no subjects file or is about no model.
    """
    if not re.fullmatch(r"([\d.,\s]|resid_\w+)+", given):
        path = Path(given)
        if not path.is_file():
            raise DeclarationError(f"--subjects {given!r} is neither heads like 5.1,5.5 nor a file")
        if not read_subjects(path).models:
            form = '[models."ID".classes.NAME] with heads, selected_by, source and split'
            raise DeclarationError(
                f"--subjects {given!r} names no model; expected {form}, as `mechclaims discover` writes"
            )
        return path
    heads = tuple(part.strip() for part in given.split(",") if part.strip())
    for head in heads:
        require_component(head)
    if not heads:
        raise DeclarationError(f"--subjects {given!r} names no head")
    twice = next((head for head in heads if heads.count(head) > 1), None)
    if twice is not None:
        raise DeclarationError(f"--subjects {given!r} names {twice} twice; name every head once")
    return heads


def plan_lines(bound: Sequence[BoundClaim]) -> list[str]:
    """The plan for `--dry-run`: one line a test, then the total."""
    lines, total, memory = [], 0.0, 0.0
    for entry in bound:
        found = availability_of(entry)
        name = f"{entry.claim.id}  {entry.model_id}  data seed {entry.options.data_seed}"
        if not found.here:
            lines.append(f"{name}: not run; {found.remedy}")
            continue
        seconds, tokens = _estimate(entry)
        total += seconds
        memory = max(memory, 4 * _loaded_mib(entry) + 500)
        units = entry.claim.units
        what = (
            "exact, no units"
            if units is None
            else f"{entry.options.n_units or units.for_profile(entry.options.profile)} units"
        )
        cost = f"{tokens:,.0f} token-forwards" if entry.claim.cost is not None or units is None else "cost not declared"
        lines.append(f"{name}: {what}, {cost}, about {seconds:.0f} s")
    tests = f"{len(bound)} test{'' if len(bound) == 1 else 's'}"
    lines.append(
        f"{tests}, about {total / 60:.1f} minutes of forward passes, about {memory / 1024:.1f} GiB a process"
    )
    return lines


def item_slug(model_id: str) -> str:
    """A model id as part of a test id, without `/`, `:` or brackets."""
    if not model_id.startswith("path:"):
        return model_id
    path = model_id.removeprefix("path:")
    digits = hashlib.sha256(path.encode()).hexdigest()[:6]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{Path(path).name or 'model'}-{digits}")


def _split_problems(claim: Claim, mechanism: Mechanism, *, model_id: str) -> list[str]:
    """Heads of an inference claim come from discovery or a paper: chosen where they are claimed, they prove nothing.

    Nor by the metric of the claim: that they have much of it is why they are its heads.
    """
    if claim.tier != "inference":
        return []
    listed = mechanism.subjects.models.get(model_id, {}).get("classes", {})
    by = listed.get(claim.subject, {}).get("selected_by", "")
    problems = [
        f"class {claim.subject!r} of model {model_id!r} was selected by {by!r} ({mechanism.subjects.path}), which is "
        'the claim\'s own metric: measure another one, or declare tier="reliability"'
    ]
    return [
        *(problems if by.casefold() == claim.metric.name.casefold() else ()),
        *_chosen_where_claimed(listed, mechanism, model_id=model_id),
    ]


def _chosen_where_claimed(listed: Mapping[str, Any], mechanism: Mechanism, *, model_id: str) -> list[str]:
    return [
        f"class {name!r} of model {model_id!r} was selected on the {entry['split']} split ({mechanism.subjects.path}); "
        "an inference claim is about heads from the discovery split or from a paper"
        for name, entry in listed.items()
        if entry.get("split") in CLAIMED_ON
    ]


def _estimate(entry: BoundClaim) -> tuple[float, float]:
    cost, units = entry.claim.cost, entry.claim.units
    if cost is None or units is None:
        return 1.0, 0.0
    tokens = cost.draws * cost.tokens * (entry.options.n_units or units.for_profile(entry.options.profile))
    return tokens / min(_TOKENS_PER_SECOND_PER_MIB / max(_loaded_mib(entry), 1.0), _OVERHEAD_TOKENS_PER_SECOND), tokens


def _loaded_mib(entry: BoundClaim) -> float:
    """About what the model's weights take in memory."""
    spec = find(entry.model_id)
    return spec.size_bytes / 2**20 * (_DEQUANTISED if spec.kind == "packaged" else 1.0)


def _quick(spec: ModelSpec) -> bool:
    return spec.kind == "shipped" and spec.training_seed == 0


def _is_reference(spec: ModelSpec) -> bool:
    return spec.family == "induction-1l"
