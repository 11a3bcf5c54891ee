import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from fixtures.prompts.greater_than import greater_than_prompts, year_tokens
from fixtures.prompts.greater_than_record import signs
from fixtures.prompts.greater_than_words import CENTURIES, NOUNS, TEMPLATES, TENS
from harness.errors import ModelError, StatisticsError
from harness.seeding import Streams

SPLITS = tuple(TEMPLATES)
BOS = 0
PATTERNS = {2: r" ?\d\d| ?[A-Za-z]+|[^\w\s]", 1: r" (?=\d)|\d| ?[A-Za-z]+|[^\w\s]", 4: r" ?\d+| ?[A-Za-z]+|[^\w\s]"}


class TextModel:
    """Words are tokens; years are cut into tokens of two digits (as GPT-2 does), of one (as SmolLM2), or not at all."""

    id = "text"
    bos_token_id = BOS

    def __init__(self, width, *, whole=()):
        self.pattern, self.whole, self.vocabulary = PATTERNS[width], set(whole), {"": BOS}

    def token_lists(self, texts, *, bos):
        return [[BOS] * bos + self._tokens(text) for text in texts]

    def decode(self, tokens):
        words = {number: word for word, number in self.vocabulary.items()}
        return "".join(words[int(token)] for token in tokens)

    def _tokens(self, text):
        words = []
        for stretch in re.split(r"( \d{4})", text):
            words += [stretch] if stretch in self.whole else re.findall(self.pattern, stretch)
        return [self.vocabulary.setdefault(word, len(self.vocabulary)) for word in words]


@pytest.fixture(params=[2, 1], ids=["two digits", "digit by digit"])
def model(request):
    return TextModel(request.param)


def drawn(model, split="confirmation", rounds=4, *, seed=0, bos=True):
    rng = np.random.default_rng(seed)
    return greater_than_prompts(model, split=split, n=rounds * len(TEMPLATES[split]), rng=rng, bos=bos)


def stream(name):
    return Streams(("test",)).for_(name)


def start_year(text):
    return int(re.findall(r"\d{4}", text)[0])


def test_splits_share_neither_templates_nor_nouns():
    for first, second in (("discovery", "confirmation"), ("discovery", "audit"), ("confirmation", "audit")):
        assert not set(TEMPLATES[first]) & set(TEMPLATES[second])
        assert not set(NOUNS[first]) & set(NOUNS[second])
    assert {split: len(set(texts)) for split, texts in TEMPLATES.items()} == {
        "discovery": 15, "confirmation": 20, "audit": 5,
    }  # fmt: skip
    assert all(len(set(words)) == len(words) >= 10 for words in NOUNS.values())


def test_templates_end_in_the_last_century_and_name_everything_once():
    for text in (text for texts in TEMPLATES.values() for text in texts):
        assert text.endswith(" {end}")
        assert re.findall(r"\{(\w+)\}", text).count("start") == 1
        assert Counter(re.findall(r"\{(\w+)\}", text)) == Counter(["noun", "start", "end"])
        # The paper's own sentence belongs to the replication tier.
        assert not re.match(r"The \{noun\} lasted from the year \{start\} to the year \{end\}", text)


@pytest.mark.parametrize("split", SPLITS)
def test_every_template_has_as_many_prompts_and_every_prompt_is_different(model, split):
    prompts = drawn(model, split, rounds=6)
    assert set(Counter(prompts.templates).values()) == {6}
    assert len(set(prompts.texts())) == len(prompts) == len(set(prompts.units))
    tens = Counter(start_year(text) % 100 // 10 for text in prompts.texts())
    assert set(tens) == set(TENS)
    assert max(tens.values()) - min(tens.values()) <= 1


def test_positions_are_those_of_the_start_year_and_of_the_end(model):
    prompts = drawn(model)
    for row, text in enumerate(prompts.texts()):
        year = f"{start_year(text)}"
        where, tokens = prompts.positions, prompts.tokens[row]
        assert model.decode(tokens[: where.year[row]]).endswith(f" {year[:2]}")
        digits = tokens[where.year[row] : where.year[row] + 2 // prompts.width]
        assert model.decode(digits) == year[2:]
        assert where.century[row] == where.year[row] - 1
        assert where.end[row] == prompts.lengths[row] - 1
        assert model.decode(tokens[: prompts.lengths[row]]) == text
        assert text.endswith(f" {year[:2]}")
        assert prompts.years[row] == (int(year[2:]) if prompts.width == 2 else int(year[2]))


def test_the_prompts_do_not_depend_on_bos_and_positions_count_it(model):
    with_bos, without = drawn(model), drawn(model, bos=False)
    assert with_bos.texts() == without.texts()
    assert (with_bos.positions.year == without.positions.year + 1).all()
    assert not set(with_bos.units) & set(without.units)


def test_batches_cover_every_prompt_once_in_order_of_length(model):
    prompts = drawn(model)
    rows, lengths = [], []
    for index, batch in prompts.batches():
        assert batch.tokens.shape[1] == batch.lengths.max()
        assert batch.real_positions().sum() == batch.lengths.sum()
        assert batch.units == tuple(prompts.units[row] for row in index)
        rows += index.tolist()
        lengths += batch.lengths.tolist()
    assert sorted(rows) == list(range(len(prompts)))
    assert lengths == sorted(lengths)


def test_the_first_prompts_are_as_many_of_every_template(model):
    prompts = drawn(model)
    assert set(Counter(prompts.first(40).templates).values()) == {2}
    assert prompts.first(40).units == prompts.units[:40]
    assert len(prompts.first(1000)) == len(prompts)


def test_two_digit_answers_above_the_start_year_are_right_and_the_rest_wrong():
    # Hanna et al. 2023, section 2: sum over y > YY of p_y minus sum over y <= YY.
    row = signs(np.array([32]), count=100, question="greater")[0]
    assert row[:33].tolist() == [-1.0] * 33
    assert row[33:].tolist() == [1.0] * 67


def test_of_single_digits_the_start_years_own_is_neither_right_nor_wrong():
    row = signs(np.array([3]), count=10, question="greater")[0]
    assert row.tolist() == [-1, -1, -1, 0, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("count", [10, 100])
def test_at_the_boundary_only_the_neighbours_count(count):
    row = signs(np.array([3]), count=count, question="boundary")[0]
    assert row[2:5].tolist() == [-1, 0, 1]
    assert np.abs(row).sum() == 2


def test_the_start_year_of_the_01_prompts_makes_every_answer_right_and_keeps_the_signs(model):
    prompts = drawn(model)
    other = prompts.corrupted("01")
    for row, text in enumerate(prompts.texts()):
        changed = re.sub(r"(\d\d)\d\d", r"\g<1>01", text, count=1)
        assert model.decode(other.tokens[row, : other.lengths[row]]) == changed
    assert (other.sign == prompts.sign).all()
    assert other.units == prompts.units


def test_no_year_changes_nothing_but_the_start_year_and_leaves_no_digit_there(model):
    prompts = drawn(model)
    other = prompts.corrupted("no year", stream("no year"))
    per_digit = 2 // prompts.width
    for row, year in enumerate(prompts.positions.year):
        here = np.zeros(prompts.tokens.shape[1], dtype=bool)
        here[year - per_digit : year + per_digit] = True
        assert (other.tokens[row] == prompts.tokens[row])[~here].all()
        assert not re.search(r"\d", model.decode(other.tokens[row][here]))


def test_another_century_stands_in_both_years_and_nothing_else_changes(model):
    prompts = drawn(model)
    other = prompts.corrupted("another century", stream("century"))
    for row, text in enumerate(prompts.texts()):
        changed = model.decode(other.tokens[row, : other.lengths[row]])
        century = changed[-2:]
        assert century != text[-2:]
        assert int(century) in CENTURIES
        assert changed == text.replace(f" {text[-2:]}", f" {century}")
    assert (other.sign == prompts.sign).all()


def test_towards_another_century_an_answer_counts_its_value_in_tens_with_the_sign_of_that_shift(model):
    prompts = drawn(model)
    other = prompts.corrupted("another century", stream("century"))
    towards = prompts.towards_century_of(other)
    assert (towards.tokens == prompts.tokens).all()
    value = np.arange(len(prompts.answers)) / (len(prompts.answers) // 10)
    for row, text in enumerate(prompts.texts()):
        century = int(model.decode(other.tokens[row, : other.lengths[row]])[-2:])
        later = 1 if century > int(text[-2:]) else -1  # never the same one
        assert towards.sign[row] == pytest.approx(later * value)
    assert len({row[-1] > 0 for row in towards.sign.tolist()}) == 2  # both ways among these prompts


def test_the_other_year_lies_two_decades_away_half_of_each_template_each_way(model):
    prompts = drawn(model)
    other = prompts.corrupted("other year", stream("other"))
    ups = Counter()
    for row, text in enumerate(prompts.texts()):
        changed = start_year(model.decode(other.tokens[row, : other.lengths[row]]))
        moved = changed - start_year(text)
        assert moved in (20, -20)
        ups[prompts.templates[row]] += moved > 0
        # An answer counts its value in decades, towards the other year.
        value = np.arange(len(prompts.answers)) / (10 if prompts.width == 2 else 1)
        assert other.sign[row] == pytest.approx(value * np.sign(moved))
    assert set(ups.values()) == {2}  # of four


def test_shuffled_years_are_the_mean_sign_of_the_prompts_that_decide_otherwise():
    prompts = drawn(TextModel(1))
    prompts = replace(prompts.rows(np.arange(3)), years=np.array([2, 5, 5]))
    prompts = prompts.asking("greater")
    shuffled = prompts.corrupted("shuffled years")
    # Row 0 takes the signs of two prompts whose digit is 5; rows 1 and 2 those of the one whose digit is 2.
    assert shuffled.sign[0].tolist() == [-1, -1, -1, -1, -1, 0, 1, 1, 1, 1]
    assert shuffled.sign[1].tolist() == shuffled.sign[2].tolist() == [-1, -1, 0, 1, 1, 1, 1, 1, 1, 1]
    assert (shuffled.tokens == prompts.tokens).all()


def test_a_fixed_preference_among_answers_is_worth_as_much_with_shuffled_years(model):
    prompts = drawn(model, rounds=6)
    fixed = np.linspace(0, 1, len(prompts.answers))
    own, shuffled = ((each.sign @ fixed).mean() for each in (prompts, prompts.corrupted("shuffled years")))
    # The same preference for high answers on every prompt: no effect is left, of 3 to 40 in all.
    assert own == pytest.approx(shuffled, abs=0.02 * fixed.sum())


def test_unknown_corruptions_questions_and_positions_are_refused_by_name(model):
    prompts = drawn(model)
    with pytest.raises(StatisticsError, match="no corruption 'shuffled year'"):
        prompts.corrupted("shuffled year")
    with pytest.raises(StatisticsError, match="give it an rng"):
        prompts.corrupted("no year")
    with pytest.raises(StatisticsError, match="no question 'less'"):
        prompts.asking("less")
    with pytest.raises(StatisticsError, match="no position 'yeer'"):
        prompts.at("end", key="yeer")
    with pytest.raises(StatisticsError, match="cannot attend"):
        prompts.at("century", key="year")


def test_sets_without_variety_cannot_be_corrupted(model):
    prompts = drawn(model).rows(np.array([0]))
    with pytest.raises(StatisticsError, match="no years to shuffle"):
        prompts.corrupted("shuffled years")
    with pytest.raises(StatisticsError, match="one century"):
        prompts.corrupted("another century", stream("century"))


def test_equal_prompts_are_refused(model):
    prompts = drawn(model)
    with pytest.raises(StatisticsError, match="are equal"):
        prompts.rows(np.array([0, 0]))


def test_the_hash_tells_labels_and_tokens_apart(model):
    prompts = drawn(model)
    sets = [prompts, prompts.corrupted("01"), prompts.corrupted("shuffled years"), prompts.asking("boundary")]
    assert len({each.sha256() for each in sets}) == 4
    assert prompts.sha256() == drawn(model).sha256() != drawn(model, seed=1).sha256()


def test_a_tokenizer_that_does_neither_is_refused_by_name():
    with pytest.raises(ModelError, match="neither as ' 17' and '32' nor digit by digit"):
        drawn(TextModel(4))


def test_years_that_are_one_token_are_left_out():
    whole = [" 1550", " 1721", " 1666"]
    model = TextModel(2, whole=whole)
    usable = {f" {century}{year}" for years in year_tokens(model).usable.values() for century, year in years}
    assert len(usable) == 7 * 60 - 3  # seven centuries, years 20 to 79
    assert not usable & set(whole)
    texts = drawn(model, rounds=6, seed=3).texts()
    assert not any(year in text for year in whole for text in texts)


def test_a_tokenizer_that_splits_too_few_years_is_refused():
    whole = [f" {century}{year}" for century in CENTURIES for year in range(20, 30)]
    with pytest.raises(ModelError, match="greater-than asks"):
        drawn(TextModel(2, whole=whole[2:]))


def test_a_tokenizer_that_joins_words_is_refused(monkeypatch):
    model = TextModel(1)
    plain = model._tokens
    joined = {"in", "year"}

    def tokens(text):
        found = plain(text)
        return found[:-3] + found[-2:] if len(found) > 12 and joined & set(text.split()) else found

    monkeypatch.setattr(model, "_tokens", tokens)
    with pytest.raises(ModelError, match="joins words"):
        drawn(model)


@pytest.mark.parametrize("n", [0, 7, -20])
def test_numbers_that_cannot_be_spread_evenly_are_refused(model, n):
    with pytest.raises(StatisticsError, match="multiple of 20"):
        greater_than_prompts(model, split="confirmation", n=n, rng=stream("x"), bos=True)


def test_an_unknown_split_is_refused(model):
    with pytest.raises(StatisticsError, match=r"no split 'audits'.*Did you mean 'audit'"):
        greater_than_prompts(model, split="audits", n=20, rng=stream("x"), bos=True)


def test_more_prompts_than_can_be_told_apart_are_refused(model):
    with pytest.raises(StatisticsError, match="too few nouns and centuries"):
        drawn(model, "audit", rounds=71)  # ten nouns in seven centuries


def test_smollm2_writes_years_digit_by_digit():
    from harness.models import registry

    folder = registry.model_folder(registry.SMOLLM2)
    if folder is None:
        pytest.skip("SmolLM2 is not here")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)

    class Tokens(TextModel):
        def _tokens(self, text):
            return tokenizer(text, add_special_tokens=False)["input_ids"]

    prompts = drawn(Tokens(1), "discovery")
    assert prompts.width == 1
    assert [tokenizer.decode([token]) for token in prompts.answers] == list("0123456789")
