"""Fixtures that several tests share."""

import random
import sys
import zlib
from pathlib import Path

import hypothesis
import numpy
import pytest
import torch

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("tcomp", deadline=None)
hypothesis.settings.load_profile("tcomp")

GOLDENS = Path(__file__).resolve().parent / "goldens"


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="write the golden texts instead of comparing with them")


class Golden:
    """Texts kept under tests/goldens: `check` compares, or writes them when pytest was given --update-golden."""

    def __init__(self, update, folder=GOLDENS):
        self.update = update
        self.folder = folder

    def read(self, name):
        return (self.folder / name).read_text()

    def check(self, name, text):
        text = text.rstrip("\n") + "\n"
        path = self.folder / name
        if self.update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert path.is_file(), f"there is no {path.name}: run with --update-golden, and read what it wrote"
        assert text == path.read_text()


@pytest.fixture
def golden(request):
    return Golden(request.config.getoption("--update-golden"))


@pytest.fixture(autouse=True)
def _seed(request):
    """What a test draws follows from its name: the same whenever, wherever and after whatever other tests it runs."""
    seed = zlib.crc32(request.node.nodeid.encode())
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


@pytest.fixture(autouse=True)
def _dynamo():
    """Dynamo is new to every test: of code that it has compiled 8 times it would leave the next one to eager, without a word."""
    frames = _count_frames()
    if frames is not None:
        torch._dynamo.config.fail_on_recompile_limit_hit = True
    yield
    if _count_frames() != frames:
        torch._dynamo.reset()


def _count_frames():
    """How many frames Dynamo has seen, if anything has imported it."""
    module = sys.modules.get("torch._dynamo.convert_frame")
    return None if module is None else module.FRAME_COUNTER


@pytest.fixture(scope="session", autouse=True)
def _cache(request, tmp_path_factory):
    """Compiled programs of the tests go to one folder a test session, whatever the user's environment says.

    The workers of pytest-xdist and the processes that tests start share it, so that equal programs are built once.
    """
    base = tmp_path_factory.getbasetemp()
    # Every worker has a folder of its own in the session's.
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / "tcomp-cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TCOMP_CACHE_DIR", str(folder))
        patch.delenv("TCOMP_DEBUG", raising=False)
        patch.delenv("TCOMP_TARGET", raising=False)
        # No test may pass because a stage that tcomp failed on was left to PyTorch.
        patch.setenv("TCOMP_RAISE_FAULTS", "1")
        yield
