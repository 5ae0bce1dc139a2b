"""PyTorch on any NVIDIA GPU: a module or an exported program, run from the host or captured in a CUDA graph.

Layers are the operators of the graph that `torch.export` traces; PyTorch fuses none of them. Their times come from CUPTI's activity
records where cupti-python is installed, else from CUDA events around operators. Written from PyTorch's documentation; it has run
on PyTorch without a GPU and over a stand-in for its CUDA (tests/worlds), on no GPU yet.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import Failure, InputError
from ...features.layers import Layer
from ...features.torch.export import first_line
from ...profiler.events import EventClock
from .. import cuda
from ..device_bench import DeviceRuntime
from ..options import Options
from ..runtime import Program
from ..sources import HUB, TORCH, hub_module, hub_shape, title
from .context import Step, StepTimes, TorchContext, TorchStream
from .cupti import Activities, KernelTimes
from .events import AroundEvents, EventTimes, span_of

EXPORTED = ".pt2"
CUPTI, EVENTS = "cupti", "events"
TIMINGS = (CUPTI, EVENTS)
_SEED = 0


class TorchRuntime(DeviceRuntime):
    """As :class:`~neuralpower.runtimes.runtime.Runtime`.

    Args:
        eager: run each operator from the host, as PyTorch does by itself; else capture all into a CUDA graph.
        timing: `cupti` or `events`; None takes CUPTI where it is there and works.
        native: `torch.cuda`, or a stand-in; with one, tensors stay on the CPU and all is marked simulated.
        cupti: the module `cupti.cupti`, or a stand-in.
    """

    name = "torch"

    def __init__(
        self, *, eager: bool = False, timing: str | None = None, native: Any = None, cupti: Any = None
    ) -> None:
        if timing not in (None, *TIMINGS):
            raise InputError(f"no timing {timing!r}; there are {', '.join(TIMINGS)}")
        self._eager, self._timing, self._native, self._cupti = eager, timing, native, cupti
        self.simulated = native is not None
        self._records: Activities | None = None

    def why_not(self) -> str:
        """PyTorch is missing, was built without CUDA, or has no GPU."""
        if self._native is not None:
            return ""
        if importlib.util.find_spec("torch") is None:
            return "no Python module torch"
        if reason := cuda.no_device():
            return reason
        try:
            import torch
        except (ImportError, OSError) as error:
            return f"PyTorch is installed and cannot be loaded: {first_line(error)}"
        if torch.version.cuda is None:
            return "this PyTorch was built without CUDA"
        return (
            "" if torch.cuda.is_available() else "PyTorch finds no CUDA device; its CUDA may be newer than the driver"
        )

    def about(self) -> str:
        """Versions and the GPU."""
        import torch

        where = "a stand-in for CUDA (simulated)" if self._native is not None else cuda.device_name()
        return f"PyTorch {torch.__version__} on {where}, {'eager' if self._eager else 'captured in CUDA graphs'}"

    def load(self, spec: str, options: Options) -> Program:
        """A network of `torch:module:callable`, `hub:repository:model`, or a program that `torch.export.save` wrote (.pt2)."""
        import torch

        if spec.endswith(EXPORTED):
            try:
                return self.exported(torch.export.load(spec), None, title(spec))
            except OSError as error:
                raise InputError(f"{spec}: {error.strerror}") from None
            except Exception as error:  # whatever is in the file
                raise InputError(f"{spec}: not an exported program: {first_line(error)}") from None
        model, shapes, named = self._module(spec, options)
        return self.module(model, shapes, named, options, title(spec))

    def module(
        self,
        model: Any,
        shapes: Sequence[Sequence[int]],
        named: dict[str, tuple[int, ...]],
        options: Options,
        name: str,
    ) -> Program:
        """A `torch.nn.Module` in evaluation mode, whose inputs are random numbers of these shapes.

        Half precision runs with channels last, the format that tensor cores take.
        """
        import torch

        from ...features.torch.export import ANY, output_to_stderr, plain_attention

        kind = self._kind(options)
        model = model.to(self._device(), kind)
        inputs, others = [self._noise(shape, kind) for shape in shapes], {}
        others = {name: self._noise(shape, kind) for name, shape in named.items()}
        if kind == torch.float16:
            last = torch.channels_last
            model = model.to(memory_format=last)
            inputs = [each.contiguous(memory_format=last) if each.dim() == 4 else each for each in inputs]
        try:
            with output_to_stderr(), torch.no_grad(), plain_attention(torch):
                program = torch.export.export(model, tuple(inputs), others)
        except ANY as error:  # the user's code and the exporter can fail in any way
            raise InputError(f"{name}: torch.export cannot trace it: {first_line(error)}") from error
        return self.exported(program, [*inputs, *others.values()], name)

    def exported(self, program: Any, inputs: Sequence[Any] | None, name: str) -> Program:
        """A program that `torch.export` traced, with its inputs; None: random numbers of the shapes that it was traced with."""
        import torch

        from ...features.torch.export import program_layers
        from .program import ProgramCourse

        layers = program_layers(program, name)
        given = self._given(program) if inputs is None else inputs
        self._exact()
        with torch.no_grad(), self._current():
            course = ProgramCourse(program, given, layers)
        return self._program(name, course.steps, course.begin, [program, given])

    def layers(self, spec: str, options: Options) -> list[Layer]:
        """As PyTorch runs them: none fused with another."""
        from ...features.onnx.fused import layers_of
        from ...features.torch.export import graph_from_torch

        if spec.startswith(TORCH):
            return layers_of(graph_from_torch(spec, options.batch))
        raise InputError(f"{spec}: layers are repeated of torch:module:callable")

    def repeated(self, layer: Layer, copies: int, options: Options, name: str) -> Program:
        """Copies of a layer, timed together: each has an even share."""
        from .layer import calls

        self._exact()
        one = calls(layer, copies, self._kind(options), self._device())
        step = Step(tuple(layer.renamed(f"{layer.name} ×{copy}") for copy in range(1, copies + 1)), one)
        return self._program(name, [step], lambda: None, [], timing=EVENTS)

    def _module(self, spec: str, options: Options) -> tuple[Any, Sequence[Sequence[int]], dict[str, tuple[int, ...]]]:
        if spec.startswith(HUB):
            return hub_module(spec), [hub_shape(spec, options.batch)], {}
        if spec.startswith(TORCH):
            from ...features.torch.export import module_of

            return module_of(spec, options.batch)
        raise InputError(
            f"{spec}: PyTorch runs torch:module:callable, hub:repository:model and exported programs ({EXPORTED}); "
            "TensorRT runs ONNX"
        )

    def _program(
        self, name: str, steps: Sequence[Step], begin: Any, held: list[Any], timing: str | None = None
    ) -> Program:
        """With CUPTI where it works, else with events; captured where that works, else from the host. What did not work is said."""
        import torch

        native = self._native or torch.cuda
        stream = TorchStream(native.Stream())
        notes: list[str] = []
        asked = timing or self._timing
        timings = [asked] if asked else self._timings(notes)
        ways = [(how, captured) for captured in ((False,) if self._eager else (True, False)) for how in timings]
        for number, (how, captured) in enumerate(ways):
            try:
                context = self._tried(name, steps, native, stream, begin, how, captured)
            except (Failure, RuntimeError, TypeError) as error:  # RuntimeError is what CUDA raises in PyTorch
                told = first_line(error)
                if number + 1 == len(ways):
                    raise Failure(f"{name}: it cannot be timed: {told}") from error
                notes.append(f"{name}: {'captured' if captured else 'eager'} with {how}: {told}")
                continue
            events = AroundEvents(native, span_of(context))
            return Program(name, context, stream, held, tuple(notes), EventClock(events))
        raise AssertionError("there is at least one way")

    def _timings(self, notes: list[str]) -> list[str]:
        try:
            self._kernels()
        except ModuleNotFoundError as error:  # its wheel alone lacks what it needs
            why = "with cupti-python installed, CUPTI times each kernel"
            if not (error.name or "").startswith("cupti"):
                why = f"cupti-python needs the module {error.name}, which is not installed"
            notes.append(f"layers are timed by CUDA events: {why}")
        except Exception as error:  # whatever a library of another version raises
            notes.append(f"layers are timed by CUDA events: CUPTI cannot be used: {first_line(error)}")
        else:
            return [CUPTI, EVENTS]
        return [EVENTS]

    def _kernels(self) -> Activities:
        self._records = self._records or Activities(self._cupti)
        return self._records

    def _tried(
        self, name: str, steps: Sequence[Step], native: Any, stream: TorchStream, begin: Any, how: str, captured: bool
    ) -> TorchContext:
        """A context that has run an inference, and timed it."""
        import torch

        times: StepTimes
        if how == CUPTI:
            times = KernelTimes(self._kernels(), len(steps), captured)
        else:
            times = EventTimes(native, len(steps), captured)
        with torch.no_grad():
            context = TorchContext(
                name,
                [Step(step.layers, _without_gradients(step.enqueue)) for step in steps],
                native,
                stream,
                times,
                captured=captured,
                about={"Runtime": self.about(), "Timing": how},
                begin=begin,
                simulated=self.simulated,
            )
        context.profiler = _Nobody()
        try:
            context.execute_async_v3(stream.handle)
            stream.synchronize()
            context.durations_ns()
        finally:
            context.profiler = None
        context.execute_async_v3(stream.handle)  # captures it as it runs without the profiler
        stream.synchronize()
        return context

    def _kind(self, options: Options) -> Any:
        import torch

        kinds = {"fp32": torch.float32, "fp16": torch.float16}
        if options.precision not in kinds:
            raise InputError(f"--runtime torch: {options.precision} is not run; there are {', '.join(kinds)}")
        return kinds[options.precision]

    def _device(self) -> str:
        return "cpu" if self._native is not None else "cuda"

    def _current(self) -> contextlib.AbstractContextManager[Any]:
        import torch

        return contextlib.nullcontext() if self._native is not None else torch.cuda.device(0)

    def _noise(self, shape: Sequence[int], kind: Any) -> Any:
        """Zeros would be cheaper for the GPU than data: fewer bits change, so it draws less."""
        import torch

        draw = torch.Generator().manual_seed(_SEED)
        return torch.randn(*shape, generator=draw).to(self._device(), kind)

    def _given(self, program: Any) -> list[Any]:
        import torch

        wanted = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
        shown = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
        given = []
        for name in wanted:
            value = shown[name]
            if not hasattr(value, "shape"):
                raise InputError(f"input {name} of the exported program is no tensor")
            shape = tuple(int(size) for size in value.shape)
            plain = value.dtype.is_floating_point
            given.append(
                self._noise(shape, value.dtype)
                if plain
                else torch.zeros(shape, dtype=value.dtype, device=self._device())
            )
        return given

    def _exact(self) -> None:
        """FP32 is FP32: no TF32."""
        import torch

        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False


class _Nobody:
    """A profiler that nobody reads."""

    def report_layer_time(self, name: str, ms: float) -> None:
        """Nothing."""


def _without_gradients(enqueue: Any) -> Any:
    """Steps are run long after they were made, in whatever mode PyTorch is then."""
    import torch

    def run() -> None:
        with torch.no_grad():
            enqueue()

    return run


def exported_file(spec: str) -> bool:
    """Whether `spec` names a program that `torch.export.save` wrote."""
    return Path(spec).suffix == EXPORTED
