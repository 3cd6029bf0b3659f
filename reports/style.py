"""One look for every figure: a colour-blind-safe palette, and one colour and marker per solver everywhere."""

import hashlib

import matplotlib

matplotlib.use("Agg")

# Okabe and Ito's colours without their yellow, which is unreadable on white, and three of Tol's muted scheme.
COLOURS = "#0072B2 #D55E00 #009E73 #CC79A7 #000000 #56B4E9 #332288 #E69F00 #882255 #999933".split()
MARKERS = ("o", "s", "^", "D", "v", "P", "h")
SLOTS = len(COLOURS) * len(MARKERS)  # 10 and 7 have no common factor: every slot is another pair
# The order decides who gets which pair: the first ten never share a colour. A solver that is not named
# here gets a later slot from a hash of its id, so that no look depends on which solvers a store holds.
NAMED = (
    "ddim dpmpp-2m exp-ab3 heun rk45 exp-ab2 dpm-solver-3 euler dpm-solver-2 euler-maruyama "
    "pc reverse-diffusion dpm-solver-1 dpm-2 heun-t euler-t"
).split()
PEERS = {"peer:score_sde-rk45": "*", "peer:k-diffusion-dopri5": "X"}  # the field's practice: marks of their own
PEER, PEER_MARK, PEER_COLOUR = "peer:", "p", "#B3001B"
INK, FAINT, LIGHT = "#222222", "#767676", "#D3D3D3"
DPI, PRINTED = 110, 300


def slot(solver: str) -> int:
    if solver in NAMED:
        return NAMED.index(solver)
    digest = int(hashlib.sha256(solver.encode()).hexdigest(), 16)
    return len(NAMED) + digest % (SLOTS - len(NAMED))


def is_peer(solver: str) -> bool:
    return solver.startswith(PEER)


def colour(solver: str) -> str:
    if is_peer(solver):
        return PEER_COLOUR
    return COLOURS[slot(solver) % len(COLOURS)]


def marker(solver: str) -> str:
    if is_peer(solver):
        return PEERS.get(solver, PEER_MARK)
    return MARKERS[slot(solver) % len(MARKERS)]


def dashes(kind: str) -> str | tuple[float, tuple[float, ...]]:
    """Solid for a deterministic solver, dashed for a stochastic one."""
    return (0.0, (4.0, 2.0)) if kind == "sde" else "-"


def use_style() -> None:
    """Set the theme of every figure that follows."""
    import seaborn as sns  # which takes a second to import

    sns.set_theme(
        style="ticks",
        font="DejaVu Sans",
        rc={
            "figure.dpi": DPI,
            "savefig.dpi": DPI,
            "font.size": 9.5,
            "axes.labelsize": 10,
            "axes.titlesize": 10.5,
            "axes.titlelocation": "left",
            "axes.grid": True,
            "axes.edgecolor": FAINT,
            "axes.labelcolor": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.color": "#E4E4E4",
            "grid.linewidth": 0.7,
            "xtick.color": INK,
            "ytick.color": INK,
            "text.color": INK,
            "text.parse_math": False,  # a label of the user's may hold a dollar sign
            "savefig.facecolor": "white",
            "svg.hashsalt": "scorebench",
        },
    )
