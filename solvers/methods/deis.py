"""Diffusion exponential integrator samplers: ε extrapolated by a polynomial in t (tAB) or in ρ = σ̂ (ρAB).

The number r is the polynomial's degree, as in the paper: r + 1 points are used and the order is r + 1. The member with a
polynomial in log ρ, which diffusers calls DEIS, is exponential Adams–Bashforth (`exp-ab2`, `exp-ab3`).
"""

from ..facts import Reference, solver
from ..multistep import EPS_SIGMA_HAT, EPS_TIME, method

PAPER = (
    "Zhang & Chen 2023",
    "Fast Sampling of Diffusion Models with Exponential Integrator",
    "arXiv:2204.13902",
)
T_AB, RHO_AB = Reference(*PAPER, "eq. 14–15"), Reference(*PAPER, "section 4, ρAB-DEIS")

solver("deis-tab1", order=2, grid="time_quadratic", reference=T_AB)(
    method(
        2,
        EPS_TIME,
        "tAB1-DEIS: ε linear in t through two points, the integral of Ψ g²/2σ exact; the first step is DDIM.",
    )
)
solver("deis-tab2", order=3, self_started=2, grid="time_quadratic", reference=T_AB, aliases=("deis", "sample_deis"))(
    method(3, EPS_TIME, "tAB2-DEIS: ε quadratic in t through three points; the first two steps have degrees 0 and 1.")
)
solver("deis-tab3", order=4, self_started=2, grid="time_quadratic", reference=T_AB)(
    method(4, EPS_TIME, "tAB3-DEIS: ε cubic in t through four points; the first three steps have degrees 0, 1 and 2.")
)
solver("deis-rhoab1", order=2, grid="karras", reference=RHO_AB)(
    method(2, EPS_SIGMA_HAT, "ρAB1-DEIS: ε linear in ρ = σ̂ through two points; the first step is DDIM.")
)
solver("deis-rhoab2", order=3, self_started=2, grid="karras", reference=RHO_AB)(
    method(
        3, EPS_SIGMA_HAT, "ρAB2-DEIS: ε quadratic in ρ = σ̂ through three points; the first two have degrees 0 and 1."
    )
)
solver("deis-rhoab3", order=4, self_started=2, grid="karras", reference=RHO_AB)(
    method(
        4,
        EPS_SIGMA_HAT,
        "ρAB3-DEIS: ε cubic in ρ = σ̂ through four points, the same map as `lms`; degrees 0, 1, 2 first.",
    )
)
