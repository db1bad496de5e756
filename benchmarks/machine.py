"""The machine on which figures were measured."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import device

PACKAGES = ("torch", "mmengine", "transformers", "timm", "detectron2", "pydantic")


def description() -> dict[str, Any]:
    """Return what figures depend on: processor, memory, device, threads and versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory": f"{_memory() / 2**30:.0f} GiB",
        "device": torch.cuda.get_device_name() if device().type == "cuda" else "CPU",
        "synchronised": device().type == "cuda",
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        text = cpuinfo.read_text("utf-8", "replace")
        name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        numbers = [re.search(rf"^{key}\s*:\s*(\d+)$", text, re.MULTILINE) for key in ("cpu family", "model")]
        if name:
            found = ", ".join(f"{key} {n[1]}" for key, n in zip(("family", "model"), numbers, strict=True) if n)
            return f"{name[1]} ({found})" if found else name[1]
    return platform.processor() or platform.machine()


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_memory() -> int:
    """Return how many bytes of the device's memory can be had now."""
    if device().type == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    meminfo = Path("/proc/meminfo")
    found = re.search(r"^MemAvailable:\s*(\d+) kB", meminfo.read_text(), re.MULTILINE) if meminfo.exists() else None
    return int(found[1]) * 1024 if found else _memory() // 2


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def triad(numel: int) -> tuple[Callable[[], Any], int]:
    """Return the STREAM triad ``a = b + s * c`` (McCalpin, 1995) over so many floats, and the bytes that it moves."""
    a, b, c = (torch.ones(numel, device=device()) for _ in range(3))
    return lambda: torch.add(b, c, alpha=0.5, out=a), 12 * numel
