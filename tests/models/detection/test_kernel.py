"""Kernels that were compiled earlier are used again only while nothing that is compiled into them has changed."""

from __future__ import annotations

from typing import Any, cast

import numba
import pytest

from models.detection import bank, points, texts
from models.detection.kernel import SOURCES, STAMP


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_a_change_in_one_file_of_kernels_makes_all_of_them_anew() -> None:
    kernels = cast("list[Any]", [bank.take, points.take_values, texts.read])
    assert {"bank.py", "lanes.py", "texts.py"} <= SOURCES.keys()
    assert [kernel._cache._cache_file._source_stamp for kernel in kernels] == [STAMP] * 3
