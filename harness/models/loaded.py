"""A loaded model: its bridge, shape, tokenizer and fingerprint, and the one function that makes tokens of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ModelError, NotSuited, did_you_mean
from harness.models.registry import ModelSpec

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, eq=False)
class Model:
    """A model in memory, in eval mode, with folded weights. Two loads of one model share id and fingerprint.

    Attributes:
        id: as in the registry; twins and changed copies have a suffix after `~`.
        spec: what was known before loading.
        bridge: TransformerLens' bridge in compatibility mode. Do not change its weights: see `harness.models.lesion`.
        fingerprint: sha256 over raw weights, configuration, processing and dtype.
        float32_fingerprint: the one that the same weights have in float32, in which heads are found; None where it is
            not known, as for a changed copy.
        source: the folder or checkpoint that it was loaded from.
        tokenizer: adds no special tokens of its own accord through `tokens`; None for our own models.
        bos_token_id: the token that opens a sequence, or None where the model has none.
    """

    id: str
    spec: ModelSpec
    bridge: TransformerBridge = field(repr=False)
    fingerprint: str
    source: Path
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_model: int
    d_vocab: int
    n_ctx: int
    tokenizer: PreTrainedTokenizerBase | None = field(repr=False)
    bos_token_id: int | None
    device: str
    dtype: str
    float32_fingerprint: str | None = None

    @property
    def note(self) -> str:
        """What must be said wherever the model's name stands."""
        return self.spec.note

    def heads(self) -> tuple[str, ...]:
        """Every head, `"layer.head"`, layer by layer."""
        return tuple(f"{layer}.{head}" for layer in range(self.n_layers) for head in range(self.n_heads))

    def layer_and_head(self, head: str) -> tuple[int, int]:
        """The two numbers in `"layer.head"`.

        Raises:
            ModelError: the model has no such head.
        """
        if head not in self._places:
            raise ModelError(
                f"head {head!r} is not in model {self.id!r} ({self.n_layers} layers of {self.n_heads} heads)."
                f"{did_you_mean(head, self._places)}"
            )
        return self._places[head]

    def kv_group(self, head: str) -> str:
        """The key-value head that this head reads, `"17.kv1"`; with ungrouped attention every head has its own."""
        layer, number = self.layer_and_head(head)
        return f"{layer}.kv{number * self.n_kv_heads // self.n_heads}"

    def sharers(self, head: str) -> tuple[str, ...]:
        """All heads, this one included, that read the same key-value head: they are not independent controls."""
        layer, number = self.layer_and_head(head)
        group = self.n_heads // self.n_kv_heads
        first = number // group * group
        return tuple(f"{layer}.{member}" for member in range(first, first + group))

    def tokens(self, texts: Sequence[str], *, bos: bool) -> Int[Tensor, "batch pos"]:
        """Token ids of texts that are equally long in tokens; nothing is padded or cut.

        Args:
            texts: at least one.
            bos: whether the model's own BOS token opens each row; the tokenizer adds no special token itself.

        Raises:
            ModelError: the model has no tokenizer or no BOS, or the texts differ in length or do not fit.
        """
        import torch

        rows = self.token_lists(texts, bos=bos)
        lengths = [len(row) for row in rows]
        if len(set(lengths)) != 1:
            short, long = texts[lengths.index(min(lengths))], texts[lengths.index(max(lengths))]
            raise ModelError(
                f"texts differ in length under the tokenizer of {self.id!r}: {min(lengths)} tokens in {short!r}, "
                f"{max(lengths)} in {long!r}. Choose words of equally many tokens, or use token_lists and pad yourself."
            )
        return torch.tensor(rows, dtype=torch.long, device=self.device)

    def token_lists(self, texts: Sequence[str], *, bos: bool) -> list[list[int]]:
        """Token ids of each text, which may differ in length; arguments and errors as `tokens`."""
        if isinstance(texts, str) or not texts or any(not text for text in texts):
            raise ModelError(f"texts is {texts!r}; give a list of at least one text, none of them empty.")
        if self.tokenizer is None:
            raise NotSuited(f"model {self.id!r} has no tokenizer: it was trained on token ids. Give it ids, not text.")
        opening = [self._bos()] if bos else []
        rows = [opening + list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
        longest = max(rows, key=len)
        if len(longest) > self.n_ctx:
            raise ModelError(f"a text has {len(longest)} tokens; {self.id!r} reads at most {self.n_ctx}. Shorten it.")
        return rows

    def random_token_pool(self) -> list[int]:
        """Ids that may stand in random sequences, ascending: ordinary tokens only.

        Left out are special and added tokens, byte fallbacks (`<0x0A>`), unused entries, ids beyond the tokenizer's
        vocabulary, and for our own models BOS.
        """
        if self.tokenizer is None:
            return [token for token in range(self.d_vocab) if token != self.bos_token_id]
        added = set(self.tokenizer.all_special_ids) | set(self.tokenizer.get_added_vocab().values())
        added.add(-1 if self.bos_token_id is None else self.bos_token_id)
        return sorted(
            token
            for text, token in self.tokenizer.get_vocab().items()
            if token < self.d_vocab and token not in added and not _out_of_text(text)
        )

    def _bos(self) -> int:
        if self.bos_token_id is None:
            raise ModelError(f"model {self.id!r} has no BOS token; ask for bos=False.")
        return self.bos_token_id

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        return {f"{layer}.{head}": (layer, head) for layer in range(self.n_layers) for head in range(self.n_heads)}


def _out_of_text(text: str) -> bool:
    """True for vocabulary entries that stand for a raw byte or for nothing at all."""
    byte = text.startswith("<0x") and text.endswith(">")
    unused = text.strip("[]<>|").lower().startswith(("unused", "extra_id_", "reserved_special")) and text[:1] in "[<"
    return byte or unused or not text
