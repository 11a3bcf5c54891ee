"""The part of the calibration's page on each claim's own design: tails that are missed too often, and power."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.miscalibrated import of_row
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
        f"Power is the share supported were every effect twice the SESOI, and every margin where it costs nothing "
        "(one at 0 has no such place and counts as held): "
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
        yield f"Left out, because the record does not say in which clusters their units stand: {named}."
    if failing:
        near = sum(_nearest(entry)[0] < _NEAR for entry in failing)
        fallen = sum(_carried(entry) is False for entry in failing)
        yield (
            "Designs whose intervals miss too often, those first whose verdict this can touch: where the truth lies "
            "many half-widths from the threshold the bound may be wrong and the verdict is not. In "
            f"{near} of {len(failing)} a condition that misses lies nearer than {_NEAR}. They need more clusters or a "
            "stricter level: given are the smallest tried number of clusters with which no tail is missed too often "
            "(from the same pools, whose tails are those of the stored clusters: a real sample may need more), the "
            "one-sided level at which none is, the power that is left there, and the verdict there. "
            f"{_fallen(fallen)}"
        )
        yield table(
            [
                "claim", "model", "clusters", "most misses", "nearest half-widths to the threshold", "nearest one",
                "clusters that hold", "level that holds", "power there (at 2.5 %)", "verdict", "verdict there",
            ],
            rows=[
                [
                    code(entry["claim"]), code(entry["model"]), str(entry["clusters"]), str(entry["most_misses"]),
                    f"{distance:.1f}" if math.isfinite(distance) else "-", inline(_named(nearest)),
                    _larger(entry), *_stricter(entry), *_verdicts(entry),
                ]
                for entry in sorted(failing, key=lambda each: _nearest(each)[0])[:_MOST_LISTED]
                for distance, nearest in [_nearest(entry)]
            ],
            numeric=(2, 3, 4, 6, 7, 8),
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


def _nearest(entry: Entry) -> tuple[float, Entry]:
    """How many half-widths the truth lies from a threshold, and which condition: the nearest of those that miss."""
    missing = [question for question in entry["questions"] if _misses(question) > entry["allowed"]]
    among = missing or [max(entry["questions"], key=_misses)]
    distances = [_distance(question) for question in among]
    least = min(range(len(among)), key=distances.__getitem__)
    return distances[least], among[least]


def _distance(question: Entry) -> float:
    """Half-widths from the truth to the threshold, of an equivalence to its nearer end; infinite without one."""
    if not question.get("half_width"):
        return math.inf
    ends = [question["threshold"], *([question["upper"]] if question.get("upper") is not None else [])]
    return min(abs(float(question["truth"]) - float(end)) for end in ends) / float(question["half_width"])


def _carried(entry: Entry) -> bool | None:
    """Whether a verdict is the same where its design holds; None where it decides nothing, or was not looked at."""
    one = of_row(entry)
    return one.carried if one is not None and one.decides else None


def _fallen(count: int) -> str:
    if not count:
        return "No verdict that decides something is another one there."
    return (
        f"**{plural(count, 'verdict')}** that would be another one there, or whose design holds at no level tried, "
        f"{'is' if count == 1 else 'are'} marked in the report: the interval does not carry "
        f"{'it' if count == 1 else 'them'}."
    )


def _verdicts(entry: Entry) -> tuple[str, str]:
    """A record's verdict, and the one at the level that holds where it was judged there."""
    if _carried(entry) is None:
        return str(entry.get("verdict") or "-"), "-"
    there = str(entry.get("verdict_there") or "no level holds")
    return str(entry["verdict"]), there if _carried(entry) else f"**{there}**"


def _stricter(entry: Entry) -> tuple[str, str]:
    """The loosest level that was tried at which a design holds, and its power there; what is known where none does."""
    if not entry.get("stricter"):
        return "-", "-"
    level, misses, power = entry["stricter"][-1]
    power_there = f"{power:.0%} ({entry['power']:.0%})"
    return (f"{level:.2%}", power_there) if misses <= entry["allowed"] else (f"none to {level:.2%}", power_there)


def _larger(entry: Entry) -> str:
    """The smallest number of clusters that was tried with which a design holds."""
    if not entry.get("larger"):
        return "-"
    clusters, misses, _ = entry["larger"][-1]
    return str(clusters) if misses <= entry["allowed"] else f"none to {clusters}"


def _weakest(entry: Entry) -> str:
    question = min(entry["questions"], key=lambda each: each["holds_at_twice"])
    return f"{question['component']}: {question['control']} ({question['holds_at_twice']:.0%})"
