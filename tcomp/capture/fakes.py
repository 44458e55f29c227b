"""Fake tensors made fast: from a remembered template instead of by PyTorch's rules for shapes."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode


class _Symbolic:
    """Stands in a key for what has symbolic sizes."""


SYMBOLIC = _Symbolic()


@dataclass(frozen=True, slots=True)
class _Template:
    """The meta tensor and device to make equal fakes from, much faster than by the rules for shapes."""

    meta: Tensor
    device: torch.device


def describe(fake: Tensor) -> object:
    """Return what tells two tensors apart for a rule of shapes; SYMBOLIC if a number of it is a symbol."""
    if not _is_static(fake):
        return SYMBOLIC
    # A view that negates or conjugates what it shows differs in nothing else from what it is a view of.
    return (fake.shape, fake.stride(), fake.storage_offset(), fake.dtype, fake.device, fake.is_neg(), fake.is_conj())


def _is_static(fake: Tensor) -> bool:
    # Other layouts have more than strides.
    return fake.layout is torch.strided and all(type(size) is int for size in (*fake.shape, *fake.stride(), fake.storage_offset()))


def make_template(result: Any) -> Any:
    """Return the template of an operator's result (a list for several), or None if it is none that templates can say."""
    if isinstance(result, Tensor):
        if not _is_static(result) or result.is_neg() or result.is_conj():
            return None
        size, stride, offset = result.shape, result.stride(), result.storage_offset()
        extent = offset + 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if 0 not in size else 0
        with torch.inference_mode(False):
            meta = torch.empty(max(extent, offset), dtype=result.dtype, device="meta")
            return _Template(meta.as_strided(size, stride, offset), result.device)
    if isinstance(result, (tuple, list)):
        parts = [make_template(part) for part in result]
        return None if None in parts else parts
    return None


def rebuild(fake_mode: FakeTensorMode, template: Any) -> Any:
    """Return new fakes equal to those that `template` was made of."""
    if isinstance(template, _Template):
        return FakeTensor(fake_mode, template.meta, template.device)
    return tuple(rebuild(fake_mode, part) for part in template)


@contextmanager
def without_reports() -> Iterator[None]:
    """Keep PyTorch from logging a traceback of what fails on fake tensors in this thread: the error that is raised tells it."""
    logger, thread = logging.getLogger(FakeTensorMode.__module__), threading.get_ident()

    def is_of_another(record: logging.LogRecord) -> bool:
        return record.thread != thread or record.levelno < logging.ERROR

    logger.addFilter(is_of_another)
    try:
        yield
    finally:
        logger.removeFilter(is_of_another)
