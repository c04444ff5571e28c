"""Whether this machine has an accelerator, told without importing torch, which takes seconds."""

import ctypes
import os
import platform
import re
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path


def automatic_dtype() -> str:
    """What ``dtype: auto`` stands for here: bfloat16 on an accelerator, float32 elsewhere.

    It is decided where a stage is planned and stands in its resolved settings, so its identity
    and its run cannot differ, also where another machine runs it. On a machine without the
    accelerator of those that will run (a cluster's login node, say), set dtype yourself.
    """
    return "bfloat16" if has_accelerator() else "float32"


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
    try:
        # NVML asks the driver and makes no context on the device, as counting by CUDA would.
        nvml = ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
    except OSError:
        return 0
    count = ctypes.c_uint(0)
    if nvml.nvmlInit_v2() != 0:
        return 0
    try:
        return count.value if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0 else 0
    finally:
        nvml.nvmlShutdown()
