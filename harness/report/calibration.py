"""The page that says how often the suite errs where the truth is known, from `calibration/summary.json` alone.

What the numbers are counted on is described beside them; how they are counted is the calibration's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.report.calibrated_designs import MISSES_FIGURE, POWER_FIGURE, designs_section
from harness.report.text import code, inline, number, table

NAME = "CALIBRATION.md"

Entry = Mapping[str, Any]


def write_calibration(content: Entry, *, out: Path) -> Path:
    """The page `CALIBRATION.md` below `out`, with its figures."""
    from harness.store import write_atomically

    _draw(content, out=out)
    path = out / NAME
    write_atomically(path, text="\n\n".join(_parts(content)) + "\n")
    return path


def _parts(content: Entry) -> Iterator[str]:
    yield "# Calibration"
    yield (
        "How often this suite says `supported`, `refuted` or nothing where the truth is known. Nominal: 2.5 % on each "
        "side. A part that was not run is missing here: `nox -s calibrate -- WHAT` runs one, "
        "`nox -s calibrate -- report` writes this page."
    )
    yield from _worlds(content["worlds"], products=content.get("products") or {})
    if never := content.get("never_asked"):
        named = ", ".join(map(code, never))
        yield f"**Asked in no null world**, so that nothing above is said of them: {named}."
    yield from _planted(content["planted"], content["pipeline"])
    yield from designs_section(content["designs"], unmeasured=content.get("unmeasured") or ())
    yield from _mutants(content["mutants"])


def _worlds(worlds: Mapping[str, Sequence[Entry]], *, products: Mapping[str, Entry]) -> Iterator[str]:
    if not worlds:
        return
    yield "## Null worlds"
    yield (
        "Freshly initialised models, discovery run anew in each, preconditions off. Of 93 worlds one may support a "
        "claim (upper 95 % bound 5 %). A world in which the claim is `invalid` tries nothing: the bound is of the "
        "others, and of worlds of this kind: not of weights drawn at another scale, nor of heads picked by hand. Where "
        "few worlds were measured the bound is wide. Not calibration but description: `some part` counts worlds in "
        "which one component alone would pass."
    )
    for architecture, claims in worlds.items():
        yield f"### {inline(architecture)}"
        yield table(
            ["claim", "worlds", "tried", "supported", "upper bound", "some part", "inconclusive", "invalid", "seconds"],
            rows=[_world_row(entry) for entry in claims],
            numeric=range(1, 9),
        )
        if architecture in products:
            yield _rounded(claims, compared=products[architecture])
        legs = [
            f"- {code(entry['claim'])}, {inline(name)}: {entry['legs'][name][0]} of {entry['legs'][name][1]} times"
            for entry in claims
            for name in entry["without_evidence"]
        ]
        if legs:
            yield "Conditions that hold in more than 10 % of these worlds by themselves carry no evidence there:"
            yield "\n".join(legs)


def _rounded(claims: Sequence[Entry], *, compared: Entry) -> str:
    """How many worlds were measured with rounded products, and whether that changed anything where both ways were."""
    held, of = compared["legs"]
    others = "; ".join(
        f"{code(each['claim'])} in world {each['world']}: {each['float32']}, rounded {each['bfloat16']}"
        for each in compared["differing"]
    )
    return (
        f"For time, {sum(entry['rounded'] for entry in claims)} of the {sum(entry['worlds'] for entry in claims)} "
        "measurements have their matrix products rounded to bfloat16 (0.4 %), all else in float32. Of "
        f"{compared['compared']} that were made both ways {compared['same']} have the same verdict, and {held} of {of} "
        f"conditions hold or fail alike.{' Other verdicts: ' + others + '.' if others else ''}"
    )


def _world_row(entry: Entry) -> list[str]:
    bound = "-" if entry["upper_bound_95"] is None else f"{entry['upper_bound_95']:.1%}"
    verdicts = entry["verdicts"]
    supported = f"{entry['supported']}" if entry["holds"] or not entry["tried"] else f"**{entry['supported']}**"
    return [
        code(entry["claim"]), str(entry["worlds"]), str(entry["tried"]), supported, bound,
        str(entry["some_component"]), str(verdicts.get("inconclusive", 0)), str(verdicts.get("invalid", 0)),
        number(entry["seconds"]),
    ]  # fmt: skip


def _planted(planted: Sequence[Entry], pipeline: Sequence[Entry]) -> Iterator[str]:
    if planted:
        yield "## Effects planted exactly at the smallest effect of interest"
        yield (
            "Per-unit values whose true effect is known in closed form, from values to verdict. `supported`, and "
            "`refuted` or `too small`, are both false here; a tail is missed where a 95 % bound lies on the wrong side "
            "of the truth. At first 4,000 replicates were drawn, and one of 26 tails missed 124 times (120 allowed), "
            "as happens in up to four of ten honest trials; every scenario then got 12,000, at the same limit of 3.5 %."
        )
        yield table(
            [
                "scenario",
                "replicates",
                "allowed",
                "supported",
                "refuted or too small",
                "most misses in a tail",
                "holds",
            ],
            rows=[_planted_row(entry) for entry in planted],
            numeric=range(1, 6),
        )
    if pipeline:
        yield "## The whole pipeline on planted circuits"
        yield (
            "Up to the SESOI support is false and may come up no more often than a procedure at its level shows; "
            "beyond it the count must fit the predicted one, the power of the design in the record of the truth."
        )
        yield table(
            ["circuit", "strength (SESOI)", "true effect", "runs", "supported", "predicted", "as it should"],
            rows=[
                [
                    inline(entry["circuit"]), str(entry["strength"]), number(entry["truth"]), str(entry["runs"]),
                    f"{entry['supported']}", f"{entry['predicted'] * entry['runs']:.1f}", _yes(entry["holds"]),
                ]
                for entry in pipeline
            ],
            numeric=range(1, 6),
        )  # fmt: skip


def _planted_row(entry: Entry) -> list[str]:
    errors = entry["errors"]
    misses = max((count for name, count in errors.items() if name.startswith("missed")), default=0)
    return [
        inline(entry["scenario"]), str(entry["replicates"]), str(entry["allowed"]),
        str(errors["some component supported"]), str(errors["some component refuted or too small"]), str(misses),
        _yes(entry["holds"]),
    ]  # fmt: skip


def _mutants(mutants: Sequence[Entry]) -> Iterator[str]:
    if not mutants:
        return
    yield "## Deliberate faults"
    yield "Each was put into the statistics and the calibration run again; what is listed here gave it away."
    yield table(
        ["fault", "scenario", "noticed by", "without the fault"],
        rows=[
            [
                inline(entry["mutant"]), inline(entry["scenario"]),
                inline(", ".join(entry["noticed"])) or "**nothing**",
                inline(", ".join(entry["without_it"]) or "nothing"),
            ]
            for entry in mutants
        ],
    )  # fmt: skip


def _yes(holds: bool) -> str:  # noqa: FBT001 (a cell)
    return "yes" if holds else "**no**"


def _draw(content: Entry, *, out: Path) -> None:
    """Misses of every condition in rising order, and the share supported over the true effect."""
    from harness.report import figures

    designs = content["designs"]
    if not designs:
        return
    replicates = designs[0]["replicates"]
    questions = [question for design in designs for question in design["questions"]]
    below, above = ([each[tail] / replicates for each in questions] for tail in ("missed_low", "missed_high"))
    allowed = designs[0]["allowed"] / replicates
    figures.save(figures.calibration(below, above, allowed=allowed), out / MISSES_FIGURE)
    multiples = [each for each, _ in designs[0]["curve"]]
    shares = [[share for _, share in design["curve"]] for design in designs]
    figures.save(figures.power(multiples, shares), out / POWER_FIGURE)
