"""Ten real architectures with random weights: the models tcomp is measured and tested on."""

from tcomp.zoo.models import NAMES, Size, build, describe

__all__ = ["NAMES", "Size", "build", "describe"]
