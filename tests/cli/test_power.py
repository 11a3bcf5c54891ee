"""`mechclaims pilot` and `power`: a number of units from the discovery split, and from nowhere else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.commands.power import needed as clusters_needed
from harness.contrasts import Against
from harness.declaration import Claim
from harness.designs import Design, Question
from harness.errors import StoreError
from harness.evidence import Record
from harness.judging import judge_evidence
from harness.pilot import pilot_path, write_pilot
from harness.stats.power import Hurdle, Leg, claim_power, clusters_for_claim, clusters_for_hurdles, clusters_for_power
from harness.store import write_record
from harness.values import UnitValues
from tests.cli.calling import call, refused
from tests.toy_claim import CLAIM

ROOT = Path(__file__).resolve().parents[2]
UNITS = 40
ASK = ("power", "toy.larger", "--model", "toy@0")


def drawn(mean: float, *, sd: float, seed: int, components: tuple[str, ...] = ("5.1",)) -> UnitValues:
    """Values whose mean and SD are exactly these."""
    noise = np.random.default_rng(seed).normal(size=(len(components), UNITS))
    noise = (noise - noise.mean(axis=1, keepdims=True)) / noise.std(axis=1, ddof=1, keepdims=True)
    ids = tuple(f"u{place}" for place in range(UNITS))
    return UnitValues(mean + sd * noise, components, ids, ids)


def record(*, split: str, effect: float = 2.0, sd: float = 1.0, claim: Claim = CLAIM) -> Record:
    """A record whose effect against both controls has this mean and SD between clusters."""
    treated = drawn(effect, sd=sd, seed=0)
    none = replace(treated, values=np.zeros_like(treated.values))
    against = (Against("same dose", "same-dose", none), Against("shuffled", "input", none))
    sections = judge_evidence(
        claim, treated=treated, against=against, margins={}, exact=None, shares=(), failed=None, assay_shown=True,
        rng=np.random.default_rng(1),
    )  # fmt: skip
    from dataclasses import asdict

    return Record(
        claim={**asdict(claim), "mechanism": "toy", "declaration_hash": claim.hash(), "source": "toy"},
        model={"id": "toy@0", "fingerprint": "f", "note": ""}, seeds={"data_seed": 0, "split": split},
        options={"profile": "default", "n_units": UNITS, "dtype": "float32", "device": "cpu"}, command="",
        exploratory=split == "discovery", **sections,
    )  # fmt: skip


def stored(folder: Path, **given: object) -> Path:
    """A pilot in `folder/reports`."""
    return write_pilot(record(split="discovery", **given), reports=folder / "reports")  # type: ignore[arg-type]


def needed(output: str) -> int:
    """The number of clusters that the command names."""
    found = re.search(r"^(\d+) clusters have 80 % power", output, flags=re.MULTILINE)
    assert found is not None, output
    return int(found[1])


def test_power_gives_the_clusters_of_the_noncentral_t(folder: Path) -> None:
    stored(folder)
    shown = call(*ASK, "--clusters", "100").stdout
    # Two controls to beat by 0.5, true effect 1, SD 1: the library's exact power of two independent conditions.
    assert needed(shown) == clusters_for_power(1.0, sesoi=0.5, controls=2)
    # t(0.975, 99) / 10
    assert "0.198" in shown


def test_the_observed_effect_changes_nothing_and_the_spread_does(folder: Path) -> None:
    found = []
    for effect, sd in ((0.1, 1.0), (9.0, 1.0), (0.1, 2.0)):
        stored(folder, effect=effect, sd=sd)
        found.append(needed(call(*ASK).stdout))
    assert found[0] == found[1]
    assert found[2] > 3 * found[0]


def test_what_confirmation_found_is_refused_wherever_it_lies(folder: Path) -> None:
    pilots = folder / "reports" / "pilots"
    path = write_record(record(split="confirmation"), folder=pilots)
    assert "chosen after looking" in refused(*ASK)
    assert "chosen after looking" in refused(*ASK, "--pilot", path)


def test_without_a_pilot_the_command_that_measures_one_is_named(folder: Path, toy: Path) -> None:
    # Confirmed evidence in the store is no substitute.
    write_record(record(split="confirmation"), folder=folder / "reports" / "baseline")
    said = refused("power", "toy.copies", "--model", "induction-2l@0")
    assert "mechclaims pilot toy.copies --model induction-2l@0" in said


@pytest.mark.parametrize(
    ("claim", "model", "said"),
    [
        ("toy.copeis", "induction-2l@0", "Did you mean 'toy.copies'?"),
        ("toy.copies", "induction2l@0", "Did you mean 'induction-2l@0'?"),
        ("toy.copies", "induction-2l", "name a training seed: induction-2l@0"),
    ],
)
def test_an_id_that_no_pilot_could_have_is_named_and_not_the_command(
    toy: Path, claim: str, model: str, said: str
) -> None:
    refusal = refused("power", claim, "--model", model)
    assert said in refusal
    assert "mechclaims pilot" not in refusal


def test_pilots_of_folders_are_found_also_by_the_name_that_they_once_had(folder: Path) -> None:
    mine, other = "path:runs/a", "path:runs-a"
    path = write_pilot(replace(record(split="discovery"), model={"id": mine, "fingerprint": "f", "note": ""}),
                       reports=folder / "reports")  # fmt: skip
    assert pilot_path(CLAIM.id, model_id=mine, reports=folder / "reports") == path
    older = path.rename(path.with_name(f"{CLAIM.id}__path-runs-a__seed0__exploratory.json"))
    assert pilot_path(CLAIM.id, model_id=mine, reports=folder / "reports") == older
    with pytest.raises(StoreError, match="no pilot of"):
        pilot_path(CLAIM.id, model_id=other, reports=folder / "reports")


def test_a_pilot_of_another_claim_or_model_is_refused(folder: Path) -> None:
    path = stored(folder)
    assert "not of toy.other" in refused("power", "toy.other", "--model", "toy@0", "--pilot", path)


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "-inf", "1e+308"])
def test_a_sesoi_that_is_none_is_refused(folder: Path, given: str) -> None:
    stored(folder)
    refusal = call(*ASK, "--sesoi", given)
    assert refusal.exit_code == 2
    assert f"--sesoi: {given} is not a finite number above 0" in refusal.stderr


@pytest.mark.parametrize("given", ["0", "1", "-3"])
def test_a_pilot_of_fewer_than_two_units_is_refused(toy: Path, given: str) -> None:
    refusal = call("pilot", "toy.copies", "--model", "induction-2l@0", "--units", given)
    assert refusal.exit_code == 2
    assert f"'--units': {given} is not in the range" in refusal.stderr


def test_power_loads_no_model(folder: Path) -> None:
    stored(folder)
    code = (
        "import sys\nfrom harness.cli import main\n"
        f"main({list(ASK)!r}, standalone_mode=False)\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={"PYTHONPATH": str(ROOT), "COLUMNS": "80"}, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"


def test_where_twice_the_sesoi_does_not_pass_no_number_is_given(folder: Path) -> None:
    margin = replace(CLAIM, margins=())
    population = drawn(0.0, sd=0.1, seed=2, components=tuple(f"0.{place}" for place in range(20)))
    values = population.values + np.linspace(-3, 3, 20)[:, None]
    population = replace(population, values=values)
    found_on = replace(population, units=tuple(f"d{unit}" for unit in population.units))
    treated = drawn(5.0, sd=1.0, seed=0)
    against = Against("same dose", "component", population, found_on, {"5.1": population.components})
    sections = judge_evidence(
        margin, treated=treated, against=(against,), margins={}, exact=None, shares=(), failed=None, assay_shown=True,
        rng=np.random.default_rng(1),
    )  # fmt: skip
    plain = record(split="discovery")
    write_pilot(replace(plain, **sections), reports=folder / "reports")
    shown = call(*ASK).stdout
    # The 95th-percentile member lies 2.7 above the others' mean, and twice the SESOI is 1.
    assert "no number of clusters gives power" in shown
    assert "95th percentile" in shown


def test_a_claims_power_is_the_product_of_its_conditions() -> None:
    one = claim_power([Leg(0.5)], clusters=40)
    assert claim_power([Leg(0.5), Leg(0.5)], clusters=40) == pytest.approx(one**2)
    # A condition that is measured on half of the clusters has the power of half as many.
    assert claim_power([Leg(0.5, share=0.5)], clusters=80) == pytest.approx(one)
    assert clusters_for_claim([Leg(0.5)]) == clusters_for_power(1.0, sesoi=0.5)


@pytest.mark.parametrize(("alternative", "sign"), [("greater", 1), ("less", -1)])
def test_only_the_limit_on_the_side_of_the_bound_costs_clusters(alternative: str, sign: int) -> None:
    # Twice the SESOI is .2, in the claim's direction; the lower bound of an increase looks down to -1, 1.2 away.
    def asked(limits: tuple[float, float] | None) -> int | None:
        values = sign * drawn(0.2, sd=0.25, seed=0).values.T
        clusters = tuple(f"u{place}" for place in range(UNITS))
        question = Question(
            "5.1", "none", "superiority", alternative, sign * 0.1, None, "gaffke", clusters, values, limits=limits
        )
        return clusters_needed(
            Design("toy", "toy@0", 0.1, alternative, 0.025, "", "supported", (question,)), sesoi=0.1
        ).clusters

    assert asked(None) == clusters_for_power(0.25, sesoi=0.1)
    near = asked((-1.0, 1.0))
    assert near == clusters_for_hurdles([Hurdle(0.1, 0.25, 1.0, reach=1.2)])
    assert asked((-1.0, 9.0) if sign > 0 else (-9.0, 1.0)) == near


def test_an_equivalence_reaches_to_each_limit_from_its_own_side() -> None:
    values = drawn(0.0, sd=0.1, seed=0).values.T
    clusters = tuple(f"u{place}" for place in range(UNITS))
    margin = Question(
        "5.1", "cost", "equivalence", "greater", -0.2, 0.2, "gaffke", clusters, values, limits=(-1.0, 2.0)
    )
    found = clusters_needed(Design("toy", "toy@0", 0.1, "greater", 0.025, "", "supported", (margin,)), sesoi=0.1)
    assert found.clusters == clusters_for_hurdles([Hurdle(0.2, 0.1, 1.0, reach=reach) for reach in (1.0, 2.0)])


def test_pilot_measures_on_the_discovery_split_and_is_no_verdict(toy: Path) -> None:
    (toy / "test_toy.py").write_text(_PILOTED, encoding="utf-8")
    mechanism = "import contextlib\npilots = contextlib.nullcontext\n"
    (toy / "mechanism.py").write_text(mechanism, encoding="utf-8")
    call("pilot", "toy.copies", "--model", "induction-2l@0", "--claims", "claims")
    path = pilot_path("toy.copies", model_id="induction-2l@0", reports=Path("reports"))
    stored_pilot = json.loads(path.read_text())
    assert stored_pilot["seeds"]["split"] == "discovery"
    assert stored_pilot["exploratory"]
    assert stored_pilot["expectation"] is None
    assert stored_pilot["notes"][-1].startswith("('discovery', 'pilot', 'toy.copies'")
    assert needed(call("power", "toy.copies", "--model", "induction-2l@0").stdout) > 1


def test_a_mechanism_that_does_not_lead_its_claims_to_discovery_has_no_pilots(toy: Path) -> None:
    said = refused("pilot", "toy.copies", "--model", "induction-2l@0")
    assert "announces no pilots" in said
    assert not Path("reports/pilots").exists()


_PILOTED = """
import numpy as np
from harness.claim import Control, Metric, Units, claim, unit_values

@claim(
    id="toy.copies", paper="toy2026", statement="Toys copy.", metric=Metric("score", unit="nats"), sesoi=0.25,
    sesoi_reason="half of what discovery finds", alternative="greater", subject="copier",
    controls=(Control("same dose", "same-dose"), Control("shuffled toys", "input")),
    rival="toys guess", exposed_by="shuffled toys", units=Units(default=24, quick=12, reason="power"),
)
def test_toys_copy(model, subject, evidence, rng):
    ids = [f"u{place}" for place in range(evidence.n_units)]
    draw = rng.for_("prompts")
    evidence.note(str(rng.key))
    evidence.treated(unit_values(draw.normal(1, 1, len(ids)), components=subject.heads, units=ids))
    for name in ("same dose", "shuffled toys"):
        evidence.control(name, unit_values(draw.normal(0, 1, len(ids)), components=subject.heads, units=ids))
    evidence.decide()
"""
