"""Exact models of Fashion-MNIST: a mixture of probabilistic PCA fitted by EM, and one Gaussian of full covariance."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from .datasets import FASHION
from .gaussian import Gaussian
from .mixture import Mixture
from .network import WEIGHTS, check_digest, folder_digest
from .process import EDM, Process

PPCA, GAUSSIAN = "ppca-fashion", "gaussian-fashion"
CANDIDATES = ((100, 10), (100, 15), (100, 20), (150, 12))  # components, rank; held-out likelihood chooses
HELD_OUT = 5000  # of the training images, for that choice
SMALLEST = 1e-4  # of s²: the variance that uniform dequantisation alone leaves is 5e-6
AT_ZERO = torch.zeros((), dtype=torch.float64)


def pixels(split: str) -> Tensor:
    """The images of a split as dequantised vectors (n, 784) in [−1, 1), float32, the dequantisation seeded."""
    levels = FASHION.levels(split)
    uniform = torch.rand(levels.shape, generator=torch.Generator().manual_seed(0))
    return FASHION.dequantise(levels, uniform).flatten(1)


def fit(x: Tensor, components: int, rank: int, iterations: int = 8, seed: int = 0) -> Iterator[tuple[int, Mixture]]:
    """EM for a mixture of probabilistic PCA on x (n, d), started from k-means; yields (iteration, mixture).

    The maximum-likelihood step is Tipping & Bishop's: leading eigenvectors of each component's weighted covariance,
    and the mean of the eigenvalues left over as s².
    """
    from sklearn.cluster import MiniBatchKMeans

    torch.manual_seed(seed)
    clusters = MiniBatchKMeans(components, random_state=seed, n_init=1, batch_size=4096).fit_predict(x.numpy())
    shares = torch.nn.functional.one_hot(torch.from_numpy(clusters).long(), components).float()
    for iteration in range(iterations):
        mixture = maximise(x, shares, rank)
        yield iteration + 1, mixture
        if iteration + 1 < iterations:
            shares = torch.cat([responsibilities(mixture, part) for part in x.split(4096)])


def responsibilities(mixture: Mixture, x: Tensor) -> Tensor:
    return mixture._components(x, AT_ZERO).responsibilities


def maximise(x: Tensor, shares: Tensor, rank: int) -> Mixture:
    """The mixture (float64) that maximises the expected likelihood given each image's shares (n, k)."""
    d, parts = x.shape[1], []
    for share in shares.T:
        rows = share > 1e-3
        weight = share[rows] / share[rows].sum()
        mean = weight @ x[rows]
        scatter = weight.sqrt()[:, None] * (x[rows] - mean)
        _, singular, axes = torch.svd_lowrank(scatter, q=min(rank + 6, len(scatter)), niter=4)
        leading = singular[:rank] ** 2
        s2 = ((scatter**2).sum() - leading.sum()).clamp_min(0) / (d - rank)
        s2 = s2.clamp_min(SMALLEST)
        parts.append((share.mean(), mean, s2.sqrt(), (leading - s2).clamp_min(0), axes[:, :rank]))
    weights, means, deviations, extra, axes = (torch.stack(part).double() for part in zip(*parts, strict=True))
    return Mixture(EDM(), weights / weights.sum(), means, deviations, extra, orthonormal(axes), FASHION.shape)


def orthonormal(axes: Tensor) -> Tensor:
    """The nearest orthonormal columns of axes (…, d, r), by QR with the signs kept; what float32 rounded is restored."""
    q, r = torch.linalg.qr(axes)
    signs = torch.sign(torch.diagonal(r, dim1=-2, dim2=-1)).unsqueeze(-2)
    return torch.mul(q, signs)


def bits_per_dimension(mixture: Mixture, x: Tensor) -> float:
    """Mean −log₂ p per dimension of x (n, d) for 256 levels, dequantisation counted."""
    nats = torch.cat([mixture.log_prob(part, AT_ZERO) for part in x.split(1000)]).mean()
    return float(-nats / (x.shape[1] * torch.log(torch.tensor(2.0)))) - 1 + 8


def train_ppca(folder: Path) -> Iterator[str]:
    """Fit every candidate, ship the best on held-out images, and say what happens; files as for the networks."""
    x = pixels("train")
    fitted, held_out = x[:-HELD_OUT], x[-HELD_OUT:]
    scores: dict[str, float] = {}
    best: Mixture | None = None
    for components, rank in CANDIDATES:
        for iteration, step in fit(fitted, components, rank):
            mixture = step
            yield f"{components} components of rank {rank}: EM step {iteration}"
        scores[f"{components} × {rank}"] = bits = bits_per_dimension(mixture, held_out)
        yield f"{components} components of rank {rank}: {bits:.4f} bits/dim on {HELD_OUT} held-out images"
        if bits == min(scores.values()):
            best = mixture
    assert best is not None
    test = bits_per_dimension(best, pixels("heldout"))
    tensors = {name: getattr(best, name) for name in ("weights", "means", "deviations", "extra", "axes")}
    write(folder, tensors, {"name": PPCA, "held-out bits/dim": scores, "test bits/dim": test})
    yield f"kept {len(best.weights)} components of rank {best.extra.shape[1]}: {test:.4f} bits/dim on the test images"


def train_gaussian(folder: Path) -> Iterator[str]:
    """Mean and covariance of the training images."""
    x = pixels("train").double()
    yield "covariance of the training images"
    variances, axes = torch.linalg.eigh(torch.cov(x.T))
    write(folder, {"means": x.mean(0), "variances": variances.clamp_min(SMALLEST), "axes": axes}, {"name": GAUSSIAN})


def write(folder: Path, tensors: dict[str, Tensor], config: dict[str, object]) -> None:
    """config.json, model.safetensors (float32) and digest.txt."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.float().contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "digest.txt").write_text(folder_digest(folder) + "\n")


def _tensors(name: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    check_digest(WEIGHTS / name, name)
    return {key: tensor.double() for key, tensor in load_file(WEIGHTS / name / "model.safetensors").items()}


def ppca_fashion(process: Process) -> Mixture:
    """`exact:ppca-fashion`: the shipped mixture, 784 dimensions."""
    p = _tensors(PPCA)
    weights, axes = p["weights"] / p["weights"].sum(), orthonormal(p["axes"])
    return Mixture(process, weights, p["means"], p["deviations"], p["extra"], axes, FASHION.shape)


def gaussian_fashion(process: Process) -> Gaussian:
    """`exact:gaussian-fashion`: the Gaussian of the training images' mean and full covariance."""
    p = _tensors(GAUSSIAN)
    return Gaussian(process, p["means"], p["variances"], orthonormal(p["axes"]), FASHION.shape)
