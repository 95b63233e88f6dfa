"""What the tests of pages share: the command line as it is typed."""

from __future__ import annotations

from tests.journeys.conftest import foveal

__all__ = ["foveal"]
