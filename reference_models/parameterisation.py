"""What a network predicts, converted to and from the clean-data prediction D = E[x_0 | x_t].

With x = αx₀ + σε and r = √(α² + σ²):

    epsilon       ε                  x₀ = (x − σε) / α
    x0            x₀
    v             (αε − σx₀) / r     x₀ = (αx/r − σv) / r      (Salimans & Ho 2022 have r = 1)
    score         −ε/σ               x₀ = (x + σ² s) / α
    scaled_score  −ε                 x₀ = (x + σp) / α         (the score times σ; Song et al. 2021)
    flow          ε − x₀             x₀ = (x − σu) / (α + σ)   (Lipman et al. 2023: the velocity of x at α = 1−t, σ = t)

Coefficients are Tensors that broadcast against x.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from .errors import unknown
from .process import Process

Prediction = Literal["epsilon", "x0", "v", "score", "scaled_score", "flow"]
InputScale = Literal["none", "unit"]
Conditioning = Literal["999t", "log_sigma", "sigma", "t"]


def to_x0(kind: Prediction, prediction: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Clean-data prediction (b, *d) from the network's prediction (b, *d) at x (b, *d)."""
    if kind == "x0":
        return prediction
    of_x, of_prediction = x0_weights(kind, alpha, sigma)
    return of_x * x + of_prediction * prediction


def x0_weights(kind: Prediction, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """a and b of x0 = a x + b · prediction."""
    match kind:
        case "x0":
            return torch.zeros_like(alpha), torch.ones_like(alpha)
        case "epsilon":
            return 1 / alpha, -sigma / alpha
        case "v":
            r = torch.sqrt(alpha**2 + sigma**2)
            return alpha / r**2, -sigma / r
        case "score":
            return 1 / alpha, sigma**2 / alpha
        case "scaled_score":
            return 1 / alpha, sigma / alpha
        case "flow":
            return 1 / (alpha + sigma), -sigma / (alpha + sigma)
    raise unknown("prediction", kind, get_args(Prediction))


def from_x0(kind: Prediction, x0: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The prediction of that kind that says the same as x0 (b, *d) at x (b, *d): the inverse of `to_x0`."""
    eps = (x - alpha * x0) / sigma
    match kind:
        case "x0":
            return x0
        case "epsilon":
            return eps
        case "v":
            return (alpha * eps - sigma * x0) / torch.sqrt(alpha**2 + sigma**2)
        case "score":
            return -eps / sigma
        case "scaled_score":
            return -eps
        case "flow":
            return eps - x0
    raise unknown("prediction", kind, get_args(Prediction))


def broadcast(coefficient: Tensor, x: Tensor) -> Tensor:
    """A host coefficient () or (b,), float64, made fit to multiply x (b, *d) without widening x's dtype."""
    if coefficient.ndim == 0:
        return coefficient
    return coefficient.to(x).reshape(-1, *[1] * (x.ndim - 1))


@dataclass(frozen=True)
class Parameterisation:
    """How a network is fed and read: its prediction, the scale c_in of its input and its time condition c_noise."""

    prediction: Prediction
    input_scale: InputScale = "none"  # "unit" divides x by √(α² + σ²)
    conditioning: Conditioning = "999t"
    time_scale: float = 1.0  # multiplies t where the network is conditioned on t itself

    def __post_init__(self) -> None:
        for value, kind in (
            (self.prediction, Prediction),
            (self.input_scale, InputScale),
            (self.conditioning, Conditioning),
        ):
            if value not in get_args(kind):
                raise unknown("parameterisation", value, get_args(kind))

    def c_in(self, process: Process, t: Tensor) -> Tensor:
        if self.input_scale == "none":
            return torch.ones_like(t)
        return 1 / torch.sqrt(process.alpha(t) ** 2 + process.sigma(t) ** 2)

    def c_noise(self, process: Process, t: Tensor) -> Tensor:
        match self.conditioning:
            case "999t":
                return 999 * t
            case "log_sigma":
                return torch.log(process.sigma_hat(t))  # log σ for VE and EDM; −λ for all
            case "sigma":
                return process.sigma(t)
            case _:
                return self.time_scale * t

    def scalars(self, process: Process, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """c_in, c_noise, and the weights of x and of the prediction in x0."""
        weights = x0_weights(self.prediction, process.alpha(t), process.sigma(t))
        return self.c_in(process, t), self.c_noise(process, t), *weights
