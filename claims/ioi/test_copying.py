"""Name movers copy names, from their weights alone (Wang et al. 2023, section 3.1, "copy score").

A name stands after BOS. What a head would write if it attended to that name and to nothing else is read by the
unembedding: by how much does it raise the name's own logit, and by how much the other names'? As in the paper the head
reads the name as it stands after the first block. No prompt takes part, so attention plays no role.

We depart from the paper in two ways. Its score is the share of names whose own token is among the five highest logits
of everything: it is shown, and decides nothing, since it ignores how much is written. And it reads names where they
stand in prompts, so that its units are prompts; ours are names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from claims.ioi.comparing import show_heads
from claims.ioi.measurements import draw, has_bos
from fixtures.prompts.ioi import Split, single_tokens
from fixtures.prompts.ioi_words import NAMES
from harness.claim import Control, Cost, Metric, Units, claim
from harness.errors import NotSuited
from harness.interventions import Engine
from harness.population import circuit, left_out, matched_heads
from harness.subjects import parse_head
from harness.values import UnitValues

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from harness.claim import Evidence
    from harness.models.model import Model
    from harness.seeding import Streams

COPYING = Metric("direct effect on the name's own logit, above the other names'", unit="logits")
HALF_A_LOGIT = (
    "half a logit makes a name 1.6 times likelier against the others, an eighth of SmolLM2's logit difference on the "
    "discovery split; on its names 95 % of all heads stay below 0.36, and every head of two untrained twins below 0.01"
)
OTHERS = Control("other heads", "component")
SHUFFLED = Control("shuffled names", "label")
SATURATES = "dozens of heads copy whatever they read, so that copying tells nothing about this class"
ALL_ALIKE = "the head lowers the logits of all names, whichever of them it reads"
ANY_NAME = "the metric, which takes the other names' mean away: the name that was read must be lowered more than they"
SIXTY = Units(
    default=60, quick=60, of="name",
    reason="SD over discovery names up to 1.3 logits: 60 names have over 80 % power at twice the SESOI",
)  # fmt: skip
MODELS = ("gpt2-small", "smollm2-*", "path:*")
COST = Cost(draws=1, tokens=10)
SCALE_PROMPTS = 30
SHUFFLES = 10
TOP = 5
METHOD = (
    "Each head is taken to attend to a name after BOS alone. What its OV circuit writes, reading the name as the "
    "first block leaves it, is unembedded at the final norm's mean scale on discovery prompts. Shuffled names score "
    f"another name than was read (mean of {SHUFFLES} shuffles). Other heads are single heads of nearby layers, "
    "outside the circuit, that share no key-value head with these."
)


@claim(
    id="ioi.name-movers-copy",
    paper="wang2023",
    statement="Name movers copy: what they write after reading a name raises that name's own logit.",
    metric=COPYING,
    sesoi=0.5,
    sesoi_reason=HALF_A_LOGIT,
    alternative="greater",
    subject="name-mover",
    controls=(OTHERS, SHUFFLED),
    rival=SATURATES,
    exposed_by="the 95th percentile of the other heads",
    units=SIXTY,
    models=MODELS,
    cost=COST,
    method=METHOD,
)
def test_name_movers_copy_names(model, subject, evidence, rng):
    measure_copying(model, subject, evidence, rng)


@claim(
    id="ioi.negative-name-movers-negate",
    paper="wang2023",
    statement="Negative name movers copy negatively: what they write after reading a name lowers its own logit.",
    metric=COPYING,
    sesoi=0.5,
    sesoi_reason=HALF_A_LOGIT,
    alternative="less",
    subject="negative-name-mover",
    controls=(OTHERS, SHUFFLED),
    rival=ALL_ALIKE,
    exposed_by=ANY_NAME,
    units=SIXTY,
    models=MODELS,
    cost=COST,
    method=METHOD,
)
def test_negative_name_movers_negate_names(model, subject, evidence, rng):
    measure_copying(model, subject, evidence, rng)


@claim(
    id="ioi.s-suppressors-negate",
    paper="wang2023",
    statement="Heads that write against the repeated name copy negatively: reading a name lowers its own logit.",
    metric=COPYING,
    sesoi=0.5,
    sesoi_reason=HALF_A_LOGIT,
    alternative="less",
    subject="s-suppressor",
    controls=(OTHERS, SHUFFLED),
    rival=ALL_ALIKE,
    exposed_by=ANY_NAME,
    units=SIXTY,
    models=("smollm2-*", "path:*"),  # the paper has no such class in GPT-2 small
    cost=COST,
    method=METHOD,
)
def test_s_suppressors_negate_names(model, subject, evidence, rng):
    measure_copying(model, subject, evidence, rng)


def measure_copying(model, subject, evidence, rng):
    """Fill and decide a claim about copying, upwards or downwards."""
    names = drawn_names(model, rng, split="confirmation", n=evidence.n_units)
    evidence.prompts(sha256=digest(names), n=len(names), clusters=len(names), examples=list(names)[:4])
    scale = final_scale(model, rng)
    copied = copies(model, names, scale=scale)
    discovery = copies(model, drawn_names(model, rng, split="discovery", n=evidence.n_units), scale=scale)
    matched = comparable(model, subject, rng)
    evidence.treated(copied.own().of(subject.heads))
    evidence.component_control("other heads", copied.own(), discovery=discovery.own(), matched=matched)
    evidence.control("shuffled names", copied.shuffled(rng.for_("shuffled names")).of(subject.heads))
    evidence.note(left_out(subject))
    evidence.note(f"Logits are those of a head that attends to the name alone, at a final norm's scale of {scale:.3g}.")
    show_heads(evidence, "Copying score of every head", copied.own(), n_heads=model.n_heads)
    show_top_five(evidence, model, names, heads=subject.heads, others=sorted({h for m in matched.values() for h in m}))
    evidence.decide()


@dataclass(frozen=True, eq=False)
class Copies:
    """What every head adds to the logits of some names when it reads one of them: `logits` [head, read, scored]."""

    logits: NDArray[np.float64]
    heads: tuple[str, ...]
    names: tuple[str, ...]

    def own(self) -> UnitValues:
        """The logit of the name that was read minus the mean of the others: [head, name]."""
        return self.above_others(np.arange(len(self.names)))

    def above_others(self, scored: NDArray[np.int64]) -> UnitValues:
        """For each name read the logit of the name `scored` for it, minus the mean of all the rest: [head, name].

        What a head adds to a name whichever is read cancels in the mean over names, as each is scored once.
        """
        taken = self.logits[:, np.arange(len(self.names)), scored]
        rest = (self.logits.sum(axis=2) - taken) / (len(self.names) - 1)
        return UnitValues(taken - rest, self.heads, self.names, self.names)

    def shuffled(self, rng: np.random.Generator) -> UnitValues:
        """The same where another name is scored than was read, averaged over ten shuffles."""
        found = []
        for _ in range(SHUFFLES):
            cycle = rng.permutation(len(self.names))
            scored = np.empty_like(cycle)
            scored[cycle] = np.roll(cycle, 1)  # one round through all names: none is scored for itself
            found.append(self.above_others(scored).values)
        return UnitValues(np.mean(found, axis=0), self.heads, self.names, self.names)


def copies(model: Model, names: dict[str, int], *, scale: float) -> Copies:
    """What every head writes about each name, divided by the final norm's scale, in the logits of all the names."""
    import torch

    engine = Engine.of(model)
    with torch.inference_mode():
        read = engine.W_U[:, list(names.values())] / scale
        found = [written(engine, values, layer) @ read for layer, values in name_values(model, engine, names)]
    logits = torch.cat(found).double().cpu().numpy()
    return Copies(logits, model.heads(), tuple(names))


def name_values(
    model: Model, engine: Engine, names: dict[str, int]
) -> list[tuple[int, Float[Tensor, "head name d_head"]]]:
    """By layer the values that each head reads at a name that follows BOS.

    The name stands as the first block leaves it; heads of the first block itself read its embedding.
    """
    import torch

    tokens = torch.tensor(list(names.values()), device=model.device)[:, None]
    if has_bos(model):
        tokens = torch.cat([torch.full_like(tokens, model.bos_token_id or 0), tokens], dim=1)
    run = engine.run(tokens, keep={"resid_pre": [0]}, stop_at_layer=1)
    found = []
    for layer, block in enumerate(engine.weights.blocks):
        values = block.v(block.norm_attn(run.resid_at(min(layer, 1))[:, -1]))
        by_kv_head = values.view(len(names), engine.n_kv_heads, engine.d_head).transpose(0, 1)
        found.append((layer, by_kv_head.repeat_interleave(engine.n_heads // engine.n_kv_heads, dim=0)))
    return found


def written(engine: Engine, values: Float[Tensor, "head name d_head"], layer: int) -> Tensor:
    """[head name d_model]: what each head of a layer writes where it attends to one name alone."""
    return values @ engine.W_O(layer)


def final_scale(model: Model, streams: Streams) -> float:
    """What the final norm divides by where names are predicted: the mean at the end of discovery prompts.

    It turns what heads write into logits as the model's own predictions have them.
    """
    engine = Engine.of(model)
    scales = []
    for index, batch in draw(model, streams, split="discovery", n=SCALE_PROMPTS).batches():
        run = engine.run(batch.tensor())
        scales.append(engine.final_scale(run)[range(len(index)), batch.positions.end].cpu().numpy())
    return float(np.concatenate(scales).astype(np.float64).mean())


def drawn_names(model: Model, streams: Streams, *, split: Split, n: int) -> dict[str, int]:
    """`n` names of a split that are single tokens for the model, with their tokens; NotSuited where they are fewer."""
    usable = single_tokens(model, NAMES[split])
    if len(usable) < n:
        raise NotSuited(f"{model.id!r} has {len(usable)} of the {split} names as single tokens; {n} are needed")
    rng = streams.for_(f"{split} names")
    return {name: usable[name] for name in rng.choice(list(usable), size=n, replace=False).tolist()}


def digest(names: dict[str, int]) -> str:
    """sha256 over the names and their tokens."""
    return hashlib.sha256(repr(sorted(names.items())).encode()).hexdigest()


def comparable(model: Model, subject, streams: Streams) -> dict[str, tuple[str, ...]]:
    """Heads of nearby layers outside the circuit that do not share a subject's values."""
    shared = {sharer for head in subject.heads for sharer in model.sharers(head)}
    rng = streams.for_("controls")
    return matched_heads(subject.heads, among=model.heads(), exclude=circuit(subject) | shared, rng=rng)


def show_top_five(
    evidence: Evidence, model: Model, names: dict[str, int], *, heads: Sequence[str], others: Sequence[str]
) -> None:
    """Record the paper's own score, with the sign of the claim, of the subject's heads and of the others together."""
    sign = 1.0 if evidence.claim.alternative == "greater" else -1.0
    rows: list[list[object]] = [[head, top_five(model, names, head, sign=sign)] for head in heads]
    of_others = [top_five(model, names, head, sign=sign) for head in others]
    rows += [[f"mean of {len(others)} other heads", float(np.mean(of_others))], ["most of them", max(of_others)]]
    title = "Share of names among the five highest logits" + ("" if sign > 0 else " of the head's output, negated")
    evidence.table(title, columns=["head", "share"], rows=rows)


def top_five(model: Model, names: dict[str, int], head: str, *, sign: float = 1.0) -> float:
    """The paper's copy score: the share of names that what the head writes of them puts among the five highest logits.

    What the head writes, or its negative, is normed and unembedded as if it were the whole residual stream.
    """
    import torch

    engine = Engine.of(model)
    layer, number = parse_head(head)
    with torch.inference_mode():
        values = name_values(model, engine, names)[layer][1]
        stream = engine.weights.norm_final(sign * written(engine, values, layer)[number])
        highest = engine.weights.unembed(stream).topk(TOP, dim=-1).indices.cpu().numpy()
    return float(np.mean((highest == np.array(list(names.values()))[:, None]).any(axis=1)))
