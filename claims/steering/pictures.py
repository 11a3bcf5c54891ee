"""What a reader sees of a direction: beside its draws, by dose, by layer, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from claims.steering.measurements import template_means
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.claim import Evidence


def show_draws(evidence: Evidence, draws: UnitValues, *, unit: str) -> None:
    """The subject beside directions from permuted labels, each the mean over units."""
    evidence.picture(
        "distribution",
        "Beside permuted labels",
        caption=f"Means over {len(draws.units)} units; control: {len(draws.components)} directions that the whole "
        "procedure finds from permuted labels.",
        treated=evidence.measured().mean().tolist(),
        control=draws.mean().tolist(),
        labels=["direction", "permuted labels"],
        unit=unit,
    )


def show_doses(
    evidence: Evidence, changes: UnitValues, doses: Sequence[float], *, controls: Mapping[str, UnitValues]
) -> None:
    """The log-odds by dose, with two standard errors over templates, and the subject's isotonic fit.

    Rows are doses, those of controls too: each is the mean over its directions.
    """
    from sklearn.isotonic import IsotonicRegression

    means, errors = _with_errors(changes)
    evidence.picture(
        "dose_response",
        "Dose and response",
        caption=f"Change of the log-odds at the end of {len(changes.units)} stems; bands: two standard errors over "
        f"{len(set(changes.clusters))} templates. Of several directions the mean is drawn.",
        doses=list(doses),
        controls=[{"label": name, **_band(*_with_errors(each))} for name, each in controls.items()],
        **_band(means, errors),
        xlabel="dose (tenths of the mean norm)",
        ylabel="change of log-odds (nats)",
        line="direction",
    )
    fitted = IsotonicRegression().fit_transform(np.asarray(doses), means)
    evidence.table(
        "Isotonic fit",
        columns=["dose", "change (nats)", "isotonic fit (nats)"],
        rows=[[float(d), float(m), float(f)] for d, m, f in zip(doses, means, fitted, strict=True)],
    )


def show_trade_off(
    evidence: Evidence,
    doses: Sequence[float],
    swings: Sequence[UnitValues],
    rise: UnitValues,
    *,
    random: Mapping[str, list[float]],
) -> None:
    """What steering wins against what it costs, by dose; random directions at the working dose, whatever their sign."""
    won, lost = np.array([float(each.mean()[0]) for each in swings]), rise.mean()
    evidence.picture(
        "trade_off",
        "Effect and damage",
        caption="Each point a dose, in tenths of the mean norm; grey: random directions at the working dose.",
        n=f"{len(swings[0].units)} stems for the effect, {len(rise.units)} passages for the damage",
        doses=list(doses),
        controls=[{"label": "random directions, working dose", "joined": False, **random}],
        cost=lost.tolist(),
        effect=won.tolist(),
        line="direction",
        xlabel="rise of the loss on neutral text (nats per token)",
        ylabel="swing of the log-odds (nats)",
    )


def show_layers(evidence: Evidence, swings: UnitValues, shares: NDArray[np.float64], *, chosen: str) -> None:
    """The swing by layer, and how often each is the best when templates are resampled."""
    means, errors = _with_errors(swings)
    layers = [int(name.split(".")[0]) for name in swings.components]
    evidence.picture(
        "curve",
        "Swing by layer",
        caption=f"Chosen on discovery: {chosen}; band: two standard errors over {len(set(swings.clusters))} templates.",
        x=layers,
        y=means.tolist(),
        low=(means - 2 * errors).tolist(),
        high=(means + 2 * errors).tolist(),
        xlabel="layer",
        ylabel="swing of the log-odds (nats)",
        band="two standard errors",
        baseline=0.0,
    )
    evidence.picture(
        "bars",
        "Which layer is best",
        caption="Share of resamples of the templates in which each layer has the largest swing (others: 0).",
        labels=[str(layer) for layer, share in zip(layers, shares, strict=True) if share],
        values=[float(share) for share in shares if share],
        unit="share of resamples",
        ylabel="layer",
    )


def _band(means: NDArray[np.float64], errors: NDArray[np.float64]) -> dict[str, Any]:
    return {"values": means.tolist(), "low": (means - 2 * errors).tolist(), "high": (means + 2 * errors).tolist()}


def _with_errors(values: UnitValues) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means [row] over units, and their standard errors over templates of equal size."""
    by_template = template_means(values)
    return values.mean(), by_template.std(axis=1, ddof=1) / np.sqrt(by_template.shape[1])
