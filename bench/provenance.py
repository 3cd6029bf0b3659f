"""Where a result came from: commit, versions, machine, threads, command."""

import hashlib
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from .store import Json


@cache
def commit() -> str:
    """The commit of the checkout that this code runs from, "+" for uncommitted changes; empty outside a checkout."""
    folder = Path(__file__).resolve().parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
        )
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


@cache
def machine() -> str:
    """Processor, cores and system, and a hash of the host's name and of what exactly the processor is and can do.

    What a timing belongs to: machines of one cloud often share the name of host and processor.
    """
    model, host = platform.processor() or platform.machine(), platform.node()
    try:
        cpu = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines())
        kind = {name.strip(): text.strip() for name, text in cpu.items()}
        model = kind.get("model name", model)
        host += " ".join(kind.get(name, "") for name in ("cpu family", "model", "stepping", "flags"))
    except (OSError, ValueError):
        pass
    digest = hashlib.sha256(host.encode()).hexdigest()[:6]
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, {digest}"


@cache
def package_version() -> str:
    try:
        return version("scorebench")
    except PackageNotFoundError:
        return "0"


def provenance(started: datetime, device: str = "cpu", threads: int | None = None) -> Json:
    """The provenance of a result whose computation began at `started` (UTC) and ends now."""
    return {
        "commit": commit(),
        "package_version": package_version(),
        "torch_version": torch.__version__,
        "python_version": platform.python_version(),
        "machine": machine(),
        "device": device,
        "threads": torch.get_num_threads() if threads is None else threads,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - started).total_seconds(), 3),
    }
