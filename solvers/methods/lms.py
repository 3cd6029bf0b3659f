"""Variable-step Adams–Bashforth in σ̂: the linear multistep method that k-diffusion calls LMS."""

from ..facts import Reference, solver
from ..multistep import EPS_SIGMA_HAT, method

solver(
    "lms",
    order=4,
    self_started=2,
    grid="karras",
    reference=Reference(
        "Karras et al. 2022",
        "Elucidating the Design Space of Diffusion-Based Generative Models",
        "arXiv:2206.00364",
        "eq. 4, with k-diffusion's coefficients",
    ),
    aliases=("LMSDiscreteScheduler", "sample_lms", "LMS Karras"),
)(
    method(
        4,
        EPS_SIGMA_HAT,
        "LMS: x' = (α'/α) x + α' Σ_j ε_j ∫ ℓ_j dσ̂ through the last four points in σ̂, integrals exact; orders 1, 2, 3 first.",
    )
)
