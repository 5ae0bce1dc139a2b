"""The layer: one step of a network as it runs, with the geometry that decides its time and power."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

MODELLED = ("conv", "pool", "fc")
"""Kinds with a runtime and a power model."""

WORKING = (*MODELLED, "deconv", "matmul", "conv3d", "pool3d", "attention", "norm", "embedding")
"""Kinds whose operations and memory accesses are known. Those that are not modelled are named, and priced by nothing."""

BESIDE = ("other", "reformat")
"""Kinds that run beside the work: ``other`` is known (elementwise, softmax, concatenation), ``reformat`` is the builder's own, a copy into another
memory format or an entry that runs nothing, which an engine alone has."""

KINDS = (*WORKING, *BESIDE, "unclassified")
"""``unclassified`` could not be told apart; its note says why."""

LARGEST = 1 << 31
"""No dimension of a real layer comes near this."""

ELEMENT_BYTES = {"FP32": 4.0, "FP16": 2.0, "BF16": 2.0, "FP8": 1.0, "INT8": 1.0, "INT4": 0.5}
"""Precision -> bytes of an element."""

MOST_TOLD = 1 << 62
"""Beyond any network, and within the 64 bits of a dataset's column."""

MOST_MHZ = 100_000
"""No GPU's clock comes near this."""

SIZED = (*MODELLED, "deconv", "matmul")
_SIZES = ("batch", "in_c", "in_h", "in_w", "out_c", "out_h", "out_w")
POSITIVE = (*_SIZES, "kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w", "groups")
TOLD = ("told_flops", "told_weights", "told_accesses", "fused")
_SHAPE = attrgetter("kind", *POSITIVE, "pad_h", "pad_w", "precision", "gpu_mhz", *TOLD)


class Unreadable(Exception):
    """Why one layer cannot be classified. ``dynamic`` tells that a dimension is only known at run time."""

    def __init__(self, reason: str, *, dynamic: bool = False) -> None:
        super().__init__(reason)
        self.dynamic = dynamic


class ImpossibleLayer(ValueError):
    """Sizes that no layer can have; ``reason`` says which, without the layer's name."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"layer {name}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Layer:
    """One layer. Sizes are in elements; 0 means not known, which no ``conv``, ``deconv``, ``pool``, ``fc`` or ``matmul`` may have.

    A fully connected layer (``fc``) has all its input features in ``in_c`` and all its output features in ``out_c``.
    ``pad_h`` and ``pad_w`` are the padding before the data (top, left). ``groups`` equals ``in_c`` in a depthwise
    convolution. One-dimensional data lie along the height. A product of two activations (``matmul``) has ``batch`` matrices of
    ``in_h`` rows and ``in_c`` columns, times as many of ``in_c`` rows and ``out_c`` columns. Kinds whose sizes do not fit these fields
    (``conv3d``, ``pool3d``, ``attention``, ``norm``, ``embedding``) have their counts told: ``told_flops`` operations, ``told_weights``
    and ``told_accesses`` elements. ``precision`` is ``FP32``, ``FP16``, ``BF16``, ``FP8``, ``INT8``, ``INT4`` or empty when not known.
    ``gpu_mhz`` is the clock that the GPU was set to, 0 where it is not known.
    ``layer_type`` is the name the source gave (``CaskConvolution``, ``Conv``). ``fused`` counts what runs within the layer beside its work: a bias,
    an activation, the sum with another tensor; 0 also where the source does not tell.

    Raises ImpossibleLayer when ``kind`` is none of ``KINDS``, a size that its kind needs is not positive or absurd, or a told count is.
    """

    name: str
    kind: str
    batch: int = 0
    in_c: int = 0
    in_h: int = 0
    in_w: int = 0
    out_c: int = 0
    out_h: int = 0
    out_w: int = 0
    kernel_h: int = 1
    kernel_w: int = 1
    stride_h: int = 1
    stride_w: int = 1
    pad_h: int = 0
    pad_w: int = 0
    dilation_h: int = 1
    dilation_w: int = 1
    groups: int = 1
    precision: str = ""
    layer_type: str = ""
    note: str = ""
    told_flops: int = 0
    told_weights: int = 0
    told_accesses: int = 0
    fused: int = 0
    gpu_mhz: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ImpossibleLayer(self.name, f"kind {self.kind!r} is none of {', '.join(KINDS)}")
        if self.kind in SIZED:
            bad = [name for name in POSITIVE if not 1 <= getattr(self, name) < LARGEST]
            if bad:
                raise ImpossibleLayer(self.name, f"a {self.kind} layer with an impossible {', '.join(bad)}")
        if not 0 <= self.gpu_mhz < MOST_MHZ:
            raise ImpossibleLayer(self.name, f"an impossible gpu_mhz of {self.gpu_mhz}")
        absurd = [name for name in TOLD if not 0 <= getattr(self, name) < MOST_TOLD]
        if absurd:
            raise ImpossibleLayer(self.name, f"a {self.kind} layer with an impossible {', '.join(absurd)}")

    @property
    def shape(self) -> tuple[str | int, ...]:
        """Kind, sizes and precision: equal for layers that ask the same of the machine, whatever they are called."""
        shape: tuple[str | int, ...] = _SHAPE(self)
        return shape

    def renamed(self, name: str) -> Layer:
        """This layer under another name. Nothing is checked again: engines repeat a layer thousands of times."""
        copy = object.__new__(Layer)
        copy.__dict__.update(self.__dict__, name=name)
        return copy

    @property
    def modelled(self) -> bool:
        """Whether the layer is of a kind that has a runtime and a power model."""
        return self.kind in MODELLED

    @property
    def working(self) -> bool:
        """Whether its operations and memory accesses are known."""
        return self.kind in WORKING

    @property
    def depthwise(self) -> bool:
        """Whether this is a convolution with one group for each input channel."""
        return self.kind == "conv" and self.groups > 1 and self.groups == self.in_c

    def inputs(self) -> int:
        """Elements read from the layer's data input: N·Cin·Hin·Win."""
        return self.batch * self.in_c * self.in_h * self.in_w

    def outputs(self) -> int:
        """Elements written: N·Cout·Ho·Wo."""
        return self.batch * self.out_c * self.out_h * self.out_w

    def weights(self) -> int:
        """Weights without bias: conv and deconv Kh·Kw·(Cin/groups)·Cout, fc Cin·Cout; what was told; otherwise 0."""
        if self.kind in ("conv", "deconv"):
            return self.kernel_h * self.kernel_w * (self.in_c // self.groups) * self.out_c
        if self.kind == "fc":
            return self.in_c * self.out_c
        return self.told_weights

    def macs(self) -> int:
        """Multiply-accumulates: conv N·Ho·Wo·weights, deconv N·Hin·Win·weights, fc N·weights, matmul N·rows·Cin·Cout, conv3d and attention as told; otherwise 0."""
        if self.kind == "conv":
            return self.batch * self.out_h * self.out_w * self.weights()
        if self.kind == "deconv":
            return self.batch * self.in_h * self.in_w * self.weights()
        if self.kind == "fc":
            return self.batch * self.weights()
        if self.kind == "matmul":
            return self.outputs() * self.in_c
        return self.told_flops // 2 if self.kind in ("conv3d", "attention") else 0

    def flops(self) -> int:
        """Floating-point operations: 2·MACs; for pool one per window element, N·C·Ho·Wo·Kh·Kw; for pool3d and norm as told."""
        if self.kind == "pool":
            return self.outputs() * self.kernel_h * self.kernel_w
        return self.told_flops or 2 * self.macs()

    def memory_accesses(self) -> int:
        """Elements that must move at least once: inputs + weights + outputs, of matmul both operands. Caches and re-reading are not counted."""
        if self.told_accesses:
            return self.told_accesses
        second = self.batch * self.in_c * self.out_c if self.kind == "matmul" else 0
        return self.inputs() + self.weights() + second + self.outputs()

    def memory_bytes(self) -> float | None:
        """Memory accesses in bytes; None where the precision is not known."""
        size = ELEMENT_BYTES.get(self.precision)
        return None if size is None else self.memory_accesses() * size
