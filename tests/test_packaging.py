"""What is imported is declared: by the package as a dependency or an extra, by the tests as an extra for developers."""

import re
import sys
import tomllib

import pytest

from tests.test_layout import ROOT, SOURCES, find_imports

CHECKOUT = {"tcomp", "tests", "tests_gpu"}
WITH_TORCH = {"torch": {"functorch", "torchgen"}}
"""What else comes with a distribution."""


def read_project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def name_of(requirement):
    return re.match(r"[\w.-]+", requirement)[0]


def list_declared(*extras):
    project = read_project()
    requirements = [*project["dependencies"], *(r for extra in extras for r in project["optional-dependencies"][extra])]
    declared = {name_of(requirement) for requirement in requirements}
    return declared | {other for name in declared for other in WITH_TORCH.get(name, ())}


def list_imported(paths):
    packages = {name.split(".")[0] for path in paths for name in find_imports(path.read_text())}
    # What is imported by name stands as a string.
    late = {name for path in paths for name in re.findall(r'import_module\("(\w+)"\)', path.read_text())}
    return (packages | late) - set(sys.stdlib_module_names) - CHECKOUT


def test_what_the_package_imports_is_declared():
    imported, extras = list_imported(SOURCES), read_project()["optional-dependencies"]
    assert imported <= list_declared("zoo", "bench", "gpu", "distributed"), "undeclared"
    assert set(map(name_of, read_project()["dependencies"])) <= imported, "declared and not imported"
    for extra in ("zoo", "gpu", "distributed"):
        assert set(map(name_of, extras[extra])) <= imported, f"the extra {extra} brings what nothing imports"


def test_what_the_tests_import_is_declared():
    tests = sorted((ROOT / "tests").rglob("*.py"))
    own = {path.stem for path in tests} | {path.parent.name for path in tests}
    assert list_imported(tests) - own <= list_declared("zoo", "gpu", "distributed", "dev")


@pytest.mark.parametrize("requirement", [*read_project()["dependencies"]])
def test_what_any_user_installs_names_no_build(requirement):
    assert "+" not in requirement


def test_the_tested_torch_is_one_that_is_served():
    (line,) = (ROOT / "constraints-cpu.txt").read_text().split()
    least = next(r for r in read_project()["dependencies"] if name_of(r) == "torch").removeprefix("torch>=")
    assert [int(part) for part in line.removeprefix("torch==").split(".")] >= [int(part) for part in least.split(".")]
