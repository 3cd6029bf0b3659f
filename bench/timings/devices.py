"""Where a benchmark runs, and the clock that suits the place."""

import time

import torch

DEVICES = ["cpu", "cuda"]


def prepare(device: str) -> None:
    """One thread; NotImplementedError, which asv records as n/a, where the device is missing."""
    torch.set_num_threads(1)
    if device == "cuda" and not torch.cuda.is_available():
        raise NotImplementedError("no CUDA device")


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def clock() -> float:
    """CPU time, which other processes hardly move; wall time in a process that uses CUDA."""
    on_gpu = torch.cuda.is_initialized()
    return time.perf_counter() if on_gpu else time.process_time()
