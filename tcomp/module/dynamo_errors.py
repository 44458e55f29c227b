"""Errors of tcomp on their way through Dynamo, which lets through unwrapped only what is of its own family."""

import contextlib
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from torch._dynamo.exc import BackendCompilerFailed

from tcomp.ir.errors import TcompError


class _BackendError(BackendCompilerFailed):
    """An error of ours that is Dynamo's as well: it is told as ours, and whoever expects what Dynamo makes of a backend's gets that."""

    def __init__(self, backend: Callable[..., Any], error: TcompError, frame: FrameType | None) -> None:
        super().__init__(backend, error, frame)
        self.args = error.args
        # What ours says, whatever the arguments that its class takes.
        self.__dict__.update(error.__dict__)

    def __repr__(self) -> str:
        # Dynamo adds to the arguments of what it raises.
        return repr(self.inner_exception)

    def __reduce__(self) -> tuple[object, ...]:
        # The class has no name to be found by in another process, and Dynamo's frames are not there.
        assert isinstance(self.inner_exception, TcompError)
        return self.inner_exception.__reduce__()


@contextlib.contextmanager
def let_through(backend: Callable[..., Any]) -> Iterator[None]:
    """Let errors of tcomp reach the caller of a module that torch.compile compiles: as what they are, and with what they say.

    Of the traceback Dynamo shows the caller's part and where the error was raised, and all of it with TORCHDYNAMO_VERBOSE=1.
    """
    try:
        yield
    except TcompError as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        raise _make_class(type(error))(backend, error, frames[-1]).with_traceback(error.__traceback__) from error.__cause__


def _make_class(kind: type[TcompError]) -> Callable[[Callable[..., Any], TcompError, FrameType], Exception]:
    """The class of errors that are of a kind of ours and Dynamo's."""
    # Ours stands first, for what it says, but it is made as Dynamo's.
    own: dict[str, object] = {name: vars(_BackendError)[name] for name in ("__init__", "__repr__", "__reduce__")}
    return type(kind.__name__, (kind, _BackendError), {**own, "__module__": kind.__module__, "__doc__": kind.__doc__})
