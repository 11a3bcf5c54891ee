"""A model's forward pass computed from its processed weights: exact, and restarted at the layer that is edited.

TransformerLens' `start_at_layer` still runs the layers before it, and its cache changes with use; this engine calls
the weights itself and is tested against the bridge. Prompts are right-padded (positions count from the first token).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.errors import InterventionError
from harness.interventions.edits import Edit, check_edits
from harness.interventions.forward import ForwardPass, Member
from harness.interventions.reading import read_weights
from harness.interventions.readout import StreamReadout, log_probs, require_positions
from harness.interventions.run import KEEPABLE, Keep, Run, layers_to_keep, require_tokens
from harness.interventions.sites import MLP_SITES, Frame
from harness.interventions.weights import Weights

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class Engine:
    """Forward passes over one model. It holds references to the model's weights and never writes to them."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.architecture = weights.architecture
        self.n_layers = len(weights.blocks)
        self.n_heads = weights.n_heads
        self.n_kv_heads = weights.n_kv_heads
        self.d_head = weights.d_head
        self.d_model = weights.d_model
        self.d_mlp = weights.d_mlp
        self.n_ctx = weights.n_ctx
        self.d_vocab = int(weights.unembed.weight.shape[0])

    @classmethod
    def of(cls, model_or_bridge: object) -> Engine:
        """The engine of a bridge, or of a model that carries one; InterventionError where it is not covered."""
        return cls(read_weights(model_or_bridge))

    def run(
        self,
        tokens: Int[Tensor, "batch pos"],
        *,
        edits: Sequence[Edit] = (),
        keep: Keep = (),
        stop_at_layer: int | None = None,
        doses: bool = True,
    ) -> Run:
        """The pass over a batch of tokens; `stop_at_layer=l` computes the layers before l only.

        Without `doses` the length of what the edits write is not computed and `change_norm` stays empty.
        """
        import torch

        require_tokens(tokens, n_ctx=self.n_ctx, d_vocab=self.weights.embed.shape[0])
        tokens = tokens.to(self.weights.embed.device)
        with torch.inference_mode():
            resid = self.weights.embed[tokens]
            if self.weights.pos_embed is not None:
                resid = resid + self.weights.pos_embed[: tokens.shape[1]]
        start = Run(tokens=tokens, resid=resid, next_layer=0)
        return self.resume(start, layer=0, edits=edits, keep=keep, stop_at_layer=stop_at_layer, doses=doses)

    def resume(
        self,
        run: Run,
        *,
        layer: int,
        edits: Sequence[Edit] = (),
        keep: Keep = (),
        stop_at_layer: int | None = None,
        doses: bool = True,
    ) -> Run:
        """The same pass from `layer` on, with edits in the layers from there; nothing before it is computed or kept."""
        import torch

        stop = self.n_layers if stop_at_layer is None else stop_at_layer
        if not 0 <= layer <= stop <= self.n_layers:
            raise InterventionError(
                f"cannot compute from layer {layer} to before layer {stop}: the model has {self.n_layers} layers."
            )
        check_edits(edits, frame=self.frame(run), restart_layer=layer, stop_at_layer=stop)
        keep_layers = layers_to_keep(keep, layers=range(layer, stop))
        if not self.d_mlp and (missing := sorted(MLP_SITES & set(keep_layers))):
            raise InterventionError(f"the model is attention-only, it has no {', '.join(missing)} to keep.")
        resid = run.resid_at(layer)
        forward = ForwardPass(
            self.weights, members=[Member(slice(0, len(resid)), edits)], keep=keep_layers, doses=doses
        )
        with torch.inference_mode():
            for index in range(layer, stop):
                resid = forward.block(resid, index)
            change_norm = {index: forward.change_norm(index) for index in forward.changes}
        kept = {name: forward.kept[name] for name in KEEPABLE}
        return Run(run.tokens, resid, stop, change_norm=change_norm, **kept)

    def frame(self, run: Run) -> Frame:
        """The sizes that edits of this run are checked against."""
        batch, pos = run.tokens.shape
        return Frame(
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            n_kv_heads=self.n_kv_heads,
            d_head=self.d_head,
            d_model=self.d_model,
            d_mlp=self.d_mlp,
            dtype=str(self.weights.embed.dtype),
            batch=batch,
            pos=pos,
        )

    def logits(self, run: Run) -> Float[Tensor, "batch pos d_vocab"]:
        """Logits at every position. For long batches prefer `logits_at` or `log_probs_of_next`."""
        return self._unembed(self._require_finished(run).resid)

    def logits_at(self, run: Run, positions: Int[Tensor, "batch n"]) -> Float[Tensor, "batch n d_vocab"]:
        """Logits at chosen positions of each prompt."""
        return self._unembed(self._resid_rows(run, positions))

    def logits_of(
        self, run: Run, positions: Int[Tensor, "batch n"], tokens: Int[Tensor, "batch n k"]
    ) -> Float[Tensor, "batch n k"]:
        """Logits of some tokens at chosen positions; nothing else is unembedded."""
        import torch

        require_positions(positions, batch=run.tokens.shape[0], pos=run.tokens.shape[1])
        resid = self._require_finished(run).resid
        read = StreamReadout(self.weights, resid.unsqueeze(0), clean=resid, start=0, prompts=slice(None))
        with torch.inference_mode():
            return read.logits_of(positions, tokens)[0]

    def log_probs_of_next(self, run: Run) -> Float[Tensor, "batch pos-1"]:
        """Log-probability in nats of each token from the second on, given those before it."""
        import torch

        batch, pos = run.tokens.shape
        return self.log_probs_at(run, torch.arange(pos - 1, device=run.tokens.device).expand(batch, -1))

    def log_probs_at(self, run: Run, positions: Int[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
        """Log-probability in nats, read at chosen positions, of the token that follows each of them."""
        import torch

        if positions.numel() and int(positions.max()) >= run.tokens.shape[1] - 1:
            raise InterventionError(f"no token follows the last position ({run.tokens.shape[1] - 1}) of these prompts.")
        rows = self._resid_rows(run, positions).flatten(0, 1)
        following = run.tokens.gather(1, positions.to(run.tokens.device) + 1).flatten()
        with torch.inference_mode():
            return log_probs(self.weights, self.weights.norm_final(rows), following).view(positions.shape)

    def final_scale(self, run: Run) -> Float[Tensor, "batch pos"]:
        """What the final norm divides the residual stream by at each position; 1 where the model has no norm."""
        import torch

        with torch.inference_mode():
            return self.weights.norm_final.scale(self._require_finished(run).resid)

    def W_O(self, layer: int) -> Float[Tensor, "head d_head d_model"]:  # noqa: N802 -- the field's name
        """Each head's output matrix, a view of the model's weights."""
        weight = self.weights.blocks[self._require_layer(layer)].o.weight
        return weight.view(self.d_model, self.n_heads, self.d_head).permute(1, 2, 0)

    def W_V(self, layer: int) -> Float[Tensor, "head d_model d_head"]:  # noqa: N802 -- the field's name
        """Each query head's value matrix; those that share a key-value head have equal ones."""
        weight = self.weights.blocks[self._require_layer(layer)].v.weight
        by_kv_head = weight.view(self.n_kv_heads, self.d_head, self.d_model).transpose(1, 2)
        return by_kv_head.repeat_interleave(self.n_heads // self.n_kv_heads, dim=0)

    @property
    def W_E(self) -> Float[Tensor, "d_vocab d_model"]:  # noqa: N802 -- the field's name
        """The token embedding."""
        return self.weights.embed

    @property
    def W_U(self) -> Float[Tensor, "d_model d_vocab"]:  # noqa: N802 -- the field's name
        """The unembedding, a view of the model's weights."""
        return self.weights.unembed.weight.t()

    @property
    def b_U(self) -> Float[Tensor, " d_vocab"]:  # noqa: N802 -- the field's name
        """The unembedding's bias, zeros where it has none."""
        unembed = self.weights.unembed
        return unembed.weight.new_zeros(unembed.weight.shape[0]) if unembed.bias is None else unembed.bias

    def _unembed(self, resid: Tensor) -> Tensor:
        import torch

        with torch.inference_mode():
            return self.weights.unembed(self.weights.norm_final(resid))

    def _resid_rows(self, run: Run, positions: Tensor) -> Tensor:
        import torch

        batch, pos = run.tokens.shape
        require_positions(positions, batch=batch, pos=pos)
        positions = positions.to(run.tokens.device)
        with torch.inference_mode():
            resid = self._require_finished(run).resid
            return resid.gather(1, positions.unsqueeze(-1).expand(-1, -1, self.d_model))

    def _require_finished(self, run: Run) -> Run:
        if run.next_layer != self.n_layers:
            raise InterventionError(
                f"the run stopped before layer {run.next_layer} of {self.n_layers}: it has no logits. Resume it first."
            )
        return run

    def _require_layer(self, layer: int) -> int:
        if not 0 <= layer < self.n_layers:
            raise InterventionError(f"layer {layer} does not exist, the model has {self.n_layers} layers.")
        return layer
