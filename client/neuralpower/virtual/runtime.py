"""The virtual device as a runtime: for where there is no GPU, marked simulated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ..address import AddressLike, parse_local
from ..experiment.experiment import Bench, Declares, Outcome
from ..features.inspector.engine import layers_from_engine
from ..features.layers import Layer
from ..runtimes.options import Options
from ..runtimes.runtime import Program
from .bench import VirtualBench, document_of, inference_s, load_of, name_of
from .device.device import VirtualDevice
from .device.hardware import Hardware
from .device.load import Load
from .networks.onnx_engine import engine_of_layers
from .run import check_writable, declare_asides, preferred


@dataclass
class VirtualProgram(Program):
    """A load; its context is there once it has a bench."""

    load: Load | None = None


class VirtualRuntime:
    """As :class:`~neuralpower.runtimes.runtime.Runtime`.

    Args:
        seed: of the hardware and of all jitter.
        truth: where to store what really happened, if anywhere.
        reason: why there is no other runtime.
    """

    name, simulated = "virtual", True

    def __init__(self, seed: int, truth: str | None = None, reason: str = "asked for") -> None:
        self._seed, self._truth, self._reason = seed, truth, reason
        self._hardware = Hardware.drawn(seed)
        self._device: VirtualDevice | None = None
        if truth is not None:
            check_writable(truth)

    @property
    def device(self) -> VirtualDevice:
        """It is there while the runtime is open."""
        if self._device is None:
            raise RuntimeError("the virtual device is not open")
        return self._device

    def why_not(self) -> str:
        """It runs everywhere."""
        return ""

    def about(self) -> str:
        """That it is simulated, and why."""
        return f"simulated device ({self._reason}), seed {self._seed}"

    @contextmanager
    def opened(self, address: AddressLike) -> Iterator[None]:
        """The device of this daemon, kept ahead of the time; its truth is stored at the end."""
        with preferred(), VirtualDevice(Path(parse_local(address).folder) / "timeline", self._seed) as device:
            self._device = device
            try:
                with device.kept_ahead():
                    yield
            finally:
                device.close()
                if self._truth is not None:
                    device.truth.write(self._truth)

    def load(self, spec: str, options: Options) -> Program:
        """A network of the zoo, engine JSON, ONNX or PyTorch."""
        return self._program(load_of(spec, self._hardware, options.precision, options.batch))

    def layers(self, spec: str, options: Options) -> list[Layer]:
        """Those of its engine, pools with the names that ONNX has for them."""
        document = document_of(spec, options.precision, options.batch)
        found = []
        for entry, layer in zip(document["Layers"], layers_from_engine(document, name_of(spec)), strict=True):
            pools = {"MAX": "MaxPool", "AVERAGE": "AveragePool"}
            found.append(replace(layer, layer_type=pools.get(entry.get("PoolingType"), layer.layer_type)))
        return found

    def repeated(self, layer: Layer, copies: int, options: Options, name: str) -> Program:
        """An engine of copies."""
        every = [layer.renamed(f"{layer.name} ×{copy}") for copy in range(1, copies + 1)]
        document = engine_of_layers(every, options.precision)
        return self._program(Load.of(name, document, self._hardware))

    def seconds(self, program: Program) -> float:
        """In virtual time."""
        assert isinstance(program, VirtualProgram) and program.load is not None
        return inference_s(program.load, self._hardware)

    def bench(self, program: Program, address: AddressLike) -> Bench:
        """Loaded on the device."""
        assert isinstance(program, VirtualProgram) and program.load is not None
        return VirtualBench(self.device, program.load, address)

    def ended(self, bench: Bench, outcome: Outcome, marks: Declares) -> None:
        """Unload it; what the host held up is declared and counted."""
        assert isinstance(bench, VirtualBench)
        bench.close()
        declare_asides(self.device, marks)
        self.device.truth.lost += outcome.inferences + outcome.unprofiled - outcome.acknowledged

    def notes(self) -> list[str]:
        """What must be said of the whole run."""
        note = self.device.truth.held_up_note()
        return [note] if note else []

    def idle(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.device.idle(seconds)

    def _program(self, load: Load) -> Program:
        return VirtualProgram(load.name, None, None, load=load)  # type: ignore[arg-type]  # the bench makes both
