"""Activation functions and their gradients."""

from __future__ import annotations

import math

import torch

from tcomp.lowerings.builder import Array, Builder, pointwise
from tcomp.lowerings.scalars import Scalar, call, exp, literal, log1p, maximum, minimum, select, sigmoid, tanh
from tcomp.lowerings.table import lowers

aten = torch.ops.aten


@lowers(aten.relu.default)
def relu(build: Builder, x: Array) -> Array:
    """The larger of x and 0."""
    return pointwise(build, lambda x: maximum(x, 0), x)


@lowers(aten.gelu.default)
def gelu(build: Builder, x: Array, *, approximate: str = "none") -> Array:
    """X times the normal distribution function of x, or its tanh approximation."""
    return pointwise(build, lambda x: x * 0.5 * (1.0 + _gelu_argument(x, approximate)), x)


@lowers(aten.gelu_backward.default)
def gelu_backward(build: Builder, grad: Array, x: Array, *, approximate: str = "none") -> Array:
    """Gradient of gelu."""

    def element(g: Scalar, x: Scalar) -> Scalar:
        if approximate == "tanh":
            t = _gelu_argument(x, approximate)
            slope = math.sqrt(2.0 / math.pi) * (1.0 + 3.0 * 0.044715 * (x * x))
            return g * (0.5 * (1.0 + t) + 0.5 * x * ((1.0 - t * t) * slope))
        density = exp(x * x * -0.5) * (1.0 / math.sqrt(2.0 * math.pi))
        return g * (0.5 * (1.0 + _gelu_argument(x, approximate)) + x * density)

    return pointwise(build, element, grad, x)


def _gelu_argument(x: Scalar, approximate: str) -> Scalar:
    if approximate == "tanh":
        return tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * (x * x * x)))
    return call("erf", x * math.sqrt(0.5))


@lowers(aten.silu.default)
def silu(build: Builder, x: Array) -> Array:
    """X times sigmoid(x)."""
    return pointwise(build, lambda x: x * sigmoid(x), x)


@lowers(aten.silu_backward.default)
def silu_backward(build: Builder, grad: Array, x: Array) -> Array:
    """Gradient of silu."""

    def element(g: Scalar, x: Scalar) -> Scalar:
        s = sigmoid(x)
        return g * s * (1.0 + x * (1.0 - s))

    return pointwise(build, element, grad, x)


@lowers(aten.sigmoid_backward.default)
def sigmoid_backward(build: Builder, grad: Array, y: Array) -> Array:
    """Gradient of sigmoid, from its result."""
    return pointwise(build, lambda g, y: g * (1.0 - y) * y, grad, y)


@lowers(aten.tanh_backward.default)
def tanh_backward(build: Builder, grad: Array, y: Array) -> Array:
    """Gradient of tanh, from its result."""
    return pointwise(build, lambda g, y: g * (1.0 - y * y), grad, y)


@lowers(aten.threshold.default)
def threshold(build: Builder, x: Array, threshold: float, value: float) -> Array:
    """X above the threshold, else the value."""
    return pointwise(build, lambda x: select(x <= threshold, literal(value, x.dtype), x), x)


@lowers(aten.threshold_backward.default)
def threshold_backward(build: Builder, grad: Array, x: Array, threshold: float) -> Array:
    """Gradient of threshold, and of relu with a threshold of 0."""
    return pointwise(build, lambda g, x: select(x <= threshold, 0, g), grad, x)


@lowers(aten.elu.default)
def elu(build: Builder, x: Array, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Array:
    """Scaled x where positive, else scale * alpha * (exp(input_scale * x) - 1)."""

    def element(x: Scalar) -> Scalar:
        return select(x < 0.0, call("expm1", x * float(input_scale)) * float(alpha * scale), x * float(scale))

    return pointwise(build, element, x)


@lowers(aten.elu_backward.default)
def elu_backward(
    build: Builder, grad: Array, alpha: float, scale: float, input_scale: float, is_result: bool, x_or_y: Array
) -> Array:
    """Gradient of elu, from its argument or its result."""
    factor = float(alpha * scale)

    def element(g: Scalar, v: Scalar) -> Scalar:
        slope = v + factor if is_result else factor * exp(v * float(input_scale))
        return select(v <= 0.0, g * float(input_scale) * slope, g * float(scale))

    return pointwise(build, element, grad, x_or_y)


@lowers(aten.leaky_relu.default)
def leaky_relu(build: Builder, x: Array, negative_slope: float = 0.01) -> Array:
    """X where positive, else negative_slope * x."""
    return pointwise(build, lambda x: select(x > 0, x, x * negative_slope), x)


@lowers(aten.leaky_relu_backward.default)
def leaky_relu_backward(build: Builder, grad: Array, x: Array, negative_slope: float, _: bool) -> Array:
    """Gradient of leaky_relu; argument and result have one sign."""
    return pointwise(build, lambda g, x: select(x > 0.0, g, g * float(negative_slope)), grad, x)


@lowers(aten._prelu_kernel.default)
def prelu(build: Builder, x: Array, weight: Array) -> Array:
    """X where positive, else weight * x."""
    return pointwise(build, lambda x, w: select(x > 0.0, x, w * x), x, weight)


@lowers(aten.hardtanh.default)
def hardtanh(build: Builder, x: Array, low: float = -1, high: float = 1) -> Array:
    """X brought into [low, high]."""
    return pointwise(build, lambda x: minimum(maximum(x, low), high), x)


@lowers(aten.hardtanh_backward.default)
def hardtanh_backward(build: Builder, grad: Array, x: Array, low: float, high: float) -> Array:
    """Gradient of hardtanh."""
    return pointwise(build, lambda g, x: select((x <= float(low)) | (x >= float(high)), 0.0, g), grad, x)


@lowers(aten.hardsigmoid.default)
def hardsigmoid(build: Builder, x: Array) -> Array:
    """X + 3 brought into [0, 6], divided by 6."""
    return pointwise(build, lambda x: _ramp(x) / 6.0, x)


@lowers(aten.hardsigmoid_backward.default)
def hardsigmoid_backward(build: Builder, grad: Array, x: Array) -> Array:
    """Gradient of hardsigmoid."""
    return pointwise(build, lambda g, x: select((x > -3.0) & (x < 3.0), g * (1.0 / 6.0), 0.0), grad, x)


@lowers(aten.hardswish.default)
def hardswish(build: Builder, x: Array) -> Array:
    """X times hardsigmoid(x)."""
    return pointwise(build, lambda x: x * _ramp(x) / 6.0, x)


@lowers(aten.hardswish_backward.default)
def hardswish_backward(build: Builder, grad: Array, x: Array) -> Array:
    """Gradient of hardswish."""
    return pointwise(
        build, lambda g, x: select(x <= -3.0, 0.0, select(x < 3.0, g * (x / 3.0 + 0.5), g)), grad, x
    )


def _ramp(x: Scalar) -> Scalar:
    return minimum(maximum(x + 3.0, 0.0), 6.0)


@lowers(aten.softplus.default)
def softplus(build: Builder, x: Array, beta: float = 1, threshold: float = 20) -> Array:
    """log(1 + exp(beta * x)) / beta, and x beyond the threshold."""

    def element(x: Scalar) -> Scalar:
        scaled = x * float(beta)
        return select(scaled > float(threshold), x, log1p(exp(scaled)) / float(beta))

    return pointwise(build, element, x)


@lowers(aten.softplus_backward.default)
def softplus_backward(build: Builder, grad: Array, x: Array, beta: float, threshold: float) -> Array:
    """Gradient of softplus."""

    def element(g: Scalar, x: Scalar) -> Scalar:
        scaled = x * float(beta)
        return select(scaled > float(threshold), g, g * sigmoid(scaled))

    return pointwise(build, element, grad, x)


@lowers(aten.mish.default)
def mish(build: Builder, x: Array) -> Array:
    """X times tanh(softplus(x))."""
    return pointwise(build, lambda x: x * tanh(log1p(exp(x))), x)


@lowers(aten.mish_backward.default)
def mish_backward(build: Builder, grad: Array, x: Array) -> Array:
    """Gradient of mish."""

    def element(g: Scalar, x: Scalar) -> Scalar:
        t = tanh(log1p(exp(x)))
        return g * (t + x * sigmoid(x) * (1.0 - t * t))

    return pointwise(build, element, grad, x)


@lowers(aten.logit_backward.default)
def logit_backward(build: Builder, grad: Array, x: Array, eps: float | None = None) -> Array:
    """Gradient of logit; 0 where x was clamped, NaN outside [0, 1] without clamping."""
    low, high = (0.0, 1.0) if eps is None else (eps, 1.0 - eps)
    outside = math.nan if eps is None else 0.0

    def element(g: Scalar, x: Scalar) -> Scalar:
        return select((x < low) | (x > high), literal(outside, x.dtype), g / (x * (1.0 - x)))

    return pointwise(build, element, grad, x)
