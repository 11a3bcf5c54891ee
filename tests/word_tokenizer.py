"""A tokenizer of whole words for tests with text: each word and each punctuation mark is one token."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

SPECIAL = ("<bos>", "<eos>", "<unk>")


def words_of_ioi() -> list[str]:
    """Every word and punctuation mark of the prompts for indirect object identification, the names first."""
    from fixtures.prompts.ioi_words import NAMES, NOTEBOOK, OBJECTS, PLACES, TEMPLATES

    texts = [re.sub(r"\{\w+\}", "", text) for some in TEMPLATES.values() for text in some]
    texts += [re.sub(r"\{\w+\}", "", text) for text, _, _ in NOTEBOOK]
    words = [name for some in NAMES.values() for name in some] + [*PLACES, *OBJECTS]
    return list(dict.fromkeys(words + [word for text in texts for word in re.findall(r"\w+|[^\w\s]", text)]))


def save_word_tokenizer(folder: Path, words: Iterable[str]) -> int:
    """The size of the vocabulary of a Hugging Face tokenizer that is written to `folder`, special tokens first."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(dict.fromkeys((*SPECIAL, *words)))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    named = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(folder)
    return len(vocabulary)
