"""Greater-than as behaviour: years after the start year, sharp at the boundary (Hanna et al. 2023, section 2)."""

from __future__ import annotations

from claims.greater_than.measurements import behaviour, by_year, describe, draw
from harness.claim import Control, Cost, Metric, Units, claim

MODELS = ("gpt2-small", "smollm2-*", "path:*")
PROMPTS = Units(
    default=40, quick=40, full=80, of="prompt", reason="20 templates limit every interval; two prompts of each"
)
SHUFFLED = Control("shuffled years", "label")
START_01 = Control("start year ends in 01", "input")


@claim(
    id="greater-than.behaviour",
    paper="hanna2023",
    statement="A year that ends a span is predicted to come after the year that began it.",
    metric=Metric("probability difference", unit="probability"),
    sesoi=0.1,
    sesoi_reason="an eighth of the paper's 0.82 on GPT-2 small; a fixed preference among digits gives 0",
    alternative="greater",
    controls=(SHUFFLED, START_01),
    rival="the model prefers high digits whatever the start year is",
    exposed_by="shuffled years: the same predictions, held against other prompts' start years",
    units=PROMPTS,
    models=MODELS,
    cost=Cost(draws=3, tokens=20),
    method=(
        "Probability after the last token of two-digit answers above the start year minus that of all others. Where "
        "years are written digit by digit: of tens digits above the start year's minus those below. Shuffled years "
        "score the same prediction by other prompts' start years; with a start year ending in 01 the original's "
        "answers are scored."
    ),
)
def test_years_after_the_start_year_are_predicted(model, evidence, rng):
    prompts = draw(model, rng, split="confirmation", n=evidence.n_units)
    measure_behaviour(model, prompts, evidence)


@claim(
    id="greater-than.boundary",
    paper="hanna2023",
    statement="The prediction is sharp: the answer after the start year's own is likely, the one before it is not.",
    metric=Metric("cutoff sharpness", unit="probability"),
    sesoi=0.041,
    sesoi_reason="5 % of the paper's probability difference of 0.817; the paper's sharpness is 0.06 for single years",
    alternative="greater",
    controls=(SHUFFLED, START_01),
    rival="the prediction rises slowly with the year, or repeats digits of the start year",
    exposed_by="shuffled years: a slow rise is as steep at another prompt's boundary",
    units=PROMPTS,
    models=MODELS,
    cost=Cost(draws=3, tokens=20),
    method=(
        "Probability after the last token of the answer one above the start year's own minus that of the one below "
        "it: two-digit tokens, or tens digits where years are written digit by digit. Shuffled years score the same "
        "prediction by other prompts' start years; with a start year ending in 01 the original's answers are scored."
    ),
    version=2,
)
def test_the_prediction_is_sharp_at_the_start_year(model, evidence, rng):
    prompts = draw(model, rng, split="confirmation", n=evidence.n_units)
    measure_behaviour(model, prompts.asking("boundary"), evidence)


def measure_behaviour(model, prompts, evidence):
    """Fill a claim about what the whole model predicts."""
    describe(evidence, prompts)
    clean = behaviour(model, prompts)
    shuffled = behaviour(model, prompts.corrupted("shuffled years"))
    evidence.treated(clean)
    evidence.control("shuffled years", shuffled)
    evidence.control("start year ends in 01", behaviour(model, prompts.corrupted("01")))
    evidence.table(
        "By tens digit of the start year",
        columns=["start", "prompts", "mean, probability", "share above 0"],
        rows=by_year(prompts, clean),
    )
    evidence.picture(
        "distribution",
        f"{evidence.claim.metric.name.capitalize()} by prompt",
        caption="One value per prompt.",
        unit="probability",
        treated=clean.values[0],
        control=[shuffled.values[0]],
        labels=["own start year", "other prompts' start years"],
    )
    evidence.decide()
