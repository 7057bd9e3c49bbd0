"""Checks which module of src/luthier imports which, and prints `file:line: what is wrong`.

A module imports only from layers below its own, wherever in it the import stands. No import goes in a circle,
from a package's `__init__` to its own files, from kind to kind, or to torch at the start of what must start
fast. What only a type checker imports is free. (Ruff refuses relative imports.)
"""

import ast
import sys
from collections.abc import Container, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

TOP_TO_BOTTOM = """
luthier __main__ cli merge_cli search_cli default_command few_commands merge_commands search_commands commands api
merging studying comparing curves several
pipeline planning report
doctor chatting checking suggesting groundwork probing export resume environment claim sharing run adapters
recipe_schema recipe choosing recipe_yaml recipe_errors other_names searching trials training evaluation methods tasks
models data component interrupt files extras errors"""
LAYERS = TOP_TO_BOTTOM.split()
KINDS = (
    "methods",
    "tasks",
    "evaluation.metrics",
    "training.optimizers",
    "training.schedules",
    "merging.methods",
    "searching.samplers",
    "searching.schedulers",
)
STARTS_FAST, SLOW = ("cli", "recipe", "recipe_yaml", "recipe_errors", "component", "errors"), ("torch", "transformers")


def violations(root: Path) -> Iterator[str]:
    """Every broken rule in the folder of the package `luthier`."""
    paths = sorted(root.rglob("*.py"))
    names = [".".join(path.relative_to(root.parent).with_suffix("").parts) for path in paths]
    modules = {name.removesuffix(".__init__"): path for name, path in zip(names, paths, strict=True)}
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for module, path in modules.items():
        for node, at_start in imports(ast.parse(path.read_text(encoding="utf-8"))):
            for target in targets(node, modules):
                graph[module].add(target)
                if wrong := fault(module, target, at_start=at_start, is_package=path.stem == "__init__"):
                    yield f"{path}:{node.lineno}: {wrong}"
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"{root}: modules import each other: {' <- '.join(error.args[1])}"


def imports(node: ast.AST, at_start: bool = True) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import in a tree, and whether it runs when the module itself is imported."""
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node, at_start
    elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        children = [*node.orelse]
    for child in children:
        yield from imports(child, at_start and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def targets(node: ast.Import | ast.ImportFrom, modules: Container[str]) -> list[str]:
    """The modules that an import names: of `from a import b`, a.b where that is a module and a where not."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    full_names = [f"{node.module}.{alias.name}" for alias in node.names]
    return [name if name in modules else f"{node.module}" for name in full_names]


def fault(module: str, target: str, *, at_start: bool, is_package: bool) -> str | None:
    """What is wrong with one import, if anything is."""
    own, other = (name.split(".")[:2][-1] for name in (module, target))
    if at_start and own in STARTS_FAST and target.split(".")[0] in SLOW:
        return f"{own} must start fast: import {target} in the function that needs it"
    if target.split(".")[0] != "luthier":
        return None
    if own not in LAYERS or other not in LAYERS:
        return f"{own} or {other} is not one of the LAYERS"
    if LAYERS.index(other) < LAYERS.index(own):
        return f"{own} lies below {other} and may not import {target}"
    if own == other and is_package:
        return f"the __init__ of a package may not import {target}, a part of its own layer"
    folder, _, name = target.removeprefix("luthier.").rpartition(".")
    if folder in KINDS and module.startswith(f"luthier.{folder}.") and not name.startswith("_"):
        return f"kinds may not import each other: put what {target} shares into a file beginning with _"
    return None


if __name__ == "__main__":
    sys.exit("\n".join(violations(Path(__file__).parents[1] / "src" / "luthier")) or 0)
