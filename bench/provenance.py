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
    """Processor, cores and system, with a hash of the host's name: what a timing belongs to."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    host = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, {host}"


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
