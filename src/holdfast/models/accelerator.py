"""Whether this machine has an accelerator, told without importing torch, which takes seconds."""

import ctypes
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import Any

# The first NVIDIA cards that compute in bfloat16 (Ampere); torch imitates it on older ones, slowly.
_BFLOAT16_SINCE = 8


def automatic_dtype() -> str:
    """What ``dtype: auto`` stands for here: bfloat16 on an accelerator, float32 elsewhere.

    float16 on an NVIDIA card that has no bfloat16.

    It is decided where a stage is planned and stands in its resolved settings, so its identity
    and its run cannot differ, also where another machine runs it. On a machine without the
    accelerator of those that will run (a cluster's login node, say), set dtype yourself.
    """
    if not has_accelerator():
        return "float32"
    return "float16" if lacks_bfloat16() else "bfloat16"


@cache
def has_accelerator() -> bool:
    """Whether the torch that is installed was built for an accelerator that is here and visible."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    builds = torch_builds()
    if "cuda" in builds:
        return nvidia_devices() > 0
    if "hip" in builds:
        return Path("/dev/kfd").exists()
    return "xpu" in builds and any(Path("/dev/dri").glob("renderD*"))


def torch_builds() -> set[str]:
    """For which of cuda, hip and xpu torch was built, as the version file in its package says."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return set()
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    return set(re.findall(r"^(cuda|hip|xpu)\b[^=\n]*=\s*['\"]", text, re.M))


def nvidia_devices() -> int:
    """The NVIDIA devices that the driver counts; 0 where CUDA_VISIBLE_DEVICES hides all of them."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return 0
    count = ctypes.c_uint(0)
    with _nvml() as nvml:
        if nvml is None or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return 0
    return count.value


def visible_gpus() -> list[str]:
    """The NVIDIA devices that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if "cuda" not in torch_builds():
        return []
    count = nvidia_devices()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not count or named is None:
        return [str(index) for index in range(count)]
    names = [name.strip() for name in named.split(",")]
    return list(takewhile(lambda name: name not in ("", "-1"), names))  # as CUDA reads it


@cache
def lacks_bfloat16() -> bool:
    """Whether a visible NVIDIA card computes no bfloat16: one before Ampere, such as T4 or V100."""
    with _nvml() as nvml:
        if nvml is None:
            return False
        generations = [_generation(nvml, name) for name in visible_gpus()]
    return any(one is not None and one < _BFLOAT16_SINCE for one in generations)


def _generation(nvml: Any, name: str) -> int | None:
    """The first number of a card's compute capability; None where the driver does not tell."""
    device, major, minor = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
    if name.isdecimal():
        failed = nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(name)), ctypes.byref(device))
    else:
        failed = nvml.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(device))
    failed = failed or nvml.nvmlDeviceGetCudaComputeCapability(
        device, ctypes.byref(major), ctypes.byref(minor)
    )
    return None if failed else major.value


@contextmanager
def _nvml() -> Iterator[Any]:
    """NVIDIA's management library, None where there is none.

    It asks the driver and makes no context on the device, as counting by CUDA would.
    """
    try:
        nvml = ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
    except OSError:
        yield None
        return
    if nvml.nvmlInit_v2() != 0:
        yield None
        return
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()
