"""Where induction heads attend (Olsson et al. 2022, "prefix matching")."""

from __future__ import annotations

import numpy as np

from claims.induction.measurements import SHUFFLES, describe
from fixtures.prompts.repeated import repeated_random_tokens
from harness.attention import attention_scores, averaged
from harness.claim import Control, Cost, Margin, Metric, Units, claim, unit_values
from harness.population import DRAWS, circuit, left_out, matched_heads


@claim(
    id="induction.prefix-matching",
    paper="olsson2022",
    statement="Induction heads attend to the token that followed the previous occurrence of the current token.",
    metric=Metric("prefix-matching score", unit="attention probability"),
    # Uniform attention over 50 positions gives 0.02; shuffles leave under 0.1 in trained and untrained models.
    sesoi=0.20,
    sesoi_reason="twice what any head keeps on shuffled sequences of the discovery split (under 0.1)",
    alternative="greater",
    subject="induction",
    controls=(
        Control("other heads", "component"),
        Control("shuffled second half, same positions", "input"),
        Control("fresh second half, same positions", "input"),
    ),
    rival="a head that attends at a fixed offset, or to any earlier copy of the token itself",
    exposed_by="shuffled second half at the same positions; block lengths vary from 10 to 40",
    units=Units(
        default=64, quick=16, reason="discovery SD 0.1 at an effect of 0.5: 12 would do, 64 show length by length"
    ),
    tier="reliability",  # this score selected the heads: the claim says that they are still there on fresh sequences
    cost=Cost(draws=13, tokens=51),
    method=(
        "No intervention: each head's attention from every token of a random block's second copy but its last to the "
        "token after that token's first occurrence, averaged; blocks have 10 to 40 tokens. Controls read the same "
        f"positions with the second half shuffled (mean of {SHUFFLES} orders) or fresh. Other heads are up to {DRAWS} "
        "single heads of nearby layers outside the circuit."
    ),
)
def test_induction_heads_attend_to_the_token_after_the_match(model, subject, evidence, rng):
    sequences = repeated_random_tokens(model, n=evidence.n_units, rng=rng.for_("prompts"))
    describe(evidence, sequences)
    pairs = sequences.second_copy()
    scores = attention_scores(model, sequences, pairs=pairs)

    layers = subject.layers()
    shuffles = (sequences.shuffled_second(rng.for_(f"shuffle {number}")) for number in range(SHUFFLES))
    tracked = evidence.track(shuffles, "shuffle", total=SHUFFLES)
    shuffled = averaged([attention_scores(model, each, pairs=pairs, layers=layers) for each in tracked])
    unrepeated = sequences.fresh_second(model.random_token_pool(), rng=rng.for_("fresh"))
    fresh = attention_scores(model, unrepeated, pairs=pairs, layers=layers)

    found_on = repeated_random_tokens(model, n=32, rng=rng.for_("discovery"))
    discovery = attention_scores(model, found_on, pairs=found_on.second_copy())
    matched = matched_heads(subject.heads, among=model.heads(), exclude=circuit(subject), rng=rng.for_("controls"))

    evidence.note(left_out(subject))
    evidence.treated(scores.of(subject.heads))
    evidence.component_control("other heads", scores, discovery=discovery, matched=matched)
    evidence.control("shuffled second half, same positions", shuffled.of(subject.heads))
    evidence.control("fresh second half, same positions", fresh.of(subject.heads))
    evidence.picture(
        "head_map",
        "Prefix-matching score of every head",
        caption="Mean over sequences; subjects are marked.",
        unit="attention probability",
        values=scores.mean().reshape(model.n_layers, model.n_heads),
        marked=subject.heads,
    )
    show_pattern(evidence, model, sequences, head=subject.heads[0])
    evidence.decide()


@claim(
    id="induction.published-scores",
    paper="olsson2022",
    statement="The heads' prefix-matching scores on GPT-2 small are those of TransformerLens' public notebook.",
    metric=Metric("prefix-matching score", unit="attention probability"),
    sesoi=0.1,
    sesoi_reason="two unseeded draws of the notebook differ by up to 0.089",
    alternative="greater",
    subject="induction",
    controls=(),
    margins=(
        Margin(
            "distance to the published score",
            unit="attention probability",
            at_least=-0.1,
            at_most=0.1,
            reason="two unseeded draws of the notebook differ by up to 0.089",
        ),
    ),
    rival="none: this tests the engine, not the mechanism",
    exposed_by="the published number",
    units=Units(default=16, quick=16, reason="the notebook used 10 sequences of 2 x 50 tokens"),
    tier="replication",
    models=("gpt2-small",),
    cost=Cost(draws=1, tokens=101),
    method=(
        "No intervention: five heads' attention from every token of the second copy but its last to the token after "
        "that token's first occurrence, averaged; blocks have 50 random tokens, as in the notebook."
    ),
)
def test_scores_on_gpt2_are_the_published_ones(model, subject, evidence, rng):
    # TransformerLens demos/Main_Demo.ipynb at commit aaf384f2, cell 46: 10 sequences of 2 x 50 random tokens.
    published = {"5.5": 0.932, "7.10": 0.924, "5.1": 0.917, "6.9": 0.917, "7.2": 0.861}
    sequences = repeated_random_tokens(model, n=evidence.n_units, rng=rng.for_("prompts"), lengths=(50,))
    describe(evidence, sequences)
    scores = attention_scores(model, sequences, pairs=sequences.second_copy()).of(tuple(published))
    distance = scores.values - np.array(list(published.values()))[:, None]
    evidence.treated(scores)
    evidence.margin(
        "distance to the published score", unit_values(distance, components=scores.components, units=scores.units)
    )
    evidence.decide()


def show_pattern(evidence, model, sequences, *, head):
    """Record the attention pattern of one head on the shortest sequence."""
    from harness.interventions import Engine

    row = int(np.argmin(sequences.lengths))
    one = sequences.rows(np.array([row]))
    layer, number = (int(part) for part in head.split("."))
    pattern = Engine.of(model).run(one.tensor(), keep={"pattern": [layer]}, stop_at_layer=layer + 1).pattern[layer]
    evidence.picture(
        "pattern",
        f"Attention of {head} on one repeated sequence",
        caption="Rows attend to columns; the stripe in the second copy is attention to the token after the match.",
        n="1 sequence",
        head=head,
        matrix=pattern[0, number].cpu().numpy().round(4),
        tokens=token_names(model, one.tokens[0]),
    )


def token_names(model, tokens):
    """The text of each token, as an escaped literal where it cannot be printed; its id where the model has no text."""
    if model.tokenizer is None:
        return [str(token) for token in tokens]
    texts = [model.tokenizer.decode([int(token)]) for token in tokens]
    return [text if text.isprintable() and "\ufffd" not in text else ascii(text) for text in texts]
