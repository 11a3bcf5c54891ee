"""A pool of ten times a design's clusters: the truth is known there, and samples of the registered size are drawn.

The pool is a smoothed cluster bootstrap, the same on every run. Every stored cluster stands in it ten times, each time
moved by a normal number of a fifth of the SD between clusters and shrunk back towards the mean, so that pool and record
have equal mean and spread; where the cluster means take few distinct values (shares, counts) they stay as they are.
Values with declared limits stay within them. The pool is then the truth: its mean is known exactly, and samples of the
registered size are drawn from it with replacement. What it cannot tell: tails that the stored clusters do not show.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from harness.designs import Design, Question
from harness.seeding import derive_seed
from harness.stats.clusters import FLOAT32_NOISE, is_constant

TIMES = 10
SMOOTHING = 0.2


def pooled(design: Design) -> Design:
    """The same design asked of pools; each question keeps the ids, and with them the number, of its own clusters."""
    key = f"{design.claim_id} {design.model_id}"
    return replace(design, questions=tuple(pool(question, key=key) for question in design.questions))


def enlarged(design: Design, *, times: int) -> Design:
    """The same pools, from which so many times the design's clusters are drawn."""
    return replace(design, questions=tuple(_of_more(question, times=times) for question in design.questions))


def _of_more(question: Question, *, times: int) -> Question:
    return replace(question, clusters=tuple(f"{name}, {copy}" for name in question.clusters for copy in range(times)))


def pool(question: Question, *, key: str) -> Question:
    """The same question of ten times as many clusters; `key` names the record that it comes from."""
    rng = np.random.default_rng(derive_seed("pool", key, question.component, question.control))
    means = question.values.mean(axis=1)
    moved = np.repeat(question.values, TIMES, axis=0)
    below = None if question.below is None else np.repeat(question.below, TIMES, axis=0)
    lattice = len(np.unique(means.round(9))) <= len(means) / 2
    exact = question.method == "clopper-pearson" or below is not None
    if not (lattice or exact or is_constant(means[None], within=FLOAT32_NOISE)[0]):
        noise = SMOOTHING * means.std() * rng.standard_normal((len(moved), 1))
        shrunk = math.sqrt(1 + SMOOTHING**2)
        moved = means.mean() + (moved - means.mean() + noise - noise.mean()) / shrunk
        if question.limits is not None:
            moved = np.clip(moved, *question.limits)
    return replace(question, values=moved, below=below)
