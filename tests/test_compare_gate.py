"""The gate as a user of pytest meets it, in subprocesses: one toy claim, one toy model, a baseline of its own run."""

from __future__ import annotations

import shutil
from xml.etree import ElementTree

import pytest

from harness.plugin_scope import Invocation
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
        (("--compare", f"{REPOSITORY}/reports/baseline", "-p", "no:mechclaims-gate"), "*blocks the comparison*"),
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
    result = gate(two(), *against("-k", "toy.other", "-m", "tier", "--strict-markers", *workers))
    assert result.ret == 0
    result.stdout.fnmatch_lines(["no regression: *1 not asked for*"])


OTHER = "claims/toy/test_other.py"
IN_A_CONFTEST = """
def pytest_collection_modifyitems(config, items):
    left_out = [item for item in items if "test_other" in item.nodeid]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
"""


@pytest.mark.parametrize(
    ("addopts", "conftest", "workers"),
    [
        (f"--deselect={OTHER}", "", ()),
        ("--strict-markers -k toy.larger", "", ("-n", "2")),
        (f"--ignore={OTHER}", "", ()),
        ("--collect-only", "", ()),
        ("", IN_A_CONFTEST, ()),
        ("", "collect_ignore = ['claims/toy/test_other.py']", ()),
    ],
)
def test_what_a_configuration_left_out_is_missing(gate, pytester, addopts, conftest, workers):
    gate.baseline(two())
    pytester.makeconftest(CONFTEST + conftest)
    pytester.makeini(f"[pytest]\naddopts = {addopts}\n")
    result = gate(two(), *against(*workers))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*toy.other *missing*", "*regression* by *missing"])


def stored(**changes):
    """What the gate reads of a record of the baseline."""
    plain = {"claim": "toy.other", "model": MODEL, "seed": 0, "profile": "default", "file": OTHER} | changes
    return {
        "claim": {"id": plain["claim"], "source": f"{plain['file']}::test_larger"},
        "model": {"id": plain["model"]},
        "seeds": {"data_seed": plain["seed"]},
        "options": {"profile": plain["profile"]},
    }


@pytest.mark.parametrize(
    ("arguments", "addopts", "record", "asked"),
    [
        (["claims"], "", {}, True),
        ([], "", {}, True),
        (["claims/toy/test_toy.py"], "", {}, False),
        ([f"{OTHER}::test_larger"], "", {}, True),
        ([f"{OTHER}::test_larger[{MODEL}]"], "", {}, True),
        ([f"{OTHER}::test_larger[{MODEL}]"], "", {"model": "induction-2l@1"}, False),
        ([f"{OTHER}::test_larger[{MODEL}]"], "", {"seed": 1}, False),
        (["claims", f"--deselect={OTHER}"], "", {}, False),
        (["claims"], f"--deselect={OTHER}", {}, True),
        (["claims", "--deselect=claims/toy/test_toy.py"], f"--deselect={OTHER}", {}, True),
        (["claims", f"--ignore={OTHER}"], "", {}, False),
        (["claims", "--ignore=claims/toy"], "", {}, False),
        (["claims", "--ignore-glob=*/test_oth*"], "", {}, False),
        (["claims"], "--ignore-glob=*/test_oth*", {}, True),
        (["claims", "-x", "--model", MODEL], "", {}, True),
        (["--model", MODEL, "claims"], "", {"model": "induction-2l@1"}, False),
        (["claims"], f"--model {MODEL}", {"model": "induction-2l@1"}, True),
        (["claims"], "claims/toy/test_toy.py", {}, True),
        (["claims"], "", {"seed": 1}, False),
        (["claims", "--data-seed", "1"], "", {"seed": 1}, True),
        (["claims"], "--data-seed 1", {"seed": 0}, True),
        (["claims"], "--data-seed 1", {"seed": 1}, True),
        (["claims"], "", {"profile": "quick"}, False),
        (["claims"], "--profile quick", {"profile": "quick"}, True),
        (["claims"], "--profile quick", {"profile": "default"}, True),
        (["claims", "--profile", "quick"], "", {"profile": "default"}, False),
        (["--pyargs", "claims.toy"], "", {}, True),
    ],
)
def test_only_the_words_of_the_invocation_narrow_what_was_asked_for(pytester, arguments, addopts, record, asked):
    pytester.makeconftest(CONFTEST)
    pytester.makeini(f"[pytest]\naddopts = {addopts}\ntestpaths = tests\n")
    for name in ("claims/toy/test_toy.py", OTHER):
        (pytester.path / name).parent.mkdir(parents=True, exist_ok=True)
        (pytester.path / name).touch()
    invocation = Invocation(pytester.parseconfig(*arguments))
    assert invocation.asks_for(stored(**record)) is asked


def test_what_the_environment_left_out_was_asked_for(pytester, monkeypatch):
    pytester.makeconftest(CONFTEST)
    monkeypatch.setenv("PYTEST_ADDOPTS", f"--deselect={OTHER} --model {MODEL}")
    config = pytester.parseconfig()
    assert config.getoption("--model") == [MODEL]
    assert Invocation(config).asks_for(stored(model="induction-2l@1"))


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
        "claim": "toy.larger", "model": MODEL, "verdict": "supported", "expected": "none",
    }  # fmt: skip
