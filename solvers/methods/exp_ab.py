"""Exponential Adams–Bashforth methods: ε or D interpolated by a polynomial in λ, the integral with e^{∓λ} exact."""

from ..facts import Reference, solver
from ..multistep import DATA_LAM, EPS_LAM, method

REFERENCE = Reference(
    "Hochbruck & Ostermann 2010", "Exponential integrators", "doi:10.1017/S0962492910000048", "section 2.5"
)

solver("exp-ab1", order=1, reference=REFERENCE)(
    method(1, EPS_LAM, "Exponential Euler in ε: x' = (α'/α) x − α' ε ∫ e^{−λ} dλ; the same map as DDIM.")
)
solver("exp-ab2", order=2, reference=REFERENCE, aliases=("DEISMultistepScheduler",))(
    method(
        2, EPS_LAM, "Two-step exponential Adams–Bashforth in ε, DEIS with a polynomial in log ρ; starts with order 1."
    )
)
solver("exp-ab3", order=3, self_started=2, reference=REFERENCE)(
    method(3, EPS_LAM, "Three-step exponential Adams–Bashforth in ε; the first two steps have orders 1 and 2.")
)
solver("exp-ab4", order=4, self_started=2, reference=REFERENCE)(
    method(4, EPS_LAM, "Four-step exponential Adams–Bashforth in ε; the first three steps have orders 1, 2 and 3.")
)
solver("exp-ab1-x0", order=1, reference=REFERENCE)(
    method(1, DATA_LAM, "Exponential Euler in x0: x' = (σ'/σ) x + σ' D ∫ e^λ dλ; the same map as DDIM.")
)
solver("exp-ab2-x0", order=2, reference=REFERENCE)(
    method(2, DATA_LAM, "Two-step exponential Adams–Bashforth in x0; the first step is exponential Euler.")
)
solver("exp-ab3-x0", order=3, self_started=2, reference=REFERENCE)(
    method(3, DATA_LAM, "Three-step exponential Adams–Bashforth in x0; the first two steps have orders 1 and 2.")
)
solver("exp-ab4-x0", order=4, self_started=2, reference=REFERENCE)(
    method(4, DATA_LAM, "Four-step exponential Adams–Bashforth in x0; the first three steps have orders 1, 2 and 3.")
)
