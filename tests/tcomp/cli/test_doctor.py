"""The doctor finds what is broken, and says how to mend it."""

import os
import sys

import pytest

from tcomp.cli import doctor
from tcomp.settings import read_settings


def script(folder, text):
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return (str(path),)


def test_this_machine_can_run_tcomp(tmp_path):
    checks = doctor.run_checks(read_settings({**os.environ, "TCOMP_CACHE_DIR": str(tmp_path)}))
    assert [check for check in checks if check.status == "broken"] == []
    assert len({check.name for check in checks}) == len(checks) == 10
    assert all(bool(check.fix) == (check.status != "ok") for check in checks)


@pytest.mark.parametrize(
    ("python", "torch", "status"),
    [
        ((3, 11), "2.9.0", "ok"),
        ((3, 12), "2.13.0+cpu", "ok"),
        ((3, 10), "2.13.0", "broken"),
        ((3, 11), "2.8.1+cu128", "broken"),
    ],
)
def test_old_versions_are_broken(python, torch, status):
    assert doctor.check_versions(python, torch).status == status


def test_the_compiler_of_the_environment_comes_first(monkeypatch, tmp_path):
    assert doctor.find_compiler(read_settings({"CC": "my-cc -m64"})) == ("my-cc", "-m64")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: name if name == "clang" else None)
    assert doctor.find_compiler(read_settings({})) == ("clang",)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: name)
    assert doctor.find_compiler(read_settings({})) == (sys.executable, "-m", "ziglang", "cc")
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert doctor.find_compiler(read_settings({})) == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("echo version 1; [ $# = 1 ] || { echo 'probe.c:1: no vectors' >&2; exit 1; }", "probe.c:1: no vectors"),
        ("true", "does not build a kernel"),
        ("echo version 1; for last; do :; done; [ $# = 1 ] || echo noise > $last", "cannot be loaded"),
    ],
)
def test_a_compiler_that_fails_is_broken(tmp_path, text, says):
    check = doctor.check_compiler(script(tmp_path, text))
    assert check.status == "broken"
    assert says in check.found
    assert check.fix


def test_a_compiler_that_computes_wrongly_is_broken(tmp_path):
    (tmp_path / "wrong.c").write_text("void tcomp_probe(float *values, int count) { values[0] = 7; }\n")
    wrong = f'for last; do :; done; [ $# = 1 ] && cc --version || cc -shared -fPIC {tmp_path}/wrong.c -o "$last"'
    check = doctor.check_compiler(script(tmp_path, wrong))
    assert check.status == "broken"
    assert check.found.endswith(" computes wrong sums")


def test_no_compiler_is_broken():
    assert doctor.check_compiler(()).status == "broken"
    check = doctor.check_compiler(("/nowhere/cc",))
    assert (check.status, check.found) == ("broken", "/nowhere/cc cannot be found")


def test_instructions_are_read_from_the_compiler(tmp_path):
    macros = doctor.read_macros(script(tmp_path, "echo '#define __AVX2__ 1'; echo '#define __FMA__ 1'"))
    assert macros == {"__AVX2__", "__FMA__"}
    check = doctor.check_instructions(macros)
    assert check.status == "ok"
    assert check.found.endswith(": AVX2, FMA")
    assert doctor.read_macros(("/nowhere/cc",)) == frozenset()
    assert doctor.check_instructions(frozenset()).status == "warning"


@pytest.mark.parametrize(
    ("text", "quota"), [("max 100000\n", None), ("150000 100000\n", 1.5), ("nonsense", None), (None, None)]
)
def test_the_quota_is_read(tmp_path, text, quota):
    path = tmp_path / "cpu.max"
    if text is not None:
        path.write_text(text)
    assert doctor.read_quota(path) == quota


@pytest.mark.parametrize(
    ("cpus", "quota", "threads", "fix"),
    [
        (4, None, 4, ""),
        (4, 2.5, 2, ""),
        (4, None, 8, "set OMP_NUM_THREADS=4"),
        (4, 2.5, 4, "set OMP_NUM_THREADS=2"),
        (4, 0.5, 2, "set OMP_NUM_THREADS=1"),
    ],
)
def test_too_many_threads_are_named(cpus, quota, threads, fix):
    assert doctor.check_threads(cpus, quota, threads).fix == fix


def test_openmp_runtimes_are_found_in_the_process(tmp_path):
    maps = tmp_path / "maps"
    maps.write_text(
        "7f0-7f1 r-xp 0 08:01 11 /site/torch/lib/libgomp.so.1\n"
        "7f2-7f3 r--p 0 08:01 11 /site/torch/lib/libgomp.so.1\n"
        "7f4-7f5 r-xp 0 08:01 12 /site/my lib/libiomp5.so\n"
        "7f6-7f7 rw-p 0 00:00 0\n"
        "7f8-7f9 r-xp 0 08:01 13 /site/libcomp.so\n"
    )
    assert doctor.find_loaded_openmp(maps) == ("libgomp.so.1", "libiomp5.so")
    assert doctor.find_loaded_openmp(tmp_path / "missing") == ()


@pytest.mark.parametrize(
    ("loaded", "status"),
    [
        (("libgomp.so.1",), "ok"),
        (("libgomp-a34b3233.so.1",), "warning"),
        (("libgomp.so.1", "libiomp5.so"), "warning"),
        ((), "warning"),
    ],
)
def test_a_second_pool_is_warned_of(loaded, status):
    assert doctor.check_openmp(loaded).status == status


def test_the_cache_is_made_private(tmp_path):
    folder = tmp_path / "new" / "cache"
    assert doctor.check_cache(folder).status == "ok"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in folder.iterdir()] == ["kernels"]
    for part in (folder / "kernels", folder, folder.parent):
        part.chmod(0o777)
        check = doctor.check_cache(folder)
        assert check.status == "warning"
        assert str(part) in check.found
        part.chmod(0o700)
    assert doctor.check_cache(folder).status == "ok"


def test_a_cache_that_cannot_be_written_is_warned_of(tmp_path):
    (tmp_path / "file").write_text("in the way")
    check = doctor.check_cache(tmp_path / "file")
    assert check.status == "warning"
    assert "TCOMP_CACHE_DIR" in check.fix


def test_missing_extras_are_named(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert "transformers (pip install 'tcomp[zoo]')" in doctor.check_extras().found
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: name)
    assert doctor.check_extras().found == "found transformers, openvino, onnxruntime, onnx, onnxscript, triton"
