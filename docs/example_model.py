"""A network of your own as a model: `scorebench models python:docs/example_model.py:my_model`."""

import torch

from scorebench.reference_models.network import NetworkModel
from scorebench.reference_models.parameterisation import Parameterisation
from scorebench.reference_models.process import make_process


class MyNetwork(torch.nn.Module):  # any module from x (b, *shape) and times (b,) to a prediction, first of a tuple
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(65, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64))

    def forward(self, x, t, return_dict=False):
        return (self.body(torch.cat([x.flatten(1), t[:, None] / 1000], 1)).reshape(x.shape),)


def my_model():
    network = MyNetwork()  # network.load_state_dict(safetensors.torch.load_file("my.safetensors"))
    process = make_process("vp", beta_min=0.1, beta_max=20.0)
    reads = Parameterisation("epsilon", input_scale="none", conditioning="999t")
    return NetworkModel("mine", network, process, reads, shape=(1, 8, 8), digest="")
