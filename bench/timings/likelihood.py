"""Likelihoods: what a step and its trace cost around an exact model and a shipped network."""

import torch

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.network import NetworkModel
from scorebench.solvers.grids import make_grid
from scorebench.solvers.likelihood import log_likelihood
from scorebench.solvers.registry import find
from scorebench.solvers.trace import Trace

from .devices import DEVICES, clock, prepare, synchronise

STEPS, BATCH = 4, 8
MODELS = {"exact:ppca-fashion": Trace("closed"), "digits-vp": Trace("rademacher")}


class Likelihood:
    """Four steps of the third-order exponential Adams–Bashforth method for eight samples, with the model's usual trace."""

    params = (list(MODELS), DEVICES)
    param_names = ("model", "device")
    timer = staticmethod(clock)
    warmup_time = 0.3

    def setup(self, address: str, device: str) -> None:
        prepare(device)
        model, p = load_model(address), load_model(address).process
        self.model = model.to(torch.float32, device) if isinstance(model, NetworkModel) else model
        self.info, self.trace = find("exp-ab3"), MODELS[address]
        self.grid = make_grid("logsnr", p, STEPS, p.t_min_likelihood, p.t_max)
        self.x = torch.randn(BATCH, *model.shape, generator=torch.Generator().manual_seed(0)).to(device)

    def time_log_likelihood(self, address: str, device: str) -> None:
        with torch.no_grad():
            log_likelihood(self.model, self.info, self.grid, self.x, trace=self.trace)
        synchronise(device)
