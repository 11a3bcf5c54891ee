"""The record of one measurement: claim, model, subject, options and cost around the sections that its body filled."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from harness.bound_claim import BoundClaim
from harness.claim import Evidence
from harness.errors import ModelNotHere
from harness.evidence import Record

if TYPE_CHECKING:
    from harness.session import Prepared
    from harness.subjects import Subject


def record_of(prepared: Prepared) -> Record:
    """The record of a claim's evidence as far as it was filled."""
    bound, claim = prepared.bound, prepared.bound.claim
    options = bound.options
    expectation = (
        None if options.exploratory else bound.mechanism.subjects.expectation(claim.id, model_id=bound.model_id)
    )
    return Record(
        claim={
            **claim.declared(),
            "mechanism": claim.mechanism,
            "declaration_hash": claim.hash(),
            "source": bound.source,
        },
        model=_model_section(bound, prepared.target),
        subject=None if prepared.subject is None else _subject_section(prepared.subject),
        seeds={"data_seed": options.data_seed, "split": options.split},
        options={
            "profile": options.profile, "n_units": prepared.evidence.n_units, "dtype": options.dtype,
            "device": options.device,
            **({"memory_budget_mib": options.memory_budget_mib} if options.memory_budget_mib else {}),
            **({"drawn_for": options.drawn_for} if options.drawn_for else {}),
            **({"ignore_preconditions": True} if options.ignore_preconditions else {}),
        },
        command=bound.command(),
        expectation=None if expectation is None else asdict(expectation),
        exploratory=options.exploratory,
        cost=_cost(prepared),
        **_sections(prepared.evidence),
    )  # fmt: skip


def _model_section(bound: BoundClaim, target: Any) -> dict[str, Any]:
    from harness.models.registry import find

    section: dict[str, Any] = {"id": bound.model_id, "fingerprint": None, "note": ""}
    try:
        section["note"] = find(bound.model_id).note
    except ModelNotHere:
        section["note"] = ""
    if target is not None:
        names = ("n_layers", "n_heads", "n_kv_heads")
        section |= {"id": getattr(target, "id", bound.model_id), "fingerprint": target.fingerprint}
        section |= {name: getattr(target, name) for name in names}
    return section


def _subject_section(subject: Subject) -> dict[str, Any]:
    section: dict[str, Any] = {
        "class": subject.class_name, "components": subject.heads, "source": subject.source,
        "selected_by": subject.selected_by, "split": subject.split,
    }  # fmt: skip
    if subject.settings:
        section["settings"] = dict(subject.settings)
    # No key where nobody counted: such records keep the hash that they had, and heads put in by hand claim nothing.
    if subject.frequencies and all(head in subject.frequencies for head in subject.heads):
        section["selection_frequency"] = [subject.frequencies[head] for head in subject.heads]
        section["half_samples"] = subject.half_samples
    return section


def _sections(evidence: Evidence) -> dict[str, Any]:
    sections = dict(evidence.sections)
    for name in ("ranks", "shares", "preconditions", "notes", "tables", "pictures"):
        sections[name] = tuple(sections.get(name, ()))
    return sections


def _cost(prepared: Prepared) -> dict[str, Any]:
    # ru_maxrss is in KiB on Linux, in bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    seconds = round(time.perf_counter() - prepared.started, 3)
    return {"seconds": seconds, "peak_mib": round(peak, 1), "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
