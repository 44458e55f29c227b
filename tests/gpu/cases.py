"""Single kernels to be checked, of every family; what is added to one of the tables is checked like the rest."""

from __future__ import annotations

from tests.gpu.case import Case
from tests.gpu.cases_elements import ELEMENTS
from tests.gpu.cases_indices import INDICES
from tests.gpu.cases_products import PRODUCTS

CASES: tuple[Case, ...] = (*ELEMENTS, *PRODUCTS, *INDICES)
"""In the order in which they are checked."""
