"""What is known of a layer because it is one of many: powers of an engine's layers scatter about a mean that goes with their time.

Estimates P with covariance C of layers whose true powers scatter by s about X b have as best linear predictor

    P' = P - C V^-1 (P - X b),    V = C + s^2 D,    b = (X' V^-1 X + L)^-1 X' V^-1 P

(universal kriging with a prior L on the slope; the error of b is in the covariance). X has 1 and the logarithm of the layer's time: a kernel
too short to fill the GPU draws less. D is 1 for long layers and grows as these get shorter, since a larger part of a short one is its
begin and its end: what is known of long layers says little of short ones. A layer that is told for itself hardly moves; one that is not no longer
drags its neighbours along, with which its estimate trades off. s is not taken as known: the result is the mean over all s up to the mean power,
each weighted by how likely it makes the estimates. An interval so made may be chosen by its estimate without harm, on average over layers.

C has to be the covariance with the sensor and all else that is no power held. Were its errors counted in, which move all layers to
or from their mean together, small scatter would seem a reason to believe in another sensor. What the sensor is unsure by is added afterwards.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FEWEST = 4
"""Rule: of fewer layers no scatter is told."""
SPREADS = np.linspace(0.025, 1.0, 40)
"""Prior: scatters that are tried, as shares of the mean, all as likely beforehand."""
USUAL = 0.4
"""Prior: scatter of layers as a share of their mean, by which the mean is weighed that sets the scale of the scatters tried."""
SHORT_S = 30e-6
"""Board: layers shorter than this scatter more, in inverse proportion (variance): launching and draining a kernel takes some microseconds."""
SLOPE = 0.25
"""Prior: deviation of the slope known beforehand, as a share of the mean for each factor e in time."""


def held(covariance: Floats, change: Floats, other: Ints) -> Floats:
    """Covariance of change @ parameters (c, q) if the parameters numbered `other` were known; `covariance` (q, q): of all parameters."""
    across = change @ covariance[:, other]
    known = across @ np.linalg.solve(covariance[np.ix_(other, other)], across.T)
    return np.asarray(change @ covariance @ change.T - known, np.float64)


def shrunk(power_w: Floats, covariance: Floats, layers: Ints, seconds: Floats) -> tuple[Floats, Floats, Floats]:
    """Powers (c,) and covariance (c, c) of all classes with what layers (their numbers) have in common, and the map (c, c) from the
    errors before to those after, scatter of the layers left aside. seconds: mean time of each of the layers."""
    size = power_w.size
    if layers.size < FEWEST:
        return power_w, covariance, np.eye(size)
    ran = seconds > 0
    time = np.where(ran, seconds, SHORT_S)
    root = np.sqrt(np.maximum(1.0, SHORT_S / time))
    length = np.log(time) - float(np.log(time[ran]).mean() if ran.any() else 0.0)
    design = np.stack([np.ones(layers.size), length], axis=1) / root[:, None]
    values, vectors = np.linalg.eigh(covariance[np.ix_(layers, layers)] / np.outer(root, root))
    values = np.maximum(values, 0.0)
    scaled, seen = vectors.T @ design, vectors.T @ (power_w[layers] / root)
    usual = 1 / (values + (USUAL * np.abs(power_w[layers]).mean()) ** 2)
    scale = max(abs(float(scaled[:, 0] @ (usual * seen) / (scaled[:, 0] ** 2 @ usual))), 1e-9)
    known = np.diag([0.0, 1 / (SLOPE * scale) ** 2])
    weight = 1 / (values + (scale * SPREADS[:, None]) ** 2)
    inner = np.einsum("si,ij,ik->sjk", weight, scaled, scaled) + known
    inverse = np.linalg.inv(inner)
    slope = np.einsum("sjk,ik,si,i->sj", inverse, scaled, weight, seen)
    off = seen - slope @ scaled.T
    square = (weight * off**2).sum(axis=1) + np.einsum("sj,jk,sk->s", slope, known, slope)
    likelihood = (np.log(weight).sum(axis=1) - np.linalg.slogdet(inner)[1] - square) / 2
    chance = np.exp(likelihood - likelihood.max())
    chance /= chance.sum()
    across = (covariance[:, layers] / root) @ vectors
    powers = power_w - (weight * off) @ across.T
    centre = chance @ powers
    apart = powers - centre
    after = covariance - (across * (chance @ weight)) @ across.T + (apart.T * chance) @ apart
    pull = np.einsum("ci,si,ij->scj", across, weight, scaled)
    after += np.einsum("s,scj,sjk,sdk->cd", chance, pull, inverse, pull)
    change = np.eye(size)
    turned = vectors.T / root
    change[:, layers] -= (across * (chance @ weight)) @ turned
    change[:, layers] += np.einsum("s,scj,sjk,ik,si->ci", chance, pull, inverse, scaled, weight) @ turned
    return centre, np.asarray((after + after.T) / 2, np.float64), change
