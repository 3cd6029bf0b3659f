"""The command that says how likely a model holds data to be: likelihood."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scorebench.reference_models.errors import UsageError

from .shared import PluginOption, app, console, load_solvers, progress_bar

if TYPE_CHECKING:
    from scorebench.bench.likelihood_stream import Settings
    from scorebench.solvers.facts import SolverInfo

# ruff: noqa: B006  (typer reads the defaults; nothing mutates them)
FOLDER = Path("results/local/likelihood")


@app.command()
def likelihood(
    model: Annotated[str, typer.Argument(help="A model's address.")],
    data: Annotated[
        Path | None, typer.Option(help="npy, npz or a folder of PNG; by default held-out images, or exact draws.")
    ] = None,
    solver: Annotated[str, typer.Option(help="A deterministic solver, with options as in rk45?rtol=1e-4.")] = "exp-ab3",
    grid: Annotated[str | None, typer.Option(help="The time grid of a fixed-step solver; logsnr by default.")] = None,
    nfe: Annotated[int | None, typer.Option(help="Network calls an image may cost; 50 by default.")] = None,
    trace: Annotated[
        str | None, typer.Option(help="closed, exact, rademacher, gaussian or hutch++; the best that fits by default.")
    ] = None,
    probes: Annotated[int, typer.Option(help="Probes of an estimated trace.")] = 1,
    forward: Annotated[bool, typer.Option(help="Jacobian products in forward mode.")] = False,
    quadrature: Annotated[str | None, typer.Option(help="spline, polynomial or column.")] = None,
    log_p_atol: Annotated[
        float | None, typer.Option(help="Absolute tolerance of log p in nats, for an adaptive solver.")
    ] = None,
    t_min: Annotated[
        float | None, typer.Option(help="The lower end of the path; the process's own by default.")
    ] = None,
    draws: Annotated[int, typer.Option(help="Dequantisation draws of each image: the bound tightens with them.")] = 1,
    levels: Annotated[int | None, typer.Option(help="Levels of a pixel; the data set's own, or 256.")] = None,
    images: Annotated[int | None, typer.Option(help="How many, where there is no --data; 32 by default.")] = None,
    batch: Annotated[int, typer.Option(help="Images at once.")] = 32,
    seed: Annotated[int, typer.Option(help="Of dequantisation, probes and exact draws.")] = 0,
    out: Annotated[Path | None, typer.Option(help="The file of rows, JSON lines; continued where it stopped.")] = None,
    plugin: PluginOption = [],
) -> None:
    """The likelihood of data under a model, image by image. Interrupted, it continues where it stopped."""
    load_solvers(plugin)
    from scorebench.bench.likelihood_data import levels_of, model_data, read_data
    from scorebench.bench.likelihood_stream import Settings, default_trace, stream, summary
    from scorebench.reference_models.addresses import load_model
    from scorebench.solvers.aliases import resolve
    from scorebench.solvers.trace import Trace

    _check_counts(draws=draws, images=images, batch=batch, levels=levels)
    loaded, found = load_model(model), resolve(solver)
    bins = levels_of(loaded) if levels is None else levels
    source = model_data(loaded, images or 32, seed) if data is None else read_data(data, loaded, bins)
    kind: Any = trace or default_trace(loaded)
    _refuse(data is not None and images is not None, f"--images {images}: --data says how many there are")
    _refuse(source.levels is None and draws != 1, f"--draws {draws}: {source.source} are points, not levels")
    _refuse(source.levels != bins and levels is not None, f"--levels {levels}: {source.source} have their own")
    _refuse(kind in ("closed", "exact") and probes != 1, f"--probes {probes}: trace {kind} takes none, name another")
    _refuse(
        kind == "closed" and forward, "--forward: a closed trace has no Jacobian products, name another with --trace"
    )
    settings = Settings(
        loaded,
        found.info,
        found.options,
        *_schedule(found.info, grid or found.grid, nfe),
        Trace(kind, probes, seed, "forward" if forward else "reverse"),
        _quadrature(found.info, quadrature),
        None if log_p_atol is None else (0.0, log_p_atol),
        loaded.process.t_min_likelihood if t_min is None else t_min,
        draws,
        seed,
    )
    target = out or FOLDER / f"{_slug(model)}.jsonl"
    with progress_bar() as progress:
        bar = progress.add_task(loaded.name, total=len(source))
        rows = stream(settings, source, target, batch, lambda done: progress.update(bar, completed=done))
    console.print(_conventions(settings, source.levels), soft_wrap=True)
    console.print(f"{loaded.name}: {summary(rows, source.levels)}; rows in {target}", soft_wrap=True)


def _check_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"--{name} must be at least 1, got {count}")


def _refuse(wrong: bool, message: str) -> None:
    if wrong:
        raise UsageError(message)


def _schedule(info: "SolverInfo", grid: str | None, nfe: int | None) -> tuple[str, int | None]:
    """The grid and the budget of a fixed-step solver; UsageError where an adaptive one is given either."""
    if not info.adaptive:
        return grid or "logsnr", 50 if nfe is None else nfe
    for name, value in (("--grid", grid), ("--nfe", nfe)):
        if value is not None:
            raise UsageError(f"{name} {value}: {info.id} is adaptive, give it a tolerance as in {info.id}?rtol=1e-4")
    return "adaptive", None


def _quadrature(info: "SolverInfo", named: str | None) -> Any:
    return named or ("column" if info.adaptive else "spline")


def _slug(address: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in address.lower()).strip("-")


def _conventions(settings: "Settings", levels: int | None) -> str:
    from scorebench.bench.likelihood_data import offset

    p = settings.model.process
    text = f"from t={settings.t_min:g} to {p.t_max:g}, prior N(0, {p.prior_std:g}² I), trace {settings.trace.kind}"
    if levels is not None:
        text += f", {levels} levels dequantised uniformly {settings.draws} times: {offset(levels):.4f} bits/dim added"
    return text
