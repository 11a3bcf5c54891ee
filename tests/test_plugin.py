"""The plugin in subprocesses, as a user meets it: outside this repository, with one claim file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.sharp_model import save_sharp_model

pytest_plugins = ["pytester"]

REPOSITORY = Path(__file__).parents[1]
CONFTEST = 'pytest_plugins = ["harness.plugin"]\n'

CLAIM = """
import numpy as np
from harness.claim import Control, Metric, Units, claim, unit_values

DECLARATION = dict(
    id="toy.larger", paper="none2026", statement="Treated values are larger.",
    metric=Metric("value", unit="nats"), sesoi=0.5, sesoi_reason="a toy", alternative="greater",
    controls=(Control("shuffled", "input"), Control("permuted", "label")),
    rival="noise", exposed_by="shuffled", units=Units(default=24, quick=16, reason="a toy"),
)

@claim(**DECLARATION)
def test_larger(model, evidence, rng):
    units = [f"unit-{i}" for i in range(evidence.n_units)]
    def draw(name, mean):
        return unit_values(rng.for_(name).normal(mean, 0.5, len(units)), components=["model"], units=units)
    evidence.treated(draw("treated", EFFECT))
    evidence.control("shuffled", draw("shuffled", 0.0))
    evidence.control("permuted", draw("permuted", 0.0))
    evidence.decide()
"""


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """A native model that the sanity battery lets pass, as a checkpoint of ours."""
    return save_sharp_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture
def suite(pytester, tiny_model):
    """Run pytest on a claims folder elsewhere; the model is tiny unless options name another."""

    def run(files, *options, model=True, mechanism="toy"):
        pytester.makeconftest(CONFTEST)
        folder = pytester.path / "claims" / mechanism
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        chosen = ["--model", f"path:{tiny_model}"] if model else []
        return pytester.runpytest_subprocess(
            "claims", "--import-mode=importlib", "-p", "no:cacheprovider", *chosen, *options, timeout=120
        )

    os.environ["PYTHONPATH"] = str(REPOSITORY)
    yield run
    os.environ.pop("PYTHONPATH", None)


def toy(effect=2.0, **changes):
    text = CLAIM.replace("EFFECT", str(effect))
    for old, new in changes.items():
        text = text.replace(*new) if isinstance(new, tuple) else text.replace(old, new)
    return {"test_toy.py": text}


def records(pytester):
    files = sorted((pytester.path / "reports" / "runs").glob("*/toy.*.json"))
    return [json.loads(path.read_text()) for path in files]


def test_a_supported_claim_passes_and_leaves_a_record_with_values_and_intervals(suite, pytester):
    result = suite(toy(effect=2.0))
    result.assert_outcomes(passed=1)
    (record,) = records(pytester)
    assert record["judgement"]["verdict"] == "supported"
    assert len(record["measured"]["treated"]["values"][0]) == 24
    assert (pytester.path / "reports" / "latest").read_text().startswith("runs/")
    run = json.loads(next((pytester.path / "reports" / "runs").glob("*/run.json")).read_text())
    assert run["interrupted"] is False
    result.stdout.fnmatch_lines(["*evidence: *"])


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_a_run_is_found_again_by_its_label(suite, pytester, options):
    suite(toy(), "--run-label", "mine", *options).assert_outcomes(passed=1)
    (run,) = (pytester.path / "reports" / "runs").glob("*-mine")
    assert len(list(run.glob("toy.larger__*.json"))) == 1


def test_without_a_registration_every_verdict_passes_unless_one_is_required(suite):
    suite(toy(effect=0.0)).assert_outcomes(passed=1)
    failed = suite(toy(effect=0.0), "--require", "supported")
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines(["*required: supported*", "*Treated values are larger.*", "*shuffled*"])


def test_two_runs_and_two_workers_give_the_same_hashes(suite, pytester):
    for options in ((), (), ("-n", "2")):
        suite(toy(), "--data-seed", "0", "--data-seed", "1", *options).assert_outcomes(passed=2)
    hashes = {}
    for record in records(pytester):
        hashes.setdefault(record["seeds"]["data_seed"], []).append(record["content_hash"])
    assert [len(found) for found in hashes.values()] == [3, 3]
    assert all(len(set(found)) == 1 for found in hashes.values())
    assert len({found[0] for found in hashes.values()}) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("sesoi=0.5,", ""), "sesoi is None"),
        (('unit="nats"', 'unit=""'), "metric has no unit"),
        (('Control("permuted", "label")', 'Control("twin", "model")'), "two controls of kind input or label"),
        (('units=Units(default=24, quick=16, reason="a toy"),', ""), "units is missing"),
        (('Control("permuted", "label")),', 'Control("permuted", "same-dose")), subject="head",'), "no class 'head'"),
    ],
)
def test_a_declaration_with_a_hole_is_a_collection_error_that_names_it(suite, change, said):
    result = suite(toy(x=change), "--collect-only")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"*{said}*"])


def test_an_id_declared_twice_is_a_collection_error(suite):
    files = toy() | {"test_more.py": toy()["test_toy.py"]}
    result = suite(files, "--collect-only")
    result.stdout.fnmatch_lines(["*'toy.larger' is declared twice*"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('    evidence.control("permuted", draw("permuted", 0.0))\n', ""), "'permuted' was filled"),
        (('evidence.control("permuted"', 'evidence.control("permutd"'), "Did you mean 'permuted'"),
        (("    evidence.decide()\n", ""), "without evidence.decide()"),
    ],
)
def test_a_body_that_forgets_something_is_an_error_of_that_test(suite, change, said):
    result = suite(toy(x=change))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*{said}*"])


def test_other_units_than_registered_make_the_record_exploratory(suite, pytester):
    suite(toy(), "--n-units", "40").assert_outcomes(passed=1)
    (record,) = records(pytester)
    assert record["exploratory"] is True
    assert record["options"]["n_units"] == 40


def test_where_no_model_is_here_the_exit_code_is_5_with_the_line_that_brings_it(suite):
    result = suite(toy(), "--model", "gpt2-small", model=False)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*not run, and what would bring the model:*"])


def test_an_unknown_model_is_a_usage_error_before_anything_runs(suite, pytester):
    result = suite(toy(), "--model", "gpt2-smal", model=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*Did you mean 'gpt2-small'*"])
    assert not (pytester.path / "reports").exists()


def test_the_help_shows_every_option(suite):
    shown = suite(toy(), "--help").stdout.str()
    assert "--compare-fail=EXPR" in shown
    assert "effect:20%," in shown


def test_collecting_and_dry_runs_write_nothing(suite, pytester):
    suite(toy(), "--collect-only")
    result = suite(toy(), "--dry-run")
    result.stdout.fnmatch_lines(["*toy.larger*24 units*", "*1 test, about *"])
    assert not (pytester.path / "reports").exists()


def test_stopping_at_the_first_failure_leaves_a_run_marked_interrupted(suite, pytester):
    suite(toy(effect=0.0), "--data-seed", "0", "--data-seed", "1", "--require", "supported", "-x").assert_outcomes(
        failed=1
    )
    run = json.loads(next((pytester.path / "reports" / "runs").glob("*/run.json")).read_text())
    assert run["interrupted"] is True
    assert len(records(pytester)) == 1


def test_markers_choose_by_mechanism_paper_and_tier(suite):
    suite(toy(), "-m", 'mechanism(name="toy") and tier(name="inference")').assert_outcomes(passed=1)
    suite(toy(), "-m", 'paper(name="olsson2022")').assert_outcomes(deselected=1)


def test_a_fixture_that_hides_ours_is_refused_by_name(suite):
    text = "import pytest\n@pytest.fixture\ndef model():\n    return None\n" + toy()["test_toy.py"]
    result = suite({"test_toy.py": text})
    result.stderr.fnmatch_lines(["*fixture 'model'*hides the plugin's*"])


def test_collecting_all_claims_imports_nothing_heavy(tmp_path):
    import subprocess

    program = (
        "import sys, pytest\n"
        "code = pytest.main(['claims', '--collect-only', '-q', '-p', 'no:cacheprovider'])\n"
        "heavy = ['torch', 'transformers', 'transformer_lens', 'scipy', 'statsmodels', 'matplotlib', 'pandas']\n"
        "print('HEAVY', [name for name in heavy if name in sys.modules], int(code))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert "HEAVY [] 0" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--device", "foo"), "--device 'foo' is none of torch's"),
        (("--data-seed", "-1"), "--data-seed is -1"),
        (("--evidence-dir", "/proc/no-such-folder"), "/proc/no-such-folder: evidence cannot be written here"),
        (("--run-label", "../elsewhere"), "--run-label '../elsewhere': give up to 80 letters"),
        (("--subjects", "1.0,1.0"), "names 1.0 twice"),
        (("--subjects", "9.9"), "subject 9.9 is not in model"),
        (("--subjects", "odd.toml"), "names no model"),
        (("--subjects", "other.toml"), "other.toml is about gpt2-small; asked is path:"),
        (("--require", "refuted"), "has an expected verdict"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error_before_a_model_is_loaded(suite, pytester, tiny_model, options, said):
    files = with_subject() | registered(tiny_model)
    (pytester.path / "odd.toml").write_text('heads = ["1.0"]\n')
    (pytester.path / "other.toml").write_text(
        '[models.gpt2-small.classes.head]\nheads = ["1.0"]\nselected_by = "s"\nsource = "s"\nsplit = "s"\n'
    )
    result = suite(files, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{said}*"])
    assert "Traceback" not in str(result.stderr) + str(result.stdout)
    assert not (pytester.path / "reports").exists()


@pytest.mark.parametrize(
    ("subjects", "said"),
    [
        ('[expectations."toy.lager"]\n"a" = { verdict = "refuted", reason = "r" }', "*Did you mean 'toy.larger'?"),
        ("no TOML", "*subjects.toml: not valid TOML*"),
    ],
)
def test_what_is_wrong_with_a_folders_subjects_fails_the_plan_and_is_said_once(suite, subjects, said):
    files = toy() | {"subjects.toml": subjects}
    for name in ("other", "third"):
        files[f"test_{name}.py"] = toy(a=("toy.larger", f"toy.{name}"))["test_toy.py"]
    result = suite(files, "--dry-run")
    assert result.ret != 0
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([said])


def test_the_plan_says_that_there_is_no_lock_and_refuses_a_damaged_one(suite, pytester):
    suite(toy(), "--dry-run").stdout.fnmatch_lines(["*registry.lock: not there*mechclaims register*"])
    (pytester.path / "claims" / "registry.lock").write_text("{")
    result = suite(toy(), "--dry-run")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*registry.lock: not readable as a lock*"])


def with_subject(**changes):
    """The toy claim about heads, with a body that would fail if it ran."""
    controls = 'Control("permuted", "label")),'
    about = controls.replace("permuted", "dose").replace("label", "same-dose") + ' subject="head",'
    text = toy(a=(controls, about), **changes)["test_toy.py"]
    return {"test_toy.py": text.replace("    units = [", "    assert False, 'the body ran'\n    units = [")}


def registered(place, *, split="discovery"):
    """A subjects file that registers one head of the tiny model."""
    origin = f'selected_by = "s"\nsource = "s"\nsplit = "{split}"\n'
    return {"subjects.toml": f'[models."path:{place}".classes.head]\nheads = ["1.0"]\n{origin}'}


FINDS_NOTHING = """
from harness.mechanism import Discovery

def discover(model, streams):
    return Discovery({"head": ()}, {"head": "a metric"})
"""


def test_where_discovery_finds_no_head_the_record_is_invalid_with_its_reason(suite, pytester):
    files = with_subject() | {"mechanism.py": FINDS_NOTHING}
    result = suite(files)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*invalid*discovery found*"])
    (record,) = records(pytester)
    assert record["judgement"]["verdict"] == "invalid"
    assert "discovery found no head of class 'head'" in record["judgement"]["reason"]
    suite(files, "--require", "supported").assert_outcomes(failed=1)


def test_an_error_is_told_once_and_without_a_traceback(suite):
    result = suite(toy(x=("evidence.n_units", "evidence.n_units + 1")))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*evidence.treated has 25 units, and evidence.n_units asks for 24*"])
    asks_in_setup = suite(with_subject() | {"mechanism.py": FINDS_NOTHING.replace("()", '("7.7",)')})
    asks_in_setup.assert_outcomes(errors=1)
    for shown in (result, asks_in_setup):
        assert "During handling" not in str(shown.stdout)
        assert "Traceback" not in str(shown.stdout)
    # pytest's summary repeats the message whole where the variable CI is set, and cut off elsewhere.
    told, _, _summary = str(asks_in_setup.stdout).partition("short test summary info")
    assert told.count("subject 7.7 is not in model") == 1


def test_a_claim_is_measured_in_its_profiles_only(suite):
    source = toy(x=("units=Units(default=24", 'profiles=("full",), units=Units(default=24'))
    suite(source).assert_outcomes(deselected=1)
    suite(source, "--profile", "full").assert_outcomes(passed=1)


@pytest.mark.parametrize("chosen", [("-k", "toy.larger"), ("-m", 'paper(name="none2026")')])
def test_where_nothing_is_asked_the_claims_that_were_left_out_are_named(suite, chosen):
    source = toy(x=("units=Units(default=24", 'profiles=("full",), units=Units(default=24'))
    result = suite(source, *chosen)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(["left out, not in profile default: toy.larger; asked with --profile full"])
    suite(source, "-k", "smaller").stdout.no_fnmatch_line("left out*")


def test_heads_selected_where_they_are_claimed_are_a_collection_error(suite, tiny_model):
    result = suite(with_subject() | registered(tiny_model, split="confirmation"), "--collect-only")
    result.stdout.fnmatch_lines(["*was selected on the confirmation split*"])


def test_a_paper_that_the_bibliography_lacks_is_a_collection_error(suite):
    result = suite(toy() | {"papers.toml": '[none2027]\ntitle = "T"\n'}, "--collect-only")
    result.stdout.fnmatch_lines(["*paper 'none2026' is not a key of *papers.toml. Did you mean 'none2027'?"])


def test_a_claim_is_chosen_by_a_part_of_its_id_and_a_repeated_seed_runs_once(suite):
    seeds = ("--data-seed", "3", "--data-seed", "3")
    suite(toy(x=("toy.larger", "toy.by-far")), "-k", "by-far", *seeds).assert_outcomes(passed=1)
    suite(toy(), "-k", "by-far").assert_outcomes(deselected=1)


def test_where_the_evidence_goes_changes_no_verdict_and_a_damaged_baseline_stops_the_run(suite, pytester, monkeypatch):
    asked = toy(effect='float(__import__("os").environ["EFFECT"])')  # the same code shows the assay
    monkeypatch.setenv("EFFECT", "2")
    suite(asked).assert_outcomes(passed=1)
    (found,) = (pytester.path / "reports" / "runs").glob("*/toy.*.json")
    baseline = pytester.path / "reports" / "baseline"
    baseline.mkdir()
    (baseline / found.name).write_text(found.read_text())
    monkeypatch.setenv("EFFECT", "-2")
    for place in ("reports", "elsewhere"):
        suite(asked, "--evidence-dir", place, "--require", "refuted").assert_outcomes(passed=1)
    suite(toy(effect=-2.0), "--require", "inconclusive").assert_outcomes(passed=1)
    (baseline / found.name).write_text("{")
    stopped = suite(toy(effect=0.0))
    assert stopped.ret == pytest.ExitCode.USAGE_ERROR
    stopped.stderr.fnmatch_lines([f"ERROR: *{found.name}: not readable as JSON*"])


TEXT = """
@claim(**{**DECLARATION, "id": "toy.text"})
def test_text(model, evidence):
    model.token_lists(["two words"], bos=False)

@claim(**{**DECLARATION, "id": "toy.more-text"})
def test_more_text(model, evidence):
    model.token_lists(["two words"], bos=False)
"""


def test_a_model_whose_tokenizer_does_not_suit_is_invalid_and_the_reason_is_said_once_with_a_count(suite, pytester):
    result = suite({"test_toy.py": CLAIM.replace("EFFECT", "2.0") + TEXT})
    result.assert_outcomes(passed=3)
    assert sorted(record["judgement"]["verdict"] for record in records(pytester)) == ["invalid", "invalid", "supported"]
    said = " ".join(result.stdout.str().split())  # lines are cut where the path of the model is long
    assert said.count("has no tokenizer") == 1
    assert "invalid, 2 claims: model" in said


def test_a_mechanism_is_chosen_by_its_name_with_hyphens_or_with_underscores(suite):
    files = toy(**{"toy.larger": "two-toys.larger"})
    for name in ("two-toys", "two_toys"):
        suite(files, "-m", f'mechanism(name="{name}")', mechanism="two_toys").assert_outcomes(passed=1)


def test_a_claim_that_pytest_would_pass_over_is_refused_and_one_imported_for_use_is_not(suite):
    result = suite(toy(**{"def test_": "def see_"}))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*::see_larger declares a claim and is no test: call it test_see_larger*"])
    uses = "from claims.toy.test_toy import test_larger as larger\n\ndef test_it():\n    assert larger.__claim__\n"
    suite({**toy(), "test_uses.py": uses}).assert_outcomes(passed=2)


def test_an_id_that_begins_otherwise_than_its_folder_is_refused(suite):
    result = suite(toy(**{"toy.larger": "toys.larger"}))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*id 'toys.larger' begins otherwise than its folder toy/; call it 'toy.larger'*"])
