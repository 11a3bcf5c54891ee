"""Tiny random models, saved as Hugging Face folders with a tiny tokenizer, for tests that need a real loading path.

They are saved and loaded back because TransformerLens refuses a Llama without tokenizer files and a tokenizer that was
never saved.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

BOS_ID = 0
"""Id of `<bos>` in the tiny vocabulary."""
SPECIAL = ("<bos>", "<eos>", "<unk>")
"""The first three ids; every other id is an ordinary word."""
VOCABULARY = (*SPECIAL, *(f"w{number}" for number in range(37)))
"""40 entries: three special tokens and the words w0 .. w36."""


def tiny_tokenizer(folder: Path) -> None:
    """Write a word-level tokenizer over `VOCABULARY` into the folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", pad_token="<eos>"
    )
    fast.save_pretrained(folder)


def tiny_gpt2(folder: Path, *, seed: int = 0, n_layers: int = 2) -> Path:
    """The folder, now holding a random GPT-2 of width 32 with 4 heads a layer and 64 positions."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(VOCABULARY),
                n_positions=64,
                n_embd=32,
                n_layer=n_layers,
                n_head=4,
                bos_token_id=BOS_ID,
                eos_token_id=1,
                initializer_range=0.2,
            )
        )
        _shake_norms(model)
    return _saved(model, folder)


def tiny_llama(folder: Path, *, seed: int = 0, n_layers: int = 2, tied: bool = True) -> Path:
    """The folder, now holding a random Llama of width 32: 4 query heads share 2 key-value heads."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(VOCABULARY),
                max_position_embeddings=64,
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=n_layers,
                num_attention_heads=4,
                num_key_value_heads=2,
                bos_token_id=BOS_ID,
                eos_token_id=1,
                pad_token_id=1,
                tie_word_embeddings=tied,
                initializer_range=0.2,
            )
        )
        _shake_norms(model)
    return _saved(model, folder)


def _shake_norms(model: Any) -> None:
    """Move biases and norm gains away from 0 and 1, so that folding them wrongly would show."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))


def _saved(model: Any, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tiny_tokenizer(folder)
    return folder
