"""The library behind mechclaims: measure a claim about a transformer, with controls, and keep the evidence.

Importing it imports neither torch nor pytest. `harness.run` measures one claim from Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.evidence import Record

__all__ = ["run"]


def run(claim_id: str, **options: object) -> Record:
    """The evidence record of one claim on one model, the same that `pytest claims/` would store.

    See `harness.session.run` for the options; imported on call, so that `import harness` stays light.
    """
    from harness.session import run as run_claim

    return run_claim(claim_id, **options)  # type: ignore[arg-type]
