"""Whether a model can be asked at all: the checks that stand before its first claim in a run.

A model announces nothing, so that every check but one works on token ids alone: on *the model's own writing*, sequences
that are sampled from it, each token given those before it, after one random token. Whatever a model was trained on, it
must find its own writing likelier in order than shuffled. The other one asks the weights themselves, because random
ones of another scale than the untrained twin's predict sharply or flatly enough to look trained
(`harness.weight_order`). No claim is answered here, and a model that passes may still lack every mechanism; one that
fails makes its claims `invalid`, for their numbers would mean nothing.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import MechclaimsError, ModelError
from harness.interventions import Engine, HookEngine, Replace, engine_of
from harness.interventions.recast import drawn_anew, log_probs_in
from harness.seeding import Streams
from harness.weight_order import permuted_weights

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from harness.models.model import Model

SHARPER = 1.5
"""How many times further from a uniform guess than the untrained twin's predictions are, or nearer: twins of one
architecture differ by a factor of at most 1.5 (measured on five kinds, six seeds each; the five shipped families differ
from theirs by 2.3 and more). Random weights of another scale than the twin's differ as well, which is why the weights
are asked too."""
FAILS = "the model fails the sanity battery"
"""How the reason begins why nothing is asked of a model that fails."""
BY_CHANCE = 1 / 700
"""How often the loss of normal draws would rise as much as it must on shuffled tokens, were their order nothing."""
ABLATION_NATS = 0.01
"""What taking every head away must cost: a hundred times what rounding may move (`TOLERANCE_NATS`)."""
TOLERANCE_NATS = 1e-4
"""Design, section 6: what another exact route in float32 may move a log-probability by."""
SHUFFLES = 4
_LARGE = 2_000_000
"""Layers times squared width above which a model is asked about fewer and shorter sequences."""


@dataclass(frozen=True)
class Check:
    """One check: whether it holds, the number that decided, and the sentence that says so; None where not asked."""

    name: str
    holds: bool | None
    value: float | None
    said: str


@dataclass(frozen=True)
class Battery:
    """All checks of one model."""

    model_id: str
    fingerprint: str
    checks: tuple[Check, ...]
    seconds: float

    @property
    def problem(self) -> str | None:
        """Why no claim can be asked of the model, or None."""
        failed = [f"{check.name}: {check.said}" for check in self.checks if check.holds is False]
        return f"{FAILS} ({'; '.join(failed)})" if failed else None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        checks = [dict(vars(check)) for check in self.checks]
        return {"model": self.model_id, "fingerprint": self.fingerprint, "seconds": self.seconds, "checks": checks}


def run_battery(model: Model) -> Battery:
    """The six checks of a model; equal for equal fingerprints but for the seconds.

    A check that cannot be computed (a value is not finite, the model cannot be run) fails with the error as its reason;
    those after it are asked all the same.
    """
    import torch

    started = time.perf_counter()
    trial = _Trial(model)
    with torch.no_grad():
        checks = tuple(_asked(name, partial(ask, trial)) for name, ask in _CHECKS.items())
    return Battery(model.id, model.fingerprint, checks, round(time.perf_counter() - started, 3))


def _asked(name: str, ask: Callable[[], tuple[bool | None, float | None, str]]) -> Check:
    try:
        holds, value, said = ask()
    except (MechclaimsError, RuntimeError) as error:  # torch raises RuntimeError where it cannot compute
        first = (str(error).splitlines() or [type(error).__name__])[0]
        return Check(name, holds=False, value=None, said=f"it cannot be computed: {first}")
    return Check(name, holds=None if holds is None else bool(holds), value=value, said=said)


class _Trial:
    """What the checks share: the model's writing and how likely the model finds it."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.streams = Streams(("sanity", model.fingerprint))

    @cached_property
    def engine(self) -> Engine | HookEngine:
        """The fast engine, or the slow one for architectures that it does not cover."""
        return engine_of(self.model)

    @cached_property
    def writing(self) -> Int[Tensor, "batch pos"]:
        """Sequences sampled from the model."""
        return _writing(self)

    @property
    def given(self) -> int:
        """How many tokens at the beginning of each sequence the model did not write."""
        return 1 + (_bos(self.model) is not None)

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """[sequence, token]: what the tokens that the model wrote cost it, in nats."""
        return self.losses_of(self.writing)

    def losses_of(self, tokens: Int[Tensor, "batch pos"], **options: Any) -> NDArray[np.float64]:
        """The same of other tokens, or of a pass with edits."""
        import torch

        positions = torch.arange(self.given - 1, tokens.shape[1] - 1).expand(len(tokens), -1)
        found = self.engine.log_probs_at(self.engine.run(tokens, **options), positions)
        return -_finite(found, what="the log-probabilities of its tokens")


def _random_baseline(trial: _Trial) -> tuple[bool, float, str]:
    """Predictions are not as far from a uniform guess as an untrained twin's are."""
    own = _sharpness(_logits(trial.engine, trial.writing))
    twin = _sharpness(_logits(_twin(trial), trial.writing))
    ratio = own / twin
    holds = not 1 / SHARPER < ratio < SHARPER
    comparison = f"{own:.3g} nats from a uniform guess on its own writing, {twin:.3g} those of an untrained twin"
    wanted = "" if holds else f"; less than a factor of {SHARPER:g} between them, so that nothing shows its training"
    return holds, ratio, f"its predictions lie {comparison}{wanted}"


def _shuffle_control(trial: _Trial) -> tuple[bool, float, str]:
    """What the model wrote is likelier in its order than shuffled."""
    import torch
    from scipy.special import stdtrit

    rng, length = trial.streams.for_("shuffles"), trial.writing.shape[1]
    kept = np.arange(trial.given)
    orders = [np.concatenate([kept, rng.permutation(np.arange(trial.given, length))]) for _ in range(SHUFFLES)]
    shuffled = [trial.losses_of(trial.writing[:, torch.from_numpy(order)]).mean(axis=1) for order in orders]
    rises = np.mean(shuffled, axis=0) - trial.losses.mean(axis=1)
    error = float(rises.std(ddof=1)) / math.sqrt(len(rises))
    rise = float(rises.mean())
    said = f"shuffling what it wrote costs {rise:.3g} nats a token, standard error {error:.2g}"
    holds = rise > 0 and rise >= float(stdtrit(len(rises) - 1, 1 - BY_CHANCE)) * error
    return holds, rise, said if holds else f"{said}: the order of tokens decides nothing"


def _ablation(trial: _Trial) -> tuple[bool, float, str]:
    """Every head replaced by its mean over sequences and positions costs something."""
    kept = trial.engine.run(trial.writing, keep=("z",))
    edits = [
        Replace(layer, "z", kept.z[layer].mean(dim=(0, 1), keepdim=True).expand_as(kept.z[layer]))
        for layer in range(trial.model.n_layers)
    ]
    rise = float((trial.losses_of(trial.writing, edits=edits) - trial.losses).mean())
    said = f"without any head what it wrote costs {rise:.3g} nats a token more"
    holds = rise >= ABLATION_NATS
    return holds, rise, said if holds else f"{said}, less than {ABLATION_NATS:g}: its heads cannot be ablated to effect"


def _stability(trial: _Trial) -> tuple[bool | None, float | None, str]:
    """The other precision gives the same log-probabilities."""
    import torch

    if isinstance(trial.engine, HookEngine):
        return None, None, "not asked: only the fast engine computes in two precisions"
    double = trial.model.dtype == "float64"
    other, name = (torch.float32, "float32") if double else (torch.float64, "float64")
    found = log_probs_in(trial.engine, trial.writing, dtype=other)[:, trial.given - 1 :]
    differences = np.abs(-_finite(found, what=f"its log-probabilities in {name}") - trial.losses)
    most = float(differences.max())
    said = f"{trial.model.dtype} and {name} differ by at most {most:.2g} nats in {differences.size} log-probabilities"
    holds = most <= TOLERANCE_NATS
    return holds, most, said if holds else f"{said}; {TOLERANCE_NATS:g} are tolerated"


def _reproducibility(trial: _Trial) -> tuple[bool, float, str]:
    """The same pass again has the same bytes; that a seed draws the same numbers again is `harness.seeding`'s."""
    hashes = [hashlib.sha256(found.tobytes()).hexdigest() for found in (trial.losses, trial.losses_of(trial.writing))]
    holds = hashes[0] == hashes[1]
    said = f"the same pass twice: sha256 {hashes[0][:12]} and {hashes[1][:12]} of its losses"
    return holds, float(holds), said if holds else f"{said}: its passes are not deterministic"


_CHECKS: dict[str, Callable[[_Trial], tuple[bool | None, float | None, str]]] = {
    "random baseline": _random_baseline,
    "permuted weights": lambda trial: permuted_weights(trial.model),
    "shuffle control": _shuffle_control,
    "ablation": _ablation,
    "numerical stability": _stability,
    "reproducibility": _reproducibility,
}


def _writing(trial: _Trial) -> Int[Tensor, "batch pos"]:
    import torch

    model, rng = trial.model, trial.streams.for_("writing")
    rows, length = _size(model)
    pool = model.random_token_pool()
    if length < trial.given + 2 or len(pool) < 2:
        raise ModelError(
            f"{model.id!r} reads {model.n_ctx} tokens of a vocabulary of {len(pool)}; there is no order to shuffle"
        )
    columns = [np.full(rows, bos)] if (bos := _bos(model)) is not None else []
    tokens = torch.from_numpy(np.stack([*columns, rng.choice(pool, rows)], axis=1)).to(model.device)
    for _ in range(length - trial.given):
        chances = _last_logits(trial.engine, tokens).double().softmax(dim=-1).cumsum(dim=-1)
        drawn = torch.from_numpy(rng.random((rows, 1))).to(chances)
        chosen = torch.searchsorted(chances, drawn).clamp_max(chances.shape[-1] - 1)
        tokens = torch.cat([tokens, chosen], dim=1)
    return tokens


def _size(model: Model) -> tuple[int, int]:
    """Sequences and their length: what a model of this size does within the seconds that the battery may take."""
    rows, length = (6, 12) if model.n_layers * model.d_model**2 > _LARGE else (96, 32)
    return rows, min(length, model.n_ctx)


def _bos(model: Model) -> int | None:
    """What opens a sequence; our own models name a token that some of them never saw in that place."""
    return None if model.tokenizer is None else model.bos_token_id


def _last_logits(engine: Engine | HookEngine, tokens: Tensor) -> Float[Tensor, "batch d_vocab"]:
    import torch

    if isinstance(engine, HookEngine):
        return _logits(engine, tokens)[:, -1]
    last = torch.full((len(tokens), 1), tokens.shape[1] - 1)
    return engine.logits_at(engine.run(tokens), last)[:, 0]


def _logits(engine: Engine | HookEngine, tokens: Tensor) -> Float[Tensor, "batch pos d_vocab"]:
    if isinstance(engine, HookEngine):
        return engine.run_with_logits(tokens)[1]
    return engine.logits(engine.run(tokens))


def _sharpness(logits: Float[Tensor, "batch pos d_vocab"]) -> float:
    """Mean Kullback-Leibler divergence of the predictions from a uniform guess, in nats."""
    log_probs = logits.double().log_softmax(dim=-1)
    entropy = -(log_probs.exp() * log_probs).sum(dim=-1)
    return float(np.mean(math.log(logits.shape[-1]) - _finite(entropy, what="the entropies of its predictions")))


def _twin(trial: _Trial) -> Engine | HookEngine:
    """An untrained model of the same architecture: booted as such, or drawn anew where booting takes many seconds."""
    from harness.models.model import untrained_twin

    config: Any = getattr(trial.model.bridge.original_model, "config", None)
    std = getattr(config, "initializer_range", None)
    if trial.model.tokenizer is None or isinstance(trial.engine, HookEngine) or not std:
        return engine_of(untrained_twin(trial.model, seed=1))
    return drawn_anew(trial.engine, std=float(std), tied=bool(config.tie_word_embeddings), seed=1)


def _finite(values: Tensor, *, what: str) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values.detach().double().cpu().numpy()
    if not np.isfinite(found).all():
        raise ModelError(f"{what} are not finite numbers")
    return found
