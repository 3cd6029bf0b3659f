"""The flags of a foreign address: `flag=value&…` after its `?`."""

import json
from typing import Any
from urllib.parse import parse_qsl


def flags_of(query: str) -> dict[str, Any]:
    """Values are JSON where they can be, else text; the ++ of dpmsolver++ is no space."""
    return {key: flag_value(value) for key, value in parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)}


def flag_value(text: str) -> Any:
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except ValueError:
        return text
