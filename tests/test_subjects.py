"""Subjects and registered verdicts as they stand in a file, and what is wrong with them."""

from __future__ import annotations

import pytest

from harness.errors import DeclarationError, SubjectNotFound
from harness.subjects import Subject, head_problems, parse_head, read_subjects

GOOD = """
[models."tiny@0".classes.induction]
heads = ["1.1", "1.4"]
selected_by = "prefix-matching score"
source = "mechclaims discover induction"
split = "discovery"

[models."tiny@0".classes.previous-token]
heads = ["0.3"]
selected_by = "attention to the previous position"
source = "mechclaims discover induction"
split = "discovery"

[expectations."induction.ablation"]
"tiny@0" = { verdict = "refuted", reason = "it repairs itself" }
"""


def read(tmp_path, text):
    path = tmp_path / "subjects.toml"
    path.write_text(text, encoding="utf-8")
    return read_subjects(path)


def test_a_subject_has_its_heads_origin_and_the_models_other_classes(tmp_path):
    subject = read(tmp_path, GOOD).subject("tiny@0", class_name="induction")
    assert subject.heads == ("1.1", "1.4")
    assert subject.selected_by == "prefix-matching score"
    assert subject.split == "discovery"
    assert subject.layers() == (1, 1)
    assert subject.of_class("previous-token") == ("0.3",)


def test_a_class_that_the_model_lacks_is_named_with_those_it_has(tmp_path):
    subject = read(tmp_path, GOOD).subject("tiny@0", class_name="induction")
    with pytest.raises(DeclarationError, match=r"no class 'name-mover'.*induction, previous-token"):
        subject.of_class("name-mover")


def test_models_and_classes_that_nobody_registered_have_no_subject(tmp_path):
    file = read(tmp_path, GOOD)
    assert file.subject("tiny@0", class_name="name-mover") is None
    assert file.subject("other", class_name="induction") is None
    assert file.classes("other") == {}


def test_a_registered_model_is_expected_to_support_unless_the_file_says_otherwise(tmp_path):
    file = read(tmp_path, GOOD)
    assert file.expectation("induction.ablation", model_id="tiny@0").verdict == "refuted"
    assert file.expectation("induction.ablation", model_id="tiny@0").reason == "it repairs itself"
    assert file.expectation("induction.prefix-matching", model_id="tiny@0").verdict == "supported"
    assert file.expectation("induction.ablation", model_id="other") is None


def test_a_folder_without_the_file_has_no_registered_models(tmp_path):
    file = read_subjects(tmp_path / "subjects.toml")
    assert (file.models, file.expectations) == ({}, {})


def test_a_file_that_is_no_toml_is_named(tmp_path):
    with pytest.raises(DeclarationError, match=r"subjects\.toml: not valid TOML"):
        read(tmp_path, "[models")
    (tmp_path / "subjects.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DeclarationError, match=r"subjects\.toml: not valid TOML: 'utf-8' codec"):
        read_subjects(tmp_path / "subjects.toml")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "subjects.toml").mkdir()
    with pytest.raises(DeclarationError, match=r"subjects\.toml: cannot be read: "):
        read_subjects(tmp_path / "subjects.toml")


def test_all_that_is_wrong_in_a_file_comes_in_one_error(tmp_path):
    text = """
[models."tiny@0".classes.induction]
heads = "1.1"
source = "s"
[expectations."induction.ablation"]
"tiny@0" = { verdict = "refuted" }
"tiny@1" = { verdict = "true", reason = "r" }
"""
    with pytest.raises(DeclarationError) as caught:
        read(tmp_path, text)
    for said in (
        "heads is '1.1', expected a list",
        "selected_by is missing",
        "split is missing",
        "a verdict other than supported needs its reason",
        "verdict 'true' is none of",
    ):
        assert said in str(caught.value)


@pytest.mark.parametrize(("name", "place"), [("5.1", (5, 1)), (" 17.10 ", (17, 10))])
def test_a_head_is_a_layer_and_a_number(name, place):
    assert parse_head(name) == place


@pytest.mark.parametrize("name", ["5", "5.", "5.1.2", "a.b", "-1.0", "5,1", ""])
def test_what_is_no_head_is_refused(name):
    with pytest.raises(DeclarationError, match=r"write layer\.head"):
        parse_head(name)


def test_heads_are_checked_against_the_size_of_the_model():
    assert head_problems(["0.0", "1.3"], model_id="tiny", n_layers=2, n_heads=4) == []
    problems = head_problems(["2.0", "1.4", "x", "1.3", "1.3"], model_id="tiny", n_layers=2, n_heads=4)
    assert len(problems) == 4
    assert "subject 2.0 is not in model 'tiny', which has layers 0..1 and heads 0..3" in problems[0]
    assert "1.4" in problems[1]
    assert "'x' is not a head" in problems[2]
    assert "named twice" in problems[3]
    assert head_problems([], model_id="tiny", n_layers=2, n_heads=4) == ["no heads are named for 'tiny'"]


def test_layers_follow_the_order_of_the_heads():
    assert Subject("induction", ("18.6", "17.4"), "m", "s", "discovery", {}).layers() == (18, 17)


EMPTY = """
[models."tiny@0".classes.copier]
heads = []
selected_by = "copying score"
source = "mechclaims discover induction --model tiny@0"
split = "discovery"
"""


def test_a_class_that_is_registered_as_empty_is_not_found_and_the_message_says_who_looked(tmp_path):
    file = read(tmp_path, GOOD + EMPTY)
    assert file.classes("tiny@0")["copier"] == ()
    said = r"discovery found no head of class 'copier' \(mechclaims discover induction --model tiny@0\)"
    with pytest.raises(SubjectNotFound, match=said):
        file.subject("tiny@0", class_name="copier")
    subject = file.subject("tiny@0", class_name="induction")
    assert subject.classes["copier"] == ()
    with pytest.raises(SubjectNotFound, match="no head of class 'copier'"):
        subject.of_class("copier")


def test_an_empty_class_of_a_paper_is_not_laid_on_discovery(tmp_path):
    file = read(tmp_path, EMPTY.replace('"discovery"', '"published"').replace("mechclaims discover", "paper on"))
    with pytest.raises(SubjectNotFound, match=r"^no head of class 'copier' is known on this model \(paper on"):
        file.subject("tiny@0", class_name="copier")


def test_a_class_without_the_line_of_heads_is_an_error(tmp_path):
    with pytest.raises(DeclarationError, match="heads is None, expected a list"):
        read(tmp_path, EMPTY.replace("heads = []", ""))


def test_selection_frequencies_belong_to_the_heads_in_their_order(tmp_path):
    counted = 'heads = ["1.1", "1.4"]\nselection_frequency = [1, 0.95]\nhalf_samples = 20'
    subject = read(tmp_path, GOOD.replace('heads = ["1.1", "1.4"]', counted)).subject("tiny@0", class_name="induction")
    assert subject.frequencies == {"1.1": 1.0, "1.4": 0.95}
    assert subject.half_samples == 20
    plain = read(tmp_path, GOOD).subject("tiny@0", class_name="induction")
    assert (plain.frequencies, plain.half_samples) == ({}, 0)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("selection_frequency = [1.0]\nhalf_samples = 20", "expected 2 numbers from 0 to 1"),
        ("selection_frequency = [1.0, 1.5]\nhalf_samples = 20", "expected 2 numbers from 0 to 1"),
        ("selection_frequency = [1.0, nan]\nhalf_samples = 20", "expected 2 numbers from 0 to 1"),
        ("selection_frequency = [1.0, true]\nhalf_samples = 20", "expected 2 numbers from 0 to 1"),
        ("half_samples = 20", "selection_frequency is None"),
        ("selection_frequency = [1.0, 1.0]", "half_samples is None"),
        ("selection_frequency = [1.0, 1.0]\nhalf_samples = 0", "half_samples is 0"),
    ],
)
def test_selection_frequencies_that_do_not_fit_the_heads_are_refused(tmp_path, lines, said):
    text = GOOD.replace('heads = ["1.1", "1.4"]', f'heads = ["1.1", "1.4"]\n{lines}')
    with pytest.raises(DeclarationError, match=said):
        read(tmp_path, text)


def test_a_verdict_on_record_counts_also_for_a_model_without_classes(tmp_path):
    text = GOOD + '"tiny@1" = { verdict = "inconclusive", reason = "it has no heads to name" }\n'
    file = read(tmp_path, text)
    assert file.expectation("induction.ablation", model_id="tiny@1").verdict == "inconclusive"
    assert file.expectation("induction.other", model_id="tiny@1") is None
    assert file.expectation("induction.other", model_id="tiny@0").verdict == "supported"


DIRECTION = """
[models."tiny@0".classes.sentiment]
heads = ["1.resid_post"]
settings = { dose = 4 }
selected_by = "log-odds"
source = "mechclaims discover steering --model tiny@0"
split = "discovery"
"""


def test_a_direction_has_a_place_and_the_numbers_that_were_chosen_with_it(tmp_path):
    (tmp_path / "subjects.toml").write_text(DIRECTION, encoding="utf-8")
    subject = read_subjects(tmp_path / "subjects.toml").subject("tiny@0", class_name="sentiment")
    assert subject.heads == ("1.resid_post",)
    assert subject.layers() == (1,)
    assert subject.settings == {"dose": 4.0}


@pytest.mark.parametrize("settings", ["4", "{ dose = true }", '{ dose = "4" }', "{ dose = nan }"])
def test_settings_that_are_no_numbers_are_refused(tmp_path, settings):
    (tmp_path / "subjects.toml").write_text(DIRECTION.replace("{ dose = 4 }", settings), encoding="utf-8")
    with pytest.raises(DeclarationError, match=r"sentiment: settings is .* expected numbers by name"):
        read_subjects(tmp_path / "subjects.toml")


def test_places_in_the_residual_stream_are_checked_against_the_size_of_the_model():
    assert head_problems(["1.resid_mid"], model_id="tiny", n_layers=2, n_heads=4) == []
    (problem,) = head_problems(["2.resid_post"], model_id="tiny", n_layers=2, n_heads=4)
    assert problem == "subject 2.resid_post is not in model 'tiny', which has layers 0..1"
    (problem,) = head_problems(["1.attn"], model_id="tiny", n_layers=2, n_heads=4)
    assert "'1.attn' is not a head; write layer.head, e.g. 5.1, or a place in the residual stream" in problem


PLACES = """
[models."tiny@0".classes.sentiment]
heads = ["1.resid_pre"]
selected_by = "shift"
source = "mechclaims discover steering"
split = "discovery"
"""


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("0.1",), "0.1 is a head; sentiment is a place in the stream, resid_pre, such as 1.resid_pre"),
        (("0.resid_post",), "0.resid_post is a place in the stream, resid_post; sentiment is"),
        (("0.resid_pre", "1.resid_pre"), "0.resid_pre, 1.resid_pre are 2 places; sentiment is"),
    ],
)
def test_components_of_another_kind_than_the_class_do_not_stand_in_for_it(tmp_path, names, said):
    assert said in "; ".join(read(tmp_path, PLACES).misfits(names, class_name="sentiment"))


def test_components_of_the_kind_of_the_class_stand_in_for_it_however_many_heads_there_are(tmp_path):
    assert read(tmp_path, PLACES).misfits(("0.resid_pre",), class_name="sentiment") == []
    assert read(tmp_path, GOOD).misfits(("0.1", "0.2", "0.3"), class_name="induction") == []
    assert read(tmp_path, GOOD).misfits(("0.resid_pre",), class_name="nobody-registered") == []
    assert "0.resid_pre is a place" in read(tmp_path, GOOD).misfits(("0.resid_pre",), class_name="induction")[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('models = "m"', "models is 'm', expected [models.\"ID\".classes.NAME] with heads"),
        ("[models]\nm = 1", "models.m is 1, expected"),
        ('[models.m]\nclasses = ["1.0"]', "models.m.classes is ['1.0'], expected"),
        ('[models.m.classes]\nheads = ["1.0"]', "models.m.classes.heads is ['1.0'], expected"),
        ('[expectations]\n"a.b" = "refuted"', "expectations.a.b is 'refuted', expected"),
        ('[expectations."a.b"]\nm = "refuted"', "expectations.a.b.m is 'refuted', expected"),
    ],
)
def test_what_is_no_table_is_refused_with_the_form_that_it_should_have(tmp_path, text, said):
    with pytest.raises(DeclarationError) as refused:
        read(tmp_path, text)
    assert said in str(refused.value)
