"""The house as its files are: how many rooms, no circle of imports, no import hidden in a string.

It reads the syntax trees itself and shares no code with import-linter, which holds the floors.
Every import counts, also one inside a function; those for type checking alone never run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "seenn_deploy"
LOOSE = {"__init__.py", "__main__.py", "py.typed"}

# The bundles are programs of their own: copied into a folder, their imports mean files there.
BUNDLES = tuple(f"{PACKAGE}/targets/{target}/bundle/" for target in ("lava", "sanafe"))

# Modules that a string decides about at run time: the file, what it asks for, and why it has to.
_BY_NAME = "extensions are found by their file names, those in a user's own folder included"
DYNAMIC = {
    ("__init__.py", "f'{__name__}.{_NAMES[name]}'"): "public names come when they are first used, "
    "so that importing the package is quick",
    ("__init__.py", "f'{__name__}.{name}'"): "the same for the modules that are public",
    ("_moved.py", "place"): "old import paths lead to the new ones for one more release",
    ("cli/modules.py", "file.stem"): "a user's own Python file holds the torch module",
    ("exits/__init__.py", "'exits'"): _BY_NAME,
    ("frontends/import_model.py", "'frontends'"): _BY_NAME,
    ("frontends/proof.py", "'training'"): "a checkpoint is compared with the torch network that "
    "training would make; frontends state what it takes, and know no network",
    ("frontends/torch/adapters/base.py", "_ROOM"): _BY_NAME,
    ("ir/kinds.py", "room"): _BY_NAME,
    ("ir/program.py", "'targets'"): "a program is saved with what its targets write; ir states "
    "what `write` takes, and knows no target",
    ("plugins.py", "_dotted(room)"): "the finder itself: a room",
    ("plugins.py", "f'{_dotted(room)}.{name}'"): "the finder itself: an extension",
    (
        "plugins.py",
        "f'{module.__name__}.{main}'",
    ): "the finder itself: a file of one that is a folder",
    ("targets/devices.py", "'targets'"): _BY_NAME,
    ("targets/devices.py", "others[name]"): "the same in the folder `devices` of a target",
    ("training/losses/__init__.py", "_ROOM"): _BY_NAME,
    ("training/__init__.py", "f'{__name__}.{_NAMES[name]}'"): "public names of training come when "
    "they are first used, because they need torch",
    ("targets/lava/write.py", "'exits'"): "a bundle gets a copy of every exit rule's file",
}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in (ROOT / PACKAGE).rglob("*.py"):
        relative = path.relative_to(ROOT)
        if not relative.as_posix().startswith(BUNDLES):
            parts = relative.with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def nodes(path: Path) -> Iterator[ast.AST]:
    """The syntax of a file without what only a type checker reads.

    Of the package's own face it is read too: it stands there for the imports at first use.
    """
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        yield node
        typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not typing or path == MODULES[PACKAGE]:
            waiting += ast.iter_child_nodes(node)


def imported(path: Path, name: str) -> Iterator[str]:
    """The modules of the package that a module's import statements name, wherever they stand."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(node, name, path.name == "__init__.py")
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                if inner in MODULES or module in MODULES:
                    yield inner if inner in MODULES else module


def absolute(node: ast.ImportFrom, name: str, is_package: bool) -> str:
    """What a ``from`` names; exit rules import relatively, as they are copied into bundles."""
    if not node.level:
        return str(node.module)
    above = name.split(".")
    above = above[: len(above) + is_package - node.level]
    return ".".join([*above, node.module] if node.module else above)


def graph() -> dict[str, set[str]]:
    return {name: set(imported(path, name)) - {name} for name, path in MODULES.items()}


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that all reach each other: take away what leads nowhere, from both ends."""
    reach = {node: set(after) for node, after in edges.items()}
    for middle in edges:
        for node in edges:
            if middle in reach[node]:
                reach[node] |= reach[middle]
    groups = {
        frozenset(other for other in reach[node] if node in reach[other])
        for node in edges
        if node in reach[node]
    }
    return sorted(sorted(group) for group in groups)


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else name


def test_the_top_floor_is_small() -> None:
    top = [p for p in (ROOT / PACKAGE).iterdir() if p.name != "__pycache__"]
    rooms = sorted(p.name for p in top if p.is_dir())
    files = sorted(p.name for p in top if p.is_file() and p.name not in LOOSE)
    assert len(rooms) <= 12, rooms
    assert len(files) <= 7, files


def test_no_two_modules_import_each_other() -> None:
    assert circles(graph()) == []


def test_no_two_rooms_import_each_other() -> None:
    rooms: dict[str, set[str]] = {room(name): set() for name in MODULES}
    for name, after in graph().items():
        rooms[room(name)] |= {room(other) for other in after} - {room(name)}
    assert circles(rooms) == []


@pytest.mark.parametrize(
    ("edges", "found"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}}, [["a", "b"]]),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"e"}, "e": {"d"}}, [["b", "c"], ["d", "e"]]),
    ],
)  # fmt: skip
def test_circles_are_found(edges: dict[str, set[str]], found: list[list[str]]) -> None:
    assert circles(edges) == found


LOADERS = (
    r"(.*\.)?(import_module|__import__|spec_from_file_location|run_path|run_module)|plugins\.load"
)


def asked_for(path: Path) -> Iterator[str]:
    """What the calls that import by a string ask for: our finder and Python's own functions."""
    for node in nodes(path):
        if isinstance(node, ast.Call) and re.fullmatch(LOADERS, ast.unparse(node.func)):
            yield ast.unparse(node.args[0])


def test_imports_by_a_string_are_known() -> None:
    found = {
        (path.relative_to(ROOT / PACKAGE).as_posix(), asked)
        for path in MODULES.values()
        for asked in asked_for(path)
    }
    assert found == DYNAMIC.keys(), "say in DYNAMIC why a string has to decide here"


KINDS = {"Node", "Maximum", "Population", "Product", "Readout", "Source", "Sum", "LinearMap",
         "Synapses", "Affine", "AvgPool2d", "Conv2d", "Dense", "Identity", "PooledDense",
         "Sparse"}  # fmt: skip


def test_few_places_ask_for_the_class_of_a_node_or_map() -> None:
    """A kind is one file: consumers register a form of it, or ask the kind (decision 4)."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("isinstance", "issubclass")
        and KINDS
        & {w.removeprefix("ir.") for w in re.findall(r"[\w.]+", ast.unparse(node.args[1]))}
    ]
    assert len(found) < 50, found
