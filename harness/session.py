"""Measuring claims: from a test function and a model id to a record. The plugin and `harness.run` are shells around it.

Order, selection and number of workers change no number: every random stream is derived from what it is for.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.bound_claim import CONFIRMATION, BoundClaim, Options, Split, applies, options_of
from harness.chosen_subject import chosen_subject
from harness.claim import Evidence, declared
from harness.declaration import Claim
from harness.errors import DeclarationError, NoPath, NotCovered, NothingToCompare, NotSuited, SubjectNotFound
from harness.evidence import Record
from harness.interventions import slow_path_note
from harness.mechanism import Announce, discovery_streams, folder_of, import_file, open_mechanism
from harness.memory import Loaded
from harness.models.registry import find
from harness.recording import record_of
from harness.registration import check_registered, with_registration
from harness.seeding import Streams
from harness.soundness import Soundness, soundness_of
from harness.subjects import Subject

__all__ = [
    "Announce",
    "BoundClaim",
    "Loaded",
    "Options",
    "Prepared",
    "applies",
    "asking",
    "discovery_streams",
    "measure",
    "measuring",
    "not_run",
    "prepare",
    "run",
    "streams_of",
]


IGNORED = "Neither preconditions nor the sanity battery decided anything here: they were to be ignored."


@dataclass
class Prepared:
    """Everything that a test body takes, ready: model or weights, subject, evidence, streams."""

    bound: BoundClaim
    target: Any
    subject: Subject | None
    evidence: Evidence
    started: float = field(default_factory=time.perf_counter)

    def arguments(self) -> dict[str, Any]:
        """The test's arguments by name; DeclarationError where it asks for something unknown."""
        offered = {
            "model": self.target,
            "weights": self.target,
            "subject": self.subject,
            "evidence": self.evidence,
            "rng": self.evidence.streams,
        }
        wanted = list(inspect.signature(self.bound.test).parameters)
        unknown = [name for name in wanted if name not in offered]
        if unknown:
            raise DeclarationError(f"{self.bound.source} takes {unknown[0]!r}; a claim takes {', '.join(offered)}")
        return {name: offered[name] for name in wanted}

    def record(self) -> Record:
        """The evidence record; DeclarationError where the body never decided."""
        if not self.evidence.decided:
            raise DeclarationError(f"claim {self.bound.claim.id!r}: the test ended without evidence.decide()")
        return record_of(self)


def prepare(
    bound: BoundClaim,
    *,
    loaded: Loaded,
    announce: Announce | None = None,
    target: Any = None,
    subject: Subject | None = None,
) -> Prepared:
    """Load what the claim needs, find its subject and open its evidence.

    Where discovery finds no head, or the model fails the sanity battery, the evidence is decided already, as `invalid`,
    and the body is not to be run.

    Args:
        bound: the claim and the model's id.
        loaded: the model cache of this process.
        announce: called with lines of progress.
        target: a model or weights to use in place of the one that `bound.model_id` names (negatives, null worlds).
        subject: heads to use in place of the registered ones.
    """
    sound = Soundness()
    if target is None:
        target = _target(bound, loaded)
        if not bound.options.ignore_preconditions:  # negatives are no sound models
            sound = soundness_of(bound, target, loaded=loaded)
    missing = sound.problem
    streams = streams_of(
        bound.claim,
        fingerprint=bound.options.drawn_for or target.fingerprint,
        data_seed=bound.options.data_seed,
        split=bound.options.split,
    )
    if subject is None and missing is None:
        try:
            subject = chosen_subject(bound, target, model=sound.model, loaded=loaded, announce=announce)
        except (SubjectNotFound, NotCovered) as error:
            missing = str(error)
    options = bound.options
    units = bound.claim.units
    evidence = Evidence(
        claim=bound.claim,
        n_units=0 if units is None else (options.n_units or units.for_profile(options.profile)),
        streams=streams,
        profile=options.profile,
        subject=subject,
        ignore_preconditions=options.ignore_preconditions,
        assay_shown=_assay_shown(bound),
        announce=announce,
    )
    if not bound.needs_weights_only and (slow := slow_path_note(target)):
        evidence.note(slow)
    for note in (sound.note, IGNORED if options.ignore_preconditions else None):
        if note:
            evidence.note(note)
    if missing is not None:
        evidence.invalid(missing)
    return Prepared(bound, target, subject, evidence)


def streams_of(claim: Claim, *, fingerprint: str, data_seed: int, split: Split = CONFIRMATION) -> Streams:
    """A split's streams: they do not exist before the declaration is fixed, and differ between models."""
    return Streams((split, claim.id, str(claim.version), claim.hash(), fingerprint, str(data_seed)))


def run(claim_id: str, *, model: str, claims: str | Path = "claims", **options: Any) -> Record:
    """The evidence of one claim on one model, measured now.

    Args:
        claim_id: `"induction.prefix-matching"`.
        model: a model id, or `path:DIR`.
        claims: the folder that holds the mechanisms.
        **options: fields of `Options`, e.g. `n_units=16` (which makes the record exploratory).

    Raises:
        DeclarationError: no such claim or option, the claim is not about this model, or not what was registered.
        ModelError: the model cannot be used.
    """
    from harness.sanity import run_battery

    asked = options_of(options)
    folder = folder_of(claim_id, claims=Path(claims))
    known = []
    for path in sorted(folder.glob("test_*.py")):
        for name, test in vars(import_file(path)).items():
            if not hasattr(test, "__claim__"):
                continue
            source = f"{path.as_posix()}::{name}"
            claim = declared(test, where=source)
            known.append(claim.id)
            if claim.id == claim_id:
                bound = BoundClaim(claim, test, source, open_mechanism(folder), model, asked)
                _require_applies(bound)
                check_registered(bound)
                return with_registration(measure(bound, loaded=Loaded(check=run_battery)), bound)
    raise DeclarationError(f"no claim {claim_id!r} below {folder}; there are: {', '.join(known) or 'none'}")


def measure(bound: BoundClaim, *, loaded: Loaded, **replaced: Any) -> Record:
    """Prepare, run the test's body, and return its record."""
    prepared = prepare(bound, loaded=loaded, **replaced)
    with measuring(bound):
        if not prepared.evidence.decided:
            with asking(prepared.evidence):
                bound.test(**prepared.arguments())
        return prepared.record()


@contextmanager
def asking(evidence: Evidence) -> Iterator[None]:
    """A body that lacks a class, a path, other heads, the fast engine or its tokenizer ends its claim as `invalid`."""
    try:
        yield
    except (SubjectNotFound, NoPath, NothingToCompare, NotCovered, NotSuited) as error:
        evidence.invalid(str(error))


@contextmanager
def measuring(bound: BoundClaim) -> Iterator[None]:
    """Torch as every measurement needs it: no gradients, deterministic algorithms; as before afterwards.

    `no_grad` and not `inference_mode`: a body may load a second model, whose weights must be ordinary tensors. The
    engine's own passes run under `inference_mode`.
    """
    if bound.needs_weights_only:
        yield
        return
    import torch

    from harness.interventions import budget_of

    budget = bound.options.memory_budget_mib
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(mode=True)
    try:
        with torch.no_grad(), budget_of(None if budget is None else budget * 2**20):
            yield
    finally:
        torch.use_deterministic_algorithms(before)


def not_run(bound: BoundClaim, *, reason: str, remedy: str) -> Record:
    """The record of a claim whose model is not here."""
    prepared = Prepared(bound, None, None, Evidence(bound.claim, 0, Streams(())))
    return replace(record_of(prepared), judgement=None, not_run={"reason": reason, "remedy": remedy})


def _target(bound: BoundClaim, loaded: Loaded) -> Any:
    """The model, or the attention weights in a file where the claim needs no more."""
    options = bound.options
    if not bound.needs_weights_only:
        return loaded.get(bound.model_id, device=options.device, dtype=options.dtype)
    from harness.models.gguf_cache import converted_folder
    from harness.weights import open_weights

    file, spec = options.weights.get(bound.model_id), find(bound.model_id)
    if file is None and spec.kind == "packaged":
        file = converted_folder(spec)  # it comes as GGUF, and weights are read from safetensors
    return open_weights(bound.model_id, file=file)


def _require_applies(bound: BoundClaim) -> None:
    """Refuse a model that the claim does not name: pytest leaves it out."""
    claim = bound.claim
    if not applies(claim, bound.model_id):
        find(bound.model_id)  # a model that nobody knows has an error of its own
        raise DeclarationError(
            f"claim {claim.id!r} is not about {bound.model_id!r}: it is about {', '.join(claim.models)}"
        )


def _assay_shown(bound: BoundClaim) -> bool:
    """Whether the baseline beside the claims holds this claim as `supported` on some model (assay sensitivity).

    It must be this declaration, measured by this code or by code that an amendment replaced by it. It belongs to the
    project and not to a run: where this run's evidence is written changes no verdict.
    """
    from harness.registration import same_code
    from harness.store import baseline_of, supported_claims

    folder = baseline_of(bound.mechanism.folder)
    if folder is None:
        return False
    own = (bound.claim.id, bound.claim.version)
    found = [each for each in supported_claims(folder) if (each.claim, each.version) == own]
    bodies = [each.body_sha256 for each in found if each.declaration_hash == bound.claim.hash()]
    return same_code(bound, bodies)
