"""Without the direction a contrast tells less in what comes next; put back, it tells as before (Tigges et al. 2023)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from claims.steering.ablation import components, discovery_contexts, gap, gap_resampled, gap_restored, gap_without
from claims.steering.comparison import against_controls
from claims.steering.finding import RANDOM_DIRECTIONS, held
from claims.steering.measurements import describe, joint, note_words
from claims.steering.wording import controls_of, labelled_gap
from fixtures.prompts.contrasts import behaviour
from harness.claim import Cost, Margin, Metric, Units, claim

DRAWS = 9
"""Directions of each control: every one of them is projected out at every position."""
SESOI = 0.5
MISSING = Margin(
    "share of the loss still missing when the direction is put back",
    unit="ratio of means",
    at_most=0.5,
    at_least=-0.5,
    reason="half: more of what was removed comes back than stays away, and no more than half as much again",
)


def carries(contrast: str) -> dict[str, object]:
    """The declaration for one contrast."""
    return {
        "id": f"steering.{contrast}-ablation",
        "paper": "tigges2023",
        "statement": "Without the direction a part of what the context says next is lost; put back, it returns.",
        "metric": Metric("fall of the gap between the log-odds after the two contexts", unit="nats"),
        "sesoi": SESOI,
        "sesoi_reason": "an eighth of the gap on the discovery split of SmolLM2 (4.0 nats, a mean of three)",
        "alternative": "greater",
        "subject": contrast,
        "controls": controls_of(contrast),
        "margins": (MISSING,),
        "rival": "to move the stream as far along any direction does as much",
        "exposed_by": RANDOM_DIRECTIONS,
        "units": Units(
            default=60, quick=60, of="pair", reason="20 templates limit every interval; three pairs of each"
        ),
        "models": ("smollm2-*", "path:*"),
        "method": "Each text is a labelled context with the same stem behind it. At the direction's place the "
        "component along it is replaced at every position but BOS, by its discovery mean or by another text's (the "
        "smaller fall counts); random directions move the stream as far. Last, each text's own component is put back "
        "at the last token.",
        "behaviour": labelled_gap(contrast),
        "cost": Cost(draws=2 * (2 * DRAWS + 5), tokens=18),
    }


def measure(model, subject, evidence, rng):
    contrast = subject.class_name
    texts = behaviour(model, contrast, split="confirmation", n=evidence.n_units, rng=rng.for_("prompts"))
    describe(evidence, texts)
    found = held(model, subject)
    whole = gap(model, texts)
    evidence.precondition("gap between the two contexts (nats)", value=float(whole.mean()[0]), at_least=2 * SESOI)

    own = {"joint": found.direction}
    means = components(model, contrast, own)
    mean = minus(whole, gap_without(model, texts, own, means=means))
    donors = rng.for_("donors")
    resampled = minus(whole, gap_resampled(model, texts, found.direction, means=means["joint"], rng=donors))
    evidence.treated(min(mean, resampled, key=lambda fall: float(fall.mean()[0])))
    restored = gap_restored(model, texts, found.direction, means=means["joint"])
    evidence.margin(MISSING.name, joint(minus(whole, restored)), relative_to=mean)
    against_controls(
        evidence,
        found,
        measured=partial(fall_without, model, texts, found, whole),
        discovered=partial(fall_on_discovery, model, contrast, found),
        most=DRAWS,
    )
    gaps = (whole, minus(whole, mean), minus(whole, resampled), restored)
    evidence.table(
        "Gap between the two contexts",
        columns=["model", "taken out (mean)", "taken out (resampled)", "put back at the last token"],
        rows=[[float(each.mean()[0]) for each in gaps]],
    )
    note_words(evidence, texts)
    evidence.note(
        "Taken out at its place at every position but BOS: the component becomes its mean on the discovery split, or "
        "what another context has at its last token (resampled); the smaller fall decides. Permuted and foreign "
        "directions are taken out at their mean; along random ones the stream is moved as far as along this one. Put "
        "back at the last token alone, each text's own component; its share is of the loss by mean ablation."
    )
    evidence.decide()


def minus(whole, changed):
    """[row, pair], the fall of the gap."""
    return replace(changed, values=whole.values - changed.values)


def fall_without(model, texts, found, whole, directions):
    """[direction, pair], the fall of the gap: along random directions the stream is moved, others are taken out."""
    taken_out = {name: each for name, each in directions.items() if name not in found.random}
    means = components(model, texts.contrast, {"joint": found.direction, **taken_out})
    return minus(whole, gap_without(model, texts, directions, means=means, moved=(found.direction, found.random)))


def fall_on_discovery(model, contrast, found, directions):
    """The same on discovery contexts."""
    texts = discovery_contexts(model, contrast)
    return fall_without(model, texts, found, gap(model, texts), directions)


@claim(**carries("sentiment"), version=3)
def test_sentiment_is_lost_without_the_direction(model, subject, evidence, rng):
    measure(model, subject, evidence, rng)


@claim(**carries("truth"), version=3)
def test_truth_is_lost_without_the_direction(model, subject, evidence, rng):
    measure(model, subject, evidence, rng)


@claim(**carries("formality"), version=4)
def test_formality_is_lost_without_the_direction(model, subject, evidence, rng):
    measure(model, subject, evidence, rng)


@claim(**carries("tense"), version=3)
def test_tense_is_lost_without_the_direction(model, subject, evidence, rng):
    measure(model, subject, evidence, rng)
