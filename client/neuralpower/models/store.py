"""Models as readable JSON: every term a formula with its coefficient. What is loaded is checked to the last number."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from neuralpower import __version__
from neuralpower.errors import InputError
from neuralpower.features.layers import MOST_MHZ
from neuralpower.files import write_whole
from neuralpower.models import fields
from neuralpower.models.packaged import PACKAGED, packaged
from neuralpower.models.regression.design import DICTIONARIES, KINDS
from neuralpower.models.regression.kriging import SHAPES as KERNEL_SHAPES
from neuralpower.models.regression.kriging import Kriging
from neuralpower.models.regression.law import Law
from neuralpower.models.regression.polynomial import LEVEL, Interval, Polynomial, PredictionBounds
from neuralpower.models.regression.quantities import QUANTITIES, RATES
from neuralpower.models.regression.search import LOSSES
from neuralpower.models.regression.terms import MAX_POWER, Term, check_feature
from neuralpower.models.six import UNITS, EnergyErrors, LayerModel, Remainder, SixModels
from neuralpower.models.validation.held_out import CrossValidation
from neuralpower.models.validation.score import Score
from neuralpower.models.whole import FEWEST, FittedRemainder, HeldOutNetwork, WholeModel
from neuralpower.models.whole import QUANTITIES as OF_NETWORKS

FORMAT, VERSION = "neuralpower-models", 5
OLDER = (3, 4)
"""Read too: sums of 3 are predictions themselves, and its laws are made of quantities; neither knows what layers near by add."""
LARGEST_FILE = 64 << 20
"""Bytes. Six models are some 100 KiB."""

Model = TypeVar("Model")


def save(models: SixModels, path: str | os.PathLike[str]) -> None:
    """Write fitted models; `path` is replaced only once the new file is whole. Raises Failure when it cannot be written."""
    text = json.dumps(document(models), indent=1, allow_nan=False) + "\n"
    write_whole(path, text.encode(), "the models")


def load(path: str | os.PathLike[str]) -> SixModels:
    """Read what :func:`save` wrote. Raises InputError, one line, on anything else."""
    return read(path, parse)


def read(path: str | os.PathLike[str], parse: Callable[[object], Model]) -> Model:
    """What `parse` makes of the JSON in a file, or in that of a model that comes with the package and is called so. Raises InputError, one line, where it is none or `parse` raises ValueError."""
    source = Path(path)
    if not source.exists():
        source = packaged(str(path)) or source
    try:
        if source.stat().st_size > LARGEST_FILE:
            raise InputError(f"{source}: too large for a model file")
        content = source.read_bytes()
        if reason := _foreign(content):
            raise InputError(f"{source}: not a model: {reason}")
        return parse(json.loads(content.decode("utf-8-sig"), parse_constant=_not_a_number))
    except FileNotFoundError:
        raise InputError(
            f"{source}: no such file, and no model that comes with the package: {', '.join(PACKAGED)}"
        ) from None
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror}") from None
    except InputError:
        raise
    except json.JSONDecodeError as error:
        raise InputError(f"{source}: broken JSON, perhaps cut off: {error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: not a model: {str(error).splitlines()[0]}") from None


def _foreign(content: bytes) -> str:
    """What a file is that is no model, as far as its beginning tells; "" where it may be one."""
    start = content[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        return "an empty file"
    if content.startswith(b"PAR1"):
        return "a Parquet file, as datasets are; the model is what `neuralpower fit` wrote"
    return "" if start[:1] in (b"{", b"[") else "no JSON; the model is what `neuralpower fit` wrote"


def document(models: SixModels) -> dict[str, Any]:
    """The models as JSON values; docs/models.md explains each key."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "made_by": f"neuralpower {__version__}",
        "simulated": models.simulated_,
        "devices": models.devices_,
        "folds": models.folds,
        "seed": models.seed,
        "loss": models.loss,
        "trained_on": {
            "sha256": models.sha256_,
            "rows": models.rows_,
            "networks": models.networks_,
            "columns": models.feature_names_in_.tolist(),
            "precisions": models.precisions_,
            "gpu_mhz": {str(mhz): rows for mhz, rows in models.clocks_.items()},
            "started_from": models.started_from_,
        },
        "remainder": asdict(models.remainder_) if models.remainder_ else None,
        "whole": _whole_document(models.whole_) if models.whole_ else None,
        "skipped": [{"kind": k, "target": t, "reason": reason} for (k, t), reason in models.skipped_.items()],
        "models": [_model_document(model) for model in models.models_.values()],
        "energy": [{"kind": kind, **asdict(errors)} for kind, errors in models.energy_.items()],
    }


def _whole_document(whole: WholeModel) -> dict[str, Any]:
    return {
        "unprofiled": whole.unprofiled,
        "runtime": asdict(whole.runtime),
        "energy": asdict(whole.energy),
        "factors": {name: {"low": low, "high": high} for name, (low, high) in whole.factors.items()},
        "networks": [
            {
                "network": each.network,
                "runtime_s": dict(zip(("predicted", "measured"), each.runtime, strict=True)),
                "energy_j": dict(zip(("predicted", "measured"), each.energy, strict=True)),
            }
            for each in whole.networks
        ],
    }


def _model_document(model: LayerModel) -> dict[str, Any]:
    return {
        "kind": model.kind,
        "target": model.target,
        "unit": UNITS[model.target],
        **polynomial_document(model.polynomial),
        "cross_validation": asdict(model.cross_validation),
    }


def polynomial_document(polynomial: Polynomial) -> dict[str, Any]:
    """A sum of terms as JSON values, without the runtime model that its rates need."""
    listed = zip(polynomial.terms, polynomial.coefficients, polynomial.scales, strict=True)
    return {
        "degree": polynomial.degree,
        "intercept": polynomial.intercept,
        "terms": [
            {"term": term.name, "exponents": dict(term.exponents), "coefficient": coefficient, "scale": scale}
            for term, coefficient, scale in listed
        ],
        "bounds": asdict(polynomial.bounds),
        "proportional": polynomial.proportional,
        "logarithmic": polynomial.logarithmic,
        "kriging": _kriging_document(polynomial.kriging) if polynomial.kriging else None,
        "law": _law_document(polynomial.law) if polynomial.law else None,
        "interval": _interval_document(polynomial.interval),
        "domain": {
            name: {"unit": _unit(name), "from": polynomial.domain[name][0], "to": polynomial.domain[name][1]}
            for name in polynomial.columns
        },
    }


def _kriging_document(near: Kriging) -> dict[str, Any]:
    return {
        "kernel": near.kernel,
        "reach": near.reach,
        "scales": dict(zip(near.columns, near.scales, strict=True)),
        "points": [[*point, weight] for point, weight in zip(near.points, near.weights, strict=True)],
    }


def _kriging(entry: Mapping[str, Any], columns: tuple[str, ...]) -> Kriging:
    scales = fields.mapping(entry, "scales")
    if unknown := set(scales) - set(columns):
        raise ValueError(f"nearness by the unknown quantity {min(unknown)!r}")
    points, weights = [], []
    listed = fields.value(entry, "points")
    for point in listed if isinstance(listed, list) else []:
        numbers = [fields.number({"points": value}, "points") for value in (point if isinstance(point, list) else [])]
        if len(numbers) != len(scales) + 1 or not all(value > 0 for value in numbers[:-1]):
            raise ValueError("'points' has one that is not a positive number for each of its scales, and a weight")
        points.append(tuple(numbers[:-1]))
        weights.append(numbers[-1])
    if not points or not scales:
        raise ValueError("'points' of nearness are none")
    return Kriging(
        tuple(scales), tuple(fields.number(scales, name, above=0.0) for name in scales), tuple(points), tuple(weights),
        fields.choice(entry, "kernel", KERNEL_SHAPES), fields.number(entry, "reach", above=0.0),
    )  # fmt: skip


def _law_document(law: Law) -> dict[str, Any]:
    listed = zip(law.amounts, law.slopes, strict=True)
    amounts = [{"term": term.name, "exponents": dict(term.exponents), "slope": slope} for term, slope in listed]
    return {"constant": law.constant, "amounts": amounts}


def _unit(name: str) -> str:
    """Of a quantity; "" of a column that is none of a layer's."""
    return QUANTITIES[name].unit if name in QUANTITIES else ""


def _interval_document(interval: Interval) -> dict[str, Any]:
    groups = [
        {"where": where.name, "exponents": dict(where.exponents), "low": low, "high": high}
        for where, low, high in interval.groups
    ]
    return {"level": LEVEL, "low": interval.low, "high": interval.high, "groups": groups}


def parse(found: object) -> SixModels:
    """Models from JSON values. Raises ValueError, one line with the place, on what :func:`document` cannot have made."""
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f'no "format": "{FORMAT}" in it')
    if found.get("version") not in (VERSION, *OLDER):
        known = ", ".join(map(str, OLDER))
        raise ValueError(f"version {found.get('version')!r}, this program reads {known} and {VERSION}; fit again")
    trained = fields.mapping(found, "trained_on")
    models = SixModels.fitted(
        folds=fields.integer(found, "folds", least=2, most=1000),
        seed=fields.integer(found, "seed", least=0, most=2**63),
        loss=fields.choice(found, "loss", LOSSES),
        remainder_=_remainder(found.get("remainder")),
        whole_=None if found.get("whole") is None else _whole(fields.mapping(found, "whole")),
        sha256_=fields.text(trained, "sha256"),
        rows_=fields.integer(trained, "rows", least=0, most=2**53),
        networks_=fields.texts(trained, "networks"),
        devices_=fields.texts(found, "devices"),
        simulated_=fields.flag(found, "simulated"),
    )
    if "columns" in trained:  # files of earlier versions do not have it
        models.see(fields.texts(trained, "columns"))
        models.started_from_ = fields.text(trained, "started_from")
        told = {name: fields.mapping(trained, name) for name in ("precisions", "gpu_mhz")}
        models.precisions_ = {
            name: fields.integer(told["precisions"], name, least=1, most=2**53) for name in told["precisions"]
        }
        models.clocks_ = {
            _mhz(name): fields.integer(told["gpu_mhz"], name, least=1, most=2**53) for name in told["gpu_mhz"]
        }
    for entry in fields.entries(found, "skipped"):
        models.skipped_[_key(entry)] = fields.text(entry, "reason")
    for entry in fields.entries(found, "models"):
        key = _key(entry)
        if key in models.models_:
            raise ValueError(f"two models of {key[0]} {key[1]}")
        try:
            models.models_[key] = _model(entry, *key, models)
        except ValueError as error:
            raise ValueError(f"{key[0]} {key[1]}: {error}") from None
    for entry in fields.entries(found, "energy"):
        product, direct = (_cross_validation(fields.mapping(entry, name)) for name in ("product", "direct"))
        terms = fields.integer(entry, "direct_terms", least=0, most=2**31)
        models.energy_[fields.choice(entry, "kind", KINDS)] = EnergyErrors(product, direct, terms)
    return models


def _mhz(name: str) -> int:
    if not name.isdecimal() or not 0 < int(name) < MOST_MHZ:
        raise ValueError(f"'gpu_mhz' has {name!r}, which is no clock")
    return int(name)


def _model(entry: Mapping[str, Any], kind: str, target: str, models: SixModels) -> LayerModel:
    if entry.get("unit") != UNITS[target]:
        raise ValueError(f"unit {entry.get('unit')!r}, not {UNITS[target]}")
    if unknown := set(fields.mapping(entry, "domain")) - set(QUANTITIES):
        raise ValueError(f"unknown quantity {min(unknown)!r}")
    runtime = models.models_.get((kind, "runtime")) if target == "power" else None
    polynomial = read_polynomial(entry, runtime.polynomial if runtime else None)
    return LayerModel(kind, target, polynomial, _cross_validation(fields.mapping(entry, "cross_validation")))


def read_polynomial(entry: Mapping[str, Any], runtime: Polynomial | None, zeros: bool = False) -> Polynomial:
    """What :func:`polynomial_document` told. `runtime`: the model that its rates need; `zeros`: its columns may have zeros, as no size of a layer has.

    Raises ValueError, one line with the place.
    """
    domain = {name: _range(name, value, zeros) for name, value in fields.mapping(entry, "domain").items()}
    columns = tuple(domain)
    known = (*columns, *(RATES if runtime else ()))
    items = fields.entries(entry, "terms")
    terms = [_term(item, known) for item in items]
    if len({term.name for term in terms}) < len(terms):
        raise ValueError("a term is listed twice")
    logarithmic = "logarithmic" in entry and fields.flag(entry, "logarithmic")
    polynomial = Polynomial(
        columns=columns,
        degree=fields.integer(entry, "degree", least=1, most=MAX_POWER),
        intercept=fields.number(entry, "intercept"),
        terms=tuple(terms),
        coefficients=tuple(fields.number(item, "coefficient") for item in items),
        scales=tuple(fields.number(item, "scale", above=0.0) for item in items),
        bounds=_bounds(fields.mapping(entry, "bounds"), columns),
        interval=_interval(fields.mapping(entry, "interval"), columns),
        domain=domain,
        runtime=None if logarithmic else runtime,
        law=None if fields.value(entry, "law") is None else _law(fields.mapping(entry, "law"), known),
        proportional="proportional" in entry and fields.flag(entry, "proportional"),
        kriging=_kriging(fields.mapping(entry, "kriging"), columns) if entry.get("kriging") is not None else None,
        logarithmic=logarithmic,
    )
    if polynomial.proportional and polynomial.law is None:
        raise ValueError("a sum that multiplies a law, and no law")
    missing = [rate for rate in polynomial.quantities() if rate in RATES and RATES[rate][0] not in ("", *columns)]
    if missing:
        raise ValueError(f"a term of {missing[0]} without {RATES[missing[0]][0]} among the quantities")
    if runtime and columns != runtime.columns:
        raise ValueError("other quantities than the runtime model that its rates need")
    return polynomial


def _term(item: object, columns: tuple[str, ...], name: str = "term") -> Term:
    exponents = fields.mapping(item, "exponents")
    for feature in exponents:
        check_feature(feature, columns)
        fields.integer(exponents, feature, least=1, most=MAX_POWER)
    term = Term(tuple(exponents.items()))
    if not exponents or term.name != fields.text(item, name):
        raise ValueError(f"{name} {fields.text(item, name)!r} does not agree with its exponents")
    return term


def _law(entry: Mapping[str, Any], columns: tuple[str, ...]) -> Law:
    if "slopes" in entry and "amounts" not in entry:
        slopes = fields.mapping(entry, "slopes")
        entry = {
            **entry,
            "amounts": [
                {"term": name, "exponents": {name: 1}, "slope": slopes[name]} for name in slopes if slopes[name] != 0
            ],
        }
    items = fields.entries(entry, "amounts")
    law = Law(
        fields.number(entry, "constant", least=0.0),
        tuple(_term(item, columns) for item in items),
        tuple(fields.number(item, "slope", above=0.0) for item in items),
    )
    if not law.constant and not law.slopes:
        raise ValueError("a law by which nothing takes anything")
    return law


def _range(name: str, value: object, zeros: bool) -> tuple[float, float]:
    low, high = fields.number(value, "from", least=0.0), fields.number(value, "to", least=0.0)
    if low > high or (low == 0.0 and not zeros):
        raise ValueError(f"domain of {name} from {low} to {high}")
    return low, high


def _interval(entry: Mapping[str, Any], columns: tuple[str, ...]) -> Interval:
    if fields.number(entry, "level") != LEVEL:
        raise ValueError(f"an interval of level {entry['level']}, not {LEVEL}")
    groups = [(_term(item, columns, "where"), *_factors(item)) for item in fields.entries(entry, "groups")]
    return Interval(*_factors(entry), tuple(groups))


def _factors(entry: Mapping[str, Any]) -> tuple[float, float]:
    low, high = fields.number(entry, "low", above=0.0), fields.number(entry, "high", above=0.0)
    if low > high:
        raise ValueError(f"interval from {low} to {high}")
    return low, high


def _bounds(entry: Mapping[str, Any], columns: tuple[str, ...]) -> PredictionBounds:
    rates = fields.mapping(entry, "rates")
    unknown = set(rates) - set(columns)
    if unknown:
        raise ValueError(f"a rate of the unknown quantity {min(unknown)!r}")
    lowest = fields.number(entry, "lowest", above=0.0)
    highest = None if entry.get("highest") is None else fields.number(entry, "highest", above=0.0)
    if highest is not None and highest < lowest:
        raise ValueError(f"bounds from {lowest} to {highest}")
    return PredictionBounds(lowest, highest, {name: fields.number(rates, name, above=0.0) for name in rates})


def _cross_validation(entry: Mapping[str, Any]) -> CrossValidation:
    score = fields.mapping(entry, "score")
    errors = (fields.number(score, name, least=0.0) for name in ("rmspe", "rmse", "median_ape"))
    both_ways = (fields.number_or_none(score, name) for name in ("sum_bias", "geometric"))
    return CrossValidation(
        score=Score(fields.integer(score, "rows", least=1, most=2**53), *errors, *both_ways),
        low=fields.number(entry, "low", least=0.0),
        high=fields.number(entry, "high", least=0.0),
        without_worst=fields.number_or_none(entry, "without_worst"),
        folds=fields.integer(entry, "folds", least=1, most=1000),
        grouped_by=fields.text(entry, "grouped_by"),
        unresolved=fields.integer(entry, "unresolved", least=0, most=2**53),
        coverage=fields.number_or_none(entry, "coverage"),
    )


def _remainder(entry: object) -> Remainder | None:
    if entry is None:
        return None
    return Remainder(
        fields.integer(entry, "layers", least=1, most=2**53),
        fields.number(entry, "runtime_s", least=0.0),
        None if fields.value(entry, "power_w") is None else fields.number(entry, "power_w", above=0.0),
    )


def _whole(entry: Mapping[str, Any]) -> WholeModel:
    factors = {}
    for name in OF_NETWORKS:
        ends = fields.mapping(fields.mapping(entry, "factors"), name)
        factors[name] = fields.number(ends, "low", above=0.0), fields.number(ends, "high", above=0.0)
        if factors[name][0] > factors[name][1]:
            raise ValueError(f"interval of {name} of networks from {factors[name][0]} to {factors[name][1]}")
    networks = []
    for item in fields.entries(entry, "networks"):
        pairs = [
            tuple(fields.number(fields.mapping(item, name), side, above=0.0) for side in ("predicted", "measured"))
            for name in ("runtime_s", "energy_j")
        ]
        networks.append(
            HeldOutNetwork(fields.text(item, "network"), (pairs[0][0], pairs[0][1]), (pairs[1][0], pairs[1][1]))
        )
    if len(networks) < FEWEST:
        raise ValueError(f"whole inferences of {len(networks)} networks, {FEWEST} needed")
    runtime, energy = (_fitted_remainder(fields.mapping(entry, name)) for name in ("runtime", "energy"))
    return WholeModel(fields.flag(entry, "unprofiled"), runtime, energy, factors, tuple(networks))


def _fitted_remainder(entry: Mapping[str, Any]) -> FittedRemainder:
    factors = fields.mapping(entry, "factors") if "factors" in entry else {}
    return FittedRemainder(
        fields.number(entry, "inference"),
        fields.number(entry, "modelled_layer"),
        fields.number(entry, "other_layer"),
        fields.number(entry, "relative_error", least=0.0),
        fields.number(entry, "least_share", above=0.0),
        fields.number(entry, "other_byte", least=0.0) if "other_byte" in entry else 0.0,
        {fields.choice({"kind": kind}, "kind", KINDS): fields.number(factors, kind, least=0.0) for kind in factors},
        *(
            fields.number(entry, name, least=0.0) if name in entry else 0.0
            for name in ("concatenation", "concatenated_byte")
        ),
    )


def _key(entry: object) -> tuple[str, str]:
    key = fields.text(entry, "kind"), fields.text(entry, "target")
    if key not in DICTIONARIES:
        raise ValueError(f"no model of {key[0]!r} {key[1]!r}")
    return key


def _not_a_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")
