"""The physics of the virtual device: how long a layer runs and what it draws, from a roofline with the GPU's grain.

This is a simulation. Its formulas are deliberately none of the models that the tool fits: they have minima over kernel
variants, ceilings and caches in them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...features.layers import Layer

RAILS = ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")
"""The rails of an Orin Nano; VDD_IN feeds the other two and the rest of the board."""

TILES = ((256, 128, 0.62), (128, 128, 0.58), (128, 64, 0.50), (64, 64, 0.42), (64, 32, 0.30), (32, 32, 0.19))
"""(rows, columns, share of the tensor cores' peak reached) of the matrix kernels that a layer may be built with."""
SPLITS = (1, 2, 4, 8)
"""In how many parts a kernel may sum over K, each an own thread block."""
_K_STEP = 32
_BYTES = {"FP32": 4.0, "FP16": 2.0, "BF16": 2.0, "FP8": 1.0, "INT8": 1.0, "INT4": 0.5}
_RATE = {"FP32": 0.5, "FP8": 2.0, "INT8": 2.0, "INT4": 4.0}


@dataclass(frozen=True)
class Cost:
    """What one execution of a layer takes on average.

    `compute_share` in [0, 1] is the part of the time that follows the GPU's clock; `power_w` (3,) what the rails of
    :data:`RAILS` draw above idle meanwhile.
    """

    duration_s: float
    compute_share: float
    power_w: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Work:
    """What a layer's kernel does to the machine: seconds of arithmetic and of memory if each were alone, SMs in use."""

    compute_s: float
    memory_s: float
    busy: float = 1.0


@dataclass(frozen=True)
class Hardware:
    """A GPU of the Orin Nano's size; rates per second, powers in watts, all nominal before :meth:`drawn`."""

    sms: int = 8
    clock_hz: float = 625e6
    tensor_macs: float = 1024.0
    """Multiply-accumulates per SM and clock on the tensor cores, FP16."""
    vector_macs: float = 256.0
    """The same on the CUDA cores, two halves at a time."""
    bandwidth: float = 52e9
    """Bytes per second that streaming reaches, of 68e9 on paper."""
    cache_bytes: float = 2e6
    launch_s: float = 3.2e-6
    """From one kernel's start to its first useful instruction, and its tail."""
    prologue_clocks: float = 900.0
    """What a thread block spends before and after its inner loop."""
    gap_s: float = 0.6e-6
    """Between the end of a kernel and the start of the next: the GPU idles."""
    regulator: float = 0.88
    """Efficiency between VDD_IN and what it feeds."""
    gpu_busy_w: float = 1.5
    """VDD_CPU_GPU_CV with all SMs occupied but stalled."""
    gpu_compute_w: float = 6.5
    """More, with the arithmetic units at their peak."""
    gpu_memory_w: float = 0.7
    """More, with the memory saturated: caches and crossbar."""
    soc_memory_w: float = 1.2
    """VDD_SOC with the memory saturated: the memory controller."""
    soc_busy_w: float = 0.12
    dram_memory_w: float = 1.7
    """The memory chips, which only VDD_IN sees."""

    @classmethod
    def drawn(cls, seed: int) -> Hardware:
        """A device whose rates and powers lie some percent off the nominal ones."""
        rng = np.random.default_rng([seed, 1])
        nominal = cls()
        spread = {
            "clock_hz": 0.04, "bandwidth": 0.06, "cache_bytes": 0.1, "launch_s": 0.1, "prologue_clocks": 0.1, "gap_s": 0.2,
            "gpu_busy_w": 0.08, "gpu_compute_w": 0.08, "gpu_memory_w": 0.08, "soc_memory_w": 0.08, "soc_busy_w": 0.08,
            "dram_memory_w": 0.08, "regulator": 0.01,
        }  # fmt: skip
        return replace(nominal, **{k: getattr(nominal, k) * math.exp(rng.normal(0, s)) for k, s in spread.items()})

    def cost(self, layer: Layer) -> Cost:
        """Mean time and power of `layer`.

        Time: launch + (compute³ + memory³)^(1/3), a roofline with a round corner. Power above idle of the GPU rail:
        busy·share of SMs + compute·arithmetic rate/peak + memory·byte rate/peak; of the SOC rail the memory controller;
        VDD_IN carries both and the memory chips through a regulator with a loss.
        """
        if layer.layer_type == "NoOp":
            return Cost(0.0, 0.0, np.zeros(3))
        work = self._work(layer)
        body_s = (work.compute_s**3 + work.memory_s**3) ** (1 / 3)
        total_s = self.launch_s + body_s
        busy = work.busy * body_s / total_s
        peak = self.tensor_macs * self.sms * self.clock_hz * _RATE.get(layer.precision, 1.0)
        # CUDA cores spend several times the energy of the tensor cores for one multiply-accumulate.
        weight = 1.0 if layer.kind in ("conv", "fc", "deconv", "matmul") and not layer.depthwise else 4.0
        compute = min(1.0, weight * layer.flops() / 2 / peak / total_s)
        memory = work.memory_s / total_s
        gpu = self.gpu_busy_w * busy + self.gpu_compute_w * compute + self.gpu_memory_w * memory
        soc = self.soc_busy_w * busy + self.soc_memory_w * memory
        board = (gpu + soc + self.dram_memory_w * memory) / self.regulator
        share = work.compute_s / (work.compute_s + work.memory_s + self.launch_s)
        return Cost(total_s, share, np.array([board, gpu, soc]))

    def _work(self, layer: Layer) -> Work:
        kinds: dict[str, Callable[[Layer], Work]] = {
            "conv": self._convolution,
            "fc": self._product,
            "pool": self._pool,
            "deconv": self._transposed,
            "matmul": self._activations,
        }
        return kinds.get(layer.kind, self._copy)(layer)

    def _convolution(self, layer: Layer) -> Work:
        if layer.depthwise:
            # One input channel per output: nothing for the tensor cores, and little reuse for the CUDA cores.
            rate = 0.16 * self.vector_macs * self.sms * self.clock_hz / max(1.0, layer.stride_h * 0.7)
            return Work(layer.macs() / rate, self._memory_s(layer, 0.62))
        columns = layer.out_c // layer.groups
        depth = layer.kernel_h * layer.kernel_w * max(4, layer.in_c // layer.groups)
        return self._matrix(layer, layer.batch * layer.out_h * layer.out_w, columns, depth, layer.groups)

    def _transposed(self, layer: Layer) -> Work:
        """Each input position meets the whole kernel: a product as large as that."""
        columns = layer.out_c // layer.groups * layer.kernel_h * layer.kernel_w
        rows = layer.batch * layer.in_h * layer.in_w
        return self._matrix(layer, rows, columns, layer.in_c // layer.groups, layer.groups)

    def _activations(self, layer: Layer) -> Work:
        return self._matrix(layer, layer.in_h, layer.out_c, layer.in_c, layer.batch)

    def _product(self, layer: Layer) -> Work:
        if layer.batch >= 8:
            return self._matrix(layer, layer.batch, layer.out_c, layer.in_c * layer.in_h * layer.in_w, 1)
        rate = 0.5 * self.vector_macs * self.sms * self.clock_hz
        blocks = math.ceil(layer.out_c / 32)
        busy = min(1.0, blocks / self.sms)
        # Too few blocks cannot draw the memory's full bandwidth.
        return Work(layer.macs() / rate / busy, self._memory_s(layer, min(1.0, 0.15 + blocks / (4 * self.sms))), busy)

    def _pool(self, layer: Layer) -> Work:
        rate = 0.30 * self.vector_macs / 2 * self.sms * self.clock_hz
        return Work(layer.flops() / rate, self._memory_s(layer, 0.8))

    def _copy(self, layer: Layer) -> Work:
        elements = max(layer.inputs(), layer.outputs())
        return Work(elements / (16 * self.sms * self.clock_hz), self._memory_s(layer, 0.75))

    def _matrix(self, layer: Layer, rows: int, columns: int, depth: int, groups: int) -> Work:
        """The fastest of the kernel variants, as TensorRT's builder would choose it.

        Each computes ceil(rows/tile)·ceil(columns/tile)·groups·split thread blocks in waves of one per SM:
        a block takes prologue + tile·K/(rate·efficiency) clocks, with K rounded up to a step.
        """
        rate = self.tensor_macs * _RATE.get(layer.precision, 1.0)
        steps = math.ceil(depth / _K_STEP)
        memory_s = self._memory_s(layer, 1.0)
        best = Work(math.inf, memory_s)
        for high, wide, efficiency in TILES:
            for split in SPLITS:
                blocks = math.ceil(rows / high) * math.ceil(columns / wide) * groups * split
                waves = math.ceil(blocks / self.sms)
                clocks = self.prologue_clocks + math.ceil(steps / split) * _K_STEP * high * wide / (rate * efficiency)
                # Partial sums go through memory once, in 32 bits, and cost a second small kernel.
                joined_s = (rows * columns * groups * 4 * split / self.bandwidth + self.launch_s) if split > 1 else 0.0
                compute_s = waves * clocks / self.clock_hz + joined_s
                if compute_s < best.compute_s:
                    best = Work(compute_s, memory_s, blocks / (waves * self.sms))
        return best

    def _memory_s(self, layer: Layer, efficiency: float) -> float:
        """Bytes over bandwidth; an activation that fits in the cache comes half from there."""
        size = _BYTES.get(layer.precision, 2.0)
        activations = (size * layer.inputs(), size * layer.outputs())
        cached = sum(byte * (0.5 if byte < self.cache_bytes else 1.0) for byte in activations)
        return (cached + size * layer.weights()) / (self.bandwidth * efficiency)
