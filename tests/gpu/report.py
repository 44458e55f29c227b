"""Results as text: what is wrong, a line for each row that was measured, and whether what was asked for is met."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.gpu.results import Peer, Row, Times

PEAKS: Mapping[str, Mapping[str, float]] = {
    "H200": {"bf16": 989e12, "f16": 989e12, "tf32": 495e12, "f32": 67e12},
    "H100 PCIe": {"bf16": 756e12, "f16": 756e12, "tf32": 378e12, "f32": 51e12},
    "H100": {"bf16": 989e12, "f16": 989e12, "tf32": 495e12, "f32": 67e12},
    "A100": {"bf16": 312e12, "f16": 312e12, "tf32": 156e12, "f32": 19.5e12},
}
"""Operations per second by the vendor's data sheets, dense; by part of the GPU's name, and by what a benchmark's name begins with."""

PRODUCT_SHARE = 0.85
BANDWIDTH_SHARE = 0.85
MOST_DETAIL = 400
"""Characters shown of why a row failed; the JSON has all."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table: a header and lines of as many cells."""

    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Threshold:
    """Something asked for, what was found, and from what; `is_met` is None where nothing was measured."""

    name: str
    wanted: float
    found: float | None
    is_met: bool | None
    basis: str


def find_thresholds(rows: Sequence[Row]) -> list[Threshold]:
    """What the results say to what was asked for; where tcomp chose kernels by measurement as well, the better choice counts."""
    product = _compare(rows, "matmul", "cublas", "ratio")
    return [
        _judge("bf16 matrix product of 8192, share of cuBLAS's rate", PRODUCT_SHARE, _pick(product, "matmul/bf16-8192"), min),
        _judge("what memory bounds, least share of a copy's bandwidth", BANDWIDTH_SHARE, _compare(rows, "memory", "copy", "ratio"), min),
        _judge(
            "models against Inductor max-autotune, recorded, geometric mean",
            1.0,
            _compare(rows, "zoo-max", "inductor-max", "replay_ratio"),
            statistics.geometric_mean,
        ),
        _judge(
            "models against eager, slowest",
            1.0,
            {**_compare(rows, "zoo-f32", "eager", "ratio"), **_compare(rows, "zoo-bf16", "eager", "ratio")},
            min,
        ),
    ]


def _pick(found: Mapping[str, float | None], label: str) -> dict[str, float | None]:
    return {name: value for name, value in found.items() if name == label}


def _compare(rows: Sequence[Row], section: str, peer: str, field: str) -> dict[str, float | None]:
    """How many times faster than a peer tcomp is at each row of a section, by its label; None where that was not measured."""
    found: dict[str, float | None] = {}
    for row in rows:
        label = row.label if row.section == section else f"{section}/{row.name.removeprefix(f'{section}-')}"
        if row.section == section or (row.section == "tuned" and row.name.startswith(f"{section}-")):
            values = [value for value in (found.get(label), _find_ratio(row, peer, field)) if value is not None]
            found[label] = max(values, default=None)
    return found


def _find_ratio(row: Row, peer: str, field: str) -> float | None:
    """The median time of a peer over that of tcomp, by whichever of its kernels are faster; of a row that is right."""
    times = [_find_times(row.find_peer(name), field) for name in (peer, "tuned")]
    if times[0] is None or row.status != "right":
        return None
    return times[0].median / min(1.0, times[1].median if times[1] else 1.0)


def _find_times(peer: Peer | None, field: str) -> Times | None:
    times: Times | None = getattr(peer, field) if peer else None
    return times


def _judge(name: str, wanted: float, found: Mapping[str, float | None], join: Callable[[list[float]], float]) -> Threshold:
    measured = {label: ratio for label, ratio in found.items() if ratio is not None}
    if not measured:
        return Threshold(name, wanted, None, None, "nothing measured")
    value = join(list(measured.values()))
    below = [f"{label} {ratio:.2f}" for label, ratio in measured.items() if ratio < wanted]
    missing = len(found) - len(measured)
    basis = f"{len(measured)} row{'s' * (len(measured) != 1)}" + (f", {missing} more not measured" if missing else "")
    return Threshold(name, wanted, value, value >= wanted, basis + (f"; below: {', '.join(below)}" if below else ""))


def is_wrong(rows: Sequence[Row]) -> bool:
    """Whether any row is wrong, or failed."""
    return any(row.status in ("wrong", "failed") for row in rows)


def describe(rows: Sequence[Row], machine: Mapping[str, Any], note: str) -> Iterator[str | Sheet]:
    """Everything, as lines and tables."""
    yield "  ".join(f"{name} {machine[name]}" for name in ("gpu", "driver", "torch", "triton", "date") if machine.get(name))
    if note:
        yield note
    yield from describe_checks(rows)
    for section in dict.fromkeys(row.section for row in rows if row.peers):
        yield make_sheet([row for row in rows if row.section == section and row.peers], str(machine.get("gpu", "")))
    yield from describe_faults(rows)
    measured = any(row.peers for row in rows)
    for threshold in find_thresholds(rows) if measured else ():
        verdict = {True: "met", False: "NOT MET", None: "not known"}[threshold.is_met]
        found = "" if threshold.found is None else f"{threshold.found:.2f}, "
        yield f"{verdict}: {threshold.name}: {found}wanted {threshold.wanted:.2f} ({threshold.basis})"


def describe_checks(rows: Sequence[Row]) -> Iterator[str]:
    """How many rows are right, by section and family."""
    for section in dict.fromkeys(row.section for row in rows):
        own = [row for row in rows if row.section == section]
        counts = Counter(row.status if row.is_reached else "not reached" for row in own)
        yield f"{section}: " + ", ".join(f"{count} {status}" for status, count in counts.items())
        families: dict[str, list[bool]] = {}
        for row in own:
            if "/" in row.name and row.status != "skipped":
                families.setdefault(row.name.partition("/")[0], []).append(row.status == "right")
        if families:
            yield "  " + "  ".join(f"{name} {sum(right)}/{len(right)}" for name, right in families.items())


def describe_faults(rows: Sequence[Row]) -> Iterator[str]:
    """What is wrong with rows, and peers that failed."""
    faults = [row for row in rows if row.status in ("wrong", "failed")]
    if faults:
        yield ""
    for row in faults:
        errors = "" if row.error is None else f" (error {row.error:.2g}, eager's {row.eager_error or 0:.2g})"
        yield f"{row.status.upper()} {row.label}{errors}: {_shorten(row.detail)}"
    for row in rows:
        for peer in row.peers:
            if peer.failure or peer.note:
                yield f"{row.label}: {peer.name}: {_first_line(peer.failure or peer.note)}"


def make_sheet(rows: Sequence[Row], gpu: str) -> Sheet:
    """A table of rows of one section: the time of tcomp, what it reaches, and times of peers over it."""
    peers = list(dict.fromkeys(peer.name for row in rows for peer in row.peers if peer.name != "tcomp"))
    recorded = any(peer.replay_seconds for row in rows for peer in row.peers)
    header = [rows[0].section, "tcomp", "±", *(["recorded"] if recorded else []), "reaches"]
    header += [f"x {name}" for name in peers] + ([f"x {name} rec." for name in peers] if recorded else [])
    lines = []
    for row in rows:
        own = row.find_peer("tcomp") or Peer("tcomp")
        line = [row.name if row.status == "right" else f"{row.name} ({row.status})", _time(own.seconds), _spread(own.seconds)]
        line += [_time(own.replay_seconds)] if recorded else []
        line.append(_describe_rate(row, own, gpu))
        line += [_ratio(row.find_peer(name), "ratio") for name in peers]
        line += [_ratio(row.find_peer(name), "replay_ratio") for name in peers] if recorded else []
        line += [_describe_error(row), "" if row.compile_seconds is None else f"{row.compile_seconds:.1f} s", _describe_kernels(row)]
        lines.append(line)
    header += ["error", "compile", "kernels"]
    filled = [column for column in range(len(header)) if any(line[column] for line in lines)]
    return Sheet(tuple(header[column] for column in filled), tuple(tuple(line[column] for column in filled) for line in lines))


def _describe_rate(row: Row, own: Peer, gpu: str) -> str:
    if own.seconds is None:
        return ""
    if row.operations:
        rate = row.operations / own.seconds.median
        peaks = next((table for name, table in PEAKS.items() if name in gpu), {})
        peak = next((value for name, value in peaks.items() if row.name.startswith(name)), None)
        return f"{rate / 1e12:.4g} TFLOP/s" + (f", {rate / peak:.0%} of peak" if peak else "")
    copy = row.find_peer("copy")
    if row.bytes and copy:
        return f"{row.bytes / own.seconds.median / 1e12:.3g} TB/s"
    return ""


def _describe_kernels(row: Row) -> str:
    """How many run, and what the one uses that uses most registers."""
    text = str(sum(kernel.calls for kernel in row.kernels))
    by_library = sum(kernel.calls for kernel in row.kernels if kernel.is_library)
    text += f", {by_library} by cuBLAS" if by_library else ""
    main = max(row.kernels, key=lambda kernel: kernel.registers or 0, default=None)
    if main is None or main.registers is None:
        return text
    spilled = f", {main.spilled} B spilled" if main.spilled else ""
    return f"{text}: {main.registers} registers{spilled}, {(main.shared or 0) / 1024:.0f} KiB {main.tensor_cores}".rstrip()


def _describe_error(row: Row) -> str:
    if row.error is None:
        return ""
    return f"{row.error:.1e}" + (f" ({row.error / row.eager_error:.2g}x)" if row.eager_error else "")


def _time(times: Times | None) -> str:
    if times is None:
        return ""
    return f"{times.median * 1e6:.4g} us" if times.median < 1e-3 else f"{times.median * 1e3:.4g} ms"


def _spread(times: Times | None) -> str:
    return "" if times is None else f"{(times.high - times.low) / 2 / times.median:.0%}"


def _ratio(peer: Peer | None, field: str) -> str:
    times = _find_times(peer, field)
    return "-" if times is None else f"{times.median:.2f}"


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:MOST_DETAIL]


def _shorten(text: str) -> str:
    """The first line, and the place in it if it is a traceback."""
    lines = [line.strip() for line in text.strip().splitlines()]
    place = next((line for line in reversed(lines) if line.startswith("File ")), "")
    return _first_line(text) + (f" [{place}]" if place else "")
