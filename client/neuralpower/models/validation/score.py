"""How wrong predictions are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def rmspe(predicted: Floats, measured: Floats, weights: Floats | None = None) -> float:
    """Root of the (weighted) mean squared relative error, sqrt(mean(((ŷ - y)/y)²)); 0.1 is 10 %. `measured` must not be 0."""
    return float(np.sqrt(np.average((predicted / measured - 1.0) ** 2, weights=weights)))


def rmse(predicted: Floats, measured: Floats) -> float:
    """Root of the mean squared error, in the unit of the values."""
    return float(np.sqrt(np.mean((predicted - measured) ** 2)))


def median_ape(predicted: Floats, measured: Floats) -> float:
    """Median of the absolute relative error |ŷ - y|/y."""
    return float(np.median(np.abs(predicted / measured - 1.0)))


def sum_bias(predicted: Floats, measured: Floats) -> float:
    """Σŷ/Σy: what a sum over many layers comes out at; 1 is right."""
    return float(predicted.sum() / measured.sum())


def geometric_error(predicted: Floats, measured: Floats) -> float:
    """exp(mean |ln(ŷ/y)|) - 1: the typical factor between the two, either way, less one."""
    return float(np.expm1(np.mean(np.abs(np.log(predicted / measured)))))


def without_worst(predicted: Floats, measured: Floats, rows: int) -> float | None:
    """RMSPE without the so many largest relative errors; None where nothing is left."""
    errors = np.sort(np.abs(predicted / measured - 1.0))[: max(len(measured) - rows, 0)]
    return float(np.sqrt(np.mean(errors**2))) if len(errors) else None


@dataclass(frozen=True)
class Score:
    """The errors of one set of predictions: relative ones as fractions, `rmse` in the target's unit.

    `sum_bias` is Σŷ/Σy, `geometric` the geometric error; None only where nobody computed them.
    """

    rows: int
    rmspe: float
    rmse: float
    median_ape: float
    sum_bias: float | None = None
    geometric: float | None = None

    @classmethod
    def of(cls, predicted: Floats, measured: Floats) -> Score:
        errors = [error(predicted, measured) for error in (rmspe, rmse, median_ape, sum_bias, geometric_error)]
        return cls(len(measured), *errors)
