"""The part of the calibration's page on each claim's own design: tails that are missed too often, and power."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.report.text import code, inline, plural, table

MISSES_FIGURE = Path("figures") / "calibration-misses.png"
POWER_FIGURE = Path("figures") / "calibration-power.png"
_MOST_LISTED = 60
_NEAR = 2
"""Half-widths to the threshold below which a bound that misses can make a verdict false."""

Entry = Mapping[str, Any]


def designs_section(designs: Sequence[Entry], *, unmeasured: Sequence[Entry] = ()) -> Iterator[str]:
    """The parts of the section: which designs miss too often, which have too little power, which were not measured."""
    if not designs:
        return
    failing = [entry for entry in designs if not entry["holds"]]
    weak = [entry for entry in designs if entry["underpowered"]]
    replicates, allowed = designs[0]["replicates"], designs[0]["allowed"]
    yield "## Every inference claim's own design"
    yield (
        f"{replicates} samples of the registered size from a pool of ten times the stored clusters, whose mean is the "
        f"truth; a tail may be missed {allowed} times. {len(designs) - len(failing)} of {len(designs)} designs hold. "
        f"Power is the share supported were every effect twice the SESOI, and every margin where it costs nothing: "
        f"{len(designs) - len(weak)} reach 80 %."
    )
    if unmeasured:
        named = ", ".join(f"{code(entry['claim'])} on {code(entry['model'])}" for entry in unmeasured)
        yield f"**Not measured, though their records are in the baseline:** {named}. `nox -s calibrate -- designs`"
    yield f"![Share of samples whose bound misses the truth]({MISSES_FIGURE.as_posix()})"
    yield f"![Share supported over the true effect]({POWER_FIGURE.as_posix()})"
    left_out = [entry for entry in designs if entry.get("left_out")]
    if left_out:
        models = Counter((str(entry["claim"]), ", ".join(entry["left_out"])) for entry in left_out)
        named = "; ".join(
            f"{code(claim)} ({plural(count, 'model')}): {inline(names)}" for (claim, names), count in models.items()
        )
        yield f"Left out, because the record does not say on which units they were measured: {named}."
    if failing:
        near = sum(_distance(max(entry["questions"], key=_misses)) < _NEAR for entry in failing)
        yield (
            "Designs whose intervals miss too often, those first whose verdict this can touch: where the truth lies "
            f"many half-widths from the threshold the bound may be wrong and the verdict is not. In {near} of "
            f"{len(failing)} it is nearer than {_NEAR}. They need more clusters or a stricter level: the last two "
            "columns give the one-sided level at which no tail is missed too often, and the power that is left there."
        )
        yield table(
            [
                "claim", "model", "clusters", "most misses", "half-widths to the threshold", "in",
                "level that holds", "power there (at 2.5 %)",
            ],
            rows=[
                [
                    code(entry["claim"]), code(entry["model"]), str(entry["clusters"]), str(entry["most_misses"]),
                    _shown_distance(worst), inline(_named(worst)), *_stricter(entry),
                ]
                for entry in sorted(failing, key=lambda each: _distance(max(each["questions"], key=_misses)))[
                    :_MOST_LISTED
                ]
                for worst in [max(entry["questions"], key=_misses)]
            ],
            numeric=(2, 3, 4, 6, 7),
        )  # fmt: skip
    if weak:
        yield (
            "`underpowered`, not to be registered as they are. The stored values are moved to twice the SESOI and keep "
            "their spread, which understates power where larger effects vary more; *scaled* instead, everything a "
            "control compares shrinks with the effect:"
        )
        yield table(
            ["claim", "model", "clusters", "power", "of the effect alone", "scaled", "weakest condition"],
            rows=[
                [
                    code(entry["claim"]), code(entry["model"]), str(entry["clusters"]), f"{entry['power']:.0%}",
                    f"{entry['power_of_effect_alone']:.0%}",
                    f"{entry['power_scaled']:.0%}" if "power_scaled" in entry else "-", inline(_weakest(entry)),
                ]
                for entry in weak[:_MOST_LISTED]
            ],
            numeric=(2, 3, 4, 5),
        )  # fmt: skip


def _misses(question: Entry) -> int:
    return int(max(question["missed_low"], question["missed_high"]))


def _named(question: Entry) -> str:
    side = "lower" if question["missed_low"] >= question["missed_high"] else "upper"
    return f"{side} bound of {question['component']}: {question['control']} ({question['method']})"


def _distance(question: Entry) -> float:
    """How many half-widths the truth lies from the threshold; infinite where there was none."""
    if not question.get("half_width"):
        return math.inf
    return abs(float(question["truth"]) - float(question["threshold"])) / float(question["half_width"])


def _shown_distance(question: Entry) -> str:
    distance = _distance(question)
    return f"{distance:.1f}" if math.isfinite(distance) else "-"


def _stricter(entry: Entry) -> tuple[str, str]:
    """The loosest level that was tried at which a design holds, and its power there; what is known where none does."""
    if not entry.get("stricter"):
        return "-", "-"
    level, misses, power = entry["stricter"][-1]
    power_there = f"{power:.0%} ({entry['power']:.0%})"
    return (f"{level:.2%}", power_there) if misses <= entry["allowed"] else (f"none to {level:.2%}", power_there)


def _weakest(entry: Entry) -> str:
    question = min(entry["questions"], key=lambda each: each["holds_at_twice"])
    return f"{question['component']}: {question['control']} ({question['holds_at_twice']:.0%})"
