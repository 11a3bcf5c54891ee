"""How alike the IOI circuits of two models are: which classes, how deep, in which order. Two models decide nothing.

    python -m claims.ioi.comparison

prints the table of README.md. Depth is layer / (layers - 1), the median over a class's heads. The order of classes by
depth is compared by Kendall's tau, beside the share of all orders that agree as well or better: what chance would give.
"""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from statistics import median

from harness.models.registry import find
from harness.subjects import SubjectsFile, parse_head, read_subjects

MODELS = ("gpt2-small", "smollm2-135m-q4")
CLASSES = (
    "previous-token",
    "duplicate-token",
    "induction",
    "s-inhibition",
    "s-suppressor",
    "name-mover",
    "backup-name-mover",
    "negative-name-mover",
)
NONE = "-"


def main() -> None:
    """Print the comparison as Markdown."""
    print(comparison(read_subjects(Path(__file__).parent / "subjects.toml")))  # noqa: T201


def comparison(subjects: SubjectsFile) -> str:
    """The table of classes and depths, and a sentence on their order."""
    found = [depths(subjects, model_id) for model_id in MODELS]
    lines = [f"| class | {' | '.join(f'`{each}`, depth' for each in MODELS)} |", "|---|---|---|"]
    for name in CLASSES:
        cells = []
        for model_id, depth in zip(MODELS, found, strict=True):
            heads = subjects.classes(model_id).get(name, ())
            cells.append(f"{' '.join(heads)}, {depth[name]:.2f}" if heads else NONE)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    shared = [name for name in CLASSES if all(name in depth for depth in found)]
    tau, share = agreement(*([depth[name] for name in shared] for depth in found))
    lines += [
        "",
        f"{len(shared)} classes are in both. Ordered by depth they agree with Kendall's tau = {tau:.2f}; of all orders "
        f"{share:.1%} agree as well or better.",
    ]
    return "\n".join(lines)


def depths(subjects: SubjectsFile, model_id: str) -> dict[str, float]:
    """The median relative depth of each class that has heads: 0 in the first layer, 1 in the last."""
    last = find(model_id).n_layers - 1
    return {
        name: median(parse_head(head)[0] for head in heads) / last
        for name, heads in subjects.classes(model_id).items()
        if heads
    }


def agreement(first: list[float], second: list[float]) -> tuple[float, float]:
    """Kendall's tau-b of two depths, and the share of all orders of the second that reach it: exact."""
    from scipy.stats import kendalltau

    observed = float(kendalltau(first, second).statistic)
    orders = [float(kendalltau(first, list(order)).statistic) for order in permutations(second)]
    return observed, sum(each >= observed - 1e-9 for each in orders) / len(orders)


if __name__ == "__main__":
    main()
