"""What an installation can do: what was found, what that affects, and the command that mends it."""

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch

from scorebench.reference_models import fashion, torchvision_repair
from scorebench.reference_models.classifier import RECIPES, load_classifier
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.network import WEIGHTS, check_digest

from .inception import PUBLISHED
from .inception import SHA256 as INCEPTION_SHA256
from .inception import VARIABLE as INCEPTION
from .provenance import commit, machine
from .store import digest_of

State = Literal["ok", "note", "fails"]
CPU = Path("/sys/devices/system/cpu")
PEERS = ("k_diffusion", "torchsde", "torchdiffeq", "torchode")


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `affects` and `mend` are empty where all is well."""

    what: str
    found: str
    state: State = "ok"
    affects: str = ""
    mend: str = ""


def examine() -> Iterator[Finding]:
    """Everything, quickest first."""
    yield Finding("machine", f"{machine()}, Python {platform.python_version()}")
    checks: list[Callable[[], Finding | Iterator[Finding]]] = [
        source, device, libraries, threads, governor, load, weights, data, inception, ray, peers
    ]  # fmt: skip
    for check in checks:
        found = check()
        yield from [found] if isinstance(found, Finding) else found


def source() -> Finding:
    found = commit()
    if not found:
        return Finding(
            "commit", "none", "note", "results do not say which code made them", "run it from a git checkout"
        )
    if found.endswith("+"):
        return Finding("commit", found, "note", "results say only that files were changed since", "git commit")
    return Finding("commit", found)


def device() -> Finding:
    built = f"torch {torch.__version__}"
    if torch.cuda.is_available():
        return Finding("torch", f"{built} on {torch.cuda.get_device_name()}")
    if torch.version.cuda:
        return Finding(
            "torch",
            f"{built}, no GPU to be seen",
            "note",
            "everything runs on the CPU",
            "nvidia-smi, to see what it says",
        )
    return Finding("torch", f"{built}, a build for the CPU")


def libraries() -> Iterator[Finding]:
    """torchvision beside torch, and what imports it."""
    repaired = torchvision_repair.needed()
    found = f"torchvision {_version('torchvision')}"
    yield Finding(
        "torchvision", found + (", a CUDA build: its operators are declared for CPU torch" if repaired else "")
    )
    torchvision_repair.repair()
    for name, affects in (("torch_fidelity", "FID"), ("diffusers", "all networks")):
        try:
            __import__(name)
        except Exception as error:  # whatever a broken installation raises
            reason = " ".join(str(error).split())[:120]
            mend = f"pip install -c constraints.txt {name.replace('_', '-')}"
            yield Finding(name.replace("_", "-"), f"fails: {reason}", "fails", affects, mend)
        else:
            yield Finding(name.replace("_", "-"), _version(name))


def threads() -> Finding:
    used, cores = torch.get_num_threads(), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    found = f"{used} of torch, with {cores or os.cpu_count()} to be had"
    if used > 1:
        affects = "small networks, most of all beside other work: threads wait for one another; timings set their own"
        return Finding("threads", found, "note", affects, "export OMP_NUM_THREADS=1")
    return Finding("threads", found)


def governor(root: Path = CPU) -> Finding:
    """Whether the clocks of the processor are free to change while something is timed."""
    named = {path.read_text().strip() for path in root.glob("cpu[0-9]*/cpufreq/scaling_governor")}
    if not named:
        return Finding("clocks", "not visible here, as in most virtual machines", "note", "wall times, unseen")
    if named != {"performance"}:
        found = f"governor {', '.join(sorted(named))}"
        return Finding("clocks", found, "note", "wall times", "sudo cpupower frequency-set -g performance")
    return Finding("clocks", "governor performance")


def load() -> Finding:
    busy, cores = os.getloadavg()[0], os.cpu_count() or 1
    found = f"{busy:.1f} on {cores} cores"
    if busy > 0.5:
        affects = "wall times; CPU times and ratios to the anchor less"
        return Finding("load", found, "note", affects, "top, to see whose it is")
    return Finding("load", found)


def weights(root: Path = WEIGHTS) -> Iterator[Finding]:
    """The digest of everything trained or fitted that ships."""
    for folder in sorted(path.parent for path in root.glob("*/digest.txt")):
        name = folder.name
        try:
            digest = load_classifier(name, folder)[1] if name in RECIPES else check_digest(folder, name)
        except UsageError as error:
            reason, _, mend = str(error).partition("; ")
            yield Finding(f"weights {name}", reason, "fails", f"suites and features that need {name}", mend)
        else:
            yield Finding(f"weights {name}", f"sha256 {digest[:12]}…, as pinned")


def data() -> Finding:
    try:
        return Finding("Fashion-MNIST", str(fashion.folder()))
    except UsageError as error:
        mend = "apt install dataset-fashion-mnist"
        return Finding(
            "Fashion-MNIST", str(error).split(":")[0], "note", "training its models; no suite needs it", mend
        )


def inception() -> Finding:
    place, affects = os.environ.get(INCEPTION), "features of Inception-v3; shipped features are used instead"
    mend = f"export {INCEPTION}=/path/to/{PUBLISHED}"
    if place is None:
        return Finding("Inception-v3", "no weights file named", "note", affects, mend)
    if not Path(place).is_file():
        return Finding("Inception-v3", f"no file {place}", "fails", affects, mend)
    digest = digest_of(Path(place).read_bytes())
    if digest != INCEPTION_SHA256:
        return Finding(
            "Inception-v3", f"{place} has sha256 {digest[:12]}…, not {INCEPTION_SHA256[:8]}…", "fails", affects, mend
        )
    return Finding("Inception-v3", place)


def ray() -> Finding:
    if find_spec("ray") is None:
        return Finding("ray", "not installed", "note", "runs on several machines through Ray", "pip install ray")
    return Finding("ray", _version("ray"))


def peers() -> Finding:
    missing = [name for name in PEERS if find_spec(name) is None]
    if missing:
        found = f"without {', '.join(missing)}"
        return Finding("peers", found, "note", "`certify --peers` and `make timings`, of what they have", "make peers")
    return Finding("peers", ", ".join(PEERS))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
