"""The text of a new mechanism's files. The claim in it is a true one, and runs in seconds on a shipped model."""

from __future__ import annotations

from string import Template

MODEL = "induction-2l@0"
HEADS = ("0.3",)
"""The previous-token heads of `MODEL`, as `mechclaims discover induction` finds them."""


def files(mechanism: str, *, folder: str = "") -> dict[str, str]:
    """File name to text: the claim, its subjects, and a README; `folder` is where they lie."""
    folder = folder or f"claims/{mechanism.replace('-', '_')}"
    lines = {
        f"pytest {folder}": "measure it",
        f"pytest {folder} --dry-run": "what would run",
        f"mechclaims show {mechanism}.previous-token": "the newest record",
        "mechclaims report": "all of them, as Markdown",
    }
    width = max(map(len, lines))
    given = {
        "mechanism": mechanism,
        "commands": "\n".join(f"{line:{width}}  # {what}" for line, what in lines.items()),
        "stem": mechanism.replace("-", "_"),
        "model": MODEL,
        "heads": ", ".join(f'"{head}"' for head in HEADS),
    }
    texts = {f"test_{given['stem']}.py": _CLAIM, "subjects.toml": _SUBJECTS, "README.md": _README}
    return {name: Template(text).substitute(given) for name, text in texts.items()}


_CLAIM = '''"""Where previous-token heads attend. Replace this claim by your own; the comments say what goes where."""

from __future__ import annotations

import numpy as np

from harness.attention import attention_scores
from harness.claim import Control, Metric, Units, claim
from harness.population import circuit, matched_heads
from harness.sequences import Positions

LENGTH = 32


class RandomTokens:
    """Your prompts. Attention scores ask for these four members; other measurements for more.

    harness.sequences.Sequences and harness.roles.Prompts list them: `templates` (one cluster id per prompt), `rows`.
    """

    def __init__(self, model, *, n, rng):
        # Heads rest on the BOS token; and where a token stands twice, some look for its earlier copy.
        opening = [] if model.bos_token_id is None else [model.bos_token_id]
        pool, count = model.random_token_pool(), LENGTH - len(opening)
        self.tokens = np.array([[*opening, *rng.choice(pool, size=count, replace=False)] for _ in range(n)])
        # One id per unit, made of what it holds. Units are sampled independently: intervals resample these.
        self.units = tuple("-".join(map(str, row[:8])) for row in self.tokens)

    def __len__(self):
        return len(self.tokens)

    def tensor(self):
        import torch  # here and not above: collecting the tests stays quick

        return torch.from_numpy(self.tokens)

    def batches(self):
        yield np.arange(len(self)), self


# Everything that decides is fixed here, before anything is measured. A change of it draws other prompts.
@claim(
    id="$mechanism.previous-token",  # the part before the dot is the folder's name, - for _
    paper="elhage2021",  # a key of claims/papers.toml
    statement="Previous-token heads attend to the token before the current one.",  # the paper's finding
    metric=Metric("attention to the previous position", unit="attention probability"),
    sesoi=0.2,  # the smallest effect that would interest you, in the unit above, and where it comes from:
    sesoi_reason="twice what even attention gives at these lengths (under 0.1)",
    alternative="greater",
    subject="previous-token",  # a class of components in subjects.toml
    # one control of kind component or same-dose, and one of kind input or label
    controls=(Control("other heads", "component"), Control("a random earlier position", "label")),
    rival="a head that spreads its attention over all earlier positions",  # what else would explain it
    exposed_by="a random earlier position",  # and the control that would show it
    method="Attention from each position to the one before it, or to ten random earlier ones.",  # for the report alone
    units=Units(default=32, quick=32, reason="the effect is some ten standard deviations; 12 are the least"),
    tier="reliability",  # this metric selected the heads; "inference" is evidence by another one
    models=("$model",),  # patterns of the models on which the claim makes sense
)
def test_previous_token_heads_attend_one_back(model, subject, evidence, rng):
    # What is measured: one value per component and unit, [head, sequence].
    prompts = RandomTokens(model, n=evidence.n_units, rng=rng.for_("prompts"))
    rows, queries = (grid.ravel() for grid in np.mgrid[: len(prompts), 2:LENGTH])
    one_back = Positions(rows, queries, queries - 1)
    scores = attention_scores(model, prompts, pairs=one_back)
    evidence.treated(scores.of(subject.heads))

    # The first control: heads outside the circuit; the best of them is chosen on other prompts.
    found_on = RandomTokens(model, n=evidence.n_units, rng=rng.for_("discovery"))
    discovery = attention_scores(model, found_on, pairs=one_back)
    matched = matched_heads(subject.heads, among=model.heads(), exclude=circuit(subject), rng=rng.for_("controls"))
    evidence.component_control("other heads", scores, discovery=discovery, matched=matched)

    # The second control: the same queries, each with ten random keys before the previous position.
    rows, queries = rows.repeat(10), queries.repeat(10)
    elsewhere = Positions(rows, queries, rng.for_("keys").integers(0, queries - 1))
    evidence.control("a random earlier position", attention_scores(model, prompts, pairs=elsewhere).of(subject.heads))

    evidence.decide()
'''

_SUBJECTS = """# Which components the claims of this folder are about, model by model, and where each came from.
[models."$model".classes.previous-token]
heads = [$heads]
selected_by = "attention to the previous position"
source = "mechclaims discover induction --model $model"
split = "discovery"

# A verdict other than "supported" is registered with its reason:
# [expectations."$mechanism.previous-token"]
# "$model" = { verdict = "refuted", reason = "..." }
"""

_README = """# $mechanism

Paper: which one, and what it found. Put it into `claims/papers.toml` under a key that ends in its year.

| claim | says |
|---|---|
| `$mechanism.previous-token` | Previous-token heads attend to the token before the current one. |

```
$commands
```

`subjects.toml` says which heads each claim is about and where they came from. A `mechanism.py` with
`discover(model, streams)` would find them on other models.

## Changelog

A change in what is measured raises the claim's `version` and adds a line here.

- version 1: first measured.
"""
