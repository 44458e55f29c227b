"""Reports of compiled stages as JSON and back: text as it is, sizes as the IR's text."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from tcomp.ir.dtypes import DTYPES
from tcomp.passes.cost.work import Traffic, Work
from tcomp.program.reports import KernelReport, StageReport
from tcomp.saved.sizes import read_size, write_size

Json = Any


def write_report(report: StageReport) -> Json:
    """A report as JSON."""
    return {**_shallow(report), "kernels": [{**_shallow(kernel), "work": write_work(kernel.work)} for kernel in report.kernels]}


def read_report(data: Json) -> StageReport:
    """A report from JSON."""
    kernels = tuple(
        KernelReport(
            **{
                **kernel,
                "einsums": tuple(map(tuple, kernel["einsums"])),
                "origins": tuple(kernel["origins"]),
                "operands": tuple(kernel["operands"]),
                "work": read_work(kernel["work"]),
            }
        )
        for kernel in data["kernels"]
    )
    return StageReport(**{**data, "einsums": tuple(data["einsums"]), "kernels": kernels})


def write_work(work: Work) -> Json:
    """The work of a kernel: [operations, element type, [tensor, is written, bytes of all of it, bounds of each access] of each tensor]."""
    traffic = [
        [t.tensor, t.is_written, write_size(t.whole), [[write_size(bound) for bound in bounds] for bounds in t.accesses]]
        for t in work.traffic
    ]
    return [write_size(work.operations), work.dtype.name, traffic]


def read_work(data: Json) -> Work:
    """The work of a kernel from JSON."""
    operations, dtype, traffic = data
    return Work(
        read_size(operations),
        DTYPES[dtype],
        tuple(
            Traffic(tensor, is_written, read_size(whole), tuple(tuple(map(read_size, bounds)) for bounds in accesses))
            for tensor, is_written, whole, accesses in traffic
        ),
    )


def _shallow(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}
