"""Finding a compiler, and what is said when it fails."""

import shutil
import subprocess
from dataclasses import replace

import pytest

from tcomp.codegen.c.toolchain import (
    FLAGS,
    KNOWN_FLAGS,
    Compilation,
    UnusableLibrary,
    check_library,
    compile_objects,
    find_toolchain,
    link_library,
)
from tcomp.ir.errors import BrokenCompiler, ToolchainError


@pytest.fixture
def toolchain():
    return find_toolchain()


def write_compiler(folder, script):
    path = folder / "fakecc"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_the_compiler_is_described(toolchain):
    assert toolchain.lanes in (4, 8, 16)
    assert toolchain.version
    assert toolchain == find_toolchain()


def test_a_preferred_command_may_have_arguments(toolchain):
    narrow = find_toolchain((*toolchain.command, "-DEXTRA"))
    assert narrow.command[-1] == "-DEXTRA"
    assert narrow.identity != toolchain.identity, "what changes the macros changes the identity"


def test_a_preferred_compiler_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(ToolchainError, match="cannot be run") as caught:
        find_toolchain((str(tmp_path / "nothing"),))
    assert "ziglang" in caught.value.help


def test_a_preferred_compiler_that_fails_is_an_error(tmp_path):
    with pytest.raises(ToolchainError, match="does not work") as caught:
        find_toolchain((write_compiler(tmp_path, "echo broken on purpose >&2; exit 3"),))
    assert "broken on purpose" in caught.value.where


def test_no_compiler_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", "no-such-python")
    with pytest.raises(ToolchainError, match="no C compiler was found") as caught:
        find_toolchain()
    assert "gcc: not found" in caught.value.where


def test_openmp_is_probed(tmp_path, toolchain):
    without = write_compiler(tmp_path, f'case "$*" in *fopenmp*) exit 1;; esac\nexec {toolchain.command[0]} "$@"')
    assert not find_toolchain((without,)).has_openmp


@pytest.mark.parametrize("unknown", [KNOWN_FLAGS[:1], KNOWN_FLAGS])
def test_flags_that_a_compiler_does_not_know_are_left_out(tmp_path, toolchain, unknown):
    refuse = "\n".join(f'case "$*" in *{flag}*) echo unknown >&2; exit 1;; esac' for flag in unknown)
    found = find_toolchain((write_compiler(tmp_path, f'{refuse}\nexec {toolchain.command[0]} "$@"'),))
    assert found.flags == (*FLAGS, *(flag for flag in toolchain.flags if flag in KNOWN_FLAGS and flag not in unknown))
    assert found.identity == toolchain.identity


def test_gcc_invents_no_stores():
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc")
    assert find_toolchain(("gcc",)).flags == (*FLAGS, *KNOWN_FLAGS)


def test_sanitizers_are_compiled_and_linked_with():
    found = find_toolchain(sanitizers=("address", "undefined"))
    assert "-fsanitize=address,undefined" in found.flags
    assert "-fsanitize=address,undefined" in found.link_flags
    assert found.flags[: len(FLAGS)] == FLAGS


def test_a_sanitizer_that_the_compiler_does_not_know_is_an_error(toolchain):
    with pytest.raises(ToolchainError, match="does not work") as caught:
        find_toolchain(toolchain.command, ("address", "nonsense"))
    assert "nonsense" in caught.value.where


def test_objects_and_libraries(tmp_path, toolchain):
    sources = [tmp_path / f"{name}.c" for name in "abc"]
    for source in sources:
        text = f'__attribute__((visibility("default"))) int {source.stem}(void) {{ return TCOMP_LANES; }}'
        source.write_text(f'#include "vector.h"\n{text}\n')
    objects = [source.with_suffix(".o") for source in sources]
    compile_objects(toolchain, [Compilation(s, o) for s, o in zip(sources, objects)])
    link_library(toolchain, objects, tmp_path / "all.so")
    names = subprocess.run(["nm", "-D", tmp_path / "all.so"], capture_output=True, text=True, check=True).stdout
    assert all(f" T {name}\n" in names for name in "abc")


def test_a_source_that_does_not_compile(tmp_path, toolchain):
    source = tmp_path / "wrong.c"
    source.write_text("int f(void) { return undeclared_name; }\n" + "int g(void) { return other_name; }\n" * 30)
    with pytest.raises(ToolchainError, match=r"failed on wrong\.c") as caught:
        compile_objects(toolchain, [Compilation(source, tmp_path / "wrong.o")])
    assert "undeclared_name" in caught.value.where
    assert str(source) in caught.value.where.splitlines()[0]
    assert "more lines" in caught.value.where


def test_objects_that_do_not_link(tmp_path, toolchain):
    broken = tmp_path / "broken.o"
    broken.write_bytes(b"not an object")
    with pytest.raises(ToolchainError, match="the linker failed"):
        link_library(toolchain, [broken], tmp_path / "out.so")


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("exit 0", "does not say which macros"),
        ("head -c 4000 /dev/urandom", "does not say which macros"),
        ("sleep 100 & sleep 100", "did not end within"),
        ("yes garbage", "did not end within"),
        ("kill -SEGV $$", "ended by a signal"),
    ],
)
def test_a_compiler_that_is_none_is_one_error(tmp_path, script, what):
    with pytest.raises(BrokenCompiler, match=what) as caught:
        find_toolchain((write_compiler(tmp_path, script),), limit=60.0)
    assert "fakecc" in caught.value.where


@pytest.mark.parametrize(
    ("script", "what"),
    [("exit 0", r"wrote no a\.o"), ("sleep 100", "did not end within 1 s"),
     ("kill -KILL $$", "Killed"), ("printf '\\377' >&2; exit 1", "status 1")],
)  # fmt: skip
def test_a_compiler_that_breaks_later_is_one_error(tmp_path, toolchain, script, what):
    broken = replace(toolchain, command=(write_compiler(tmp_path, script),), limit=1.0)
    (tmp_path / "a.c").write_text("int a;")
    with pytest.raises(ToolchainError, match=what):
        compile_objects(broken, [Compilation(tmp_path / "a.c", tmp_path / "a.o")])


@pytest.mark.parametrize("damage", [lambda data: data[:3000], lambda data: b"garbage" * 100, lambda data: data[:18] + b"\xb7" + data[19:]])
def test_a_library_that_does_not_load_is_an_error_and_no_crash(tmp_path, toolchain, damage):
    (tmp_path / "a.c").write_text('__attribute__((visibility("default"))) int tcomp_run(void) { return 0; }')
    compile_objects(toolchain, [Compilation(tmp_path / "a.c", tmp_path / "a.o")])
    library = tmp_path / "a.so"
    link_library(toolchain, [tmp_path / "a.o"], library)
    check_library(toolchain, library)
    library.write_bytes(damage(library.read_bytes()))
    with pytest.raises(UnusableLibrary, match="cannot be loaded"):
        check_library(toolchain, library)


def test_a_library_without_its_function_is_an_error(tmp_path, toolchain):
    (tmp_path / "a.c").write_text("int other;")
    compile_objects(toolchain, [Compilation(tmp_path / "a.c", tmp_path / "a.o")])
    link_library(toolchain, [tmp_path / "a.o"], tmp_path / "a.so")
    with pytest.raises(UnusableLibrary) as caught:
        check_library(toolchain, tmp_path / "a.so")
    assert "tcomp_run" in caught.value.where
