"""What other systems call the registered methods: data alone, read by `aliases`.

Classes of diffusers stand with the flags that choose among their methods. Every id here is registered (a test says so).
"""

from dataclasses import dataclass, field
from typing import Any

Flags = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """One method of a diffusers class: the flags that select it, our id and options, and whether a test shows them equal."""

    when: Flags
    id: str
    options: Flags = field(default_factory=dict)
    equal: bool = True


@dataclass(frozen=True)
class Scheduler:
    """A diffusers class: the defaults of the flags that choose its methods, and the flags without which none is equal to ours.

    Those are what the class does at the end of the grid, or to the data, which here is the driver's business or nobody's.
    """

    defaults: Flags
    methods: tuple[Method, ...]
    exact: Flags = field(default_factory=dict)
    grid: str | None = None


ENDS = {"final_sigmas_type": "sigma_min"}
FULL = {"lower_order_final": False}
MULTISTEP = {"solver_order": 2, "algorithm_type": "dpmsolver++", "solver_type": "midpoint"}

DIFFUSERS: dict[str, Scheduler] = {
    "DDIMScheduler": Scheduler({}, (Method({}, "ddim"),), {"clip_sample": False, "set_alpha_to_one": False}),
    "DDIMInverseScheduler": Scheduler({}, (Method({}, "ddim", equal=False),)),
    "DDPMScheduler": Scheduler(
        {"variance_type": "fixed_small"},
        (
            Method({"variance_type": "fixed_small"}, "ddpm", {"variance_type": "fixed_small"}),
            Method({"variance_type": "fixed_large"}, "ddpm", {"variance_type": "fixed_large"}),
        ),
        {"clip_sample": False},
    ),
    "DPMSolverMultistepScheduler": Scheduler(
        MULTISTEP,
        (
            Method({"algorithm_type": "dpmsolver++", "solver_order": 1}, "dpm-solver-1"),
            Method({"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint"}, "dpmpp-2m"),
            Method({"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "heun"}, "exp-ab2-x0"),
            Method({"algorithm_type": "dpmsolver++", "solver_order": 3}, "dpmpp-3m"),
            Method({"algorithm_type": "dpmsolver", "solver_order": 1}, "dpm-solver-1"),
            Method({"algorithm_type": "dpmsolver", "solver_order": 2, "solver_type": "heun"}, "exp-ab2"),
            Method({"algorithm_type": "sde-dpmsolver", "solver_order": 1}, "seeds-1"),
            Method({"algorithm_type": "sde-dpmsolver++", "solver_order": 1}, "sde-dpmpp-1"),
            Method(
                {"algorithm_type": "sde-dpmsolver++", "solver_order": 2, "solver_type": "midpoint"},
                "sde-dpmpp-2m", {"solver_type": "midpoint"},
            ),
            Method(
                {"algorithm_type": "sde-dpmsolver++", "solver_order": 2, "solver_type": "heun"},
                "sde-dpmpp-2m", {"solver_type": "heun"},
            ),
        ),
        FULL | ENDS,
    ),
    "DPMSolverMultistepInverseScheduler": Scheduler(
        MULTISTEP, (Method({"algorithm_type": "dpmsolver++", "solver_order": 2}, "dpmpp-2m", equal=False),)
    ),
    "DPMSolverSinglestepScheduler": Scheduler(
        MULTISTEP,
        (
            Method({"algorithm_type": "dpmsolver++", "solver_order": 1}, "dpm-solver-1", equal=False),
            Method({"algorithm_type": "dpmsolver", "solver_order": 1}, "dpm-solver-1", equal=False),
            Method({"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint"}, "dpmpp-2s", equal=False),
            Method({"algorithm_type": "dpmsolver", "solver_order": 2, "solver_type": "midpoint"}, "dpm-solver-2", equal=False),
            Method({"algorithm_type": "dpmsolver", "solver_order": 3, "solver_type": "midpoint"}, "dpm-solver-3", equal=False),
        ),
        FULL | ENDS,
    ),
    "EDMDPMSolverMultistepScheduler": Scheduler(
        {"solver_order": 2, "algorithm_type": "dpmsolver++", "solver_type": "midpoint"},
        (
            Method({"algorithm_type": "dpmsolver++", "solver_order": 1}, "dpm-solver-1", equal=False),
            Method({"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint"}, "dpmpp-2m", equal=False),
            Method({"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "heun"}, "exp-ab2-x0", equal=False),
            Method({"algorithm_type": "dpmsolver++", "solver_order": 3}, "dpmpp-3m", equal=False),
            Method(
                {"algorithm_type": "sde-dpmsolver++", "solver_order": 2, "solver_type": "midpoint"},
                "sde-dpmpp-2m", {"solver_type": "midpoint"}, equal=False,
            ),
        ),
        grid="karras",
    ),
    "CosineDPMSolverMultistepScheduler": Scheduler(
        {"solver_order": 2, "solver_type": "midpoint"},
        (
            Method({"solver_order": 1}, "sde-dpmpp-1", equal=False),
            Method({"solver_type": "midpoint"}, "sde-dpmpp-2m", {"solver_type": "midpoint"}, equal=False),
            Method({"solver_type": "heun"}, "sde-dpmpp-2m", {"solver_type": "heun"}, equal=False),
        ),
        grid="logsnr",
    ),
    "DPMSolverSDEScheduler": Scheduler({}, (Method({}, "dpmpp-sde", equal=False),)),
    "DEISMultistepScheduler": Scheduler(
        {"solver_order": 2},
        (
            Method({"solver_order": 1}, "dpm-solver-1"),
            Method({"solver_order": 2}, "exp-ab2"),
            Method({"solver_order": 3}, "exp-ab3"),
        ),
        FULL,
    ),
    "UniPCMultistepScheduler": Scheduler(
        {"solver_order": 2, "solver_type": "bh2", "predict_x0": True},
        tuple(
            Method({"solver_order": p, "solver_type": bh, "predict_x0": True}, f"unipc-{p}", {"variant": bh})
            for p in (1, 2, 3)
            for bh in ("bh2", "bh1")
        ),
        FULL | ENDS,
    ),
    "SASolverScheduler": Scheduler(
        {"predictor_order": 2, "corrector_order": 2, "algorithm_type": "data_prediction"},
        tuple(
            Method(
                {"predictor_order": p, "corrector_order": c, "algorithm_type": "data_prediction"},
                "sa-solver", {"predictor_order": p, "corrector_order": c}, equal=p != 2 and c > 2,
            )
            for p in (1, 2, 3)
            for c in (2, 3, 4)
        ),
        FULL | {"tau_func": 1.0},
    ),
    "EulerDiscreteScheduler": Scheduler({}, (Method({}, "euler"),), ENDS),
    "EDMEulerScheduler": Scheduler({}, (Method({}, "euler", equal=False),), grid="karras"),
    "EulerAncestralDiscreteScheduler": Scheduler({}, (Method({}, "euler-ancestral"),)),
    "HeunDiscreteScheduler": Scheduler({}, (Method({}, "heun"),)),
    "KDPM2DiscreteScheduler": Scheduler({}, (Method({}, "dpm2"),)),
    "KDPM2AncestralDiscreteScheduler": Scheduler({}, (Method({}, "dpm2-ancestral"),)),
    "LMSDiscreteScheduler": Scheduler({}, (Method({}, "lms"),)),
    "PNDMScheduler": Scheduler(
        {"skip_prk_steps": False},
        (Method({"skip_prk_steps": False}, "pndm", equal=False), Method({"skip_prk_steps": True}, "plms")),
    ),
    "IPNDMScheduler": Scheduler({}, (Method({}, "ipndm", equal=False),), grid="cosine"),
    "FlowMatchEulerDiscreteScheduler": Scheduler({}, (Method({}, "euler-t"),), grid="shift?shift=1"),
    "FlowMatchHeunDiscreteScheduler": Scheduler({}, (Method({}, "heun-t", equal=False),), grid="shift?shift=1"),
    "ScoreSdeVeScheduler": Scheduler({}, (Method({}, "pc", equal=False),)),
}  # fmt: skip

# flags of any class that say the grid, and those that say what is not the method's: the process, the network's output
GRID_FLAGS = {
    "use_karras_sigmas": "karras",
    "use_exponential_sigmas": "logsnr",
    "use_lu_lambdas": "logsnr",
    "use_beta_sigmas": "beta_sigma",
    "use_flow_sigmas": "shift?shift=1",
}
GRID_VALUES = ("timestep_spacing", "sigma_schedule", "steps_offset", "rho", "shift", "flow_shift")
OPTION_FLAGS = {"lower_order_final": "lower_order_final", "euler_at_final": "lower_order_final", "tau_func": "tau"}
PROCESS_FLAGS = (
    "beta_start", "beta_end", "beta_schedule", "trained_betas", "num_train_timesteps", "prediction_type", "sigma_min",
    "sigma_max", "sigma_data", "rescale_betas_zero_snr", "final_sigmas_type", "set_alpha_to_one", "interpolation_type",
    "timestep_type", "lambda_min_clipped", "base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len",
)  # fmt: skip
CHANGES_THE_ODE = ("thresholding", "clip_sample", "stochastic_sampling", "invert_sigmas", "use_dynamic_shifting")

K_DIFFUSION: dict[str, str] = {
    "euler": "euler", "euler_ancestral": "euler-ancestral", "heun": "heun", "dpm_2": "dpm2",
    "dpm_2_ancestral": "dpm2-ancestral", "lms": "lms", "dpm_fast": "dpm-solver-fast", "dpm_adaptive": "dpm-solver-23",
    "dpmpp_2s_ancestral": "dpmpp-2s-ancestral", "dpmpp_sde": "dpmpp-sde", "dpmpp_2m": "dpmpp-2m",
    "dpmpp_2m_sde": "sde-dpmpp-2m", "dpmpp_2m_sde_heun": "sde-dpmpp-2m?solver_type=heun", "dpmpp_3m_sde": "sde-dpmpp-3m",
    "ddpm": "ddpm", "ddim": "ddim", "ipndm": "ipndm", "ipndm_v": "ipndm-v", "deis": "deis-tab2",
    "res_multistep": "res-2m", "gradient_estimation": "gradient-estimation", "er_sde": "er-sde-3",
    "seeds_2": "seeds-2", "seeds_3": "seeds-3", "sa_solver": "sa-solver", "exp_heun_2_x0": "etd-rk2",
    "uni_pc": "unipc-3?variant=bh1", "uni_pc_bh2": "unipc-3?variant=bh2",
}  # fmt: skip
A1111: dict[str, str] = {
    "DPM++ 2M": "dpmpp-2m", "DPM++ SDE": "dpmpp-sde", "DPM++ 2M SDE": "sde-dpmpp-2m",
    "DPM++ 2M SDE Heun": "sde-dpmpp-2m?solver_type=heun", "DPM++ 2S a": "dpmpp-2s-ancestral",
    "DPM++ 3M SDE": "sde-dpmpp-3m", "Euler a": "euler-ancestral", "Euler": "euler", "LMS": "lms", "Heun": "heun",
    "DPM2": "dpm2", "DPM2 a": "dpm2-ancestral", "DPM fast": "dpm-solver-fast", "DPM adaptive": "dpm-solver-23",
    "Restart": "restart", "DDIM": "ddim", "PLMS": "plms", "UniPC": "unipc-3?variant=bh1",
}  # fmt: skip
PAPERS: dict[str, str] = {
    "exponential Euler": "dpm-solver-1", "DPM-Solver-12 adaptive": "dpm-solver-12", "DPM-Solver-23 adaptive": "dpm-solver-23",
    "DPM-Solver++(2S)": "dpmpp-2s", "DPM-Solver++(2M)": "dpmpp-2m", "DPM-Solver++(3M)": "dpmpp-3m",
    "SDE-DPM-Solver++(1)": "sde-dpmpp-1", "SDE-DPM-Solver++(2M)": "sde-dpmpp-2m",
    "t_ab": "deis-tab3", "rho_ab": "deis-rhoab3", "tAB-DEIS": "deis-tab3", "rhoAB-DEIS": "deis-rhoab3",
    "rho2Heun": "heun", "F-PNDM": "pndm", "S-PNDM": "plms",
    "UniPC-bh1": "unipc-3?variant=bh1", "UniPC-bh2": "unipc-3?variant=bh2",
    "euler_maruyama": "euler-maruyama", "reverse_diffusion": "reverse-diffusion", "ancestral_sampling": "ddpm",
    "langevin": "annealed-langevin?corrector=langevin", "ald": "annealed-langevin", "edm_sampler": "edm-heun",
    "restart_sampler": "restart", "ER-SDE-Solver-1": "er-sde-1", "ER-SDE-Solver-2": "er-sde-2", "ER-SDE-Solver-3": "er-sde-3",
    "SA-Solver": "sa-solver", "Gotta Go Fast": "gotta-go-fast", "RES multistep": "res-2m", "RES singlestep": "res-2s",
    "ETD2RK": "etd-rk2", "ETDRK4-B": "etd-rk4", "RK45": "rk45", "DOP853": "dop853",
}  # fmt: skip
DIALECTS = {"k-diffusion, ComfyUI": K_DIFFUSION, "A1111": A1111, "papers": PAPERS}
GRID_WORDS = (
    "SGM Uniform", "KL Optimal", "DDIM Uniform", "Align Your Steps", "Align Your Steps GITS", "Align Your Steps 11",
    "Polyexponential", "Exponential", "Karras", "Beta", "Simple", "Normal", "Uniform",
)  # fmt: skip
