"""The rules of docs/architecture.md as functions from a tree of modules to what breaks them.

A new module needs a place in `FLOORS`; an arrow that points up, or across a floor, needs another
design rather than an exception here.
"""

import ast
import re
from collections.abc import Callable, Iterator

from module_tree import Module, within

# Rooms, from the ground up. Modules of one room may import one another, those of two rooms on one
# floor may not. The words alone have an order of their own: errors and config are below the rest.
FLOORS: tuple[dict[str, tuple[str, ...]], ...] = (
    {name: (name,) for name in ("errors", "config")},
    {name: (name,) for name in ("frames", "rate", "fields", "processes", "svtav1")},
    {
        name: (name,)
        for name in (
            *("likeness", "sampling", "interpolation", "faces", "gallery", "wire"),
            *("media", "video", "container", "nn"),
        )
    },
    {
        "models": ("zoo", "graphs", "adapters", "identity", "runtime"),
        "attention": ("attention",),
        "schedule": ("schedule",),
    },
    {"encoder": ("encoder",), "decoder": ("decoder",)},
    {"training": ("training",), "evaluation": ("evaluation", "timing"), "call": ("call",)},
    {"server": ("server",), "personal": ("personal",)},
    {"roof": ("cli", "__init__")},
)
TORCH_ROOMS = (
    "gemino.nn",
    "gemino.runtime.torch_runtime",
    "gemino.runtime.programs",
    "gemino.runtime.perceptual",
    "gemino.runtime.export",
    "gemino.runtime.parity",
    "gemino.training",
    "gemino.personal",
    "gemino.timing",
    "gemino.evaluation.metrics",
)
# Evaluation's other modules may load torch through metrics; nothing else may by being imported.
TORCH_LOADERS = (*TORCH_ROOMS, "gemino.evaluation")
ASYNC_ROOMS = (
    *(
        f"gemino.call.{name}"
        for name in (
            "tracks",
            "signaling",
            "peer",
            "link",
            "agreement",
            "candidates",
            "loopback",
            "rtcp",
            "pacing",
        )
    ),
    *(f"gemino.server.{name}" for name in ("app", "local_video", "running", "session", "sound")),
    "gemino.cli",
    "signaling",
)
ENVIRONMENT_ROOM = "gemino.svtav1"  # an encoder whose only switch for silence is a variable
SIGNALING_USERS = ("gemino.call", "gemino.cli")
PRIVATE_ROOMS = tuple(f"gemino.call.{name}" for name in ("payload", "candidates", "rtcp", "pacing"))
TORCH = ("torch", "torchvision", "lpips", "safetensors.torch")
STACK = ("aiortc", "aioice")
YAML = ("yaml", "ruamel", "omegaconf")
PICKLE = ("pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")


def place(name: str) -> tuple[int, str] | None:
    """The floor and the room of a module of gemino."""
    top = name.removeprefix("gemino").lstrip(".").split(".")[0] or "__init__"
    for floor, rooms in enumerate(FLOORS):
        for room, tops in rooms.items():
            if top in tops:
                return floor, room
    return None


def arrows(modules: dict[str, Module]) -> Iterator[str]:
    """Imports that point up or across, and modules without a place."""
    for module in modules.values():
        inside = within(module.name, ("gemino",))
        here = place(module.name)
        if inside and here is None:
            yield module.found(1, "has no floor")
        for target, line, _ in module.imports:
            if within(target, ("signaling",)) and inside:
                if not within(module.name, SIGNALING_USERS):
                    yield module.found(line, f"imports {target}")
            elif within(target, ("gemino",)):
                there = place(target)
                if not inside:
                    yield module.found(line, f"imports {target}: signaling knows nothing of it")
                elif here and there and there != here and there[0] >= here[0]:
                    yield module.found(line, f"imports {target}, which is not below it")


def cycles(modules: dict[str, Module]) -> Iterator[str]:
    """Modules that reach themselves through imports, those inside functions included."""
    for start in modules:
        path, seen = [(start, [start])], set[str]()
        while path:
            name, way = path.pop()
            for target, _, _ in modules[name].imports:
                if target == start:
                    yield f"{start}:1: cycle {' -> '.join([*way, start])}"
                    path = []
                    break
                if target in modules and target not in seen:
                    seen.add(target)
                    path.append((target, [*way, target]))


def torch_outside(modules: dict[str, Module]) -> Iterator[str]:
    """torch named outside its rooms, or loaded by importing what should be light."""
    for module in modules.values():
        for target, line, _ in module.imports:
            if within(target, TORCH) and not within(module.name, TORCH_ROOMS):
                yield module.found(line, f"imports {target}")
        if within(module.name, TORCH_LOADERS):
            continue
        for target in sorted(_loaded(module.name, modules)):
            if within(target, TORCH_ROOMS):
                yield module.found(1, f"loads {target} when it is imported")


def _loaded(name: str, modules: dict[str, Module]) -> set[str]:
    """Every module that importing `name` runs."""
    todo, seen = [name], {name}
    while todo:
        for one in modules[todo.pop()].imports:
            if not one.lazy and one.target in modules and one.target not in seen:
                seen.add(one.target)
                todo.append(one.target)
    return seen


def aiortc_privates(modules: dict[str, Module]) -> Iterator[str]:
    """Private names of aiortc or aioice, or a change to either, outside the two files for it."""
    for module in modules.values():
        if module.name in PRIVATE_ROOMS:
            continue
        theirs = set(STACK)
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and within(node.module or "", STACK):
                for alias in node.names:
                    theirs.add(alias.asname or alias.name)
                    if alias.name.startswith("_"):
                        yield module.found(node.lineno, f"imports aiortc's {alias.name}")
            if isinstance(node, ast.Import):
                theirs |= {
                    alias.asname
                    for alias in node.names
                    if alias.asname and within(alias.name, STACK)
                }
        for node in ast.walk(module.tree):
            yield from _private_uses(module, node, theirs)


def _private_uses(module: Module, node: ast.AST, theirs: set[str]) -> Iterator[str]:
    def rooted(value: ast.AST) -> bool:
        while isinstance(value, ast.Attribute):
            value = value.value
        return isinstance(value, ast.Name) and value.id in theirs

    match node:
        case ast.Attribute(attr=name) if name.startswith("_") and "__" in name[1:-2]:
            yield module.found(node.lineno, f"uses the mangled name {name}")
        case ast.Attribute(attr=name) if name.startswith("_") and rooted(node.value):
            yield module.found(node.lineno, f"uses aiortc's {name}")
        case ast.Attribute(ctx=ast.Store() | ast.Del()) if rooted(node.value):
            yield module.found(node.lineno, f"changes aiortc's {node.attr}")
        case ast.Call(
            func=ast.Name(id="getattr" | "setattr" | "delattr" as how),
            args=[target, ast.Constant(value=str(name)), *_],
        ) if name.startswith("_") or (how != "getattr" and rooted(target)):
            yield module.found(node.lineno, f"reaches for {name} with {how}")


def async_outside(modules: dict[str, Module]) -> Iterator[str]:
    """Coroutines where the code should decide without an event loop."""
    for module in modules.values():
        if not within(module.name, ASYNC_ROOMS):
            for node in ast.walk(module.tree):
                if isinstance(node, ast.AsyncFunctionDef):
                    yield module.found(node.lineno, f"async def {node.name}")


def environment(modules: dict[str, Module]) -> Iterator[str]:
    """Environment variables; only `{**os.environ, ...}`, a child's inheritance, is none of ours."""
    for module in modules.values():
        if module.name == ENVIRONMENT_ROOM:
            continue
        inherited = {
            id(value)
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Dict)
            for key, value in zip(node.keys, node.values, strict=True)
            if key is None
        }
        for node in ast.walk(module.tree):
            match node:
                case ast.Attribute(attr="environ" | "environb" | "getenv" | "putenv" as name):
                    if id(node) not in inherited:
                        yield module.found(node.lineno, f"uses {name}")
                case ast.ImportFrom(module="os", names=names):
                    for alias in names:
                        if "env" in alias.name:
                            yield module.found(node.lineno, f"imports {alias.name}")


def formats(modules: dict[str, Module]) -> Iterator[str]:
    """YAML, pickle, and files named after nothing in particular."""
    for module in modules.values():
        for target, line, _ in module.imports:
            if within(target, YAML + PICKLE):
                yield module.found(line, f"imports {target}")
        if module.name.split(".")[-1] in ("utils", "util"):
            yield module.found(1, "name it after what it holds")


def import_work(modules: dict[str, Module]) -> Iterator[str]:
    """Statements that do something when a module is imported; commands register at the roof."""
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    allowed = (ast.Import, ast.ImportFrom, *definitions)
    for module in modules.values():
        if within(module.name, ("gemino.cli", "signaling.__main__")) or module.name == "gemino":
            continue
        for node in module.tree.body:
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            typing_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            if not isinstance(node, allowed) and not docstring and not typing_only:
                yield module.found(node.lineno, f"runs {type(node).__name__} at import")


def unplaced(modules: dict[str, Module], document: str) -> Iterator[str]:
    """Modules that `document`, docs/architecture.md, gives no place: among the files of a room in
    the house, `room/ {one, two}`, or in the row of a room, `| what for | one, two |`.
    """
    named: dict[str, set[str]] = {}
    for room, inside in re.findall(r"(\w+)/ \{([^}]*)\}", document):
        named.setdefault(room, set()).update(re.findall(r"\w+", inside))
    room = ""
    for line in document.splitlines():
        if line.startswith("|"):
            cells = line.split("|")
            room = cells[1].strip(" `/") or room
            named.setdefault(room, set()).update(re.findall(r"`(\w+)`", cells[3]))
    alone = set(re.findall(r"(\w+)\.py", document))
    for name, module in modules.items():
        *above, last = name.split(".")
        is_room = (
            not above
            or last == "__main__"
            or any(other.startswith(f"{name}.") for other in modules)
        )
        if not is_room and last not in (alone if above == ["gemino"] else named.get(above[-1], ())):
            yield module.found(1, "has no place in docs/architecture.md")


Rule = Callable[[dict[str, Module]], Iterator[str]]
RULES: tuple[Rule, ...] = (
    arrows,
    cycles,
    torch_outside,
    aiortc_privates,
    async_outside,
    environment,
    formats,
    import_work,
)
