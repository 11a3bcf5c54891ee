"""The whole pipeline on models with a planted circuit of known strength: do its verdicts come as often as they should?

A circuit is planted in `induction-2l@0` by scaling one head's folded weights: its W_O for a copying head, whose direct
effect is then nearly proportional to it, or its W_Q for an induction circuit, whose attention sharpens with the scale.
All else stays as trained. The strength at which the effect is 0, 1 or 2 SESOI is found by bisection on 500 sequences
(for 0 the scale is a thousandth) and by secants on 4,000, on which the registered claim's own effect is then the truth.
It is measured 200 times from prompts to verdict, with another data seed each time.

At 1 SESOI `supported` may come up in 2.5 % of the runs, at 0 in none but those; at 2 SESOI as often as resampling the
measured units predicts. Agreement is asked within binomial error (1 in 100).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.calibration.designs import draw, power_at
from benchmarks.calibration.lines import append_line, read_lines
from harness.catalog import CatalogEntry, find_claim
from harness.designs import Design, design_of
from harness.evidence import Record
from harness.session import BoundClaim, Loaded, Options, measure

if TYPE_CHECKING:
    from harness.models.model import Model
    from harness.subjects import Subject

REPLICATES = 200
MODEL = "induction-2l@0"
TRUTH_UNITS = 4_000
SEARCH_UNITS = 500
HALVINGS = 7
SECANTS = 4
NEXT_TO_NOTHING = 1e-3
"""At 0 itself every unit would have the same value, and a constant has no interval."""
CLOSE = 2e-4
"""How near the truth must come, as a share of what is wanted."""
TRUTH_SEED, SEARCH_SEED = 1_000_000, 1_000_001
"""Data seeds of the truth and of the search; the runs have 1, 2, ..."""


@dataclass(frozen=True)
class Circuit:
    """What is planted: a claim about one head, and the weight of that head which is scaled."""

    name: str
    claim_id: str
    weight: Literal["W_O", "W_Q"]
    strongest: float


CIRCUITS = (
    Circuit("copying head", "induction.ov-copying", "W_O", strongest=4.0),
    Circuit("induction circuit", "induction.prefix-matching", "W_Q", strongest=2.0),
)
STRENGTHS = (0, 1, 2)


@dataclass(frozen=True)
class Planted:
    """A circuit in a model, ready to be asked about at any scale."""

    circuit: Circuit
    entry: CatalogEntry
    trained: Model
    subject: Subject

    @classmethod
    def of(cls, circuit: Circuit, *, claims: Path) -> Planted:
        """The circuit's claim, and the first registered head alone as its subject."""
        from harness.models.model import load

        entry = find_claim(circuit.claim_id, claims=claims)
        registered = entry.mechanism.subjects.subject(MODEL, class_name=str(entry.claim.subject))
        assert registered is not None
        first = replace(registered, heads=registered.heads[:1], source="planted", frequencies={}, half_samples=0)
        return cls(circuit, entry, load(MODEL), first)

    def at(self, scale: float) -> Model:
        """The model with the head's weight scaled."""
        from harness.models.lesion import head_weight, with_head_weights

        head = self.subject.heads[0]
        weight = scale * head_weight(self.trained, head, self.circuit.weight)
        return with_head_weights(self.trained, {(head, self.circuit.weight): weight}, label=f"planted-{scale:.6g}")

    def measured(self, model: Model, *, data_seed: int, n_units: int | None = None) -> Record:
        """The claim's record on it, preconditions recorded and ignored."""
        entry = self.entry
        options = Options(data_seed=data_seed, n_units=n_units, ignore_preconditions=True)
        bound = BoundClaim(entry.claim, entry.test, entry.source, entry.mechanism, MODEL, options)
        return measure(bound, loaded=Loaded(), target=model, subject=self.subject)

    def effect(self, model: Model, *, data_seed: int, n_units: int) -> float:
        """The effect against the control that is hardest to beat by the SESOI, on many units."""
        record = self.measured(model, data_seed=data_seed, n_units=n_units).as_dict()
        return min(
            float(outcome["estimate"]) for outcome in record["judgement"]["outcomes"] if outcome["threshold"] != 0
        )

    def scale_for(self, strength: int) -> float:
        """The scale at which that effect is so many SESOI."""
        if strength == 0:
            return NEXT_TO_NOTHING
        low, high = 0.0, self.circuit.strongest
        for _ in range(HALVINGS):
            low, high = self._halved(low, high, wanted=strength * self.entry.claim.sesoi)
        return self._refined((low + high) / 2, wanted=strength * self.entry.claim.sesoi)

    def _refined(self, scale: float, *, wanted: float) -> float:
        """Where the effect on the sequences of the truth is nearest to what is wanted, by secants through the last two.

        On a claim whose intervals are narrow, a scale that is off by 2 % makes an honest verdict of a false one.
        """
        tried: list[tuple[float, float]] = []
        for _ in range(SECANTS):
            short = self.effect(self.at(scale), data_seed=TRUTH_SEED, n_units=TRUTH_UNITS) - wanted
            tried.append((scale, short))
            before, short_before = tried[-2] if len(tried) > 1 else (0.0, -wanted)
            slope = (short - short_before) / (scale - before)
            if abs(short) <= CLOSE * wanted or slope <= 0:
                break
            scale -= short / slope
        return min(tried, key=lambda each: abs(each[1]))[0]

    def _halved(self, low: float, high: float, *, wanted: float) -> tuple[float, float]:
        middle = (low + high) / 2
        found = self.effect(self.at(middle), data_seed=SEARCH_SEED, n_units=SEARCH_UNITS)
        return (middle, high) if found < wanted else (low, middle)


def measure_pipeline(
    out: Path, *, claims: Path, replicates: int = REPLICATES, say: Callable[[str], None] = lambda line: None
) -> None:
    """Plant, and measure again and again; every run is stored as it is finished, and finished ones are passed over."""
    for circuit in CIRCUITS:
        planted = Planted.of(circuit, claims=claims)
        for strength in STRENGTHS:
            key = {"circuit": circuit.name, "strength": strength}
            setting = _setting(planted, strength, out=out)
            model = planted.at(setting["scale"])
            done = {line["seed"] for line in _lines(out, key) if "seed" in line}
            for seed in range(1, replicates + 1):
                if seed not in done:
                    verdict = planted.measured(model, data_seed=seed).verdict
                    append_line(out, {**key, "seed": seed, "verdict": verdict})
            counts = Counter(line["verdict"] for line in _lines(out, key) if "seed" in line)
            say(f"pipeline, {circuit.name} at {strength} SESOI: {dict(counts)}")


def _setting(planted: Planted, strength: int, *, out: Path) -> dict[str, Any]:
    """The scale, the truth and what resampling predicts, found once."""
    key = {"circuit": planted.circuit.name, "strength": strength}
    for line in _lines(out, key):
        if "scale" in line:
            return line
    scale = planted.scale_for(strength)
    model, claim = planted.at(scale), planted.entry.claim
    assert claim.units is not None
    truth = planted.measured(model, data_seed=TRUTH_SEED, n_units=TRUTH_UNITS).as_dict()
    design = design_of(truth)
    assert design is not None
    hardest = min(float(each["estimate"]) for each in truth["judgement"]["outcomes"] if each["threshold"] != 0)
    predicted = predicted_share(design, units=claim.units.default)
    line = {**key, "scale": scale, "truth": hardest, "sesoi": claim.sesoi, "predicted": predicted}
    append_line(out, line)
    return line


def predicted_share(pool: Design, *, units: int, replicates: int = 2_000) -> float:
    """Share of samples of the registered size, drawn from many measured units, that support the claim as it is."""
    few = replace(
        pool, questions=tuple(replace(each, clusters=each.clusters[:units]) for each in pool.questions)
    )
    drawn = draw(few, replicates=replicates)
    return power_at(few, drawn, times=None)


def _lines(out: Path, key: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for line in read_lines(out):
        if all(line.get(name) == value for name, value in key.items()):
            yield line
