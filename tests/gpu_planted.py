"""Rows of all kinds of bad manners, for the tests of what runs them; without torch, so that workers start at once."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace

from tests.gpu.results import Peer, Row, Skip, Times

CUT = "PLANTED_CUT"
"""The variable that tells the row that cuts a run off which process to send which signal."""


def be_right(task):
    return Row("planted", "right", "right")


def be_wrong(task):
    return Row("planted", "wrong", "wrong", "3, not 4", error=0.25, eager_error=1e-7)


def fail(task):
    raise ValueError("no such luck\nand more")


def skip(task):
    raise Skip("needs a GPU")


def crash(task):
    print("last words", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(task):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    time.sleep(600)


def cut_off(task):
    """Sends a signal to the process that the environment names, once that has kept the rows before this one."""
    os.kill(*map(int, os.environ[CUT].split()))
    time.sleep(600)


def crash_at_a_peer(task):
    so_far = Row("planted", "peer", "right", "so far")
    peers = []
    for name in ("good", "bad"):
        if name in task.left_out:
            peers.append(Peer(name, failure=task.left_out[name]))
            continue
        task.trying(name, so_far)
        if name == "bad":
            os.kill(os.getpid(), signal.SIGKILL)
        peers.append(Peer(name))
        task.trying("", so_far)
    return Row("planted", "peer", "right", peers=tuple(peers))


def hang_at_a_peer(task):
    so_far = Row("planted", "slow", "right", "so far")
    if "bad" not in task.left_out:
        task.trying("bad", so_far)
        time.sleep(600)
    yield so_far
    return replace(so_far, detail=task.left_out["bad"])


def hang_when_measured(task):
    yield Row("planted", "stuck", "right", "prepared")
    time.sleep(600)


def lose_the_device(task):
    Broken.fault = "a fault on the GPU"
    return Row("planted", "lost", "right")


def measure(task):
    """Two parts: notes when each ran, in a file."""
    start = time.monotonic()
    time.sleep(0.2)
    row = Row("planted", "measure", "right", "prepared")
    prepared = time.monotonic()
    yield row
    resumed = time.monotonic()
    time.sleep(0.1)
    times = Times(resumed, resumed, time.monotonic())
    return replace(row, detail="measured", peers=(Peer("tcomp", seconds=times, compile_seconds=prepared - start),))


def crash_when_measured(task):
    yield Row("planted", "late", "right", "prepared", error=0.5)
    os.kill(os.getpid(), signal.SIGKILL)


class Broken:
    """What is wrong with the device of this process."""

    fault = ""


@dataclass(frozen=True)
class Planted:
    rows: dict = field(default_factory=dict)

    def describe(self):
        return {"gpu": "planted", "process": os.getpid()}

    def finish_part(self):
        return Broken.fault


ROWS = {
    "right": be_right, "wrong": be_wrong, "failed": fail, "skipped": skip, "crashed": crash, "hung": hang, "peer": crash_at_a_peer,
    "lost": lose_the_device, "first": measure, "second": measure, "third": measure, "late": crash_when_measured,
    "slow": hang_at_a_peer, "stuck": hang_when_measured, "cut": cut_off,
}  # fmt: skip


def open_planted():
    return Planted({f"planted/{name}": function for name, function in ROWS.items()})


def open_nothing():
    print("no device here", flush=True)
    sys.exit(3)


def open_planted_for(folder, *, interpret):
    return open_planted()
