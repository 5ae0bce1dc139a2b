"""By how much the energy of the inferences that ran may be off.

Power that wanders slowly is noise to the power of a layer, but the energy of a run has it in it, and so have its readings: most of it
is no error. An estimate w' P weighs the readings y of a block by c = V^-1 X C w, and what the wandering power s really added is
k r' s, with r the share of each reading in which these classes ran and k the time of an inference over the sum of all r. The error is

    c' (y - s) + (c - k r)' s + what was known beforehand

so that its variance is c' (V - S) c + (c - k r)' S (c - k r) + (C w)' L (C w): S the covariance of s, L the precision of the prior.
The first and last term are w' C w, from the covariance; the sums with S are taken over blocks spread through the recording.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from neuralpower_align.activity.schedule import Schedule
from neuralpower_align.fit.estimate import Estimate
from neuralpower_align.model.noise import slow_form
from neuralpower_align.model.nuisance import columns, prior
from neuralpower_align.model.rows import blocks_of, designs, seen_ns

Floats = npt.NDArray[np.float64]

BLOCKS, BLOCKS_EACH = 160, 30
"""Tuning: about so many blocks tell the sums, or so many for each of many engines, that those of each are seen."""


def realised_variance(
    found: Estimate, plan: Schedule, seconds: Floats, change: Floats, by_gap: Floats | None = None
) -> Floats:
    """Variance (f,), J^2, of energies w' P, two of each engine, about what the inferences really took; seconds (f, c): of each class in a mean
    inference; change (c, q): of powers over their own time with all parameters (`Levels`); by_gap (f, l), J: change of the energies with the
    parameters of the layout, which say how long gaps between kernels are."""
    model, noise = found.model, found.noise
    covariance = found.covariance - found.rivals.T @ found.rivals
    weights = seconds @ change
    if by_gap is not None:
        weights[:, model.index.layout] += by_gap
    after, elsewhere = covariance @ weights.T, found.rivals @ weights.T
    ran = np.where(seconds > 0, 1.0, 0.0)
    told, slow = np.zeros(len(seconds)), np.zeros((2, len(seconds)))
    cover, used = np.zeros(len(seconds)), 0
    total = sum(piece.number.size for piece in found.pieces)
    blocks = max(BLOCKS, BLOCKS_EACH * len(seconds) // 2)
    for number, piece in enumerate(found.pieces):
        full = blocks_of(piece.number.size)[0]
        share = blocks * piece.number.size / total
        group = full[:: max(int(len(full) / max(share, 1.0)), 1)]
        kernel = replace(model.kernel, window_ns=piece.window_ns, smear_ns=piece.unplaced_ns)
        # A few blocks of a long recording saw little of what ran in it.
        near = plan.around(*seen_ns(piece, kernel, [group])).plan.placed(model.layout)
        for design in designs(near, number, piece, kernel, model.slope_w, [group]):
            which, dense, _ = columns(model, design)
            inside = dense @ after[which]
            covariance = noise.covariance(design, piece.averaging)
            weight = np.linalg.solve(covariance, inside)
            form = noise.slow * slow_form(design, noise.slow_ns)
            beside = design.share @ ran[:, design.touched].T
            told += np.sum(weight * inside, axis=(0, 1))
            slow += [np.sum(each * (form @ beside), axis=(0, 1)) for each in (weight, beside)]
            cover += beside.sum(axis=(0, 1))
            used += group.shape[1] * len(design.at_ns)
    scale = found.rows / max(used, 1)
    k = seconds.sum(axis=1) / np.maximum(scale * cover, 1e-12)
    known = np.sum(after * (prior(model)[0] @ after), axis=0)
    other = np.sum(elsewhere**2, axis=0)
    # The covariance has what unknown stalls add in it (`Estimate`), which rows know nothing of: sums through it hold that squared.
    # They agree with the covariance to a percent without it, and are scaled to it.
    exact = np.maximum(np.sum(weights.T * after, axis=0) - known, 0.0)
    turned = np.sqrt(exact / np.maximum(scale * told, 1e-300))
    return np.asarray(exact + scale * (k**2 * slow[1] - 2 * k * turned * slow[0]) + known + other, np.float64)
