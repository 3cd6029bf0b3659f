"""What reports need beside the cells: the suite, solvers' and models' facts, and what the strips show beside samples."""

import re

import numpy as np

from scorebench.solvers.aliases import diffusers_of

from . import blocks
from .cells import Cell
from .features import has_data, real_images
from .fingerprint import fingerprint
from .likelihood_codes import interpolations
from .measure import STRIP, Say, solution
from .placement import on_host
from .store import Damaged, Json, Store, Unwritable, key_of
from .suite import Suite, evaluations_per_call


def write_facts(suite: Suite, store: Store, cells: list[Cell], partial: bool) -> None:
    """The suite's list of cells, and the facts of its solvers and models beside those of other suites."""
    keys, before = [cell.key for cell in cells], _kept(store, f"suites/{suite.name}.json") if partial else {}
    if before:
        measured = {_same(cell.config) for cell in cells}
        keys = [key for key in before["cells"] if _other(store, key, measured)] + keys
    body: Json = {"name": suite.name, "config": suite.model_dump(), "cells": keys}
    if suite.factors:
        body["levels"] = before.get("levels", {}) | {cell.key: dict(cell.levels) for cell in cells}
    _write(store, f"suites/{suite.name}.json", body)
    models = {
        cell.config["model"]: {
            "process": cell.model.process.name,
            "shape": list(cell.model.shape),
            "digest": cell.config["model_digest"],
            "data": cell.model.data,
            "features": cell.extractor.name,
            "evaluations_per_call": evaluations_per_call(cell.model),
        }
        for cell in cells
    }
    solvers = {c.info.id: c.info.facts() | {"diffusers": diffusers_of(c.info)} for c in cells}
    for name, new in (("solvers", solvers), ("models", models)):
        old = _kept(store, f"{name}.json").get(name, {})
        _write(store, f"{name}.json", {name: {**old, **new}})


def write_strips(store: Store, cells: list[Cell], say: Say) -> None:
    """Of every image model the first samples of its reference solution and of its data, unless they are there."""
    for cell in {
        c.config["model"]: c for c in cells if len(c.model.shape) == 3 and c.config["pass"] == "sample"
    }.values():
        try:
            strip = {"reference": solution(cell, store, say, blocks.of(cell.config["n"])[0]).solution[:STRIP]}
            if has_data(cell.model):
                strip["real"] = real_images(cell.model, STRIP)
        except Unwritable:
            raise
        except Exception as error:  # the cells that need the reference say the same
            say(f"no strip of {cell.config['model']}: {error}")
        else:
            store.write_npz(f"references/strip-{slug(cell.config['model'])}.npz", strip)


def write_interpolations(store: Store, cells: list[Cell], say: Say) -> None:
    """Of every image model that takes round trips rows of images decoded between two, unless they are there."""
    source = fingerprint("scorebench.bench.likelihood_codes")
    for cell in {
        c.config["model"]: c for c in cells if len(c.model.shape) == 3 and c.config["pass"] == "round-trip"
    }.values():
        made_by, name = f"{cell.config['model_digest']} {source}", f"interpolation-{slug(cell.config['model'])}"
        kept = store.reference(name)
        if kept is None or str(kept["made_by"]) != made_by:
            say(f"interpolations of {cell.config['model']}")
            with on_host(cell.model, cell.dtype, cell.device):
                rows = interpolations(cell.model, cell.dtype).float().numpy()
            store.write_npz(f"references/{name}.npz", {"rows": rows, "made_by": np.array(made_by)})


def slug(model: str) -> str:
    """An address as the name of a file."""
    return re.sub("[^a-z0-9]+", "-", model.lower()).strip("-")


def _kept(store: Store, name: str) -> Json:
    try:
        return store.read_json(name)
    except Damaged:
        return {}


def _write(store: Store, name: str, body: Json) -> None:
    """Write what may have changed only if it has."""
    if _kept(store, name) != body:
        store.write_json(name, body)


def _other(store: Store, key: str, measured: set[str]) -> bool:
    """Whether a listed cell is there and is none of those measured now."""
    try:
        return _same(store.cell(key)["config"]) not in measured
    except Damaged:
        return False


def _same(config: Json) -> str:
    """What two measurements of one thing share, whatever the versions of code and weights behind them."""
    names = ("pass", "model", "solver", "options", "grid", "budget", "dtype", "n", "seed")
    return key_of([*(config[name] for name in names), config.get("ending", {}), config.get("execution", {})])
