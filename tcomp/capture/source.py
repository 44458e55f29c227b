"""Where the operator being recorded comes from: the module that runs and the line of the user's code."""

import os
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType, TracebackType
from typing import Any

import torch

from tcomp.capture.types import Source

# One capture at a time: the tracker exchanges torch.nn.Module.__call__ for its duration.
_lock = threading.RLock()


class SourceTracker:
    """Knows the innermost running module of `root` and the user's deepest frame."""

    def __init__(self, root: torch.nn.Module) -> None:
        self._names = {id(module): name for name, module in root.named_modules()}
        self._stack: list[str] = [""]
        self._skipped: dict[CodeType, bool] = {}
        self._inner = ""

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow the module calls of this thread; other threads run as before."""
        thread = threading.get_ident()
        with _lock:
            original = torch.nn.Module.__call__

            def call(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
                if threading.get_ident() != thread:
                    return original(module, *args, **kwargs)
                self._stack.append(self._names.get(id(module), self._stack[-1]))
                try:
                    return original(module, *args, **kwargs)
                finally:
                    self._stack.pop()

            torch.nn.Module.__call__ = call  # type: ignore[method-assign]
            try:
                yield
            finally:
                torch.nn.Module.__call__ = original  # type: ignore[method-assign]

    def find_source(self) -> Source:
        """Return the source of what runs now."""
        return Source(self._stack[-1], self._find_line(sys._getframe(1)))

    def find_failed(self, error: BaseException) -> Source:
        """Return the source of an error that came out of the module: of its deepest frame in the user's code."""
        trace = error.__traceback__
        frames = []
        while trace is not None:
            frames.append((trace.tb_frame, trace.tb_lineno))
            trace = trace.tb_next
        path = ""
        line = ""
        for frame, number in frames:
            owner = frame.f_locals.get("self")
            if isinstance(owner, torch.nn.Module):
                path = self._names.get(id(owner), path)
            if not self._is_skipped(frame.f_code):
                line = f"{os.path.basename(frame.f_code.co_filename)}:{number}"
        return Source(path, line or "no line of the user's")

    def trim(self, error: BaseException) -> None:
        """Leave of an error's traceback the frames in the user's code: what PyTorch did below them says nothing to the user."""
        frames = []
        trace = error.__traceback__
        while trace is not None:
            if not self._is_skipped(trace.tb_frame.f_code):
                frames.append(trace)
            trace = trace.tb_next
        kept: TracebackType | None = None
        for trace in reversed(frames):
            kept = TracebackType(kept, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
        error.__traceback__, error.__suppress_context__ = kept, True

    def _find_line(self, frame: FrameType | None) -> str:
        # Within a model of torch's own layers only, a line in torch.nn is the best there is.
        layer = ""
        while frame is not None:
            code = frame.f_code
            if not self._is_skipped(code):
                return f"{os.path.basename(code.co_filename)}:{frame.f_lineno}"
            if code is _BOUNDARY:
                break
            if not layer and code.co_filename.startswith(_LAYERS):
                layer = f"{os.path.basename(code.co_filename)}:{frame.f_lineno}"
            frame = frame.f_back
        return layer or "no line of the user's"

    def _is_skipped(self, code: CodeType) -> bool:
        skipped = self._skipped.get(code)
        if skipped is None:
            name = code.co_filename
            skipped = name.startswith(_SKIPPED) or (name.startswith(_STDLIB) and "-packages" not in name)
            self._skipped[code] = skipped
        return skipped


def run_module(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the module; frames outside this one are not the user's."""
    return module(*args, **kwargs)


_BOUNDARY = run_module.__code__
_HERE = os.path.dirname(os.path.abspath(__file__))
_TORCH = os.path.dirname(torch.__file__)
_LAYERS = os.path.join(_TORCH, "nn", "modules")
_STDLIB = sysconfig.get_path("stdlib")
_SKIPPED = ("<", _TORCH + os.sep, _HERE + os.sep)
