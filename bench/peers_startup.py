"""How long commands and imports take, as CPU seconds of fresh processes; `solvers` after its first call, which keeps the list."""

import resource
import subprocess
import sys
from collections.abc import Iterator

import numpy as np

from .peer_timing import Row, figure

COMMAND = "import sys; from scorebench.cli import main; sys.argv = ['scorebench', {!r}]; main()"
CASES = (  # the package, what is done, the Python that does it
    ("scorebench", "scorebench --help", COMMAND.format("--help")),
    ("scorebench", "scorebench solvers", COMMAND.format("solvers")),
    ("scorebench", "import scorebench.solvers.registry", "import scorebench.solvers.registry"),
    ("torch", "import torch", "import torch"),
    ("diffusers", "import its schedulers", "from diffusers import DDIMScheduler, UniPCMultistepScheduler"),
)


def measure(number: int) -> Iterator[Row]:
    for package, case, code in CASES:
        seconds = np.array([child(["-c", code]) for _ in range(max(3, number // 4) + 1)])[1:]
        yield figure("startup", case, package, "process", "s CPU", seconds)


def child(arguments: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
