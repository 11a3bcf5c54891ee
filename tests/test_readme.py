"""What the README shows is what runs."""

from __future__ import annotations

import re

from harness.commands.template import files
from harness.registering import register
from tests.paths import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_the_claim_in_the_readme_is_the_one_that_new_makes_and_tests_run():
    (block,) = (text for text in re.findall(r"```python\n(.*?)```", README, flags=re.S) if "@claim" in text)
    assert block in files("my-mechanism")["test_my_mechanism.py"]


def test_every_option_in_the_readme_exists():
    from harness import plugin_options

    declared = (REPOSITORY / "harness" / "plugin_options.py").read_text(encoding="utf-8") + str(plugin_options.__doc__)
    table = README[README.index("### Options of") : README.index("### Verdicts")]
    named = set(re.findall(r"`(--[a-z-]+)", table))
    for option in named - {"--collect-only", "--lf"}:
        assert f'"{option}"' in declared, option


def test_every_command_in_the_readme_exists():
    from harness.cli import main

    known = set(main.commands)
    assert set(re.findall(r"mechclaims ([a-z]+)", README)) <= known


def test_what_is_not_registered_is_named_with_the_power_that_calibration_finds():
    found = register(REPOSITORY / "claims", reports=REPOSITORY / "reports", write=False)
    power = {one.claim: one.power for one in found.underpowered}
    told = {}
    for path in (REPOSITORY / "claims").glob("*/README.md"):
        text = " ".join(path.read_text(encoding="utf-8").split())
        listed = re.search(r"are not registered, because [^:]*: (.*?%\))\.", text)
        for name, percent in re.findall(r"`([a-z-]+)` \(([\d.]+) %\)", listed[1] if listed else ""):
            told[f"{path.parent.name}.{name}"] = float(percent) / 100
    assert told.keys() == {claim for claim, _ in found.new}
    assert all(abs(told[claim] - power[claim]) < 0.0051 for claim in told), power
