"""An engine on the virtual device, ready for an experiment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ..address import AddressLike
from ..errors import InputError
from ..experiment.around import Around
from ..experiment.design import InferenceOrder
from ..experiment.experiment import Outcome
from ..profiler.layer_profiler import LayerProfiler
from ..profiler.session import Session
from ..runtimes.sources import is_exported, onnx_of, title
from .device.device import VirtualDevice
from .device.hardware import Hardware
from .device.load import Load
from .device.manner import Manner
from .device.plan import DevicePlanner
from .networks.graph import Json
from .networks.onnx_engine import engine_from_onnx
from .run import BACKLOG, declare_asides, drain, engine_of

_TIMED = 16


def load_of(spec: str, hardware: Hardware, precision: str = "fp16", batch: int = 1) -> Load:
    """What `hardware` makes of a zoo name, engine JSON, ONNX model or PyTorch network.

    Raises:
        InputError: none of these, or an engine that cannot be simulated.
    """
    return Load.of(name_of(spec), document_of(spec, precision, batch), hardware)


def name_of(spec: str) -> str:
    """What the network is called."""
    return title(spec) if is_exported(spec) or spec.endswith((".json", ".onnx")) else spec


def document_of(spec: str, precision: str = "fp16", batch: int = 1) -> Json:
    """The engine's inspector document of any of these."""
    if spec.endswith(".onnx") or is_exported(spec):
        with onnx_of(spec, batch) as path:
            return engine_from_onnx(path, batch, precision)
    if (precision, batch) != ("fp16", 1):
        raise InputError(
            f"{spec}: a described engine has its own precision and batch; they are chosen for ONNX and PyTorch"
        )
    return engine_of(spec)


def inference_s(load: Load, hardware: Hardware, manner: Manner | None = None) -> float:
    """Seconds of an inference as TensorRT would report it, from a few in virtual time."""
    reported_ns = DevicePlanner(hardware, (0, 0, 0), 0, manner).inferences(load, _TIMED, 0).reported_ns
    return max(1e-7, float(reported_ns.sum(axis=1).mean()) * 1e-9)


class VirtualBench:
    """As :class:`neuralpower.experiment.experiment.Bench`, on a device that is kept ahead of the time by its own thread.

    session: where its inferences go, in place of a link of its own to the daemon at `address`.
    """

    simulated = True

    def __init__(self, device: VirtualDevice, load: Load, address: AddressLike, session: Session | None = None) -> None:
        self._device = device
        self._context = device.load_empty(load)
        self.inference_s = inference_s(load, device.hardware, device.manner)
        self.profiler = LayerProfiler(self._context, address=address, clock_ns=self._context.clock_ns, session=session)

    def lay(self, course: InferenceOrder) -> None:
        """Have the round planned, all of it."""
        self._context.extend(course.pause_ns, course.profiled, course.rest_ns)

    def wait(self, pause_ns: int) -> None:
        """Nothing: the pause is in the plan."""

    def infer(self, profiled: bool) -> tuple[int, int]:
        """Run the next inference of the plan."""
        with self.profiler.inference(self._device.stream, profiled=profiled):
            self._context.execute_async_v3(self._device.stream.handle)
        if self.profiler.pending >= BACKLOG:
            drain(self.profiler, self._device)
        return self.profiler.last

    def rest(self, seconds: float) -> None:
        """The waiting behind a round, which is in the plan: let it pass."""
        self._device.idle(seconds)

    def idle(self, seconds: float) -> None:
        """Let time pass; what is not in the plan is context idle."""
        self._device.idle(seconds)

    def close(self) -> None:
        """Unload the engine."""
        self._device.unload(self._context)


def run_loads(
    device: VirtualDevice,
    loads: Iterable[Load],
    around: Around,
    address: AddressLike,
    session: Callable[[str], Session] | None = None,
) -> Iterator[Outcome]:
    """Each engine's experiment, one after another; `session` makes what an engine's inferences go by, from its name.

    What the host held up is declared, and noted with the last.
    """
    for load in (every := list(loads)):
        with around.aside(f"loading {load.name}"):
            bench = VirtualBench(device, load, address, session(load.name) if session else None)
        outcome = around.experiment(bench)
        bench.close()
        declare_asides(device, around.marks)
        if load is every[-1] and (note := device.truth.held_up_note()):
            outcome.notes.append(note)
        device.truth.lost += outcome.inferences + outcome.unprofiled - outcome.acknowledged
        yield outcome
