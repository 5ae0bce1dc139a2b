"""Fitted models: their errors, their formulas, and whole networks beside their measurement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuralpower import console

if TYPE_CHECKING:
    from neuralpower.models.six import SixModels
    from neuralpower.models.validation.score import Score
    from neuralpower.models.whole import FittedRemainder


BOTH_WAYS = ("median error", "geometric error", "sum")


PER_UNIT = {"runtime": (1e3, "ms"), "power": (1.0, "W")}


def print_models(models: SixModels, title: str) -> None:
    """The table of the models with their cross-validated errors, and why a model is missing."""
    rows: list[list[console.Cell]] = []
    for model in models.models_.values():
        cv, interval = model.cross_validation, model.polynomial.interval
        scale, unit = PER_UNIT[model.target]
        rows.append(
            [
                model.kind,
                model.target,
                cv.score.rows,
                cv.unresolved,
                len(model.polynomial.terms),
                model.polynomial.degree,
                percent(cv.score.rmspe),
                f"{percent(cv.low)} to {percent(cv.high)}",
                _or_none(cv.without_worst),
                f"{cv.score.rmse * scale:.4g} {unit}",
                *both_ways(cv.score),
                f"{100 * (interval.low - 1):+.0f} to {100 * (interval.high - 1):+.0f} %",
                _or_none(cv.coverage),
                cv.grouped_by,
            ]
        )
    columns = ["type", "target", "rows", "unresolved", "terms", "degree", "RMSPE", "over folds", "but ten worst", "RMSE",
               *BOTH_WAYS, "interval", "holds"]  # fmt: skip
    where = "" if models.simulated_ else f" ({', '.join(models.devices_) or 'device not named'})"
    heading = f"{title}, {models.folds}-fold cross-validation, seed {models.seed}{where}"
    console.table(heading, [*columns, "folds by"], rows, simulated=models.simulated_)
    print(
        "sum: of all predictions over that of all values; geometric error: the typical factor between the two, either way, less one;\n"
        "interval: a layer's value over its prediction in 90 % of the cases, over all groups; holds: share of held-out layers within theirs"
    )
    for kind, energy in models.energy_.items():
        print(
            f"energy of {kind}: RMSPE {percent(energy.product.score.rmspe)} as runtime times power, "
            f"{percent(energy.direct.score.rmspe)} from a model of its own ({energy.direct_terms} terms)"
        )
    for (kind, target), reason in models.skipped_.items():
        print(f"no {kind} {target} model: {reason}")
    if models.remainder_:
        mean = models.remainder_
        power = "no power" if mean.power_w is None else f"{mean.power_w:.4g} W"
        print(f"other layers: {mean.layers} measured, mean {mean.runtime_s * 1e6:.4g} µs at {power} stands for each")


def print_whole(models: SixModels) -> None:
    """Networks as folds predicted them that did not hold their layers, beside their measurement."""
    from neuralpower.models.regression.polynomial import LEVEL
    from neuralpower.models.whole import QUANTITIES, accuracy

    whole = models.whole_
    if whole is None:
        print("whole inferences: too few networks were measured from anchor to anchor to tell them")
        return
    scales = {"runtime": (1e3, "ms"), "energy": (1e3, "mJ"), "power": (1.0, "W")}
    rows: list[list[console.Cell]] = []
    for each in whole.networks:
        cells: list[console.Cell] = [each.network]
        for name in QUANTITIES:
            predicted, measured = getattr(each, name)
            cells += [
                scales[name][0] * predicted,
                scales[name][0] * measured,
                f"{100 * (predicted / measured - 1):+.1f} %",
            ]
        rows.append(cells)
    mean: list[console.Cell] = ["accuracy, mean"]
    for name in QUANTITIES:
        mean += [None, None, percent(accuracy([getattr(each, name) for each in whole.networks]))]
    rows.append(mean)
    columns = [
        "network",
        *(f"{name} {scales[name][1]}{what}" for name in QUANTITIES for what in (" predicted", " measured", ", error")),
    ]
    how = "without the profiler" if whole.unprofiled else "with the profiler"
    print()
    console.table(f"Whole inferences {how}, held out by folds", columns, rows, simulated=models.simulated_)
    for name, part, scale, unit in (("runtime", whole.runtime, 1e6, "µs"), ("energy", whole.energy, 1e6, "µJ")):
        low, high = whole.factors[name]
        print(
            f"{name}: layers {scale * part.inference:+.4g} {unit} {scale * part.modelled_layer:+.4g} {unit} for each modelled layer "
            f"{scale * part.other_layer:+.4g} {unit} for each other one{_together(part, scale, unit)}, a remainder known to {percent(part.relative_error)} of the whole; "
            f"{100 * LEVEL:.0f} % of new networks lie {100 * (low - 1):+.0f} to {100 * (high - 1):+.0f} % around the prediction"
        )
    print()


def _together(part: FittedRemainder, scale: float, unit: str) -> str:
    """What only networks without measured layers tell: the bytes of other layers, and by how much layers of a kind count."""
    moved = f" {1e6 * scale * part.other_byte:+.4g} {unit} for each MB of it" if part.other_byte else ""
    if part.concatenation or part.concatenated_byte:
        moved += f" and of a concatenation {scale * part.concatenation:+.4g} {unit} {1e6 * scale * part.concatenated_byte:+.4g} {unit} for each MB more"
    factors = ", ".join(f"{kind} {factor:.3f}" for kind, factor in part.factors.items())
    return moved + (f", layers times {factors}" if factors else "")


def print_formulas(models: SixModels) -> None:
    """Each model as a sum, then what its quantities are and their units."""
    from neuralpower.models.regression.quantities import QUANTITIES, RATES
    from neuralpower.models.six import UNITS

    used: dict[str, None] = {}
    for model in models.models_.values():
        law = model.polynomial.law
        used |= dict.fromkeys([*model.polynomial.quantities(), *(law.quantities() if law else ())])
        print()
        print(f"{model.kind} {model.polynomial.formula(model.target, UNITS[model.target])}")
        for where, low, high in model.polynomial.interval.groups:
            print(f"  90 % of {where.name}: {100 * (low - 1):+.0f} to {100 * (high - 1):+.0f} %")
        if law:
            print(
                "  beyond the data in proportion to " + ("its law" if model.polynomial.proportional else law.formula())
            )
    print()
    for name in used:
        unit, meaning = (QUANTITIES[name].unit, QUANTITIES[name].meaning) if name in QUANTITIES else RATES[name][1:]
        print(f"  {name} [{unit}]: {meaning}")
    print(
        "  [a>b] is 1 where that holds, else 0; each coefficient has the unit of the target over that of its term;\n"
        "  behind 2^ a coefficient is in octaves over the unit of its term: +1 doubles, -1 halves"
    )


def print_published(models: SixModels) -> None:
    """The published models of the same types, marked as what they are."""
    from neuralpower.models.judging.published import PUBLISHED

    rows: list[list[console.Cell]] = [
        [p.source, p.kind, p.target, p.terms, f"{p.rmspe_percent:.2f} %", f"{p.rmse:.4g} {PER_UNIT[p.target][1]}"]
        for p in PUBLISHED
        if (p.kind, p.target) in models.models_
    ]
    print()
    title = "For context: published, other hardware and other layers, errors on the training rows"
    console.table(title, ["source", "type", "target", "terms", "RMSPE", "RMSE"], rows)


def both_ways(score: Score) -> list[str | None]:
    """Errors that guessing low does not make smaller: median, geometric, and the sum's."""
    bias = None if score.sum_bias is None else f"{score.sum_bias:.3f}"
    return [percent(score.median_ape), _or_none(score.geometric), bias]


def _or_none(share: float | None) -> str | None:
    return None if share is None else percent(share)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
