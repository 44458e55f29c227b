"""Folders and files that a killed process leaves are deleted by the next one, and never those in use."""

import os
import signal
import subprocess
import sys

import pytest

from tcomp.codegen import temporary
from tcomp.codegen.temporary import find_private_folder, hold_file, hold_folder, private_folder, sweep

HOLD = "import sys, time; from pathlib import Path; from tcomp.codegen.temporary import hold_file, hold_folder; "


def start(folder, code):
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {HOLD}{code}", folder]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    return process


HOLD_FOLDER = """
with hold_folder(Path(sys.argv[1]), "part-") as path:
    (path / "half").write_text("written"); print("ready", flush=True); time.sleep(60)"""
HOLD_FILE = """
with hold_file(Path(sys.argv[1]), "part-", "x") as (path, handle):
    print("ready", flush=True); time.sleep(60)"""


@pytest.mark.parametrize("code", [HOLD_FOLDER, HOLD_FILE])
def test_what_a_killed_process_leaves_is_deleted_and_what_a_live_one_uses_is_not(tmp_path, code):
    process = start(tmp_path, code)
    try:
        sweep(tmp_path, "part-")
        assert len(list(tmp_path.iterdir())) == 1, "it is in use"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert len(list(tmp_path.iterdir())) == 1, "nothing else deletes it"
    (tmp_path / "other").write_text("not ours")
    with hold_folder(tmp_path, "part-") as path:
        assert sorted(tmp_path.iterdir()) == sorted([path, tmp_path / "other"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["other"]


def test_where_nothing_can_be_locked_leftovers_go_when_they_are_old(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(temporary.fcntl, "flock", fail)
    with hold_folder(tmp_path, "part-") as path:
        sweep(tmp_path, "part-")
        assert path.is_dir()
        os.utime(path, (0, 0))
        sweep(tmp_path, "part-")
        assert not path.exists()


def test_a_file_that_was_renamed_stays(tmp_path):
    with hold_file(tmp_path, "part-", "x") as (path, handle):
        os.write(handle, b"whole")
        path.rename(tmp_path / "target")
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"whole"]


def test_a_forked_child_does_not_delete_the_folder_of_its_parent():
    folder = private_folder()
    assert folder == find_private_folder() == private_folder()
    child = os.fork()
    if not child:
        is_other = private_folder() != folder
        os.execv(sys.executable, [sys.executable, "-c", f"raise SystemExit({int(not is_other)})"])
    assert os.waitpid(child, 0)[1] == 0
    code = f"import os, sys; sys.path[:] = {sys.path!r}; from tcomp.codegen.temporary import private_folder\n"
    code += "folder = private_folder()\nif os.fork():\n    os.wait(); assert folder.is_dir(); print(folder)"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    assert not os.path.exists(said)
