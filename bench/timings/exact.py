"""The image-scale exact model against the matrix products that it cannot do without."""

from collections.abc import Callable
from statistics import median

import torch

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.mixture import Mixture

from .devices import DEVICES, clock, prepare, synchronise

BATCH, ROUNDS = 1000, 15


class Denoiser:
    """`exact:ppca-fashion` at batch 1,000 in float32: median time of a call over that of its products, in one run."""

    params = (DEVICES,)
    param_names = ("device",)
    unit = "x"

    def setup(self, device: str) -> None:
        prepare(device)
        model = load_model("exact:ppca-fashion")
        assert isinstance(model, Mixture)
        self.device, self.model = device, model
        self.x = torch.randn(BATCH, *model.shape, device=device)
        self.t = torch.tensor(0.4, dtype=torch.float64)
        self.p = model._parameters(self.x)

    def call(self) -> None:
        self.model.denoise(self.x, self.t)

    def products(self) -> None:
        (self.x.flatten(1) @ self.p.basis) @ self.p.basis.T

    def track_denoise_over_products(self, device: str) -> float:
        calls, products = [], []
        for _ in range(ROUNDS):  # in turn, so that drift hits both
            calls.append(self._seconds(self.call))
            products.append(self._seconds(self.products))
        return median(calls) / median(products)

    def _seconds(self, work: Callable[[], None]) -> float:
        synchronise(self.device)
        start = clock()
        work()
        synchronise(self.device)
        return clock() - start
