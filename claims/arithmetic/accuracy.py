"""How often an addition model errs on fresh sums: uniform ones, and in every stratum of cascade length.

A sum is right where all six digits are the most likely ones. The digits before are given, which makes no difference:
reading the model's own answer left to right goes wrong at the first wrong digit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fixtures.prompts.sums import LONGEST_CASCADE, Split, Sums, cascade_sums, uniform_sums
from harness.seeding import Streams
from harness.stats.binomial import clopper_pearson

if TYPE_CHECKING:
    from torch import Tensor

    Answer = Callable[[Tensor], Tensor]
    """Logits [batch, 6, vocab] at the answer positions, from tokens [batch, 17]."""

UNIFORM = 10_000
IN_STRATUM = 2_000
ERROR = 0.05
"""Of the one-sided bounds."""
ROWS = 1_000


@dataclass(frozen=True)
class Stratum:
    """Errors in one kind of sums.

    Attributes:
        sums: how many were asked.
        errors: in how many at least one digit was wrong.
        digit_errors: wrong digits by answer place, the most significant first.
        most_errors_prob: exact one-sided 95 % upper bound of the probability of an error.
    """

    sums: int
    errors: int
    digit_errors: tuple[int, ...]
    most_errors_prob: float


def wrong_digits(answer: Answer, sums: Sums) -> NDArray[np.bool_]:
    """[sum, 6], which answer digits are not the most likely ones."""
    import torch

    tokens, answers = sums.tensor(), sums.answers
    with torch.inference_mode():
        guesses = [answer(tokens[first : first + ROWS]).argmax(-1) for first in range(0, len(sums), ROWS)]
    return np.asarray(torch.cat(guesses).cpu().numpy() != answers)


def stratum(answer: Answer, sums: Sums) -> Stratum:
    """Errors in these sums, with their bound."""
    wrong = wrong_digits(answer, sums)
    failed = wrong.any(axis=1)
    bound = clopper_pearson(failed.astype(np.float64), clusters=sums.clusters).bound(ERROR, side="upper")
    return Stratum(len(sums), int(failed.sum()), tuple(int(count) for count in wrong.sum(axis=0)), float(bound))


def accuracy_by_stratum(
    answer: Answer, *, split: Split, streams: Streams, uniform: int = UNIFORM, in_stratum: int = IN_STRATUM
) -> dict[str, Stratum]:
    """Errors in uniform sums and by length of the longest cascade: `"uniform"`, `"cascade 0"` to `"cascade 4"`.

    Args:
        answer: the model's logits at the answer positions.
        split: where fresh sums come from.
        streams: their random streams.
        uniform: how many uniform sums.
        in_stratum: how many sums in each stratum.
    """
    found = {"uniform": stratum(answer, uniform_sums(uniform, split=split, rng=streams.for_("uniform")))}
    for length in range(LONGEST_CASCADE + 1):
        rng = streams.for_(f"cascade {length}")
        found[f"cascade {length}"] = stratum(answer, cascade_sums(in_stratum, length=length, split=split, rng=rng))
    return found


def accuracy_metadata(answer: Answer, *, model_id: str) -> dict[str, str]:
    """Header entries for a checkpoint: errors in fresh sums of the discovery split, which claims are not judged on."""
    streams = Streams(("arithmetic", "accuracy", model_id))
    found = accuracy_by_stratum(answer, split="discovery", streams=streams, uniform=UNIFORM, in_stratum=IN_STRATUM)
    uniform = found["uniform"]
    return {
        "errors": f"{uniform.errors} of {uniform.sums}",
        "errors_at_most": f"{uniform.most_errors_prob:.2e} (one-sided 95 %)",
        "accuracy": json.dumps({name: asdict(each) for name, each in found.items()}, separators=(",", ":")),
    }


def read_accuracy(metadata: Mapping[str, str]) -> dict[str, Stratum]:
    """The strata in a checkpoint's header."""
    strata = json.loads(metadata["accuracy"])
    return {name: Stratum(**{**each, "digit_errors": tuple(each["digit_errors"])}) for name, each in strata.items()}
