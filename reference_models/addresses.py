"""Addresses: where a model comes from, in one string.

digits-vp                          a shipped network
    digits-vp?process=edm              the same denoiser under another process, a change of variables
    fashion-vp-cond?label=7&guidance=3     a network with labels, guided; without options, the label that stands for none
exact:gmm?process=ve               an exact model, on any process, whose parameters may follow
    exact:gmm?score_error=0.1          the same with a score that is wrong by a tenth; score_bias likewise
python:FILE.py:function            a function of the user's own that returns a model
python:package.module:function
NAME                               the same, of an installed package's entry point in the group scorebench.models
"""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import parse_qsl

import torch

from .checkpoint import load_checkpoint
from .errors import UsageError, unknown
from .gaussian import gaussian
from .mixture import empirical_digits, gmm
from .model import ExactModel, Model
from .network import WEIGHTS, NetworkModel, load_network
from .ppca import gaussian_fashion, ppca_fashion
from .process import Process, make_process
from .score_error import WrongScore

EXACT: dict[str, Callable[[Process], ExactModel]] = {
    "gaussian": gaussian,
    "gmm": gmm,
    "gaussian-fashion": gaussian_fashion,
    "ppca-fashion": ppca_fashion,
    "empirical-digits": empirical_digits,
}


def shipped() -> list[str]:
    """Names of the networks whose weights ship with the package."""
    return sorted(path.parent.name for path in WEIGHTS.glob("*/config.json") if "process" in path.read_text())


def addresses() -> list[str]:
    """Every address that needs no file of the user's."""
    offered = [entry.name for entry in entry_points(group="scorebench.models")]
    return [*(f"exact:{name}" for name in EXACT), *shipped(), *offered]


def load_model(address: str) -> Model:
    """The model at that address; UsageError, with the nearest valid choice, when there is none."""
    kind, _, rest = address.partition(":")
    if kind == "python":
        return _from_python(address, rest)
    if kind == "diffusers":
        name, _, query = rest.partition("?")
        return load_checkpoint(address, name, dict(parse_qsl(query, keep_blank_values=True)))
    if kind == "exact":
        name, _, query = rest.partition("?")
        if name not in EXACT:
            raise unknown("model", address, addresses())
        return _exact(address, name, dict(parse_qsl(query, keep_blank_values=True)))
    name, _, query = address.partition("?")
    if name in shipped():
        return _network(address, name, dict(parse_qsl(query, keep_blank_values=True)))
    offered = {entry.name: entry for entry in entry_points(group="scorebench.models")}
    if name not in offered:
        raise unknown("model", address, addresses())
    return _checked(address, offered[name].load(), offered[name].value)


def _network(address: str, name: str, options: dict[str, str]) -> NetworkModel:
    """A shipped network, under another process where one is named."""
    own: dict[str, str] = {key: options.pop(key) for key in ("label", "guidance") if key in options}
    if "process" not in options:
        if options:
            raise unknown(f"option of {name}", next(iter(options)), ("label", "guidance", "process"))
        network = load_network(WEIGHTS / name, name, own)
    else:
        process = make_process(options.pop("process"), **_numbers(address, options))
        network = load_network(WEIGHTS / name, name, own).under(process)
    network.name = address
    return network


def _numbers(address: str, options: dict[str, str]) -> dict[str, float]:
    try:
        return {key: float(value) for key, value in options.items()}
    except ValueError:
        raise UsageError(
            f"model {address!r}: parameters of a process are numbers, as in exact:gmm?process=ve&sigma_max=80"
        ) from None


def _exact(address: str, name: str, options: dict[str, str]) -> ExactModel:
    process = options.pop("process", "vp")
    parameters = _numbers(address, options)
    error, bias = parameters.pop("score_error", 0.0), parameters.pop("score_bias", 0.0)
    model = EXACT[name](make_process(process, **parameters))
    if error or bias:
        model = WrongScore(model, error, bias)
    model.name = address
    return model


def _from_python(address: str, rest: str) -> Model:
    place, _, function = rest.rpartition(":")
    if not place or not function:
        raise UsageError(f"model {address!r}: expected python:FILE.py:function or python:module:function")
    if place.endswith(".py"):
        if not Path(place).is_file():
            raise UsageError(f"model {address!r}: no file {place}")
        spec = importlib.util.spec_from_file_location(f"scorebench_model_{Path(place).stem}", place)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # so that its classes know where they were defined
        spec.loader.exec_module(module)
    else:
        try:
            module = importlib.import_module(place)
        except ImportError as error:
            raise UsageError(f"model {address!r}: {error}") from None
    if not hasattr(module, function):
        names = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise unknown(f"function in {place}", function, names)
    return _checked(address, getattr(module, function), function)


def _checked(address: str, function: Callable[[], object], name: str) -> Model:
    model = function()
    if not isinstance(model, Model):
        raise UsageError(
            f"model {address!r}: {name}() must return an object with name, process, shape, data and denoise(x, t)"
        )
    model.name = address
    check_model(model)
    return model


def check_model(model: Model) -> None:
    """One denoiser call on two samples, so that a model of the user's fails here with one line and not in a long run."""
    x = torch.zeros(2, *model.shape)
    t = torch.tensor(0.5 * (model.process.t_min + model.process.t_max), dtype=torch.float64)
    try:
        out = model.denoise(x, t)
    except Exception as error:  # whatever the user's code raises is said in one line
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"model {model.name!r}: denoise fails on two samples: {type(error).__name__}: {reason}"
        ) from None
    if out.shape != x.shape or out.dtype != x.dtype:
        raise UsageError(
            f"model {model.name!r}: denoise maps {tuple(x.shape)} to {tuple(out.shape)}, {out.dtype}; expected the same"
        )
