"""Commands about models: models, train, card, reference."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from scorebench.reference_models.errors import UsageError, unknown

from .shared import app, console, print_facts, progress_bar


@app.command()
def models(
    address: Annotated[str | None, typer.Argument(help="One model, by address.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Draw 96 samples of that model to this PNG file.")] = None,
) -> None:
    """List the models, or show one's card and where its sample sheet is."""
    from rich.markdown import Markdown

    from scorebench.bench.model_card import card_of, draw_sheet, facts_of
    from scorebench.reference_models.addresses import addresses, load_model

    if address is None:
        if sheet is not None:
            raise UsageError(
                "--sheet draws one model's samples: name it, as in `scorebench models exact:gmm --sheet gmm.png`"
            )
        rows = [facts_of(load_model(name)) for name in addresses()]
        table = Table("model", *rows[0])
        for name, row in zip(addresses(), rows, strict=True):
            table.add_row(name, *row.values())
        console.print(table)
        return
    model = load_model(address)
    print_facts({"model": address, **facts_of(model)})
    card = card_of(address)
    if card is not None:
        console.print(Markdown(card.read_text()))
        console.print(f"sample sheet: {card.with_name('samples.png')}", soft_wrap=True)
    if sheet is not None:
        draw_sheet(model, sheet)
        console.print(f"sample sheet: {sheet}", soft_wrap=True)


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="A network, classifier or fitted exact model that ships.")],
    out: Annotated[Path | None, typer.Option(help="The folder; beside the shipped weights by default.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
    device: Annotated[str, typer.Option(help="Where a network trains: cpu or cuda.")] = "cpu",
    steps: Annotated[int | None, typer.Option(help="Steps of a network's training, if not the recipe's.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images a step, if not the recipe's.")] = None,
) -> None:
    """Train a shipped model again, with a loss curve and a sample sheet as it goes. Killed, it resumes."""
    import torch

    from scorebench.bench.model_card import draw_sheet, write_card, write_exact_card
    from scorebench.reference_models import classifier, ppca
    from scorebench.reference_models.network import WEIGHTS, load_network
    from scorebench.reference_models.recipes import recipe_of
    from scorebench.reference_models.training import train as train_network

    torch.set_num_threads(threads)
    folder = out or WEIGHTS / model
    if model in classifier.RECIPES:
        for line in classifier.train_classifier(model, folder):
            console.print(line)
        return
    if model in (ppca.PPCA, ppca.GAUSSIAN):
        for line in (ppca.train_ppca if model == ppca.PPCA else ppca.train_gaussian)(folder):
            console.print(line)
        write_exact_card(model, folder)
        return
    recipe = recipe_of(model, steps, batch)
    with progress_bar() as progress:
        bar = progress.add_task(f"training {model}", total=recipe.steps)
        for step, total, loss, averaged in train_network(recipe, folder, device=device):
            draw_sheet(averaged.to(torch.float32), folder / "samples.png")
            progress.update(bar, completed=step, description=f"training {model}: loss {loss:.4f}, sheet in {folder}")
            if not console.is_terminal:
                console.print(f"step {step} of {total}, loss {loss:.4f}")
    with console.status("") as status:
        write_card(model, folder, load_network(folder, model), progress=status.update)
    console.print(f"{model}: weights, digest and card in {folder}")


@app.command()
def card(model: Annotated[str, typer.Argument(help="A shipped model.")]) -> None:
    """Draw a shipped model's card again: loss curve, sample sheet, recipe."""
    from scorebench.bench.model_card import write_card, write_exact_card
    from scorebench.reference_models import ppca
    from scorebench.reference_models.addresses import shipped
    from scorebench.reference_models.network import WEIGHTS, load_network

    if model in (ppca.PPCA, ppca.GAUSSIAN):
        write_exact_card(model, WEIGHTS / model)
    else:
        if model not in shipped():
            raise unknown("model with a card", model, [*shipped(), ppca.PPCA, ppca.GAUSSIAN])
        with console.status("") as status:
            write_card(model, WEIGHTS / model, load_network(WEIGHTS / model, model), progress=status.update)
    console.print(f"{model}: card in {WEIGHTS / model}")


@app.command()
def reference(
    model: Annotated[str, typer.Argument(help="A shipped network, with its label and guidance if any.")],
    latents: Annotated[int, typer.Option(help="How many solutions.")] = 512,
    images: Annotated[int, typer.Option(help="How many likelihoods; 0 leaves them out.", min=0)] = 32,
) -> None:
    """Recompute the committed reference solutions of a shipped network, in float64, by two methods that must agree."""
    import numpy as np
    import torch

    from scorebench.bench.references import commit_references
    from scorebench.reference_models.addresses import load_model, shipped
    from scorebench.reference_models.network import NetworkModel

    if model.partition("?")[0] not in shipped():
        raise unknown("network", model, shipped())
    network = load_model(model)
    assert isinstance(network, NetworkModel)
    network.to(torch.float64)
    with torch.no_grad(), console.status("") as status:
        made = commit_references(model, network, status.update, latents, images)
    solved = made["solution"].uncertainty
    told = f"{len(solved)} solutions, the two methods differ by {np.median(solved):.1e} (median), {solved.max():.1e} (worst)"
    told += " rms per dimension"
    if "log_p" in made:
        likelihoods = made["log_p"].uncertainty
        told += f"; {len(likelihoods)} log-likelihoods, by {likelihoods.max():.1e} nats at worst"
    console.print(f"{model}: {told}", soft_wrap=True)
