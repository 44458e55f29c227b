"""The house keeps its shape: imports run downhill, torch and the environment have their places, files stay short."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEIGHT = {"ir": 0, "passes": 1, "codegen": 1, "tuner": 2, "tcomp": 3, "fuzz": 4}
TORCH_FOLDERS = {"tcomp", "fuzz"}
TRITON_FILES = {
    "codegen/triton/build.py",
    "codegen/triton/interpreter.py",
    "codegen/triton/module.py",
    "codegen/triton/support/basic.py",
    "codegen/triton/support/atomic.py",
    "codegen/triton/support/math.py",
    "codegen/triton/support/rare.py",
}
PRINTERS = {"print_index", "print_cascade", "print_kernel"}
"""What `__str__` imports where it runs: printing needs the classes, and the classes are to print themselves."""
ENVIRONMENT_FILES = {"tcomp/settings.py"}
LONGEST_FILE = 500

SOURCES = sorted(path for folder in HEIGHT for path in (ROOT / folder).rglob("*.py"))


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
    """The top-level folder that an imported name belongs to, or None if it is not ours."""
    parts = name.split(".")
    if parts[0] != "tcomp":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in HEIGHT else "tcomp"


def find_import_faults(path: str, source: str) -> list[str]:
    folder = path.split("/")[0]
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
    assert find_late_imports(path.read_text()) <= PRINTERS


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_only_the_settings_read_the_environment(path):
    assert find_environment_reads(relative(path), path.read_text()) == []


@pytest.mark.parametrize("path", [*SOURCES, *sorted((ROOT / "tests").glob("*.py"))], ids=relative)
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


def test_every_package_folder_is_packed():
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    folders = {relative(path.parent) for path in SOURCES if path.name == "__init__.py"}
    assert set(packed.values()) == folders
    assert all((name == folder.replace("/", ".")) or name == f"tcomp.{folder}" for name, folder in packed.items())


def test_every_source_folder_has_an_init():
    assert [relative(path) for path in SOURCES if not (path.parent / "__init__.py").is_file()] == []


def test_no_public_function_is_hidden_by_a_module_of_its_name():
    """Importing tcomp/compile.py would put the module where the function `tcomp.compile` has to be."""
    modules = {path.stem for path in (ROOT / "tcomp").glob("*.py")}
    assert modules & {"compile", "load", "export", "explain"} == set()


@pytest.mark.parametrize(
    ("path", "source", "faulty"),
    [
        ("ir/a.py", "from tcomp.passes.groups.fuse import fuse", True),
        ("ir/a.py", "from tcomp import passes", True),
        ("ir/a.py", "import tcomp", True),
        ("ir/a.py", "def f():\n    import torch.nn", True),
        ("ir/a.py", "from tcomp.ir import errors", False),
        ("passes/a.py", "from tcomp.codegen.c import C", True),
        ("passes/a.py", "from tcomp.ir.errors import Illegal", False),
        ("codegen/a.py", "from torch import nn", True),
        ("tcomp/a.py", "import torch\nfrom tcomp.passes import fuse", False),
        ("tcomp/a.py", "import triton.language", True),
    ],
)
def test_the_import_check_sees_faults(path, source, faulty):
    assert bool(find_import_faults(path, source)) is faulty


def test_the_late_import_check_sees_faults():
    assert find_late_imports("import os\ndef f():\n    from tcomp.ir.text import a\n    import b") == {"a", "b"}


def test_the_environment_check_sees_faults():
    assert find_environment_reads("ir/a.py", "import os\nx = os.environ.get('CC')")
    assert find_environment_reads("ir/a.py", "import os\nx = os.getenv('CC')")
    assert not find_environment_reads("tcomp/settings.py", "import os\nx = os.getenv('CC')")
