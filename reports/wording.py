"""How numbers, intervals and lists of names are written, once for every output."""

import math
import re
from collections.abc import Sequence


def number(value: float | None) -> str:
    """Three significant digits; a dash for a number that is not there."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    rounded = float(f"{value:.3g}")
    if abs(rounded) >= 100:
        return f"{rounded:.0f}"
    return f"{rounded:#.3g}"


def count(value: float | None) -> str:
    """A number of calls or of cells: whole where it is whole."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.0f}" if abs(value - round(value)) < 0.05 else f"{value:.1f}"


def interval(low: float | None, high: float | None) -> str:
    """[low, high], or nothing when there is no interval."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{number(low)}, {number(high)}]"


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    return f"{number(value)} {interval(low, high)}".strip()


def names(items: Sequence[str], most: int = 4) -> str:
    """A list in words: a, b and c; beyond `most` the rest is counted."""
    if len(items) > most + 1:
        return f"{', '.join(items[:most])} and {len(items) - most} more"
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else list(items))


def slug(name: str) -> str:
    """A name fit for a file or an anchor."""
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
