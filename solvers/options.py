"""The options of a solver are its keyword-only arguments: checked by name and by the type of their defaults."""

from typing import Any

from scorebench.reference_models.errors import UsageError, unknown

from .facts import SolverInfo


def check_options(info: SolverInfo, options: dict[str, Any]) -> dict[str, Any]:
    """The options, each known and of its default's type; UsageError names the option that is not."""
    for name, value in options.items():
        if name not in info.options:
            if not info.options:
                raise UsageError(f"solver {info.id} takes no options, got {name!r}")
            raise unknown(f"option of solver {info.id}", name, info.options)
        default = info.options[name]
        number = isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool)
        if not number and type(value) is not type(default):
            raise UsageError(f"solver {info.id}: option {name} is a {type(default).__name__}, got {value!r}")
    return options


def read_option(what: str, name: str, text: str, default: Any) -> Any:
    """A value of the default's type from the text of an address, as in `ddim?eta=0.5`; UsageError otherwise."""
    if isinstance(default, bool):
        if text.lower() in ("true", "1", "false", "0"):
            return text.lower() in ("true", "1")
    elif isinstance(default, str):
        return text
    else:
        try:
            return type(default)(text)
        except ValueError:
            pass
    raise UsageError(f"{what}: {name} is a {type(default).__name__}, as {default!r} is by default, got {text!r}")
