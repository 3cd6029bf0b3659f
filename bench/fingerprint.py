"""A fingerprint of the source that determines a result: the modules named and all of ours that they import.

Comments, layout and docstrings do not count; a changed line of code does.
"""

import ast
import hashlib
import importlib.util
import inspect
from functools import cache
from types import ModuleType

PACKAGE = "scorebench."


@cache
def _source(module: str) -> tuple[str, frozenset[str]]:
    """The module's code without docstrings, and the modules of ours that it imports."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return "", frozenset()
    with open(spec.origin, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    return _code(tree), frozenset(_imports(tree, module if spec.submodule_search_locations is None else module + ".x"))


def _code(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def _imports(tree: ast.Module, module: str) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module.split(".")[: -node.level]) if node.level else ""
            full = ".".join(part for part in (base, node.module) if part)
            found.add(full)
            found |= {f"{full}.{alias.name}" for alias in node.names if _is_module(f"{full}.{alias.name}")}
    return {name for name in found if name.startswith(PACKAGE)}


@cache
def _is_module(name: str) -> bool:
    try:
        return name.startswith(PACKAGE) and importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@cache
def fingerprint(*modules: str) -> str:
    """16 hexadecimal digits over the modules and everything of ours that they import, in the order of their names."""
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name], imports = _source(name)
            waiting += imports
    text = "\n".join(f"{name}\n{found[name]}" for name in sorted(found))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint_of(thing: object, *modules: str) -> str:
    """The fingerprint of the module that defines a function or class, plug-ins in files of the user's too."""
    module = inspect.getmodule(thing)
    if isinstance(module, ModuleType) and module.__name__.startswith(PACKAGE):
        return fingerprint(module.__name__, *modules)
    path = inspect.getsourcefile(thing)  # type: ignore[arg-type]
    code = ""
    imports: set[str] = set()
    if path is not None:
        with open(path, encoding="utf-8") as file:
            tree = ast.parse(file.read())
        code, imports = _code(tree), _imports(tree, "")
    return hashlib.sha256((code + fingerprint(*sorted(imports), *modules)).encode()).hexdigest()[:16]
