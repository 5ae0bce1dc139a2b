"""What is known of a layer because it is one of many: powers of an engine's layers scatter about a mean, both of which the readings tell.

Estimates P with covariance C of layers whose true powers scatter by s about a mean m have as best linear predictor

    P' = P - C V^-1 (P - m),    V = C + s^2 I,    m = 1' V^-1 P / 1' V^-1 1

(universal kriging; the error of m is in the covariance). A layer that is told for itself hardly moves; one that is not no longer drags its neighbours
along, with which its estimate trades off. s is not taken as known: the result is the mean over all s up to the mean power, each
weighted by how likely it makes the estimates. An interval so made may be chosen by its estimate without harm, on average over layers.

C has to be the covariance with the sensor and all else that is no power held. Were its errors counted in, which move all layers to
or from their mean together, small scatter would seem a reason to believe in another sensor. What the sensor is unsure by is added afterwards.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FEWEST = 4
"""Of fewer layers no scatter is told."""
SPREADS = np.linspace(0.025, 1.0, 40)
"""Scatters that are tried, as shares of the mean, all as likely beforehand."""
USUAL = 0.4


def held(covariance: Floats, change: Floats, other: Ints) -> Floats:
    """Covariance of change @ parameters (c, q) if the parameters numbered `other` were known; `covariance` (q, q): of all parameters."""
    across = change @ covariance[:, other]
    known = across @ np.linalg.solve(covariance[np.ix_(other, other)], across.T)
    return np.asarray(change @ covariance @ change.T - known, np.float64)


def shrunk(power_w: Floats, covariance: Floats, layers: Ints) -> tuple[Floats, Floats, Floats]:
    """Powers (c,) and covariance (c, c) of all classes with what layers (their numbers) have in common, and the map (c, c) from the
    errors before to those after, scatter of the layers left aside."""
    size = power_w.size
    if layers.size < FEWEST:
        return power_w, covariance, np.eye(size)
    values, vectors = np.linalg.eigh(covariance[np.ix_(layers, layers)])
    values = np.maximum(values, 0.0)
    ones, seen = vectors.sum(axis=0), vectors.T @ power_w[layers]
    usual = 1 / (values + (USUAL * np.abs(power_w[layers]).mean()) ** 2)
    scale = abs(float(ones @ (usual * seen) / (ones @ (usual * ones))))
    squares = (np.maximum(scale, 1e-9) * SPREADS) ** 2
    weight = 1 / (values + squares[:, None])
    inner = weight @ ones**2
    mean = (weight @ (ones * seen)) / inner
    off = seen - mean[:, None] * ones
    likelihood = (np.log(weight).sum(axis=1) - np.log(inner) - (weight * off**2).sum(axis=1)) / 2
    chance = np.exp(likelihood - likelihood.max())
    chance /= chance.sum()
    across = covariance[:, layers] @ vectors
    powers = power_w - (weight * off) @ across.T
    centre = chance @ powers
    apart = powers - centre
    after = covariance - (across * (chance @ weight)) @ across.T + (apart.T * chance) @ apart
    pull = (weight * ones) @ across.T
    after += (pull.T * (chance / inner)) @ pull
    change = np.eye(size)
    change[:, layers] -= (across * (chance @ weight)) @ vectors.T
    change[:, layers] += (pull.T * (chance / inner)) @ ((weight * ones) @ vectors.T)
    return centre, np.asarray((after + after.T) / 2, np.float64), change
