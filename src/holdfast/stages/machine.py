"""What a stage asks of the machine, and tells of it."""

import contextlib
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers


def quiet_libraries() -> None:
    """No bars and remarks of the libraries between ours."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


@contextmanager
def one_thread(is_organism: bool) -> Iterator[None]:
    """The organism computes on one thread.

    A second one gains a quarter, but the order of its sums, and so the last digits of every
    result, would depend on the machine; two stages side by side gain more.
    """
    threads = torch.get_num_threads()
    if is_organism:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def reset_peak_memory() -> None:
    """Forget the peak of what this process did before the stage, where the system can."""
    if torch.accelerator.is_available():
        torch.accelerator.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory() -> int:
    """Bytes: of the accelerator if there is one, else the resident set of this process."""
    if torch.accelerator.is_available() and torch.accelerator.max_memory_allocated():
        return torch.accelerator.max_memory_allocated()
    with contextlib.suppress(OSError):
        told = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
        for line in told.splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ModuleNotFoundError:  # Windows, whose process information has the peak
        memory: Any = psutil.Process().memory_info()
        return getattr(memory, "peak_wset", memory.rss)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def versions() -> dict[str, str]:
    """Of the packages that decide a result, of Python and the system, and the device."""
    packages = ("holdfast", "torch", "transformers", "peft", "accelerate", "tokenizers")
    return {
        **{package: version(package) for package in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": _device(),
    }


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return (
        str(torch.accelerator.current_accelerator()) if torch.accelerator.is_available() else "cpu"
    )
