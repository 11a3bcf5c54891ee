"""`mechclaims cite`: BibTeX that parses, of papers and of evidence, whatever stands in them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.bibtex import escaped, key_of, paper_entry, record_entry
from harness.errors import DeclarationError
from harness.papers import read_papers
from tests.cli import measured_records as made
from tests.cli.calling import call, refused
from tests.paths import REPOSITORY

PAPERS = """
[none2026]
title = "On 100% of Toys & {Braces}"
authors = ["Ada Lovelace", "Toys and Sons, Ltd"]
year = 2026
venue = "Toy Conference; arXiv:2601.00001"
url = "https://example.org/a_b?c={d}&e=50%25"
"""
REQUIRED = {
    "article": {"author", "title", "journal", "year"},
    "inproceedings": {"author", "title", "booktitle", "year"},
    "misc": {"title", "author"},
}
"""Fields that BibTeX's standard styles ask of each type; `misc` asks for none, and these are what can be cited."""


@pytest.fixture
def cited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a bibliography, a baseline of two models, and a newest run of one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "papers.toml").write_text(PAPERS, encoding="utf-8")
    other = made.edited(made.plain(), lambda r: (r["model"].update(id="other@1"), r["cost"].update(at="2026-02-03T")))
    absent = made.edited(
        made.plain(), lambda r: r.update(judgement=None, measured={}, not_run={"reason": "not here", "remedy": "get"})
    )
    absent = made.edited(absent, lambda r: r["model"].update(id="absent"))
    made.stored(Path("reports/baseline"), made.plain(), other, absent)
    made.stored(Path("reports/runs/20260131T120000Z_abc"), made.exact())
    return tmp_path


def parsed(text: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Type and fields of every entry by its key, read as BibTeX does: braces count whatever stands before them."""
    found: dict[str, tuple[str, dict[str, str]]] = {}
    place = 0
    while (at := text.find("@", place)) >= 0:
        assert text[place:at].strip() == ""
        start = text.index("{", at)
        place = _closing(text, start) + 1
        key, _, rest = text[start + 1 : place - 1].partition(",")
        assert re.fullmatch(r"[A-Za-z0-9.:+/-]+", key), key
        assert key not in found, "keys are unique"
        found[key] = (text[at + 1 : start], _fields(rest))
    assert text[place:].strip() == ""
    return found


def test_the_parser_of_these_tests_reads_an_entry_and_refuses_unbalanced_braces():
    assert parsed("@misc{a:b,\n  title = {{A \\& B}},\n  year = {2026},\n}\n") == {
        "a:b": ("misc", {"title": "{A \\& B}", "year": "2026"})
    }
    with pytest.raises(AssertionError):
        parsed("@misc{a, title = {one { too many},\n}")


def test_a_claim_is_cited_by_its_paper_and_a_record_for_each_model_measured(cited):
    done = call("cite", "toy.larger")
    entries = parsed(done.stdout)
    assert [kind for kind, _ in entries.values()] == ["inproceedings", "misc", "misc"]
    assert next(iter(entries)) == "none2026"
    title = "{Evidence record of toy.larger on other@1}"
    fields = next(fields for _, fields in entries.values() if fields["title"] == title)
    assert fields["date"] == "2026-02-03", "of the measurement"
    assert "Verdict: supported; claim version 1; data seed 0" in fields["note"]
    assert made.edited(made.plain(), lambda r: r["model"].update(id="other@1")).content_hash in fields["note"]
    assert fields["howpublished"].startswith("mechclaims")
    assert "nothing to cite on 'absent', which was not run" in done.stderr


def test_without_a_time_of_its_own_a_record_has_the_date_of_its_run(cited):
    fields = next(
        fields for _, fields in parsed(call("cite", "toy.larger", "--model", "planted").stdout).values()
        if "planted" in fields["title"]
    )  # fmt: skip
    assert (fields["year"], fields["date"]) == ("2026", "2026-01-31")


def test_a_record_of_a_baseline_of_several_runs_is_cited_with_the_commit_at_which_it_was_measured(cited):
    info = {"interrupted": False, "commit": "a" * 40, "commits": ["b" * 40, "a" * 40]}
    names = {path.name for path in Path("reports/baseline").glob("toy.larger__*")}
    other = next(name for name in names if "other" in name)
    Path("reports/baseline/run.json").write_text(json.dumps({**info, "measured_at": {"b" * 40: [other]}}))
    shown = parsed(call("cite", "toy.larger").stdout).values()
    by_title = {fields["title"]: fields["howpublished"] for kind, fields in shown if kind == "misc"}
    assert by_title["{Evidence record of toy.larger on other@1}"].endswith(f"(commit {'b' * 12})")
    assert "commit" not in by_title["{Evidence record of toy.larger on planted}"], "nobody wrote it down"


def test_one_model_or_another_run_can_be_asked_for(cited):
    assert len(parsed(call("cite", "toy.larger", "--model", "other@1").stdout)) == 2
    assert "toy.exact" in call("cite", "toy.exact", "--run", "20260131T120000Z_abc").stdout


def test_an_unknown_claim_or_model_is_refused_with_the_nearest_one(cited):
    assert "Did you mean 'toy.larger'?" in refused("cite", "toy.lager")
    assert "it has: absent, other@1, planted. Did you mean 'planted'?" in refused(
        "cite", "toy.larger", "--model", "plantd"
    )
    assert "--run RUN names another run" in refused("cite", "toy.lager")
    assert "no run folder" in refused("cite", "toy.larger", "--run", "nowhere")


def test_what_the_newest_run_alone_holds_is_cited_from_there(cited):
    assert call("cite", "toy.exact").stdout == call("cite", "toy.exact", "--run", "20260131T120000Z_abc").stdout
    assert "no claim 'toy.lager' in reports/baseline" in refused("cite", "toy.lager")


def test_a_paper_that_no_bibliography_has_is_named_and_the_evidence_cited_all_the_same(cited):
    done = call("cite", "toy.larger", "--claims", "elsewhere")
    assert [kind for kind, _ in parsed(done.stdout).values()] == ["misc", "misc"]
    assert "the paper 'none2026' is not cited" in done.stderr
    assert "--claims DIR" in done.stderr


def test_every_paper_of_the_bibliography_has_the_fields_of_its_type():
    papers = read_papers(REPOSITORY / "claims" / "papers.toml")
    entries = parsed("\n\n".join(paper_entry(key, paper).text() for key, paper in papers.items()))
    assert list(entries) == list(papers)
    for kind, fields in entries.values():
        assert REQUIRED[kind] <= fields.keys()
    assert entries["wang2023"][0] == "inproceedings"
    assert entries["wang2023"][1]["eprint"] == "2211.00593"
    assert entries["olsson2022"][0] == "article"
    assert entries["turner2023"][0] == "misc"


def test_what_is_special_to_latex_is_escaped_and_stays_in_its_field():
    paper = {
        "title": "50% of $x_1$ & #2 ~ {a^b} \\input{secret}\n@misc{evil,",
        "authors": ["One and Two", "Plain Name", "Last, First }"],
        "year": 2026,
        "url": "https://example.org/{x}\\y z",
    }
    entries = parsed(paper_entry('key with {braces}, "quotes" and % signs', paper).text())
    ((kind, fields),) = entries.values()
    assert kind == "misc"
    assert r"50\% of \$x\_1\$ \& \#2 \textasciitilde{} \textbraceleft{}a\textasciicircum{}b" in fields["title"]
    assert r"\textbackslash{}input" in fields["title"], "no command"
    assert "\n" not in fields["title"]
    assert fields["author"] == r"{One and Two} and Plain Name and {Last, First \textbraceright{}}"
    assert fields["url"] == "https://example.org/%7Bx%7D%5Cy%20z"


def test_a_hostile_model_id_gives_a_valid_key_and_balanced_braces():
    record = made.edited(made.plain(), lambda r: r["model"].update(id='path:/a_b/{"}%,@x', note="50% }{"))
    entry = record_entry(record.as_dict(), version="1.0", commit="c" * 40, measured="2026-01-31T12:00:00Z")
    ((key, (_, fields)),) = parsed(entry.text()).items()
    assert key == f"mechclaims:toy.larger:path:/a-b/-x:{record.content_hash[:8]}"
    assert fields["howpublished"] == "mechclaims 1.0 (commit cccccccccccc)"


def test_an_exploratory_record_says_that_it_is_no_verdict():
    record = made.edited(made.plain(), lambda r: r.update(exploratory=True))
    entry = record_entry(record.as_dict(), version="", commit="", measured="")
    assert "exploratory, which is no verdict" in entry.fields["note"]
    assert "year" not in entry.fields


def test_a_paper_without_authors_is_refused_by_name():
    with pytest.raises(DeclarationError, match="paper 'x' has no authors and no year"):
        paper_entry("x", {"title": "T"})


def test_keys_and_text_are_one_line_of_plain_characters():
    assert key_of("a b", "ü{c}") == "a-b:c"
    assert escaped("a\n\tb") == "a b"


def _closing(text: str, start: int) -> int:
    """The place of the brace that closes the one at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise AssertionError("unbalanced braces")


def _fields(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    place = 0
    while found := re.compile(r"\s*([A-Za-z]+)\s*=\s*\{").match(text, place):
        end = _closing(text, found.end() - 1)
        assert found[1] not in fields
        fields[found[1]] = text[found.end() : end]
        assert text[end + 1] == ","
        place = end + 2
    assert text[place:].strip() == ""
    return fields
