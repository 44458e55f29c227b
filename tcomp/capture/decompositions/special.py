"""Special functions in sums, products and exponentials, by the series that eager evaluates, those of the Cephes library.

    i0e(x) = exp(-|x|) * i0(x) = C(|x| / 2 - 2) if |x| <= 8, else C(32 / |x| - 2) / sqrt(|x|)     with C a sum of Chebyshev polynomials
    i1e(x) = the same times x near 0, with the sign of x
    ndtri(y) = -ndtri(1 - y), near 1/2 a quotient of polynomials of (y - 1/2)**2, else one of 1 / sqrt(-2 * log(y))
    spherical_bessel_j0(x) = sin(x) / x, near 0 by its Taylor series

Narrow floats are computed in float32, as in eager. The coefficients are those of the Cephes Math Library, copyright (c) 2018 Steven
Moshier, 3-clause BSD licence, which eager takes them from too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

aten = torch.ops.aten

_I0_NEAR = (
    -4.4153416464793395e-18, 3.3307945188222384e-17, -2.431279846547955e-16, 1.715391285555133e-15,
    -1.1685332877993451e-14, 7.676185498604936e-14, -4.856446783111929e-13, 2.95505266312964e-12,
    -1.726826291441556e-11, 9.675809035373237e-11, -5.189795601635263e-10, 2.6598237246823866e-09,
    -1.300025009986248e-08, 6.046995022541919e-08, -2.670793853940612e-07, 1.1173875391201037e-06,
    -4.4167383584587505e-06, 1.6448448070728896e-05, -5.754195010082104e-05, 0.00018850288509584165,
    -0.0005763755745385824, 0.0016394756169413357, -0.004324309995050576, 0.010546460394594998, -0.02373741480589947,
    0.04930528423967071, -0.09490109704804764, 0.17162090152220877, -0.3046826723431984, 0.6767952744094761,
)
_I0_FAR = (
    -7.233180487874754e-18, -4.830504485944182e-18, 4.46562142029676e-17, 3.461222867697461e-17,
    -2.8276239805165836e-16, -3.425485619677219e-16, 1.7725601330565263e-15, 3.8116806693526224e-15,
    -9.554846698828307e-15, -4.150569347287222e-14, 1.54008621752141e-14, 3.8527783827421426e-13,
    7.180124451383666e-13, -1.7941785315068062e-12, -1.3215811840447713e-11, -3.1499165279632416e-11,
    1.1889147107846439e-11, 4.94060238822497e-10, 3.3962320257083865e-09, 2.266668990498178e-08,
    2.0489185894690638e-07, 2.8913705208347567e-06, 6.889758346916825e-05, 0.0033691164782556943, 0.8044904110141088,
)
_I1_NEAR = (
    2.7779141127610464e-18, -2.111421214358166e-17, 1.5536319577362005e-16, -1.1055969477353862e-15,
    7.600684294735408e-15, -5.042185504727912e-14, 3.223793365945575e-13, -1.9839743977649436e-12,
    1.1736186298890901e-11, -6.663489723502027e-11, 3.625590281552117e-10, -1.8872497517228294e-09,
    9.381537386495773e-09, -4.445059128796328e-08, 2.0032947535521353e-07, -8.568720264695455e-07,
    3.4702513081376785e-06, -1.3273163656039436e-05, 4.781565107550054e-05, -0.00016176081582589674,
    0.0005122859561685758, -0.0015135724506312532, 0.004156422944312888, -0.010564084894626197, 0.024726449030626516,
    -0.05294598120809499, 0.1026436586898471, -0.17641651835783406, 0.25258718644363365,
)
_I1_FAR = (
    7.517296310842105e-18, 4.414348323071708e-18, -4.6503053684893586e-17, -3.209525921993424e-17,
    2.96262899764595e-16, 3.3082023109209285e-16, -1.8803547755107825e-15, -3.8144030724370075e-15,
    1.0420276984128802e-14, 4.272440016711951e-14, -2.1015418427726643e-14, -4.0835511110921974e-13,
    -7.198551776245908e-13, 2.0356285441470896e-12, 1.4125807436613782e-11, 3.2526035830154884e-11,
    -1.8974958123505413e-11, -5.589743462196584e-10, -3.835380385964237e-09, -2.6314688468895196e-08,
    -2.512236237870209e-07, -3.882564808877691e-06, -0.00011058893876262371, -0.009761097491361469,
    0.7785762350182801,
)
_P0 = (
    -59.96335010141079, 98.00107541859997, -56.67628574690703, 13.931260938727968, -1.2391658386738125,
)
_Q0 = (
    1.0, 1.9544885833814176, 4.676279128988815, 86.36024213908905, -225.46268785411937, 200.26021238006066,
    -82.03722561683334, 15.90562251262117, -1.1833162112133,
)
_P1 = (
    4.0554489230596245, 31.525109459989388, 57.16281922464213, 44.08050738932008, 14.684956192885803,
    2.1866330685079025, -0.1402560791713545, -0.03504246268278482, -0.0008574567851546854,
)
_Q1 = (
    1.0, 15.779988325646675, 45.39076351288792, 41.3172038254672, 15.04253856929075, 2.504649462083094,
    -0.14218292285478779, -0.03808064076915783, -0.0009332594808954574,
)
_P2 = (
    3.2377489177694603, 6.915228890689842, 3.9388102529247444, 1.3330346081580755, 0.20148538954917908,
    0.012371663481782003, 0.00030158155350823543, 2.6580697468673755e-06, 6.239745391849833e-09,
)
_Q2 = (
    1.0, 6.02427039364742, 3.6798356385616087, 1.3770209948908132, 0.21623699359449663, 0.013420400608854318,
    0.00032801446468212774, 2.8924786474538068e-06, 6.790194080099813e-09,
)


def _widened(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The function in float32 at least, with the result in the type of the operator's."""

    @functools.wraps(function)
    def compute(x: Tensor) -> Tensor:
        kind = x.dtype if x.dtype.is_floating_point else torch.get_default_dtype()
        return function(x.to(kind if kind == torch.float64 else torch.float32)).to(kind)

    return compute


def _sum_chebyshev(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """The sum by Clenshaw's recurrence; the last coefficient counts half, and those that vanish in the type are left out."""
    least = torch.finfo(x.dtype).eps * abs(coefficients[-1]) / 64
    first = next(index for index, value in enumerate(coefficients) if abs(value) > least)
    total: Tensor = torch.full_like(x, coefficients[first])
    before, last = torch.zeros_like(x), torch.zeros_like(x)
    for value in coefficients[first + 1 :]:
        before, last = last, total
        total = x * last - before + value
    return 0.5 * (total - before)


def _evaluate(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """A polynomial by Horner's rule, the highest power first."""
    total = torch.full_like(x, coefficients[0])
    for value in coefficients[1:]:
        total = total * x + value
    return total


def _bessel(x: Tensor, *, order: int, is_scaled: bool) -> Tensor:
    size = x.abs()
    near, far = ((_I0_NEAR, _I0_FAR), (_I1_NEAR, _I1_FAR))[order]
    inner, outer = _sum_chebyshev(size / 2 - 2, near), _sum_chebyshev(32 / size - 2, far)
    grown = 1 if is_scaled else size.exp()
    if order:
        inner = inner * size
    value = torch.where(size <= 8, grown * inner, grown * outer / size.sqrt())
    return torch.where(x < 0, -value, value) if order else value


def _ndtri(y: Tensor) -> Tensor:
    is_high = y > 1 - _EDGE
    low = torch.where(is_high, 1 - y, y)
    middle = low - 0.5
    square = middle * middle
    central = (middle + middle * (square * _evaluate(square, _P0) / _evaluate(square, _Q0))) * math.sqrt(2 * math.pi)
    x = (-2 * low.log()).sqrt()
    z = 1 / x
    near, far = (z * _evaluate(z, p) / _evaluate(z, q) for p, q in ((_P1, _Q1), (_P2, _Q2)))
    tail = x - x.log() / x - torch.where(x < 8, near, far)
    value = torch.where(low > _EDGE, central, torch.where(is_high, tail, -tail))
    value = torch.where(y == 0, -math.inf, torch.where(y == 1, math.inf, value))
    return torch.where((y < 0) | (y > 1), math.nan, value)


_EDGE = 0.13533528323661269189
"""exp(-2)"""


def _spherical_bessel_j0(x: Tensor) -> Tensor:
    series = _evaluate(x * x, [(-1) ** n / math.factorial(2 * n + 1) for n in reversed(range(7))])
    return torch.where(x.isinf(), 0.0, torch.where(x.abs() < 0.5, series, x.sin() / x))


def _bessels(order: int, is_scaled: bool) -> Callable[[Tensor], Tensor]:
    def compute(x: Tensor) -> Tensor:
        return _bessel(x, order=order, is_scaled=is_scaled)

    return _widened(compute)


SPECIAL: Mapping[OpOverload, Callable[..., Any]] = {
    aten.i0.default: _bessels(0, False),
    aten.special_i0e.default: _bessels(0, True),
    aten.special_i1.default: _bessels(1, False),
    aten.special_i1e.default: _bessels(1, True),
    aten.special_modified_bessel_i0.default: _bessels(0, False),
    aten.special_modified_bessel_i1.default: _bessels(1, False),
    aten.special_ndtri.default: _widened(_ndtri),
    aten.special_spherical_bessel_j0.default: _widened(_spherical_bessel_j0),
}
