"""The files of the Markdown report: pages and figures, the links between them, what a second report does to them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from harness.errors import StoreError
from harness.report import mechanism_pages, write_report
from tests.report.hostile_records import HOSTILE, hostile
from tests.report.sample_pictures import pictures
from tests.report.sample_records import PAPERS, RUN, claim, exact_record, not_run, record
from tests.report.test_text import MARKDOWN


def records() -> list[dict[str, Any]]:
    """Two mechanisms, seeds, an exploratory record of a claim that also counts, a hostile one, a broken picture."""
    broken = {"kind": "curve", "name": "broken", "caption": "c", "x": [1]}
    return [
        record("induction-2l@0", pictures=[*pictures()[:2], broken]),
        record("induction-2l@1"),
        not_run(),
        exact_record(),
        record(claim=claim("ioi.name-movers"), pictures=pictures()[4:5]),
        record(claim=claim("ioi.published", tier="replication")),
        record(heads=1, exploratory=True),
        hostile(),
    ]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(records(), out=tmp_path_factory.mktemp("report"), run=RUN, papers=PAPERS, workers=1)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def links_of(page: Path) -> Iterator[str]:
    """Every address of a page, of links and of images."""
    for token in MARKDOWN.parse(page.read_text(encoding="utf-8")):
        for child in token.children or ():
            if child.type in ("link_open", "image"):
                yield unquote(str(child.attrs.get("href") or child.attrs.get("src")))


def targets_of(page: Path) -> list[str]:
    """The places of a page that links may name."""
    return re.findall(r'<a id="([^"]+)"></a>', page.read_text(encoding="utf-8"))


def test_every_link_and_anchor_of_every_page_has_its_target(report: Path) -> None:
    pages = [report, *(report.parent / "evidence").glob("*.md")]
    followed = 0
    for page in pages:
        places = targets_of(page)
        assert len(places) == len(set(places)), page
        for address in links_of(page):
            if address.startswith("https://"):
                continue
            name, _, place = address.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.is_file(), f"{page.name}: {address}"
            assert target.is_relative_to(report.parent.resolve())
            assert not place or place in targets_of(target), f"{page.name}: {address}"
            followed += 1
    assert followed > 20


def test_every_claim_of_a_page_is_linked_from_its_contents_and_from_the_first_page(report: Path) -> None:
    page = report.parent / "evidence" / "ioi.md"
    named = {place for place in targets_of(page) if not place.startswith("exploratory-")}
    assert {address.removeprefix("#") for address in links_of(page)} >= named
    assert {address.removeprefix("evidence/ioi.md#") for address in links_of(report)} >= named


def test_exploratory_records_have_a_place_of_their_own(report: Path) -> None:
    places = targets_of(report.parent / "evidence" / "induction.md")
    assert {"claim-induction-prefix-matching", "exploratory-claim-induction-prefix-matching"} <= set(places)


def test_the_first_page_has_the_tables_and_the_pages_have_the_claims(report: Path) -> None:
    first = report.read_text(encoding="utf-8")
    assert "### ioi\n\nIn full: [ioi](evidence/ioi.md), 2 claims, 2 records." in first
    assert "| [ioi](evidence/ioi.md) |" in first
    assert "What would have refuted it" not in first
    page = (report.parent / "evidence" / "ioi.md").read_text(encoding="utf-8")
    assert page.startswith("# ioi\n\n2 claims, 2 records. Back to [all evidence](../EVIDENCE.md).\n")
    assert page.count("**What would have refuted it:**") == 2


def test_every_figure_is_shown_and_every_file_is_in_the_manifest(report: Path) -> None:
    out = report.parent
    shown = {
        Path(a).name for page in (report, *(out / "evidence").glob("*.md")) for a in links_of(page) if "figures" in a
    }
    manifest = json.loads((out / "evidence" / "manifest.json").read_text("utf-8"))
    assert shown == {path.name for path in (out / "figures").iterdir()} == set(manifest["figures"])
    assert set(manifest["pages"]) == {path.name for path in (out / "evidence").glob("*.md")}


def test_captions_are_escaped_once(tmp_path: Path) -> None:
    bad = "a|b <b>x</b> `c` *d* _e_ [f](g) ![h](i) \\ & &amp; </details>"
    units = {**claim()["units"], "of": bad}
    caption = f"Every value of {bad}"
    drawn = record(
        bad, claim=claim("a.b", units=units, statement=bad), pictures=[{**pictures()[5], "caption": caption}]
    )
    out = write_report([drawn], out=tmp_path, run=RUN, workers=1).parent
    shown = []
    for token in MARKDOWN.parse((out / "evidence" / "a.md").read_text(encoding="utf-8")):
        words = "".join(child.content for child in token.children or () if child.type in ("text", "code_inline"))
        if words.startswith("Figure: "):
            assert {child.type for child in token.children or ()} <= {"text", "em_open", "em_close"}
            shown.append(words)
    sample = f"24 {bad}s in 24 clusters"
    assert shown == [
        f"Figure: a.b: every effect in attention probability; n = {sample}",
        f"Figure: {caption} ({bad}); n = {sample}",
    ]


def test_names_of_pages_and_figures_are_harmless_and_differ(tmp_path: Path) -> None:
    names = ["a b", "a-b", "../../etc/passwd", "CON", "", "..", HOSTILE, "a-b-2", "x" * 300]
    mixed = [record(claim=claim("a.b", mechanism=name), heads=1) for name in names]
    out = write_report(mixed, out=tmp_path / "here", run=RUN, figures=False).parent
    pages = [path.name for path in (out / "evidence").glob("*.md")]
    assert len(pages) == len({name.lower() for name in pages}) == len(names)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,75}\.md", name) for name in pages)
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_a_page_that_would_be_too_long_is_cut_between_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [record(claim=claim(f"induction.{letter}"), heads=1) for letter in "abcde"]
    monkeypatch.setattr(mechanism_pages, "MOST_BYTES", 12_000)
    report = write_report([*many, record(claim=claim("induction-2.x"))], out=tmp_path, run=RUN, figures=False)
    pages = sorted(path.name for path in (tmp_path / "evidence").glob("*.md"))
    assert len(pages) >= 4
    assert targets_of(tmp_path / "evidence" / "induction-2.md") == ["claim-induction-2-x"]  # that mechanism's own
    found = [place for name in pages for place in targets_of(tmp_path / "evidence" / name)]
    assert sorted(found) == ["claim-induction-2-x", *(f"claim-induction-{letter}" for letter in "abcde")]
    test_every_link_and_anchor_of_every_page_has_its_target(report)
    assert "Part 2 of" in (tmp_path / "evidence" / "induction-3.md").read_text("utf-8")


def test_the_report_is_the_same_bytes_whatever_the_order_of_records(tmp_path: Path) -> None:
    some = [record(f"induction-2l@{seed}") for seed in range(2)] + [exact_record()]
    write_report(some, out=tmp_path / "a", run=RUN, workers=1)
    write_report(some[::-1], out=tmp_path / "b", run=RUN, workers=1)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_what_shows_the_same_is_not_drawn_again_and_what_changed_is(tmp_path: Path) -> None:
    def write(unit: str) -> dict[str, int]:
        other = record("gpt2-small", pictures=[{**pictures()[5], "unit": unit}])
        write_report([record(pictures=pictures()[:1]), other], out=tmp_path, run=RUN, workers=1)
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "figures").iterdir()}

    first = write("nats")
    assert write("nats") == first
    changed = write("bits")
    assert {name for name in first if changed[name] != first[name]} == {
        "induction.prefix-matching--gpt2-small--shares.png"
    }


def test_a_figure_that_was_lost_or_changed_by_hand_is_drawn_again(tmp_path: Path) -> None:
    write_report([exact_record()], out=tmp_path, run=RUN, workers=1)
    before = files(tmp_path)
    lost, touched = sorted((tmp_path / "figures").iterdir())[:2]
    lost.unlink()
    touched.write_bytes(b"not a picture")
    write_report([exact_record()], out=tmp_path, run=RUN, workers=1)
    assert files(tmp_path) == before


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 2}', '{"schema": 1, "figures": [], "pages": 3}'])
def test_a_damaged_manifest_costs_time_and_no_file(tmp_path: Path, content: str) -> None:
    write_report([exact_record()], out=tmp_path, run=RUN, workers=1)
    before = files(tmp_path)
    (tmp_path / "evidence" / "manifest.json").write_text(content, encoding="utf-8")
    write_report([exact_record()], out=tmp_path, run=RUN, workers=1)
    assert files(tmp_path) == before


def test_files_of_the_last_report_are_removed_and_nothing_else(tmp_path: Path) -> None:
    write_report([record(), exact_record(), record(claim=claim("ioi.x"), heads=1)], out=tmp_path, run=RUN, workers=1)
    (tmp_path / "figures" / "mine.png").write_bytes(b"")
    (tmp_path / "evidence" / "mine.md").write_bytes(b"")
    (tmp_path / "mine.md").write_bytes(b"")
    manifest = tmp_path / "evidence" / "manifest.json"
    content = json.loads(manifest.read_text("utf-8"))
    content["pages"].append("../mine.md")  # by whoever edited it: nothing outside the folder is touched
    manifest.write_text(json.dumps(content), encoding="utf-8")
    write_report([exact_record()], out=tmp_path, run=RUN, workers=1)
    left = files(tmp_path)
    assert {"figures/mine.png", "evidence/mine.md", "mine.md", "evidence/induction.md"} <= set(left)
    assert "evidence/ioi.md" not in left
    assert not any("prefix-matching" in name for name in left)


def test_pictures_of_the_reports_claims_that_no_page_links_are_removed_and_no_others(tmp_path: Path) -> None:
    write_report([exact_record()], out=tmp_path, run=RUN, workers=1)
    claim_id = exact_record()["claim"]["id"]
    kept = {"mine.png", f"{claim_id}--notes.txt", f"{claim_id}.png", "other.claim--model--picture.png"}
    for name in (*kept, f"{claim_id}--gpt2-small--of-old.png", f"{claim_id}--of-old.svg"):
        (tmp_path / "figures" / name).write_bytes(b"")
    before = files(tmp_path)
    write_report([exact_record()], out=tmp_path, run=RUN, workers=1)
    gone = set(before) - set(files(tmp_path))
    assert gone == {f"figures/{claim_id}--gpt2-small--of-old.png", f"figures/{claim_id}--of-old.svg"}


@pytest.mark.parametrize("formats", [("pdf",), ("svg",), ("png", "gif")])
def test_unknown_formats_are_refused(tmp_path: Path, formats: tuple[str, ...]) -> None:
    with pytest.raises(StoreError, match="'png' is needed"):
        write_report([not_run()], out=tmp_path, run=RUN, formats=formats)


def test_vector_figures_lie_beside_the_bitmaps(tmp_path: Path) -> None:
    write_report([exact_record()], out=tmp_path, run=RUN, formats=("png", "svg"))
    stems = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert stems == {path.stem for path in (tmp_path / "figures").glob("*.svg")}
