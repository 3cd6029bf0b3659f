"""One call of a shipped network: the cost that every solver's overhead is read against."""

import torch

from scorebench.reference_models.addresses import load_model, shipped
from scorebench.reference_models.network import NetworkModel

from .devices import DEVICES, clock, prepare, synchronise

NETWORK = "digits-vp"


class Network:
    """The denoiser of `digits-vp` at the middle of its interval, float32."""

    params = ([1, 64], DEVICES)
    param_names = ("batch", "device")
    timer = staticmethod(clock)
    warmup_time = 0.3

    def setup(self, batch: int, device: str) -> None:
        prepare(device)
        if NETWORK not in shipped():
            raise NotImplementedError(f"no weights of {NETWORK}: train it with `scorebench train {NETWORK}`")
        model = load_model(NETWORK)
        assert isinstance(model, NetworkModel)
        self.model = model.to(torch.float32, device)
        self.t = torch.tensor(0.5, dtype=torch.float64)
        self.x = torch.randn(batch, *model.shape, generator=torch.Generator().manual_seed(0)).to(device)

    def time_denoise(self, batch: int, device: str) -> None:
        with torch.inference_mode():
            self.model.denoise(self.x, self.t)
        synchronise(device)
