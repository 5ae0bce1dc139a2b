"""What a check finds of the machine: real-time rights, kernel, clocks, software. Read only."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from neuralpower_sampler import AVAILABLE, REINSTALL
from neuralpower_wire import tick_dtype

from ..config import Config
from ..system.conditions import Machine
from ..system.latency import LatencyHold
from ..system.sysfs import exists, read_int, read_text
from .findings import BETTER, GOOD, PROBLEM, UNKNOWN, Finding

REALTIME, MACHINE, SOFTWARE = "Real time", "Machine", "Software"
CAP_IPC_LOCK, CAP_SYS_NICE = 14, 23
"""linux/capability.h: lock memory, take a real-time priority, whatever the limits say."""


def realtime(config: Config, readings: int = 6, period_ns: int = 0) -> Iterator[Finding]:
    """Whether the sampling loop can have its priority and its memory, for so many readings a tick and this period (0: not known)."""
    root, priority = Path(config.sysfs_root), config.realtime.priority
    yield _priority(priority)
    yield from _group_scheduling(root)
    period_ns = period_ns or 1000 * (config.period_us or 1000)
    yield _throttling(root, min(0.5, 1000 * config.realtime.spin_us / period_ns))
    yield _memory(config, readings, period_ns)
    yield _preemption(root)
    yield _waking(config)
    isolated = read_text(root / "sys/devices/system/cpu/isolated")
    if isolated is None:
        yield Finding(REALTIME, "isolated processors", "cannot be read", UNKNOWN, "is sysfs_root right?")
    elif isolated:
        pinned = config.realtime.cpu >= 0
        advice = "" if pinned else "set realtime.cpu to one of them"
        yield Finding(REALTIME, "isolated processors", isolated, GOOD if pinned else BETTER, advice)
    else:
        advice = "only for the last microseconds: isolcpus=N on the kernel's command line, and realtime.cpu = N"
        yield Finding(REALTIME, "isolated processors", "none", GOOD, advice)


def _priority(priority: int) -> Finding:
    topic = "priority"
    if not priority:
        return Finding(REALTIME, topic, "not wanted", BETTER, "realtime.priority = 80 lets the loop wake on time")
    refused = _try_fifo(priority)
    if not refused:
        return Finding(REALTIME, topic, f"SCHED_FIFO {priority} was granted when tried", GOOD)
    limit = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    advice = f"run it as the service (LimitRTPRIO={priority} in the unit), or: prlimit --rtprio={priority} --pid $$"
    if limit >= priority or _may(CAP_SYS_NICE):
        advice = "the limit allows it, so a control group or a container does not: see real-time groups"
    elif os.geteuid() == 0:
        advice = "root lacks CAP_SYS_NICE here: give it to the container (docker run --cap-add=SYS_NICE)"
    return Finding(REALTIME, topic, f"SCHED_FIFO {priority} was refused to this user: {refused}", PROBLEM, advice)


def _try_fifo(priority: int) -> str:
    """Ask for the priority and give it back at once; the reason of a refusal, or nothing."""
    try:
        before = os.sched_getscheduler(0), os.sched_getparam(0)
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
        os.sched_setscheduler(0, *before)
    except OSError as error:
        return os.strerror(error.errno or 0)
    return ""


def _may(capability: int) -> bool:
    """Whether this process has the capability; root in a container may lack it."""
    for line in (read_text(Path("/proc/self/status")) or "").splitlines():
        key, _, value = line.partition(":")
        if key == "CapEff":
            return bool(int(value, 16) >> capability & 1)
    return os.geteuid() == 0


def _group_scheduling(root: Path) -> Iterator[Finding]:
    """With CONFIG_RT_GROUP_SCHED a control group has its own share of real time, and a new one has none."""
    topic = "real-time groups"
    for controller in ("cpu,cpuacct", "cpu"):
        runtime = root / "sys/fs/cgroup" / controller / "system.slice/cpu.rt_runtime_us"
        share = read_int(runtime)
        if share == 0:
            advice = (
                f"services get no real time: echo 900000 > {runtime}, or boot with systemd.unified_cgroup_hierarchy=1"
            )
            yield Finding(REALTIME, topic, "services have a share of 0", PROBLEM, advice)
            return
        if share is not None:
            yield Finding(REALTIME, topic, f"services have {share} µs a period", GOOD)
            return
    yield Finding(REALTIME, topic, "no limit was found in a control group", GOOD)


def _throttling(root: Path, spins: float) -> Finding:
    """Whether the kernel takes the processor away from a loop that spins for this share of the time."""
    topic = "real-time throttling"
    runtime = read_int(root / "proc/sys/kernel/sched_rt_runtime_us")
    period = read_int(root / "proc/sys/kernel/sched_rt_period_us")
    if runtime is None or not period:
        return Finding(REALTIME, topic, "cannot be read", UNKNOWN, "is sysfs_root right?")
    if runtime < 0:
        return Finding(REALTIME, topic, "off", GOOD)
    share = f"{100 * runtime / period:.0f} % of a processor"
    needs = spins + 0.1
    if runtime < needs * period:
        advice = f"sysctl kernel.sched_rt_runtime_us={period * 19 // 20}: the loop needs up to {100 * needs:.0f} %"
        return Finding(REALTIME, topic, f"from {share} on", PROBLEM, advice)
    return Finding(REALTIME, topic, f"from {share} on; the loop needs less than {100 * needs:.0f} %", GOOD)


def _memory(config: Config, readings: int, period_ns: int) -> Finding:
    needed = config.history_seconds * 10**9 // period_ns * tick_dtype(readings).itemsize
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if not config.realtime.lock_memory:
        return Finding(REALTIME, "locked memory", "not wanted", BETTER, "realtime.lock_memory = true")
    if limit == resource.RLIM_INFINITY or limit >= needed or _may(CAP_IPC_LOCK):
        return Finding(REALTIME, "locked memory", f"allowed; about {needed >> 20} MiB are needed", GOOD)
    advice = "run it as the service (LimitMEMLOCK in the unit), or make history_seconds shorter"
    return Finding(REALTIME, "locked memory", f"{limit >> 20} MiB allowed, about {needed >> 20} needed", BETTER, advice)


def _waking(config: Config) -> Finding:
    """Spin and wake-up latency as configured, and whether the latter can be had."""
    topic, realtime = "spin, wake-up latency", config.realtime
    spin = f"{realtime.spin_us} µs of spin" if realtime.spin_us else "no spin"
    if not realtime.hold_latency:
        advice = (
            "" if realtime.spin_us else "both wake the loop sooner and raise the power that is measured: off by default"
        )
        return Finding(REALTIME, topic, f"{spin}, processors may sleep deeply", GOOD, advice)
    hold = LatencyHold()
    hold.want(True)
    state, refused = hold.state, hold.refused
    hold.release()
    if not refused:
        return Finding(
            REALTIME, topic, f"{spin}, kept awake (granted when tried)", GOOD, "both raise the power measured"
        )
    advice = "for the service install neuralpowerd-latency.conf; by hand run it as root"
    return Finding(REALTIME, topic, f"{spin}, kept awake: {state}", PROBLEM, advice)


def _preemption(root: Path) -> Finding:
    version = read_text(root / "proc/version") or ""
    if read_text(root / "sys/kernel/realtime") == "1" or "PREEMPT_RT" in version:
        return Finding(REALTIME, "kernel preemption", "PREEMPT_RT", GOOD)
    if not version:
        return Finding(REALTIME, "kernel preemption", "cannot be read", UNKNOWN, "is sysfs_root right?")
    advice = "a PREEMPT_RT kernel (on JetPack: the nvidia-l4t-rt packages) bounds the lateness"
    for model in ("PREEMPT_DYNAMIC", "PREEMPT"):
        if model in version:
            return Finding(REALTIME, "kernel preemption", model, BETTER, advice)
    return Finding(REALTIME, "kernel preemption", "voluntary or none", BETTER, advice)


def machine(config: Config) -> Iterator[Finding]:
    """Clocks and power mode: what makes two measurements comparable."""
    root = Path(config.sysfs_root)
    found = Machine(root, config.conditions.power_mode)
    locked = found.clocks_locked()
    if locked is None:
        advice = (
            "in a virtual machine or a container there are none; else measurements on different clocks do not compare"
        )
        yield Finding(MACHINE, "clocks", "none that scale were found", UNKNOWN, advice)
    else:
        moving = [clock.name for clock in found.clocks if clock.locked() is False]
        value = "locked" if locked else f"{len(moving)} of {len(found.clocks)} may move: {', '.join(moving[:4])}"
        fix = (
            "sudo jetson_clocks" if exists(root / "usr/bin/jetson_clocks") else "fix them (lowest frequency = highest)"
        )
        advice = "" if locked else f"{fix} before measuring"
        yield Finding(MACHINE, "clocks", value, GOOD if locked else BETTER, advice)
    for clock in found.clocks:
        hz = clock.hz()
        if hz and not clock.name.startswith("cpu."):
            yield Finding(MACHINE, f"clock {clock.name}"[:23], f"{hz / 1e6:.0f} MHz", GOOD)
    mode = found.power_mode()
    if mode:
        yield Finding(MACHINE, "power mode", mode, GOOD, "it is in every recording; nvpmodel -q explains it")
    else:
        advice = f"{config.conditions.power_mode} cannot be read; set conditions.power_mode to the file that names it"
        yield Finding(MACHINE, "power mode", "not found", UNKNOWN, advice)
    states = {name.partition(".")[2]: state for name, state in found.read().items() if name.startswith("throttling.")}
    throttled = [name for name, state in states.items() if isinstance(state, int) and state > 0]
    if not states:
        advice = "there is no cooling device in sysfs: compare runs by their time, or watch the temperature by hand"
        yield Finding(MACHINE, "throttling", "nothing here tells", UNKNOWN, advice)
    elif throttled:
        advice = "better cooling, or a lower power mode: throttled measurements do not compare"
        yield Finding(MACHINE, "throttling", ", ".join(throttled), PROBLEM, advice)
    else:
        yield Finding(MACHINE, "throttling", "none now", GOOD)


def software() -> Iterator[Finding]:
    """The sampler and TensorRT; nothing is imported."""
    if AVAILABLE:
        yield Finding(SOFTWARE, "sampler", "ready", GOOD)
    else:
        yield Finding(SOFTWARE, "sampler", "missing", PROBLEM, f"reinstall with: {REINSTALL}")
    try:
        there = importlib.util.find_spec("tensorrt") is not None
    except (ImportError, ValueError):
        there = False
    if there:
        try:
            version = importlib.metadata.version("tensorrt")
        except importlib.metadata.PackageNotFoundError:
            version = "of unknown version"
        yield Finding(SOFTWARE, "TensorRT", version, GOOD)
    else:
        advice = "for profiling on this machine; on a Jetson by JetPack's apt package and a virtual environment with --system-site-packages"
        yield Finding(SOFTWARE, "TensorRT", "not found by this Python", BETTER, advice)
