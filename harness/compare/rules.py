"""Which differences between two runs count as regressions, read from an expression before anything is computed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.errors import ComparisonError, did_you_mean

DEFAULT = "verdict,effect:20%,outside-interval,missing"
"""All rules but `not-run`, which asks for every model to be on the machine."""

NAMES = ("verdict", "effect", "outside-interval", "missing", "not-run")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)%")


@dataclass(frozen=True)
class Rules:
    """The rules of one comparison.

    Attributes:
        text: the expression, without spaces.
        verdict: a verdict that became another one, unless another model's became `supported`; and what is not
            comparable.
        effect: the share of the baseline's effect that may be lost, 0.2 for `effect:20%`; None where not asked for.
        outside_interval: an estimate beyond the baseline's 95 % interval (another model's on the side that weakens the
            claim), and, of the same model, an interval of another reach and other numbers of an exact claim.
        missing: a record of the baseline that the run has no counterpart of.
        not_run: a record of the baseline whose model is not on this machine.
    """

    text: str
    verdict: bool
    effect: float | None
    outside_interval: bool
    missing: bool
    not_run: bool


def parse_rules(expression: str) -> Rules:
    """The rules that an expression names: `verdict,effect:20%,outside-interval,missing`.

    Raises:
        ComparisonError: all that is wrong with it at once.
    """
    parts = [part.strip() for part in expression.split(",")]
    names = [part.partition(":")[0] for part in parts]
    problems = [problem for part in parts for problem in _problems(part)]
    problems += [f"{name!r} stands twice" for name in dict.fromkeys(names) if name in NAMES and names.count(name) > 1]
    if problems:
        raise ComparisonError(f"{expression!r} names no rules of a comparison: {'; '.join(problems)}.")
    share = next((_share(part) for part in parts if part.startswith("effect:")), None)
    wanted = set(names)
    return Rules(
        ",".join(parts),
        verdict="verdict" in wanted,
        effect=share,
        outside_interval="outside-interval" in wanted,
        missing="missing" in wanted,
        not_run="not-run" in wanted,
    )


def _problems(part: str) -> list[str]:
    name, colon, value = part.partition(":")
    if not part:
        return [f"there is an empty rule; separate rules by one comma, as in {DEFAULT}"]
    if name not in NAMES:
        return [f"{part!r} is none of {', '.join(NAMES)}.{did_you_mean(name, NAMES)}".rstrip(".")]
    if name != "effect":
        return [f"{name!r} takes no value, and {value!r} was given"] if colon else []
    if not _SHARE.fullmatch(value):
        return [f"{part!r} has no share of the effect; write it as effect:20%"]
    if not 0 < _share(part) <= 1:
        return [f"{part!r}: the share lies above 0% and up to 100%"]
    return []


def _share(part: str) -> float:
    return float(part.partition(":")[2].rstrip("%")) / 100
