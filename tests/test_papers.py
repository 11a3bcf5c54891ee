"""The bibliography beside the claims, and claims that cite what it lacks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.catalog import all_claims
from harness.errors import DeclarationError
from harness.papers import paper_problems, papers_of, read_papers
from tests.cli.calling import CLAIM as TEXT
from tests.paths import REPOSITORY
from tests.toy_claim import CLAIM


@pytest.fixture
def mechanism(tmp_path):
    folder = tmp_path / "claims" / "toy"
    folder.mkdir(parents=True)
    return folder


def test_outside_of_projects_every_paper_is_accepted(mechanism):
    assert papers_of(mechanism) is None
    assert paper_problems(CLAIM, mechanism=mechanism) == []


@pytest.mark.parametrize("place", ["claims", "claims/toy"])
def test_a_paper_is_a_key_of_the_bibliography_beside_or_above_the_claim(mechanism, tmp_path, place):
    (tmp_path / place / "papers.toml").write_text('[none2026]\ntitle = "T"\n', encoding="utf-8")
    assert paper_problems(CLAIM, mechanism=mechanism) == []
    (problem,) = paper_problems(replace(CLAIM, paper="none2062"), mechanism=mechanism)
    assert "'none2062' is not a key of" in problem
    assert "Did you mean 'none2026'?" in problem


def test_what_is_unknown_of_a_paper_is_named(mechanism):
    (mechanism / "papers.toml").write_text('[none2026]\ntitle = "T"\nvenu = "arXiv:1"\n', encoding="utf-8")
    (problem,) = paper_problems(CLAIM, mechanism=mechanism)
    assert "has venu. Did you mean 'venue'?" in problem
    (mechanism / "papers.toml").write_text('none2026 = "T"\n', encoding="utf-8")
    assert "what is no table" in paper_problems(CLAIM, mechanism=mechanism)[0]


def test_a_bibliography_that_is_no_toml_is_named(mechanism):
    (mechanism / "papers.toml").write_text("[", encoding="utf-8")
    with pytest.raises(DeclarationError, match=r"papers\.toml: not valid TOML"):
        paper_problems(CLAIM, mechanism=mechanism)


def test_a_bibliography_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "papers.toml").mkdir()
    with pytest.raises(DeclarationError, match=r"papers\.toml: cannot be read"):
        read_papers(tmp_path / "papers.toml")


def test_the_catalog_refuses_an_unknown_paper_and_the_shipped_claims_have_none(mechanism):
    (mechanism / "test_toy.py").write_text(TEXT, encoding="utf-8")
    (mechanism.parent / "papers.toml").write_text('[toy2025]\ntitle = "T"\n', encoding="utf-8")
    with pytest.raises(DeclarationError, match="Did you mean 'toy2025'"):
        all_claims(mechanism.parent)
    assert all_claims(REPOSITORY / "claims")
