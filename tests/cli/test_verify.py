"""`mechclaims verify`: every number of a record follows from its values, or is found by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.compare.manifest import write_manifest
from harness.errors import StoreError
from harness.evidence import from_json
from harness.store import open_run
from harness.verifying import verify_file, verify_record
from tests.cli import measured_records as made
from tests.cli.calling import call, refused
from tests.paths import REPOSITORY

MADE = {
    "two heads": made.plain,
    "a population on half of the units": made.population,
    "clusters of two": lambda: made.population(of=2),
    "strata and other units": made.strata,
    "exact": made.exact,
    "published numbers": made.published,
    "published numbers that are apart": lambda: made.published(0.5),
    "binary": made.binary,
    "no variation": made.constant,
    "a failed precondition": made.failing,
    "refuted": lambda: made.plain(0.0),
    "assay not shown": lambda: made.plain(0.0, assay_shown=False),
}


def verified(record):
    """The record as it is found after a round through its file."""
    content = json.loads(record.to_json())
    return verify_record(content, file="record.json")


@pytest.mark.parametrize("kind", MADE)
def test_what_the_harness_judged_follows_from_what_it_stored(kind):
    found = verified(MADE[kind]())
    assert (found.state, found.differences) == ("agrees", ())


def test_the_order_of_entries_in_a_file_changes_nothing():
    turned = made.edited(made.population(), lambda r: r["measured"].update(controls=_turned(r["measured"]["controls"])))
    assert verified(turned).state == "agrees"


EDITS = {
    "a treated value": (made.plain, lambda r: _add(r["measured"]["treated"]["values"][0], 0.01), "treated values"),
    "a value of a control": (
        made.plain, lambda r: _add(r["measured"]["controls"]["1.0 | same dose"]["values"], -0.5), "estimate",
    ),
    "a value of another unit's treated row": (
        made.population, lambda r: _add(r["measured"]["controls"]["1.0 | others: mean"]["treated"], 0.01), "estimate",
    ),
    "a value of a margin": (
        made.population, lambda r: _add(r["measured"]["margins"]["cost"]["values"][1], -1.0), "estimate",
    ),
    "a value below a ratio": (
        made.strata,
        lambda r: _add(r["measured"]["margins"]["ratio, first half"]["relative_to"][0], 1.0),
        "[joint | ratio, first half].estimate",
    ),
    "the end of an interval": (made.plain, lambda r: r["judgement"]["outcomes"][0].update(low=1.4), "].low"),
    "an adjusted interval": (made.plain, lambda r: r["judgement"]["outcomes"][3].update(high_adjusted=9), "high_adj"),
    "p": (made.plain, lambda r: r["judgement"]["outcomes"][2].update(p=0.5), "outcomes[1.3 | same dose].p:"),
    "an adjusted p": (made.plain, lambda r: r["judgement"]["components"][1].update(p_adjusted=0.5), "[1.3].p_adjusted"),
    "a size": (made.plain, lambda r: r["judgement"]["outcomes"][0].update(hedges_g=9.9), "hedges_g"),
    "the verdict": (made.plain, lambda r: r["judgement"].update(verdict="inconclusive"), "judgement.verdict"),
    "a verdict that was too weak": (made.constant, lambda r: r["judgement"].update(verdict="supported"), "verdict"),
    "an invalid one": (made.unmeasured, lambda r: r["judgement"].update(verdict="supported"), "recomputed \"invalid\""),
    "the reason": (made.plain, lambda r: r["judgement"].update(reason="as we hoped"), "judgement.reason"),
    "an outcome left out": (made.plain, lambda r: r["judgement"]["outcomes"].pop(), "judgement.outcomes"),
    "the threshold": (made.plain, lambda r: r["claim"].update(sesoi=0.01), "claim.declaration_hash"),
    "the error": (made.plain, lambda r: r["claim"].update(alpha=0.05), "claim.alpha"),
    "the model": (made.plain, lambda r: r["model"].update(fingerprint="0" * 64), "].low"),
    "the data seed": (made.plain, lambda r: r["seeds"].update(data_seed=7), "].low"),
    "a precondition": (made.failing, lambda r: r["preconditions"][0].update(holds=True), "preconditions[loss].holds"),
    "a precondition's bound": (made.failing, lambda r: r["preconditions"][0].update(at_least=0.01), "verdict"),
    "an exact number": (made.exact, lambda r: r["exact"].update(value=9.0), "exact.distance"),
    "a population": (made.exact, lambda r: r["exact"]["population"].update({"0.0": 8.0}), "exact.rank"),
    "a rank's percentile": (made.population, lambda r: r["ranks"][1].update(percentile95=0), "ranks[1.3].percentile95"),
    "a published number": (made.published, lambda r: r["judgement"]["outcomes"][0].update(estimate=0.0), "estimate"),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_found_even_where_its_hash_was_computed_again(edit, tmp_path):
    make, change, named = EDITS[edit]
    record = made.edited(make(), change)
    assert from_json(record.to_json(), where="here").content_hash == record.content_hash, "the hash fits"
    done = call("verify", made.stored(tmp_path / "run", record))
    assert done.exit_code == 1
    assert named in done.stdout


TAKEN = {
    "units": (lambda r: _without_units(r, 4), "values of 20 units, and was to have 24"),
    "units, and their number": (
        lambda r: (_without_units(r, 4), r["options"].update(n_units=20)),
        "it was to have 20 units, and 24 are registered",
    ),
    "a control": (lambda r: _without(r["measured"]["controls"], "shuffled"), "0 rows of values of '1.0' against"),
    "a component": (lambda r: _without_component(r), "evidence.treated has rows 1.0"),
    "a control that was never declared": (
        lambda r: r["measured"]["controls"].update({"1.0 | easy": r["measured"]["controls"]["1.0 | shuffled"]}),
        "'easy', which the claim does not declare",
    ),
    "units that were never sampled": (
        lambda r: r["measured"]["controls"]["1.0 | shuffled"]["units"].__setitem__(0, "other"),
        "unit 'other'",
    ),
    "a section": (lambda r: r["measured"].pop("controls"), "KeyError: 'controls'"),
    "numbers": (lambda r: r["measured"]["treated"].update(values="many"), "not those of a record"),
}


@pytest.mark.parametrize("what", TAKEN)
def test_what_was_taken_away_or_put_in_is_found(what, tmp_path):
    change, said = TAKEN[what]
    done = call("verify", made.stored(tmp_path / "run", made.edited(made.plain(), change)))
    assert done.exit_code == 1
    assert said in done.stdout
    assert done.stdout.startswith("damaged")


def test_a_reason_that_an_older_version_worded_agrees_and_one_that_says_something_else_does_not():
    again = made.plain().as_dict()["judgement"]["components"][0]["reason"]
    assert again.startswith("all 2 conditions hold, nearest to failing the one against “")
    older = (
        "all 2 conditions hold, the weakest against 'shuffled': 1.5, 97.5 % interval [1.1, 1.9] (asked: above 0.25)"
    )

    def reworded(text):
        def edit(content):
            for one in (content["judgement"], *content["judgement"]["components"]):
                one["reason"] = one["reason"].replace(again, text)

        return verified(made.edited(made.plain(), edit))

    assert reworded(older).state == "agrees"
    for other in (older.replace("2", "3", 1), older.replace("shuffled", "all of them"), "it holds"):
        found = reworded(other)
        assert found.state == "differs", other
        assert {difference.field for difference in found.differences} > {"judgement.reason"}


def test_a_record_whose_hash_does_not_fit_is_damaged_and_its_values_say_where(tmp_path):
    run = made.stored(tmp_path / "run", made.plain())
    path = next(run.glob("*__seed0.json"))
    path.write_text(path.read_text(encoding="utf-8").replace('"supported"', '"refuted"', 1), encoding="utf-8")
    found = verify_file(path)
    assert found.state == "damaged"
    assert "its content hash does not fit" in found.reason
    assert [(each.field, each.stored, each.recomputed) for each in found.differences] == [
        ("judgement.verdict", "refuted", "supported")
    ]


def test_a_file_that_is_no_record_of_this_version_is_damaged_and_the_others_are_still_verified(tmp_path):
    run = made.stored(tmp_path / "run", made.plain())
    whole = next(run.glob("*__seed0.json")).read_text(encoding="utf-8")
    (run / "a__seed1.json").write_text(whole[:300], encoding="utf-8")
    (run / "b__seed1.json").write_text(whole.replace('"schema": 2', '"schema": 99'), encoding="utf-8")
    (run / "c__seed1.json").write_bytes(b"\xff\xfe\x00")
    done = call("verify", run)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "agrees         toy.larger on planted, data seed 0: supported"
    assert lines[1].startswith("damaged        a__seed1.json: not readable as JSON")
    assert lines[2] == "damaged        b__seed1.json: schema 99 is newer than 2; update mechclaims to read it"
    assert lines[3].startswith("damaged        c__seed1.json: cannot be read")
    assert lines[4] == f"{run}: 4 records: 1 agrees, 3 damaged"


def test_what_has_no_values_is_named_and_fails_nothing(tmp_path):
    absent = made.edited(
        made.plain(), lambda r: r.update(judgement=None, measured={}, not_run={"reason": "not here", "remedy": "get"})
    )
    absent = made.edited(absent, lambda r: r["model"].update(id="absent"))
    foreign = made.edited(made.exact(), lambda r: r["claim"].update(colour="red"))
    done = call("verify", made.stored(tmp_path / "run", absent, made.unmeasured(), foreign, made.population()))
    assert done.exit_code == 0
    assert "not recomputed toy.larger on absent, data seed 0: not run; not here" in done.stdout
    assert "invalid; it ended before anything was measured" in done.stdout
    assert "none of this version of mechclaims" in done.stdout
    assert "4 records: 1 agrees, 3 not recomputed" in done.stdout
    assert "in 1 record not computed again: shares: the members' values per unit are not stored" in done.stdout


def test_a_margin_on_clusters_that_are_not_stored_is_named_and_its_estimate_is_still_held_against_its_values():
    record = made.strata(elsewhere=30, of=2)
    found = verified(record)
    assert found.state == "agrees"
    assert found.unchecked[0].startswith("margin 'elsewhere': the clusters of its units are not stored")
    moved = verified(made.edited(record, lambda r: _add(r["measured"]["margins"]["elsewhere"]["values"][0], 1.0)))
    assert [each.field for each in moved.differences] == ["judgement.outcomes[joint | elsewhere].estimate"]


def test_a_support_that_the_conditions_known_do_not_carry_differs_even_where_a_margin_is_unknown():
    record = made.strata(elsewhere=30, of=2)
    lowered = made.edited(record, lambda r: _lower(r["measured"]["controls"]["joint | same dose"]))
    assert "judgement.verdict" in [each.field for each in verified(lowered).differences]


def test_a_refutation_needs_a_record_that_shows_its_assay_to_work(tmp_path):
    run = made.stored(tmp_path / "reports" / "runs" / "20260131T120000Z_abc", made.plain(0.0))
    arguments = ("verify", run, "--reports", tmp_path / "reports")
    alone = call(*arguments)
    assert alone.exit_code == 1
    assert "no record shows toy.larger, version 1, as supported" in alone.stdout
    made.stored(tmp_path / "reports" / "baseline", made.plain(1.5))
    assert call(*arguments).exit_code == 0


def test_a_verdict_that_was_withheld_is_named_where_its_assay_is_shown_by_now(tmp_path):
    supported = made.edited(made.plain(), lambda r: r["model"].update(id="other"))
    withheld = made.plain(0.0, assay_shown=False)
    done = call("verify", made.stored(tmp_path / "run", supported, withheld))
    assert "verdict: withheld while no record showed its assay to work" in done.stdout
    done = call("verify", made.stored(tmp_path / "alone", withheld))
    assert (done.exit_code, "withheld" in done.stdout) == (0, False)


def test_a_run_is_named_by_its_folder_its_name_baseline_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = made.stored(Path("reports/runs/20260131T120000Z_abc"), made.plain(), made.exact())
    made.stored(Path("reports/baseline"), made.exact())
    for named, count in (((run,), 2), ((run.name,), 2), ((), 2), (("baseline",), 1)):
        assert f"{count} record" in call("verify", *named).stdout.splitlines()[-1]


def test_a_folder_without_records_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no-such-run: no run folder here; `pytest claims/` makes one" in refused("verify", "no-such-run")
    assert "no run folder" in refused("verify")
    assert "there are no records to verify" in refused("verify", made.stored(tmp_path / "empty"))


def test_a_run_that_was_not_finished_is_verified_and_named(tmp_path):
    run = made.stored(tmp_path / "run", made.plain())
    (run / "run.json").unlink()
    done = call("verify", run)
    assert done.exit_code == 0
    assert "run was not finished" in done.stderr


def test_a_manifest_names_what_was_edited_taken_away_or_added(tmp_path):
    run = made.stored(tmp_path / "run", made.plain(), made.exact())
    write_manifest(open_run(run))
    assert call("verify", run).exit_code == 0
    made.stored(run, made.edited(made.exact(), lambda r: r["notes"].append("nothing follows from a note")))
    done = call("verify", run)
    assert done.exit_code == 1
    assert "2 records: 2 agree" in done.stdout
    assert "manifest: " in done.stdout
    assert "toy.exact__planted__seed0.json was edited" in done.stdout


def test_json_holds_every_record_with_its_differences(tmp_path):
    wrong = made.edited(made.exact(), lambda r: r["exact"].update(rank=7))
    done = call("verify", made.stored(tmp_path / "run", made.plain(), wrong), "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert found["counts"] == {"differs": 1, "agrees": 1}
    assert found["records"][0]["differences"] == [{"field": "exact.rank", "stored": 7, "recomputed": 1}]
    assert [entry["state"] for entry in found["records"]] == ["differs", "agrees"]


def test_hostile_text_in_a_record_cannot_move_the_terminal_or_break_a_line(tmp_path):
    wrong = made.edited(made.plain(), lambda r: r["judgement"].update(reason="\x1b[2Jfine\nagrees everything"))
    wrong = made.edited(wrong, lambda r: r["model"].update(id="m\x1b[31m\nagrees"))
    shown = call("verify", made.stored(tmp_path / "run", wrong)).stdout
    assert "\x1b" not in shown
    assert not any(line.startswith("agrees") for line in shown.splitlines())


def test_verifying_loads_no_model_library(tmp_path):
    run = made.stored(tmp_path / "run", made.plain())
    code = (
        "import sys\nfrom harness.cli import main\n"
        f"main(['verify', {str(run)!r}], standalone_mode=False)\n"
        "print([name for name in ('torch', 'transformers', 'transformer_lens', 'pytest') if name in sys.modules])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_record_of_every_claim_in_the_baseline_follows_from_its_values():
    of_claim = {}
    for path in sorted((REPOSITORY / "reports" / "baseline").glob("*__seed0.json"), key=lambda path: path.name):
        if path.stat().st_size > 20_000:  # smaller ones were not run
            of_claim.setdefault(path.name.split("__")[0], path)
    found = [verify_file(path) for path in of_claim.values()]
    assert len(found) > 20
    assert [(entry.file, entry.reason, entry.differences) for entry in found if entry.failed] == []


def test_a_record_that_cannot_be_opened_says_so(tmp_path):
    assert "cannot be read" in verify_file(tmp_path / "absent__seed0.json").reason
    with pytest.raises(StoreError, match="no run folder"):
        open_run(tmp_path)


def _add(row, by):
    row[0] += by


def _lower(control):
    """What the treated values are held against, raised until nothing is left of the effect."""
    control["values"] = [value + 3.0 for value in control["values"]]


def _turned(entries):
    return dict(reversed(entries.items()))


def _without(controls, name):
    for key in [key for key in controls if key.endswith(name)]:
        del controls[key]


def _without_units(record, count):
    measured, units = record["measured"], record["units"]
    rows = [*measured["treated"]["values"], *units.values()]
    for control in measured["controls"].values():
        rows += [control["units"], control["values"], control["treated"]]
    for row in rows:
        del row[:count]


def _without_component(record):
    treated, controls = record["measured"]["treated"], record["measured"]["controls"]
    del treated["components"][1], treated["values"][1]
    for key in [key for key in controls if key.startswith("1.3")]:
        del controls[key]
