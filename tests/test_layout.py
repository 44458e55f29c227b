"""The house keeps its shape: imports run downhill and in no circles, torch and the environment have their places, files stay short."""

import ast
import tomllib
from collections.abc import Mapping
from pathlib import Path

import networkx
import pytest

from tcomp.version import __version__

ROOT = Path(__file__).resolve().parent.parent
HEIGHT = {"ir": 0, "passes": 1, "codegen": 1, "tuner": 2, "tcomp": 3, "fuzz": 4, "tcomp/cli": 5}
TORCH_FOLDERS = {"tcomp", "fuzz", "tcomp/cli"}
TRITON_FILES = {
    "codegen/triton/build.py",
    "codegen/triton/interpreter.py",
    "codegen/triton/module.py",
    "codegen/triton/support/basic.py",
    "codegen/triton/support/atomic.py",
    "codegen/triton/support/math.py",
    "codegen/triton/support/rare.py",
}
ENVIRONMENT_FILES = {"tcomp/settings.py"}
LONGEST_FILE = 500
MOST_FLOORS = 9
"""Of the ground plan: `ir`, `passes` and `codegen` as one room each, and what lies in `tcomp`, folder by folder and file by file."""

TOP = sorted(folder for folder in HEIGHT if "/" not in folder)
SOURCES = sorted(path for folder in TOP for path in (ROOT / folder).rglob("*.py"))


def find_imports(source: str) -> set[str]:
    """All module names a source imports; `from a import b` counts as a.b, since b may be a module."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def find_folder(name: str) -> str | None:
    """The folder with a height that an imported name belongs to, or None if it is not ours."""
    parts = name.split(".")
    if parts[0] != "tcomp":
        return None
    if parts[1:2] == ["cli"]:
        return "tcomp/cli"
    return parts[1] if len(parts) > 1 and parts[1] in HEIGHT else "tcomp"


def find_import_faults(path: str, source: str) -> list[str]:
    # What `python -m tcomp` runs is the command line.
    folder = "tcomp/cli" if path.startswith("tcomp/cli/") or path == "tcomp/__main__.py" else path.split("/")[0]
    faults = []
    for name in sorted(find_imports(source)):
        target = find_folder(name)
        package = name.split(".")[0]
        if target and target != folder and HEIGHT[target] >= HEIGHT[folder]:
            faults.append(f"{path} imports {name}, which is not below {folder}")
        if package in {"torch", "torchgen", "functorch"} and folder not in TORCH_FOLDERS:
            faults.append(f"{path} imports {name}: torch stays in {', '.join(sorted(TORCH_FOLDERS))}")
        if package == "triton" and path not in TRITON_FILES:
            faults.append(f"{path} imports {name}: triton stays in the files named here")
    return faults


def find_file(name: str) -> str | None:
    """The file that an imported name stands for or comes from, or None if it is not ours."""
    parts = name.split(".")
    if parts[0] != "tcomp":
        return None
    place = parts[1:] if parts[1:2] and parts[1] in TOP else parts
    for end in range(len(place), 0, -1):
        path = "/".join(place[:end])
        for file in (f"{path}.py", f"{path}/__init__.py"):
            if (ROOT / file).is_file():
                return file
    return None


def read_graph(sources: Mapping[str, str], find=find_file) -> networkx.DiGraph:
    """Which file imports which, late imports included; a package's own file is not looked at, nor what `python -m` runs: nobody's room."""
    graph = networkx.DiGraph()
    graph.add_nodes_from(path for path in sources if not path.endswith(("__init__.py", "__main__.py")))
    for path in list(graph):
        files = {find(name) for name in find_imports(sources[path])} - {path, None}
        graph.add_edges_from((path, file) for file in files if not file.endswith("__init__.py"))
    return graph


def find_circles(graph: networkx.DiGraph, room_of) -> list[list[str]]:
    """Rooms that import each other in a circle, a room being what `room_of` makes of a file."""
    rooms = networkx.DiGraph((room_of(a), room_of(b)) for a, b in graph.edges if room_of(a) != room_of(b))
    return [sorted(circle) for circle in networkx.strongly_connected_components(rooms) if len(circle) > 1]


def find_mixed_folders(graph: networkx.DiGraph) -> list[str]:
    """Folders some of whose flat files import from their rooms while rooms import others of them. `tcomp` has a face and a ground."""
    above, below = {}, {}
    for a, b in graph.edges:
        for table, flat, deep in ((above, a, b), (below, b, a)):
            folder = folder_of(flat)
            if folder_of(deep).startswith(f"{folder}/"):
                table.setdefault(folder, set()).add(flat)
    return [f"{f}: {sorted(above[f])} are above its rooms, {sorted(below[f])} below" for f in above.keys() & below.keys() if f != "tcomp"]


def folder_of(path: str) -> str:
    return path.rsplit("/", 1)[0]


def ground_plan(path: str) -> str:
    """The room of a file on the ground plan."""
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] == "tcomp" else parts[0]


def count_floors(graph: networkx.DiGraph) -> int:
    rooms = networkx.DiGraph((ground_plan(a), ground_plan(b)) for a, b in graph.edges if ground_plan(a) != ground_plan(b))
    return networkx.dag_longest_path_length(rooms) + 1


@pytest.fixture(scope="module")
def imports():
    return read_graph({relative(path): path.read_text() for path in SOURCES})


def test_no_circles_of_files_or_folders(imports):
    assert find_circles(imports, str) == []
    assert find_circles(imports, folder_of) == []


def test_flat_files_are_all_above_the_rooms_of_their_folder_or_all_below(imports):
    assert find_mixed_folders(imports) == []


def test_the_house_is_no_tower(imports):
    assert count_floors(imports) <= MOST_FLOORS


def find_environment_reads(path: str, source: str) -> list[str]:
    if path in ENVIRONMENT_FILES:
        return []
    return [
        f"{path}:{node.lineno} reads the environment: ask tcomp.settings"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}
    ]


def find_late_imports(source: str) -> set[str]:
    """Names that are imported inside functions."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    inner = [node for function in functions for node in ast.walk(function)]
    return {alias.name for node in inner if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_run_downhill_and_torch_stays_in_its_place(path):
    assert find_import_faults(relative(path), path.read_text()) == []


@pytest.mark.parametrize("path", [path for path in SOURCES if relative(path).split("/")[0] not in TORCH_FOLDERS], ids=relative)
def test_imports_stand_at_the_top(path):
    """In tcomp some import torch, or what imports it, where it is needed: ruff asks for a reason there."""
    assert find_late_imports(path.read_text()) == set()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_only_the_settings_read_the_environment(path):
    assert find_environment_reads(relative(path), path.read_text()) == []


@pytest.mark.parametrize("path", [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))], ids=relative)
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


def test_every_package_folder_is_packed():
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {folder_of(relative(path)) for path in SOURCES if path.name == "__init__.py"}
    assert {name.removeprefix("tcomp.").split(".")[0] for name in packed["package-dir"]} <= {*TOP}
    assert {folder.replace("/", ".") if folder.startswith("tcomp") else f"tcomp.{folder.replace('/', '.')}" for folder in folders} == set(
        packed["packages"]
    )


def test_the_version_is_told_alike():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__


def test_every_source_folder_has_an_init():
    assert [relative(path) for path in SOURCES if not (path.parent / "__init__.py").is_file()] == []


def test_no_public_function_is_hidden_by_a_module_of_its_name():
    """Importing tcomp/compile.py would put the module where the function `tcomp.compile` has to be."""
    modules = {path.stem for path in (ROOT / "tcomp").glob("*.py")}
    assert modules & {"compile", "load", "export", "explain"} == set()


@pytest.mark.parametrize(
    ("path", "source", "faulty"),
    [
        ("ir/a.py", "from tcomp.passes.guess.fuse import fuse", True),
        ("ir/a.py", "from tcomp import passes", True),
        ("ir/a.py", "import tcomp", True),
        ("ir/a.py", "def f():\n    import torch.nn", True),
        ("ir/a.py", "from tcomp.ir import errors", False),
        ("passes/a.py", "from tcomp.codegen.c import C", True),
        ("passes/a.py", "from tcomp.ir.errors import Illegal", False),
        ("codegen/a.py", "from torch import nn", True),
        ("tcomp/a.py", "import torch\nfrom tcomp.passes import fuse", False),
        ("tcomp/a.py", "import triton.language", True),
        ("tcomp/a.py", "from tcomp.cli.main import main", True),
        ("fuzz/a.py", "from tcomp.cli import main", True),
        ("tcomp/cli/a.py", "from tcomp.module.compiler import compile_module\nfrom tcomp.fuzz import campaign", False),
    ],
)
def test_the_import_check_sees_faults(path, source, faulty):
    assert bool(find_import_faults(path, source)) is faulty


def test_the_checks_of_the_graph_see_faults():
    def graph(**sources):
        files = {name.replace("_", "/") + ".py": text for name, text in sources.items()}
        return read_graph(files, lambda name: f"{name.replace('.', '/')}.py")

    circle = graph(ir_a="import ir.b", ir_b="def f():\n    import ir.c", ir_c="import ir.a")
    assert find_circles(circle, str) == [["ir/a.py", "ir/b.py", "ir/c.py"]]
    folders = graph(ir_x_a="import ir.y.a", ir_y_b="import ir.x.b", ir_x_b="", ir_y_a="")
    assert find_circles(folders, str) == [] and find_circles(folders, folder_of) == [["ir/x", "ir/y"]]
    mixed = graph(ir_a="import ir.x.a", ir_x_a="", ir_x_b="import ir.b", ir_b="")
    assert find_mixed_folders(mixed) == ["ir: ['ir/a.py'] are above its rooms, ['ir/b.py'] below"]
    house = graph(tcomp_a="import tcomp.x.a", tcomp_x_a="import ir.a\nimport tcomp.x.b", tcomp_x_b="", ir_a="import ir.b", ir_b="")
    assert count_floors(house) == 3


def test_the_late_import_check_sees_faults():
    assert find_late_imports("import os\ndef f():\n    from tcomp.ir.cascade import a\n    import b") == {"a", "b"}


def test_the_environment_check_sees_faults():
    assert find_environment_reads("ir/a.py", "import os\nx = os.environ.get('CC')")
    assert find_environment_reads("ir/a.py", "import os\nx = os.getenv('CC')")
    assert not find_environment_reads("tcomp/settings.py", "import os\nx = os.getenv('CC')")
