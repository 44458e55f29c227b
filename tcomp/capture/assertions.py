"""What a captured graph asserts of values."""

from __future__ import annotations

import torch
from torch.fx import Node


def is_assertion(node: Node) -> bool:
    """Whether a node only raises an error where its argument is false: the runtime looks at that when all is computed."""
    return node.target in ASSERTIONS


ASSERTIONS = (torch.ops.aten._assert_async.default, torch.ops.aten._assert_async.msg)
