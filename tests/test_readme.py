"""What the README shows is what runs."""

from __future__ import annotations

import re

from harness.commands.template import files
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
