"""The rooms of `docs/architecture.md`: none imports one that stands below it in the table."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import bitface

SOURCE = Path(bitface.__file__).parent
OUTSIDE = {
    "compiler", "config", "cpu", "device", "errors", "files", "limits", "preprocess", "progress", "ranks", "registry",
    "scratch", "signals", "store", "tables", "telemetry", "terminal", "__init__", "__main__",
}  # fmt: skip


def rooms() -> list[str]:
    """The rooms that hold code, in the order of the table."""
    text = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE)
    return [name for name in named if any((SOURCE / name).glob("*.py"))]


def imported(file: Path) -> Iterator[str]:
    """The rooms that a file imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "bitface":
            yield from (alias.name for alias in node.names)
        else:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            yield from (name.split(".")[1] for name in names if name.startswith("bitface."))


def test_every_room_is_in_the_table() -> None:
    folders = {path.parent.name for path in SOURCE.glob("*/*.py")}
    assert folders == set(rooms())
    assert {path.stem for path in SOURCE.glob("*.py")} <= OUTSIDE


def test_the_data_walks_one_way() -> None:
    order = rooms()
    back = [
        f"{file.relative_to(SOURCE)} imports {name}"
        for place, room in enumerate(order)
        for file in (SOURCE / room).rglob("*.py")
        for name in imported(file)
        if name in order[place + 1 :]
    ]
    assert not back


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def test_a_file_holds_one_concept() -> None:
    """Of more than 400 lines it would be two."""
    assert not [path for path in files() if len(path.read_text(encoding="utf-8").splitlines()) > 400]


def test_what_belongs_together_is_one_parameter() -> None:
    """Eight at most; a command's options are its parameters."""
    many = []
    for path in files():
        if "cli" in path.relative_to(SOURCE).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                own = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                if len([one for one in own if one.arg not in ("self", "cls")]) > 8:
                    many.append(f"{path.relative_to(SOURCE)}: {node.name}")
    assert not many


def test_no_room_is_flat() -> None:
    folders = {path.parent for path in files()}
    assert not [folder for folder in folders if len(list(folder.glob("*.py"))) > 25]


def test_no_imports_go_in_a_circle() -> None:
    modules = {path.relative_to(SOURCE.parent).with_suffix("").as_posix().replace("/", "."): path for path in files()}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    graph = {name: needed(path, modules) - {name} for name, path in modules.items()}
    # A module without imports left is no part of a circle.
    while free := [name for name, others in graph.items() if not others]:
        graph = {name: others - set(free) for name, others in graph.items() if name not in free}
    assert not graph


def needed(path: Path, modules: dict[str, Path]) -> set[str]:
    """The modules that a file imports when it is imported itself."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "bitface":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in modules else node.module)
    return found & set(modules)
