"""What a body filled in as the subject's own values, held against what was declared and asked for. No statistics."""

from __future__ import annotations

from harness.declaration import Claim
from harness.errors import DeclarationError
from harness.subjects import Subject
from harness.values import UnitValues

WHOLE = ("joint", "model")
"""Names of a single row that stands for all of the subject's heads together, or for the model's behaviour."""


def check_treated(claim: Claim, treated: UnitValues, *, n_units: int, subject: Subject | None) -> None:
    """Raise DeclarationError where the values are of another number of units, or of components that were not asked.

    The number of units is registered (or given with `--n-units`, which makes the record exploratory): a body that
    samples fewer or more would decide on a size that nobody fixed.
    """
    if len(treated.units) != n_units:
        raise DeclarationError(
            f"claim {claim.id!r}: evidence.treated has {len(treated.units)} units, and evidence.n_units asks for "
            f"{n_units}; sample exactly n=evidence.n_units"
        )
    if subject is None or set(treated.components) == set(subject.heads):
        return
    if len(treated.components) == 1 and treated.components[0] in WHOLE:
        return
    raise DeclarationError(
        f"claim {claim.id!r}: evidence.treated has rows {', '.join(treated.components)}, and its subject is "
        f"{', '.join(subject.heads)}; give one row for each of these, or a single row named "
        f"{' or '.join(map(repr, WHOLE))}"
    )
