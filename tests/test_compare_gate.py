"""The gate as a user of pytest meets it, in subprocesses: one toy claim, one toy model, a baseline of its own run."""

from __future__ import annotations

import shutil
from xml.etree import ElementTree

import pytest

from tests.test_plugin import CONFTEST, REPOSITORY, toy

pytest_plugins = ["pytester"]

EXPRESSION = "verdict,effect:20%,outside-interval,missing"
MODEL = "induction-2l@0"


@pytest.fixture
def gate(pytester, monkeypatch):
    """Run the toy claims on a model's weights alone, without torch; the first run becomes the baseline."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.delenv("MECHCLAIMS_CHECKPOINTS", raising=False)
    pytester.makeconftest(CONFTEST)
    folder = pytester.path / "claims" / "toy"
    folder.mkdir(parents=True)

    def run(files, *options, where="claims"):
        for old in folder.glob("*.py"):
            old.unlink()
        for name, text in files.items():
            (folder / name).write_text(text.replace("test_larger(model, ", "test_larger(weights, "))
        common = ("--import-mode=importlib", "-p", "no:cacheprovider", "--model", MODEL)
        return pytester.runpytest_subprocess(where, *common, *options, timeout=120)

    def baseline(files):
        run(files).assert_outcomes(passed=len(files))
        newest = pytester.path / "reports" / (pytester.path / "reports" / "latest").read_text().strip()
        shutil.copytree(newest, pytester.path / "base")

    run.baseline = baseline
    return run


def two():
    """Two claims in two files."""
    return {**toy(effect=2.0), "test_other.py": toy(effect=2.0, **{"toy.larger": "toy.other"})["test_toy.py"]}


def against(*more):
    return "--compare", "base", "--compare-fail", EXPRESSION, *more


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--compare", "base", "--compare-fail", "verdit"), "*Did you mean 'verdict'?*"),
        (("--compare", "nowhere"), "*nowhere: there is no such folder*"),
        (("--compare-fail", "verdict"), "*belong to --compare PATH*"),
        (against("--n-units", "20"), "*exploratory*"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_measured(gate, pytester, options, said):
    result = gate(toy(effect=2.0), *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said])
    assert not (pytester.path / "reports").exists()


def test_an_edited_baseline_is_refused_by_name(gate, pytester):
    gate.baseline(toy(effect=2.0))
    path = next((pytester.path / "base").glob("toy.*.json"))
    path.write_text(path.read_text().replace("supported", "refuted"))
    result = gate(toy(effect=2.0), *against())
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{path.name} was edited*"])


def test_an_honest_rerun_is_green_and_leaves_a_page(gate, pytester):
    gate.baseline(two())
    for options in ((), ("-n", "2")):
        result = gate(two(), *against(*options))
        result.assert_outcomes(passed=2)
        assert result.ret == 0
        result.stdout.fnmatch_lines(["no regression: 2 unchanged"])
    pages = list((pytester.path / "reports" / "runs").glob("*/comparison.md"))
    assert [page.read_text() for page in pages] == ["## Evidence against base\n\n**no regression: 2 unchanged**\n"] * 2


def test_a_weaker_effect_fails_a_run_whose_tests_pass(gate):
    gate.baseline(toy(effect=2.0))
    result = gate(toy(effect=1.4), *against())
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*effect:20%*", "REGRESSION toy.larger on induction-2l@0", "1 regression by *"])
    shown = gate(toy(effect=1.4), "--compare", "base")
    assert shown.ret == 0
    shown.stdout.fnmatch_lines(["1 regression by *", "shown only; *"])


def test_a_lowered_threshold_fails(gate):
    gate.baseline(toy(effect=2.0))
    result = gate(toy(effect=2.0, **{"sesoi=0.5": "sesoi=0.1"}), *against())
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*verdict: not comparable: declared sesoi 0.5 -> 0.1*"])


def test_a_deleted_claim_is_missing_where_it_was_asked_for(gate):
    gate.baseline(two())
    result = gate(toy(effect=2.0), *against())
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*1 regression by*1 missing*"])
    other_file = gate(toy(effect=2.0), *against(), where="claims/toy/test_toy.py")
    assert other_file.ret == 0
    other_file.stdout.fnmatch_lines(["no regression: *1 not asked for*"])


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_what_was_left_out_on_purpose_is_not_missing(gate, workers):
    gate.baseline(two())
    result = gate(two(), *against("-k", "toy.other", *workers))
    assert result.ret == 0
    result.stdout.fnmatch_lines(["no regression: *1 not asked for*"])


def test_another_model_under_the_same_id_is_compared_on_the_same_prompts_where_asked(gate, pytester):
    gate.baseline(toy(effect=2.0))
    other = ("--weights", f"{MODEL}={REPOSITORY / 'fixtures' / 'checkpoints' / 'induction-2l-1.safetensors'}")
    refused = gate(toy(effect=2.0), *against(*other))
    assert refused.ret == pytest.ExitCode.TESTS_FAILED
    refused.stdout.fnmatch_lines(["*verdict: not comparable: model's fingerprint*"])
    same = gate(toy(effect=2.0), *against("--compare-any-model", *other))
    assert same.ret == 0, "the same effect on the same draws"
    weaker = gate(toy(effect=1.4), *against("--compare-any-model", *other))
    assert weaker.ret == pytest.ExitCode.TESTS_FAILED
    weaker.stdout.fnmatch_lines(["*effect:20%: model against 'shuffled'*"])
    assert list((pytester.path / "reports" / "runs").glob("*/*__exploratory.json")), "no verdict comes of it"


def test_junit_xml_carries_the_verdicts(gate, pytester):
    gate(toy(effect=2.0), "--junit-xml", "junit.xml")
    case = ElementTree.parse(pytester.path / "junit.xml").find(".//testcase")
    said = {one.get("name"): one.get("value") for one in case.findall("properties/property")}
    assert said == {
        "claim": "toy.larger", "model": MODEL, "verdict": "supported", "registered": "none",
    }  # fmt: skip
