"""Records judged as a measurement judges them, from planted values and without a model; and the same edited by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.claim import Evidence
from harness.declaration import Claim, Control, Margin, Metric
from harness.evidence import Record
from harness.session import streams_of
from harness.store import write_record
from harness.subjects import Subject
from harness.values import UnitValues
from tests.toy_claim import CLAIM

HEADS = ("1.0", "1.3")
OTHERS = tuple(f"0.{head}" for head in range(6))
FINGERPRINT = "f1" * 32
Plain = dict[str, Any]

POPULATION = replace(
    CLAIM,
    id="toy.ranked",
    controls=(Control("others", "component"), Control("shuffled", "input")),
    margins=(Margin("cost", "nats", "a toy", at_most=1.0),),
    exposed_by="shuffled",
)
STRATA = replace(
    CLAIM,
    id="toy.faithful",
    margins=(
        Margin("ratio, first half", "share", "a toy", at_most=1.25, at_least=0.8),
        Margin("ratio, second half", "share", "a toy", at_most=1.25, at_least=0.8),
        Margin("elsewhere", "nats", "a toy", at_most=1.0),
    ),
)
EXACT = replace(CLAIM, id="toy.exact", units=None, controls=(Control("others", "component"),), exposed_by="others")
PUBLISHED = replace(
    CLAIM,
    id="toy.published",
    units=None,
    tier="replication",
    controls=(),
    margins=(Margin("distance", "nats", "the paper", at_most=0.1, at_least=-0.1),),
)
BINARY = replace(CLAIM, id="toy.binary", metric=Metric("hits", unit="share", binary=True), sesoi=0.1)


def values(
    purpose: str, mean: float, *, components: tuple[str, ...] = HEADS, units: int = 24, of: int = 1
) -> UnitValues:
    """Planted values around a mean; `of` units lie in each cluster."""
    rng = np.random.default_rng([*purpose.encode()])
    ids = tuple(f"u{number}" for number in range(units))
    clusters = tuple(f"c{number // of}" for number in range(units))
    return UnitValues(rng.normal(mean, 0.4, (len(components), units)), components, ids, clusters)


def evidence_of(claim: Claim, *, n_units: int = 24, **options: Any) -> Evidence:
    """Evidence with the streams of a confirmation on the planted model."""
    subject = Subject("induction", HEADS, "s", "s", "discovery", {})
    streams = streams_of(claim, fingerprint=FINGERPRINT, data_seed=0)
    return Evidence(claim, n_units, streams, subject=subject, **options)


def record_of(evidence: Evidence, *, model: str = "planted") -> Record:
    """The record of decided evidence, as `harness.recording` fills it."""
    claim, sections = evidence.claim, dict(evidence.sections)
    for name in ("ranks", "shares", "preconditions", "notes", "tables", "pictures"):
        sections[name] = tuple(sections.get(name, ()))
    return Record(
        claim={**asdict(claim), "mechanism": claim.mechanism, "declaration_hash": claim.hash(), "source": "toy.py"},
        model={"id": model, "fingerprint": FINGERPRINT, "note": ""},
        subject={"class": "induction", "components": HEADS, "source": "s", "selected_by": "s", "split": "discovery"},
        seeds={"data_seed": 0, "split": "confirmation"},
        options={"profile": "default", "n_units": evidence.n_units, "dtype": "float32", "device": "cpu"},
        command="pytest toy.py",
        **sections,
    )


def plain(effect: float = 1.5, **options: Any) -> Record:
    """Two heads against two controls."""
    evidence = evidence_of(CLAIM, **options)
    evidence.precondition("loss", value=1.0, at_least=0.5)
    evidence.treated(values("treated", effect))
    evidence.control("same dose", values("dose", 0.0))
    evidence.control("shuffled", values("shuffled", 0.0, components=("joint",)))
    evidence.decide()
    return record_of(evidence)


def population(*, of: int = 1) -> Record:
    """Two heads against others that were measured on half of the units, with a margin on the same units."""
    evidence = evidence_of(POPULATION)
    evidence.treated(values("treated", 1.5, of=of))
    others = values("others", 0.0, components=OTHERS, of=of)
    half = replace(others, values=others.values[:, ::2], units=others.units[::2], clusters=others.clusters[::2])
    discovery = replace(others, units=tuple(f"d{number}" for number in range(24)))
    matched = {"1.0": OTHERS[:4], "1.3": OTHERS[2:]}
    evidence.component_control("others", half, discovery=discovery, matched=matched)
    evidence.control("shuffled", values("shuffled", 0.0, of=of))
    evidence.margin("cost", values("cost", 0.1, of=of))
    evidence.share("1.0", values=values("share", 0.3, components=("1.0",), of=of))
    evidence.decide()
    return record_of(evidence)


def strata(*, elsewhere: int = 30, of: int = 1) -> Record:
    """A joint effect of 48 units in 24 clusters, ratios in two strata of them, and a margin on other units."""
    claim = replace(STRATA, units=replace(STRATA.units, default=48))  # type: ignore[type-var]
    evidence = evidence_of(claim, n_units=48)
    treated = values("treated", 3.0, components=("joint",), units=48, of=2)
    whole = values("whole", 3.0, components=("model",), units=48, of=2)
    evidence.treated(treated)
    evidence.control("same dose", values("dose", 0.0, components=("joint",), units=48, of=2))
    evidence.control("shuffled", values("shuffled", 0.0, components=("joint",), units=48, of=2))
    for name, start in (("ratio, first half", 0), ("ratio, second half", 1)):
        evidence.margin(name, _every_second(treated, start), relative_to=_every_second(whole, start))
    evidence.margin("elsewhere", values("elsewhere", 0.1, components=("joint",), units=elsewhere, of=of))
    evidence.decide()
    return record_of(evidence)


def exact(value: float = 3.0) -> Record:
    """A number ranked among 24 others."""
    evidence = evidence_of(EXACT, n_units=0)
    others = np.random.default_rng(0).normal(0, 1, 24)
    evidence.exact(value=value, population={f"0.{number}": float(one) for number, one in enumerate(others)})
    evidence.decide()
    return record_of(evidence)


def published(distance: float = 0.05) -> Record:
    """A number on the paper's own prompts."""
    evidence = evidence_of(PUBLISHED, n_units=0)
    row = UnitValues(np.full((1, 3), distance), ("model",), ("a", "b", "c"), ("a", "b", "c"))
    evidence.treated(row)
    evidence.margin("distance", row)
    evidence.decide()
    return record_of(evidence)


def binary() -> Record:
    """Hits against rates of hits."""
    evidence = evidence_of(BINARY)
    hits = values("hits", 0.0)
    evidence.treated(replace(hits, values=(hits.values > -0.4).astype(float)))
    for name in ("same dose", "shuffled"):
        rates = values(name, 0.0)
        evidence.control(name, replace(rates, values=np.clip(rates.values, 0.0, 0.3)))
    evidence.decide()
    return record_of(evidence)


def constant() -> Record:
    """Values that do not vary, of which nothing can be resampled."""
    evidence = evidence_of(CLAIM)
    flat = values("flat", 0.0)
    for fill in (
        evidence.treated,
        lambda row: evidence.control("same dose", row),
        lambda row: evidence.control("shuffled", row),
    ):
        fill(replace(flat, values=np.zeros_like(flat.values)))
    evidence.decide()
    return record_of(evidence)


def failing() -> Record:
    """A precondition that does not hold."""
    evidence = evidence_of(CLAIM)
    evidence.precondition("loss", value=0.1, at_least=0.5)
    evidence.treated(values("treated", 1.5))
    for name in ("same dose", "shuffled"):
        evidence.control(name, values(name, 0.0))
    evidence.decide()
    return record_of(evidence)


def unmeasured() -> Record:
    """Ended by discovery, before anything was measured."""
    evidence = evidence_of(CLAIM)
    evidence.invalid("no head of this class was found")
    return record_of(evidence)


def edited(record: Record, edit: Callable[[Plain], object]) -> Record:
    """The record after an edit by hand, whose hash whoever edits can compute again."""
    content = json.loads(record.to_json())
    content.pop("content_hash")
    edit(content)
    return Record(**content)


def stored(folder: Path, *records: Record) -> Path:
    """A run folder with these records."""
    folder.mkdir(parents=True, exist_ok=True)
    for record in records:
        write_record(record, folder=folder)
    (folder / "run.json").write_text('{"interrupted": false, "finished": "2026-01-31T12:07:00Z"}', encoding="utf-8")
    return folder


def _every_second(row: UnitValues, start: int) -> UnitValues:
    return replace(
        row, values=row.values[:, start::2], units=row.units[start::2], clusters=row.clusters[start::2]
    )  # fmt: skip
