import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from fixtures.prompts.ioi import NAMES_NEEDED, ioi_prompts, notebook_prompts, single_tokens
from fixtures.prompts.ioi_words import NAMES, OBJECTS, PLACES, TEMPLATES
from harness.errors import ModelError, StatisticsError
from harness.models import registry
from harness.models.loaded import Model
from harness.seeding import Streams
from tests.word_tokenizer import save_word_tokenizer, words_of_ioi

SPLITS = tuple(TEMPLATES)
SIZES = {split: 2 * len(texts) for split, texts in TEMPLATES.items()}
KINDS = ("subject swapped", "order swapped", "ABC", "random names", "shuffled roles")
BOS, UNKNOWN = 0, 1

# The fifteen sentences of Wang et al. 2023 (appendix E), and those of TransformerLens' demos, without their words.
PUBLISHED = """
    Then, {a} and {b} went to the {place}. {s} gave a {object} to
    Then, {a} and {b} had a lot of fun at the {place}. {s} gave a {object} to
    Then, {a} and {b} were working at the {place}. {s} decided to give a {object} to
    Then, {a} and {b} were thinking about going to the {place}. {s} wanted to give a {object} to
    Then, {a} and {b} had a long argument, and afterwards {s} said to
    After {a} and {b} went to the {place}, {s} gave a {object} to
    When {a} and {b} got a {object} at the {place}, {s} decided to give it to
    When {a} and {b} got a {object} at the {place}, {s} decided to give the {object} to
    While {a} and {b} were working at the {place}, {s} gave a {object} to
    While {a} and {b} were commuting to the {place}, {s} gave a {object} to
    After the lunch, {a} and {b} went to the {place}. {s} gave a {object} to
    Afterwards, {a} and {b} went to the {place}. {s} gave a {object} to
    Then, {a} and {b} had a long argument. Afterwards {s} said to
    The {place} {a} and {b} went to had a {object}. {s} gave it to
    Friends {a} and {b} found a {object} at the {place}. {s} gave it to
    When {a} and {b} went to the {place}, {s} gave the {object} to
    When {a} and {b} went to the {place}, {s} gave an {object} to
    After {a} and {b} went to the {place}, {s} gave a bottle of milk to
"""


class WordModel:
    """A word, with the space before it if there is one, is a token; what is in `pieces` falls apart into two."""

    id = "words"
    bos_token_id = BOS

    def __init__(self, words, *, pieces=()):
        known = [f" {word}" for word in words] + [word for word in words if word[0].isupper() or not word.isalpha()]
        self.vocabulary = {word: number for number, word in enumerate(known, 2)}
        self.words = {number: word for word, number in self.vocabulary.items()} | {BOS: "", UNKNOWN: "?"}
        self.pieces = {f" {word}" for word in pieces}

    def token_lists(self, texts, *, bos):
        return [[BOS] * bos + self._tokens(text) for text in texts]

    def random_token_pool(self):
        return list(self.vocabulary.values())

    def decode(self, tokens):
        return "".join(self.words[int(token)] for token in tokens)

    def _tokens(self, text):
        found = []
        for word in re.findall(r" ?\w+|[^\w\s]", text):
            found += [self.vocabulary.get(word, UNKNOWN)] * (1 + (word in self.pieces))
        return found


@pytest.fixture(scope="module")
def words():
    return WordModel(words_of_ioi())


@pytest.fixture(scope="module")
def smollm2():
    """SmolLM2 without its weights: what `Model` does with text needs the tokenizer only."""
    folder = registry.model_folder(registry.SMOLLM2)
    if not (folder / "tokenizer.json").is_file():
        pytest.skip("SmolLM2 has not been converted on this machine, so its tokenizer is not here")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    spec = registry.find(registry.SMOLLM2)
    shape = {"n_layers": 30, "n_heads": 9, "n_kv_heads": 3, "d_head": 64, "d_model": 576, "d_vocab": 49152}
    rest = {"n_ctx": 8192, "device": "cpu", "dtype": "float32", "fingerprint": "", "bridge": None, "source": folder}
    return Model(id=spec.id, spec=spec, tokenizer=tokenizer, bos_token_id=tokenizer.bos_token_id, **shape, **rest)


def drawn(model, split="confirmation", *, rounds=2, seed=0, bos=True):
    return ioi_prompts(model, split=split, n=rounds * SIZES[split], rng=np.random.default_rng(seed), bos=bos)


def names_of(prompts, row):
    return [prompts.names[int(token)] for token in prompts.named()[row]]


# -- templates and words ------------------------------------------------------------------------------------------


def test_there_are_as_many_templates_as_the_intervals_need():
    assert {split: len(texts) for split, texts in TEMPLATES.items()} == {
        "discovery": 15, "confirmation": 20, "audit": 12
    }  # fmt: skip


def test_splits_share_neither_templates_nor_names_and_no_template_is_published():
    frames = [re.sub(r"\W+", " ", text).lower().strip() for some in TEMPLATES.values() for text in some]
    published = {re.sub(r"\W+", " ", text).lower().strip() for text in PUBLISHED.strip().splitlines()}
    assert len(set(frames)) == len(frames)
    assert not published & set(frames)
    every = [name for some in NAMES.values() for name in some]
    assert len(set(every)) == len(every)
    for some in (PLACES, OBJECTS):
        assert len(set(some)) == len(some)


def test_every_name_has_a_space_before_it_and_every_object_can_follow_a():
    for text in (text for some in TEMPLATES.values() for text in some):
        slots = re.findall(r"\{(\w+)\}", text)
        assert [slot for slot in slots if slot in "abs"] == ["a", "b", "s"], text
        assert len(re.findall(r"(?<=\w|,|\.) \{\w+\}", text)) == len(slots), text
        assert not re.search(r"\{\w+\}\W*$", text), text
    assert not [word for word in OBJECTS if word[0] in "aeiou"]


def test_templates_differ_in_form():
    texts = [text for some in TEMPLATES.values() for text in some]
    between = {len(re.search(r"\{b\}(.*)\{s\}", text)[1].split()) for text in texts}
    last = Counter(text.split()[-1] for text in texts)
    assert min(between) <= 4
    assert max(between) >= 9
    assert len(between) >= 6
    assert len({text.split()[0] for text in texts}) >= 30
    assert 0.7 < last["to"] / len(texts) < 0.95


# -- drawing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_each_template_has_equally_many_prompts_in_each_order(words, split):
    prompts = drawn(words, split, rounds=3)
    cells = Counter(zip(prompts.templates, prompts.orders, strict=True))
    assert len(prompts) == 3 * SIZES[split]
    assert len(cells) == SIZES[split]
    assert set(cells.values()) == {3}
    leading = prompts.rows(np.arange(SIZES[split]))
    assert set(Counter(zip(leading.templates, leading.orders, strict=True)).values()) == {1}


@pytest.mark.parametrize("order", ["ABBA", "BABA"])
def test_the_order_says_which_name_comes_first(words, order):
    prompts = drawn(words)
    at = prompts.positions
    rows = np.array(prompts.orders) == order
    assert ((at.io < at.s1)[rows] == (order == "ABBA")).all()


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("split", SPLITS)
def test_the_tokens_at_the_positions_are_those_of_the_names(words, split, bos):
    check_positions(words, drawn(words, split, bos=bos), decode=words.decode, bos=bos)


def check_positions(model, prompts, *, decode, bos):
    at, rows = prompts.positions, np.arange(len(prompts))
    texts = prompts.texts()
    assert (prompts.tokens[rows, at.io] == prompts.io).all()
    assert (prompts.tokens[rows, at.s1] == prompts.s).all()
    assert (prompts.tokens[rows, at.s2] == prompts.s).all()
    assert (at.s1_next == at.s1 + 1).all()
    assert (at.end == prompts.lengths - 1).all()
    assert (at.s2 > np.maximum(at.io, at.s1)).all()
    assert (prompts.real_positions().sum(axis=1) == prompts.lengths).all()
    for row, text in enumerate(texts):
        tokens = prompts.tokens[row, : prompts.lengths[row]]
        assert (tokens[0] == model.bos_token_id) == bos
        assert prompts.start == bos
        assert decode(tokens[prompts.start :]) == text
        s, io = prompts.names[int(prompts.s[row])], prompts.names[int(prompts.io[row])]
        before = decode(tokens[prompts.start : at.s2[row]])
        assert text.startswith(f"{before} {s}")  # decoding what stands before S2 leads to its name in the text
        assert len(re.findall(rf"\b{s}\b", text)) == 2
        assert len(re.findall(rf"\b{io}\b", text)) == 1
        assert decode(tokens[at.end[row] :]).strip() == text.split()[-1]


def test_names_are_used_about_equally_often(words):
    prompts = drawn(words, rounds=10)
    used = Counter(prompts.io.tolist()) + Counter(prompts.s.tolist())
    assert len(used) == len(NAMES["confirmation"])
    assert max(used.values()) - min(used.values()) <= 2


def test_the_same_stream_draws_the_same_prompts_and_another_one_draws_others(words):
    streams = Streams(("confirmation", "ioi"))
    first, again, other = (
        ioi_prompts(words, split="confirmation", n=80, rng=streams.for_(purpose), bos=True)
        for purpose in ("prompts", "prompts", "other prompts")
    )
    assert first.sha256() == again.sha256()
    assert first.units == again.units
    assert first.sha256() != other.sha256()
    assert not set(first.units) & set(other.units)


def test_all_prompts_and_unit_ids_are_distinct(words):
    prompts = drawn(words, rounds=25)
    assert len({row.tobytes() for row in prompts.tokens}) == len(prompts) == 1000
    assert len(set(prompts.units)) == 1000


def test_splits_share_no_name_token(words):
    pools = [set(drawn(words, split, rounds=1).names) for split in SPLITS]
    assert not pools[0] & pools[1]
    assert not pools[0] & pools[2]
    assert not pools[1] & pools[2]


def test_without_bos_they_are_the_prompts_that_are_drawn_without(words):
    left, drawn_without = drawn(words).without_bos(), drawn(words, bos=False)
    assert left.sha256() == drawn_without.sha256()
    assert left.units == drawn_without.units
    assert left.texts() == drawn_without.texts()
    assert (left.positions.names() == drawn_without.positions.names()).all()
    assert not set(left.units) & set(drawn(words).units)
    with pytest.raises(StatisticsError, match="no BOS"):
        left.without_bos()


# -- as sequences -------------------------------------------------------------------------------------------------


def test_batches_hold_every_row_once_with_little_padding(words):
    prompts = drawn(words)
    texts = prompts.texts()
    index = np.concatenate([rows for rows, _ in prompts.batches()])
    assert sorted(index) == list(range(len(prompts)))
    for rows, batch in prompts.batches():
        assert batch.texts() == [texts[row] for row in rows]
        assert batch.units == tuple(prompts.units[row] for row in rows)
        assert batch.tokens.shape[1] == batch.lengths.max()
        assert (batch.positions.end == batch.lengths - 1).all()
        assert tuple(batch.tensor().shape) == batch.tokens.shape
    wasted = sum((~batch.real_positions()).sum() for _, batch in prompts.batches())
    assert wasted / prompts.lengths.sum() < 0.05


def test_positions_are_given_as_queries_and_keys(words):
    prompts = drawn(words)
    at = prompts.at("end", key="io")
    assert (at.rows == np.arange(len(prompts))).all()
    assert (at.queries == prompts.positions.end).all()
    assert (at.require_keys() == prompts.positions.io).all()
    with pytest.raises(StatisticsError, match="cannot attend"):
        prompts.at("s1", key="s2")
    with pytest.raises(StatisticsError, match="no position 's3'; known: io, s1"):
        prompts.at("s3")


# -- corruptions --------------------------------------------------------------------------------------------------


def test_corruptions_by_hand(words):
    prompts = notebook_prompts(words, bos=True)
    rng = np.random.default_rng(0)
    assert prompts.texts()[0] == "When John and Mary went to the shops, John gave the bag to"
    swapped = prompts.corrupted("subject swapped")
    assert swapped.texts()[0] == "When John and Mary went to the shops, Mary gave the bag to"
    reordered = prompts.corrupted("order swapped")
    assert reordered.texts()[0] == "When Mary and John went to the shops, John gave the bag to"
    third = re.fullmatch(
        r"When John and Mary went to the shops, (\w+) gave the bag to", prompts.corrupted("ABC", rng).texts()[0]
    )
    assert third[1] not in {"John", "Mary"}
    renamed = re.fullmatch(
        r"When (\w+) and (\w+) went to the shops, (\w+) gave the bag to",
        prompts.corrupted("random names", rng).texts()[0],
    )
    assert renamed[1] == renamed[3] != renamed[2]
    assert not {"John", "Mary"} & set(renamed.groups())
    for each in (swapped, reordered):
        assert (each.io == prompts.io).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_corruption_changes_nothing_but_what_it_says(words, kind):
    prompts = drawn(words, rounds=4)
    corrupted = prompts.corrupted(kind, np.random.default_rng(1))
    at = prompts.positions
    changed = {
        "subject swapped": (at.s2,),
        "order swapped": (at.io, at.s1),
        "ABC": (at.s2,),
        "random names": (at.io, at.s1, at.s2),
        "shuffled roles": (),
    }[kind]
    expected = np.zeros(prompts.tokens.shape, dtype=bool)
    for positions in changed:
        expected[np.arange(len(prompts)), positions] = True
    assert ((corrupted.tokens != prompts.tokens) == expected).all()
    assert len({row.tobytes() for row in corrupted.tokens}) == len(prompts)
    assert corrupted.units == prompts.units
    assert (corrupted.lengths == prompts.lengths).all()
    assert (corrupted.positions.names() == prompts.positions.names()).all()
    assert set(corrupted.named().ravel()) <= set(prompts.names)
    if kind != "shuffled roles":
        assert (corrupted.io == prompts.io).all()
        assert (corrupted.s == prompts.s).all()


def test_the_third_name_and_the_random_names_are_not_those_of_the_prompt(words):
    prompts = drawn(words, rounds=10)
    third = prompts.corrupted("ABC", np.random.default_rng(1)).named()
    other = prompts.corrupted("random names", np.random.default_rng(1)).named()
    for row, (io, s, _) in enumerate(prompts.named()):
        assert third[row, 2] not in (io, s)
        assert not {io, s} & set(other[row])
        assert other[row, 1] == other[row, 2] != other[row, 0]


@pytest.mark.parametrize("rounds", [2, 3])
def test_shuffled_roles_turn_half_of_the_answers_around_in_each_template(words, rounds):
    prompts = drawn(words, rounds=rounds)
    shuffled = prompts.corrupted("shuffled roles", np.random.default_rng(1))
    turned = shuffled.io != prompts.io
    assert (shuffled.io == np.where(turned, prompts.s, prompts.io)).all()
    assert (shuffled.s == np.where(turned, prompts.io, prompts.s)).all()
    for template in set(prompts.templates):
        here = np.array(prompts.templates) == template
        counts = [turned[here & (np.array(prompts.orders) == order)].sum() for order in ("ABBA", "BABA")]
        assert counts[0] == counts[1]
        assert counts[0] in {rounds // 2, (rounds + 1) // 2}


def test_shuffled_roles_turn_each_prompt_around_half_of_the_time(words):
    prompts, rng = drawn(words, "audit", rounds=3), np.random.default_rng(0)
    turned = np.mean([prompts.corrupted("shuffled roles", rng).io != prompts.io for _ in range(400)], axis=0)
    assert abs(turned - 0.5).max() < 0.13  # 5 standard errors of a share of 400 are 0.125


def test_corruptions_follow_their_stream(words):
    prompts = drawn(words)
    for kind in KINDS[2:]:
        first, again, other = (prompts.corrupted(kind, np.random.default_rng(seed)).sha256() for seed in (1, 1, 2))
        assert first == again != other


# -- hostile input ------------------------------------------------------------------------------------------------


def test_words_that_are_not_single_tokens_are_left_out(words):
    some = WordModel(words_of_ioi(), pieces=("Alan", "Zach", "museum"))
    assert single_tokens(some, ["Alan", "Alex", "Zach"]) == {"Alex": some.vocabulary[" Alex"]}
    prompts = drawn(some, rounds=10)
    assert len(prompts.names) == len(NAMES["confirmation"]) - 2
    assert not {"Alan", "Zach"} & set(prompts.names.values())
    assert not [text for text in prompts.texts() if "museum" in text]


def test_unknown_words_do_not_pass_for_single_tokens(words):
    assert single_tokens(words, ["Alex", "Xqz"]) == {"Alex": words.vocabulary[" Alex"]}


def test_a_split_that_lacks_words_is_named_with_its_numbers():
    some = WordModel([*NAMES["discovery"][:10], *NAMES["confirmation"], *PLACES, *OBJECTS[:3]])
    with pytest.raises(
        ModelError, match=rf"discovery split lacks .* 10 of \d+ names \(at least {NAMES_NEEDED}"
    ) as error:
        drawn(some, "discovery")
    assert f"3 of {len(OBJECTS)} objects" in str(error.value)
    assert "places" not in str(error.value)


def test_a_number_of_prompts_that_cannot_be_balanced_is_refused(words):
    for n in (0, 50, -40):
        with pytest.raises(StatisticsError, match=f"{n} prompts .* multiple of 40"):
            ioi_prompts(words, split="confirmation", n=n, rng=np.random.default_rng(0), bos=True)


def test_an_unknown_split_or_corruption_is_refused_by_name(words):
    with pytest.raises(StatisticsError, match="Did you mean 'audit'"):
        ioi_prompts(words, split="audits", n=40, rng=np.random.default_rng(0), bos=True)
    prompts = drawn(words)
    with pytest.raises(StatisticsError, match=r"no corruption 'abc'; known: subject swapped, .*ABC"):
        prompts.corrupted("abc")
    with pytest.raises(StatisticsError, match="'ABC' is drawn at random"):
        prompts.corrupted("ABC")


def test_roles_cannot_be_exchanged_within_one_order(words):
    prompts = drawn(words)
    abba = prompts.rows(np.flatnonzero(np.array(prompts.orders) == "ABBA"))
    with pytest.raises(StatisticsError, match=r"confirmation-01.*one order only"):
        abba.corrupted("shuffled roles", np.random.default_rng(0))


def test_too_few_other_names_are_refused(words):
    prompts = drawn(words, rounds=1)
    for row in (0, 1):
        one = prompts.rows(np.array([row]))
        few = replace(one, names={int(token): prompts.names[int(token)] for token in one.named()[0]})
        with pytest.raises(StatisticsError, match="names that the prompt does not have"):
            few.corrupted("ABC", np.random.default_rng(0))


def test_equal_prompts_are_refused(words):
    with pytest.raises(StatisticsError, match="prompts 0 and 2 of the 3 are equal"):
        drawn(words).rows(np.array([0, 1, 0]))


def test_a_tokenizer_that_joins_words_is_refused():
    class Joining(WordModel):
        def _tokens(self, text):
            tokens = super()._tokens(text)
            return tokens[:-1] if len(tokens) > 12 else tokens

    with pytest.raises(ModelError, match="joins words of"):
        drawn(Joining(words_of_ioi()))


# -- the notebook's prompts ---------------------------------------------------------------------------------------


def test_the_notebooks_prompts_stand_in_its_sequence(words):
    prompts = notebook_prompts(words, bos=True)
    # TransformerLens demos/Exploratory_Analysis_Demo.ipynb: prompts and (correct, incorrect) answers.
    expected = [
        ("When John and Mary went to the shops, John gave the bag to", "Mary", "John"),
        ("When John and Mary went to the shops, Mary gave the bag to", "John", "Mary"),
        ("When Tom and James went to the park, James gave the ball to", "Tom", "James"),
        ("When Tom and James went to the park, Tom gave the ball to", "James", "Tom"),
        ("When Dan and Sid went to the shops, Sid gave an apple to", "Dan", "Sid"),
        ("When Dan and Sid went to the shops, Dan gave an apple to", "Sid", "Dan"),
        ("After Martin and Amy went to the park, Amy gave a drink to", "Martin", "Amy"),
        ("After Martin and Amy went to the park, Martin gave a drink to", "Amy", "Martin"),
    ]
    answers = [[prompts.names[int(token)] for token in pair] for pair in zip(prompts.io, prompts.s, strict=True)]
    assert [(text, *pair) for text, pair in zip(prompts.texts(), answers, strict=True)] == expected
    assert len(set(prompts.templates)) == 4
    swapped = prompts.corrupted("subject swapped").texts()
    assert swapped == [prompts.texts()[row] for row in (1, 0, 3, 2, 5, 4, 7, 6)]  # the notebook's corrupted prompts


def test_a_model_that_splits_a_name_of_the_notebook_is_refused():
    with pytest.raises(ModelError, match="Sid of the notebook's names"):
        notebook_prompts(WordModel(words_of_ioi(), pieces=("Sid",)), bos=True)


def test_a_word_tokenizer_of_hugging_face_can_be_saved_for_the_prompts(tmp_path):
    from transformers import AutoTokenizer

    size = save_word_tokenizer(tmp_path, words_of_ioi())
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert len(tokenizer) == size
    assert tokenizer(" Alan, and", add_special_tokens=False)["input_ids"].count(tokenizer.unk_token_id) == 0


# -- SmolLM2 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_smollm2_has_enough_names_of_one_token_in_every_split(smollm2, split):
    assert len(single_tokens(smollm2, NAMES[split])) >= 80
    assert len(single_tokens(smollm2, PLACES)) == len(PLACES)
    assert len(single_tokens(smollm2, OBJECTS)) == len(OBJECTS)


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("split", SPLITS)
def test_smollm2_reads_the_names_at_their_positions(smollm2, split, bos):
    prompts = drawn(smollm2, split, bos=bos)
    check_positions(smollm2, prompts, decode=smollm2.tokenizer.decode, bos=bos)
    words_long = prompts.lengths - prompts.start
    assert words_long.min() >= 12
    assert words_long.max() <= 25
    for template in set(prompts.templates):
        here = np.array(prompts.templates) == template
        assert len(set(prompts.lengths[here])) == 1  # every filler is one token


def test_smollm2_reads_the_notebooks_prompts(smollm2):
    check_positions(smollm2, notebook_prompts(smollm2, bos=True), decode=smollm2.tokenizer.decode, bos=True)
