"""`nox -s calibrate -- WHAT`: one part of the calibration; each takes up where it was interrupted.

    ARCHITECTURE [--worlds N]   (a), (b) null worlds of induction-1l, induction-2l, addition-5d-1l, addition-5d-2l,
                                modular-addition-113, or smollm2-135m (hours)
    planted [--replicates N]    (c) per-unit values with the effect exactly at the SESOI, through the real judging
    pipeline [--replicates N]   (c) the whole pipeline on models with a planted circuit of known strength
    designs [--replicates N]    (d), (e) every inference claim's own design, and its power
    mutants                     (f) deliberate faults that the calibration must notice
    report                      summary.json and CALIBRATION.md from what is stored; this alone is quick
    all                         designs, planted, mutants, pipeline and the shipped architectures' worlds, then report
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.calibration.products import PRODUCTS
from benchmarks.calibration.summary import FOLDER, write_summary
from benchmarks.null_worlds import ARCHITECTURES, FIRST, measure_worlds

PARTS = ("planted", "pipeline", "designs", "mutants", "report", "all")
SHIPPED = tuple(name for name in ARCHITECTURES if not name.startswith("smollm2"))


def main(arguments: list[str] | None = None) -> None:
    """Run one part, or all of them."""
    options = _parser().parse_args(arguments)
    chosen = ("designs", "planted", "mutants", "pipeline", *SHIPPED) if options.what == "all" else (options.what,)
    for what in chosen:
        run_part(what, options)
    if options.what in ("report", "all"):
        _say(str(write_summary(options.reports)))


def run_part(what: str, options: argparse.Namespace) -> None:
    """One part, its results appended below `reports/calibration/`."""
    folder, reports = options.reports / FOLDER, options.reports
    if what in ARCHITECTURES:
        measure_worlds(
            what, claims=options.claims, out=folder / f"worlds-{what}.jsonl", first=options.first,
            worlds=options.worlds or ARCHITECTURES[what].worlds, profile=options.profile, only=options.only,
            products=options.products, say=_say,
        )  # fmt: skip
    elif what == "designs":
        from benchmarks.calibration.designs import measure_designs

        size = {} if options.replicates is None else {"replicates": options.replicates}
        measure_designs(reports / "baseline", out=folder / "designs.jsonl", say=_say, **size)
    elif what == "planted":
        from benchmarks.calibration.planted import REPLICATES, measure_planted

        measure_planted(folder / "planted.jsonl", replicates=options.replicates or REPLICATES, say=_say)
    elif what == "mutants":
        from benchmarks.calibration.mutants import measure_mutants

        measure_mutants(folder / "mutants.jsonl", say=_say)
    elif what == "pipeline":
        from benchmarks.calibration.pipeline import REPLICATES as RUNS
        from benchmarks.calibration.pipeline import measure_pipeline

        measure_pipeline(
            folder / "pipeline.jsonl", claims=options.claims, replicates=options.replicates or RUNS, say=_say
        )


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 (a command for the terminal; background runs are watched through a file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="calibrate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", default="all", choices=[*ARCHITECTURES, *PARTS])
    parser.add_argument("--worlds", type=int, help="how many null worlds (93; 20 of SmolLM2)")
    parser.add_argument("--first", type=int, default=FIRST, help="seed of the first world")
    parser.add_argument("--only", metavar="ID", help="worlds: keep to claims whose id begins so")
    parser.add_argument("--products", choices=PRODUCTS, default="float32", help="worlds: of the linear maps")
    parser.add_argument("--profile", default="default")
    parser.add_argument("--replicates", type=int)
    parser.add_argument("--claims", type=Path, default=Path("claims"))
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    return parser


if __name__ == "__main__":
    main()
