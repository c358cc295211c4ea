"""Our modules and what they import, read without importing any."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_OTHERS = ("safetensors.torch",)  # a module of another package, imported by `from` with its name


class Import(NamedTuple):
    """target: a dotted name. lazy: inside a function, or for a type checker only."""

    target: str
    line: int
    lazy: bool


@dataclass
class Module:
    """One file: its dotted name, its tree, and its imports."""

    name: str
    tree: ast.Module
    imports: list[Import] = field(default_factory=list)

    def found(self, line: int, what: str) -> str:
        return f"{self.name}:{line}: {what}"


def within(name: str, rooms: tuple[str, ...]) -> bool:
    return any(name == room or name.startswith(room + ".") for room in rooms)


def read_tree(root: Path) -> dict[str, Module]:
    """The modules of gemino/ and signaling/ below `root`, by name."""
    modules = {}
    for path in sorted([*root.glob("gemino/**/*.py"), *root.glob("signaling/**/*.py")]):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = Module(name, ast.parse(path.read_text("utf-8"), str(path)))
    for module in modules.values():
        is_package = any(other.startswith(module.name + ".") for other in modules)
        module.imports = list(_imports(module.tree, module.name, is_package, set(modules)))
    return modules


def _imports(
    node: ast.AST, name: str, is_package: bool, known: set[str], lazy: bool = False
) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import():
                yield from (Import(alias.name, child.lineno, lazy) for alias in child.names)
            case ast.ImportFrom():
                base = child.module or ""
                if child.level:
                    parents = name.split(".")
                    kept = parents[: len(parents) - child.level + is_package]
                    base = ".".join([*kept, base] if base else kept)
                for alias in child.names:
                    full = f"{base}.{alias.name}"
                    whole = full in known or full in _OTHERS
                    yield Import(full if whole else base, child.lineno, lazy)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                yield from _imports(child, name, is_package, known, lazy=True)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from _imports(child, name, is_package, known, lazy=True)
            case _:
                yield from _imports(child, name, is_package, known, lazy)
