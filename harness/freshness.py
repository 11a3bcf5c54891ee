"""Whether a stored record is the measurement that would be made now. Loads no model.

Asked are the claim's declaration, the code that measures it, the model, its heads and weights, and the profile.
What this does not answer: whether the library measures as it did, and on which device; neither makes a record another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.catalog import CatalogEntry
from harness.declaration import Profile
from harness.errors import SubjectNotFound
from harness.registration import body_of


@dataclass(frozen=True)
class Present:
    """What would be measured with now.

    Attributes:
        model_id: the model.
        here: whether its weights are here.
        since: from when on runs are about its present weights; None where none is (`harness.weights_stamp`).
        profile: as of `pytest claims/`.
    """

    model_id: str
    here: bool
    since: str | None
    profile: Profile


def is_current(record: Mapping[str, Any], entry: CatalogEntry, *, now: Present, began: str) -> bool:
    """Whether a record is the measurement of this claim that would be made now; `began` is when its run did."""
    if record["model"]["id"] != now.model_id or record["exploratory"]:
        return False
    if record["claim"]["declaration_hash"] != entry.claim.hash():
        return False
    if record["not_run"]:
        return not now.here  # the model may have come since
    options = record["options"]
    return (
        options["profile"] == now.profile
        and options.get("dtype", "float32") == "float32"  # older records in another precision are not exploratory
        and now.since is not None
        and began >= now.since
        and _same_code(record, entry)
        and _same_subject(record, entry, model_id=now.model_id)
    )


def _same_code(record: Mapping[str, Any], entry: CatalogEntry) -> bool:
    """Whether it was measured by the claim's present code; a record from before schema 2 does not say by which."""
    return record["claim"].get("body_sha256") in (None, body_of(entry.test, entry.mechanism))


def _same_subject(record: Mapping[str, Any], entry: CatalogEntry, *, model_id: str) -> bool:
    """Whether the heads are the registered ones; those found anew in each run follow from the weights.

    Without a head are records of a model whose class is empty, by discovery or as registered, and of an unsound model.
    """
    if entry.claim.subject is None:
        return True
    try:
        registered = entry.mechanism.subjects.subject(model_id, class_name=entry.claim.subject)
    except SubjectNotFound:
        return not record["subject"]  # registered as empty
    if registered is None:
        return True
    if not record["subject"]:
        return _unsound(record)
    return list(record["subject"]["components"]) == list(registered.heads)


def _unsound(record: Mapping[str, Any]) -> bool:
    """Whether nothing was asked of a model because it fails the sanity battery, whichever heads it has."""
    from harness.sanity import FAILS

    return str(record["judgement"]["reason"]).startswith(FAILS)
