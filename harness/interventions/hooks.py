"""The slow path: edits made through TransformerLens' own hooks, one pass per intervention. It is the oracle.

It covers every architecture that the bridge runs, also those that the fast engine refuses (Gemma, GPT-NeoX), and takes
the same edits. Nothing is saved and nothing is stacked, so that it is plainly right; the fast engine is tested against
it. Sites that only the fast engine has (`k_by_head`, `v_by_head`) are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import InterventionError, NotCovered
from harness.interventions.edits import Edit, Reading, check_edits
from harness.interventions.engine import Engine
from harness.interventions.readout import LogitReadout, require_positions
from harness.interventions.run import KEEPABLE, Keep, Run, layers_to_keep, require_tokens
from harness.interventions.sites import SITES, Frame, name_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

HOOKS = {
    "resid_pre": "hook_resid_pre", "q": "attn.hook_q", "k": "attn.hook_k", "v": "attn.hook_v",
    "pattern": "attn.hook_pattern", "z": "attn.hook_z", "attn_out": "hook_attn_out", "resid_mid": "hook_resid_mid",
    "mlp_in": "hook_resid_mid", "mlp_post": "mlp.hook_post", "mlp_out": "hook_mlp_out", "resid_post": "hook_resid_post",
}  # fmt: skip
"""The bridge's hook of every site, in a block.

What is changed at its `hook_resid_mid` reaches the MLP only; an edit of `resid_mid` is carried on to the block's end.
"""

# What is changed inside attention or the MLP reaches the residual stream through one output.
_INSIDE = {"attn_out": ("q", "k", "v", "pattern", "z"), "mlp_out": ("mlp_in", "mlp_post")}


@dataclass(frozen=True, eq=False, kw_only=True)
class HookRun(Run):
    """A pass with the logits that the model itself computed."""

    model_logits: Float[Tensor, "batch pos d_vocab"]


class HookEngine:
    """Passes over one bridge with edits made in hooks; the model is left as it was, also after an exception."""

    def __init__(self, bridge: Any) -> None:
        cfg = bridge.cfg
        self._bridge = bridge
        self.architecture = str(cfg.architecture)
        self.n_layers = int(cfg.n_layers)
        self.n_heads = int(cfg.n_heads)
        self.n_kv_heads = int(getattr(cfg, "n_key_value_heads", None) or cfg.n_heads)
        self.d_head = int(cfg.d_head)
        self.d_model = int(cfg.d_model)
        self.n_ctx, self.d_vocab = int(cfg.n_ctx), int(cfg.d_vocab)
        attention_only = "mlp" not in bridge.blocks[0]._modules
        self.d_mlp = 0 if attention_only else int(cfg.d_mlp)

    @classmethod
    def of(cls, model_or_bridge: object) -> HookEngine:
        """The slow engine of a bridge, or of a model that carries one as `.bridge`."""
        bridge = (
            model_or_bridge if hasattr(model_or_bridge, "run_with_hooks") else getattr(model_or_bridge, "bridge", None)
        )
        if bridge is None:
            raise InterventionError(f"{type(model_or_bridge).__name__} is no TransformerBridge and carries none.")
        return cls(bridge)

    def run(
        self,
        tokens: Int[Tensor, "batch pos"],
        *,
        edits: Sequence[Edit] = (),
        keep: Keep = (),
        stop_at_layer: int | None = None,
    ) -> HookRun:
        """The pass over a batch of tokens, with its logits, what was kept, and the length of what the edits wrote.

        The whole model is run whatever `stop_at_layer` says, which the fast engine saves by.
        """
        run, logits = self.run_with_logits(tokens, edits=edits, keep=keep)
        fields = {each: getattr(run, each) for each in run.__dataclass_fields__}
        return HookRun(**fields, model_logits=logits)

    def log_probs_at(self, run: Run, positions: Int[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
        """Log-probability in nats, read at chosen positions, of the token that follows each of them."""
        import torch

        batch, pos = run.tokens.shape
        require_positions(positions, batch=batch, pos=pos - 1)
        if not isinstance(run, HookRun):
            raise InterventionError("this pass is none of the slow engine's: it has no logits of the model.")
        with torch.inference_mode():
            following = run.tokens.gather(1, positions + 1)
            return LogitReadout(run.model_logits).log_probs_of(positions, following)[0]

    def run_with_logits(
        self, tokens: Int[Tensor, "batch pos"], *, edits: Sequence[Edit] = (), keep: Keep = ()
    ) -> tuple[Run, Float[Tensor, "batch pos d_vocab"]]:
        """The pass, and the model's own logits."""
        require_tokens(tokens, n_ctx=self.n_ctx, d_vocab=self.d_vocab)
        frame = self._frame(*tokens.shape)
        check_edits(edits, frame=frame, restart_layer=0, stop_at_layer=self.n_layers)
        layers = layers_to_keep(keep, layers=range(self.n_layers))
        wanted = {(layer, site) for site, where in layers.items() for layer in where}
        if any(isinstance(edit, Reading) for edit in edits):
            raise InterventionError(
                "edges, and other edits that read the pass they change, exist in the fast engine only."
            )
        inside = self._edits_inside(edits)
        outputs = {(layer, output) for layer, output in inside}
        last = (self.n_layers - 1, "resid_post")
        found = self._pass(tokens, edits, capture=wanted | {last}, before_edits=outputs)
        kept: dict[str, dict[int, Tensor]] = {site: {} for site in KEEPABLE}
        for layer, site in wanted:
            kept[site][layer] = found.after[layer, site]
        changes = self._changes(tokens, edits, inside, found)
        change_norm = {layer: sum(parts[1:], start=parts[0]).norm(dim=-1) for layer, parts in changes.items()}
        return Run(tokens, found.after[last], self.n_layers, change_norm=change_norm, **kept), found.logits

    def frame(self, run: Run) -> Frame:
        """The sizes that edits of this run are checked against."""
        return self._frame(*run.tokens.shape)

    def _frame(self, batch: int, pos: int) -> Frame:
        dtype = str(next(self._bridge.original_model.parameters()).dtype)
        return Frame(
            n_layers=self.n_layers, n_heads=self.n_heads, n_kv_heads=self.n_kv_heads, d_head=self.d_head,
            d_model=self.d_model, d_mlp=self.d_mlp, dtype=dtype, batch=batch, pos=pos,
        )  # fmt: skip

    def _edits_inside(self, edits: Sequence[Edit]) -> dict[tuple[int, str], list[Edit]]:
        """Edits inside attention or the MLP, by layer and the output that they change."""
        found: dict[tuple[int, str], list[Edit]] = {}
        for edit in edits:
            for output, sites in _INSIDE.items():
                if edit.site in sites:
                    found.setdefault((edit.layer, output), []).append(edit)
        return found

    def _changes(
        self,
        tokens: Tensor,
        edits: Sequence[Edit],
        inside: dict[tuple[int, str], list[Edit]],
        found: _Pass,
    ) -> dict[int, list[Tensor]]:
        """By layer the vectors [batch pos d_model] that its edits wrote, given the stream that reached them."""
        changes: dict[int, list[Tensor]] = {}
        for (layer, _), change in found.direct.items():
            changes.setdefault(layer, []).append(change)
        for (layer, output), group in inside.items():
            rest = [edit for edit in edits if edit not in group]
            without = self._pass(tokens, rest, capture=set(), before_edits={(layer, output)})
            changes.setdefault(layer, []).append(found.before[layer, output] - without.before[layer, output])
        return changes

    def _pass(
        self,
        tokens: Tensor,
        edits: Sequence[Edit],
        *,
        capture: set[tuple[int, str]],
        before_edits: set[tuple[int, str]],
    ) -> _Pass:
        import torch

        places: dict[tuple[int, str], list[Edit]] = {place: [] for place in capture | before_edits}
        for edit in edits:
            places.setdefault((edit.layer, edit.site), []).append(edit)
        for layer, site in list(places):
            if site == "resid_mid":
                places.setdefault((layer, "resid_post"), [])
        places = {
            place: places[place] for place in sorted(places, key=lambda place: (place[0], list(SITES).index(place[1])))
        }
        result = _Pass(self._frame(*tokens.shape), capture, before_edits)
        hooks = [(self._hook_name(*place), result.hook(place, made)) for place, made in places.items()]
        with torch.inference_mode():
            result.logits = self._bridge.run_with_hooks(tokens, fwd_hooks=hooks)
        result.require_fired_once(places)
        return result

    def _hook_name(self, layer: int, site: str) -> str:
        if site not in HOOKS:
            raise InterventionError(
                f"{site!r} exists in the fast engine only; the model's own hooks have {', '.join(HOOKS)}."
            )
        name = f"blocks.{layer}.{HOOKS[site]}"
        if name not in self._bridge.hook_dict:
            raise InterventionError(f"{self.architecture} has no hook {name!r}, so {site!r} cannot be changed there.")
        return name


class _Pass:
    """What the hooks of one pass saw; each must fire exactly once."""

    def __init__(self, frame: Frame, capture: set[tuple[int, str]], before_edits: set[tuple[int, str]]) -> None:
        self.logits: Any = None
        self.before: dict[tuple[int, str], Tensor] = {}
        self.after: dict[tuple[int, str], Tensor] = {}
        self.direct: dict[tuple[int, str], Tensor] = {}
        self._frame, self._capture, self._before_edits = frame, capture, before_edits
        self._carried: dict[int, Tensor] = {}
        self._fired: dict[tuple[int, str], int] = {}

    def hook(self, place: tuple[int, str], edits: Sequence[Edit]) -> Callable[..., Tensor]:
        """A hook that makes the edits of one place, in order."""
        site = place[1]
        shape = self._frame.shape(site)

        def made(activation: Tensor, hook: object) -> Tensor:  # the bridge names the second argument
            self._fired[place] = self._fired.get(place, 0) + 1
            if activation.numel() != _size(shape):
                raise InterventionError(f"{site} of layer {place[0]} is {tuple(activation.shape)}, expected {shape}.")
            old = activation.reshape(shape)
            if site == "resid_post" and place[0] in self._carried:
                old = old + self._carried[place[0]]
            value = old
            for edit in edits:
                value = edit.apply(value)
                if value.shape != old.shape:
                    raise InterventionError(f"{name_of(edit)} returned {tuple(value.shape)}, expected {shape}.")
            if place in self._before_edits:
                self.before[place] = old.clone()
            if place in self._capture:
                self.after[place] = value.clone()
            if edits and site == "resid_mid":
                self._carried[place[0]] = value - old
            if edits and site not in {inner for sites in _INSIDE.values() for inner in sites}:
                self.direct[place] = value - old
            return value.reshape(activation.shape)

        return made

    def require_fired_once(self, places: Sequence[tuple[int, str]] | dict[tuple[int, str], Any]) -> None:
        """Raise InterventionError unless every hook fired exactly once."""
        for layer, site in places:
            if (count := self._fired.get((layer, site), 0)) != 1:
                raise InterventionError(
                    f"the hook on {site} of layer {layer} fired {count} times in one pass, expected 1."
                )


def engine_of(model_or_bridge: object) -> Engine | HookEngine:
    """The fast engine, or the slow one where the architecture is not covered."""
    try:
        return Engine.of(model_or_bridge)
    except NotCovered:
        return HookEngine.of(model_or_bridge)


def slow_path_note(model: object) -> str | None:
    """What evidence says where a model takes the slow path; None for models that the fast engine covers."""
    if getattr(model, "bridge", None) is None:
        return None
    engine = engine_of(model)
    if isinstance(engine, Engine):
        return None
    return f"{engine.architecture} is not covered by the fast engine: measured through the model's own hooks."


def _size(shape: tuple[int, ...]) -> int:
    from math import prod

    return prod(shape)
