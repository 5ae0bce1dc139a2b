"""Layers and networks of equal names are told apart in attribution and on the page."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace
from typing import Any, cast

from neuralpower.attribution import Attribution, EngineAttribution, LayerPower
from neuralpower.attribution.sources import _of_names
from neuralpower.features.layers import Layer
from neuralpower.models.network import NetworkPrediction, Prediction
from neuralpower.report.counterparts import engine_of, layers_of


def conv(name: str, size: int, precision: str = "FP16") -> Layer:
    return Layer(name, "conv", 1, 3, size, size, 4, size, size, 3, 3, 1, 1, 1, 1, precision=precision)


def blank(kind: type, **given: Any) -> Any:
    """An instance of a dataclass of results with these fields; numbers elsewhere."""
    made = object.__new__(kind)
    for field in fields(kind):
        object.__setattr__(made, field.name, given.get(field.name, 0))
    return made


def predicted(*layers: Layer) -> NetworkPrediction:
    return NetworkPrediction("net", tuple(blank(Prediction, layer=layer) for layer in layers), None, 0)


def measured(*layers: Layer) -> EngineAttribution:
    powers = tuple(
        blank(LayerPower, name=layer.name, geometry=layer, runtime_s=float(at)) for at, layer in enumerate(layers)
    )
    return cast(EngineAttribution, SimpleNamespace(name="net", layers=powers))


def attribution(*engines: EngineAttribution) -> Attribution:
    return cast(Attribution, SimpleNamespace(engines={str(at): engine for at, engine in enumerate(engines)}))


def test_geometries_of_one_name_go_in_order() -> None:
    """As many of a name as were timed: each its own; fewer or more: none, for nothing tells which."""
    first, second, other = conv("b", 8), conv("b", 16), conv("a", 4)
    assert list(_of_names([first, other, second], ["a", "b", "b"])) == [other, first, second]
    assert list(_of_names([first, other], ["a", "b", "b"])) == [other, None, None]
    assert list(_of_names([first, other, second], ["a", "b", "c"])) == [other, None, None]


def test_the_page_holds_layers_of_one_name_against_their_own() -> None:
    layers = [conv("b", 8), conv("a", 4), conv("b", 16)]
    found = layers_of(predicted(*layers), measured(*layers))
    assert [each.runtime_s for each in found if each] == [0.0, 1.0, 2.0]
    assert layers_of(predicted(*layers), measured(*layers[:2]))[0] is None
    assert layers_of(predicted(*layers), None) == [None] * 3


def test_of_engines_of_one_name_the_one_with_the_same_layers_is_taken() -> None:
    """By sizes, then by precision; where nothing tells, none."""
    small, large, half = measured(conv("a", 8)), measured(conv("a", 16)), measured(conv("a", 8, "FP32"))
    of = predicted(conv("x", 8))
    assert engine_of(of, attribution(large, small)) is small
    assert engine_of(of, attribution(small, half)) is small
    assert engine_of(predicted(conv("x", 8, "")), attribution(small, half)) is None
    assert engine_of(of, attribution(small, small)) is None
    assert engine_of(of, attribution(large)) is large and engine_of(of, None) is None
