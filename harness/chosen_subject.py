"""The heads that a claim is asked about: given by the user, registered, or discovered now; the model must have them."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

from harness.bound_claim import BoundClaim
from harness.errors import DeclarationError, NotSuited, SubjectNotFound
from harness.mechanism import Announce
from harness.memory import Loaded
from harness.subjects import Subject, SubjectsFile, head_problems, read_subjects


def chosen_subject(
    bound: BoundClaim, target: Any, *, loaded: Loaded, model: Any = None, announce: Announce | None = None
) -> Subject | None:
    """The subject of a claim on a model; None where the claim is about the model as a whole.

    Args:
        bound: the claim, the model's id and the options.
        target: the loaded model, or its weights.
        loaded: what runs discovery once for each model.
        model: of a claim on weights alone, the loaded model that they belong to, where it could be loaded.
        announce: called with lines of progress.

    Raises:
        DeclarationError: components that the model does not have or that are of another kind than the class, or a model
            that is not the one whose heads are registered.
        SubjectNotFound: discovery found none.
    """
    class_name = bound.claim.subject
    if class_name is None:
        return None
    options, registered = bound.options, bound.mechanism.subjects
    if options.subjects is not None:
        found: Subject | None = _given(options.subjects, class_name, registered=registered, model_id=bound.model_id)
    elif options.subjects_file is not None:
        found = read_subjects(options.subjects_file).subject(bound.model_id, class_name=class_name)
        if found is None:
            raise _lacking(read_subjects(options.subjects_file), class_name, model_id=bound.model_id)
    else:
        found = registered.subject(bound.model_id, class_name=class_name)
        if found is not None:
            _check_fingerprint(bound, model if bound.needs_weights_only else target)
    if found is None:
        found = _discovered(bound, target, loaded, announce)
    problems = head_problems(found.heads, model_id=bound.model_id, n_layers=target.n_layers, n_heads=target.n_heads)
    problems += registered.misfits(found.heads, class_name=class_name)
    if problems:
        raise DeclarationError(f"claim {bound.claim.id!r}: " + "; ".join(problems))
    return found


def _given(heads: tuple[str, ...], class_name: str, *, registered: SubjectsFile, model_id: str) -> Subject:
    """The user's heads in place of a class and of its numbered parts (`carry-2`), which hold the registered ones."""
    part = re.compile(rf"{re.escape(class_name)}-\d+")
    classes = {name: some for name, some in registered.classes(model_id).items() if not part.fullmatch(name)}
    return Subject(
        class_name,
        heads,
        "given by the user",
        "--subjects",
        "given",
        {**classes, class_name: heads},
        settings=registered.settings(model_id, class_name=class_name),
    )


def _check_fingerprint(bound: BoundClaim, model: Any) -> None:
    """Refuse other weights under the name of a model whose heads are registered; heads are found in float32."""
    known = bound.mechanism.subjects.fingerprint(bound.model_id)
    if known is None or model is None:
        return
    in_float32 = bound.options.dtype == "float32"
    found = model.fingerprint if in_float32 else getattr(model, "float32_fingerprint", None)
    if found in (known, None):  # None: the weights were loaded with fewer digits than they have in float32
        return
    raise DeclarationError(
        f"claim {bound.claim.id!r}: this is not the {bound.model_id!r} whose heads are registered in "
        f"{bound.mechanism.subjects.path} (fingerprint {found[:16]}, registered {known[:16]}): bring its "
        f"weights back, or find the heads of this one with `mechclaims discover {bound.mechanism.name}`"
    )


def _lacking(file: SubjectsFile, class_name: str, *, model_id: str) -> DeclarationError:
    """The error that a file given by the user has no heads of a class, and what it has instead."""
    classes = list(file.classes(model_id))
    near = get_close_matches(class_name, classes, n=1)
    meant = f" Did you mean {class_name!r} where it says {near[0]!r}?" if near else ""
    has = (
        f"it has {', '.join(map(repr, classes))}" if classes else f"it is about {', '.join(file.models) or 'no model'}"
    )
    return DeclarationError(f"{file.path} has no class {class_name!r} for model {model_id!r}; {has}.{meant}")


def _discovered(bound: BoundClaim, target: Any, loaded: Loaded, announce: Announce | None) -> Subject:
    """Heads found now, by forward passes, also for a claim that then reads weights alone."""
    mechanism, class_name = bound.mechanism, str(bound.claim.subject)
    if mechanism.discover is None:
        raise DeclarationError(
            f"claim {bound.claim.id!r} has no {class_name!r} heads for model {bound.model_id!r}: add them to "
            f"{mechanism.subjects.path}, or name some with --subjects 5.1,5.5"
        )
    model = target
    if bound.needs_weights_only:
        model = loaded.get(bound.model_id, device=bound.options.device, dtype=bound.options.dtype)
    try:
        found = loaded.discovery(mechanism, model, say=announce)
    except NotSuited as error:
        raise SubjectNotFound(str(error)) from error
    return found.subject(class_name, source=f"discovered by {mechanism.name} for this run")
