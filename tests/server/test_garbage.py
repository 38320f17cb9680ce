"""What large requests leave behind goes by its bytes."""

from __future__ import annotations

import gc
import weakref

import pytest

from umbel.server.garbage import COLLECT_BYTES, Garbage


@pytest.fixture(autouse=True)
def _unfrozen():
    yield
    gc.unfreeze()


class Circle:
    def __init__(self) -> None:
        self.itself = self


def test_circles_go_when_so_much_has_passed_and_not_before():
    garbage = Garbage()
    gc.disable()
    try:
        left = weakref.ref(Circle())
        garbage.passed(COLLECT_BYTES - 1)
        assert left() is not None
        garbage.passed(1)
        assert left() is None
    finally:
        gc.enable()
