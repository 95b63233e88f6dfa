"""What went wrong, as an answer: problem JSON (RFC 9457), without paths and traces."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from foveal.errors import (
    DataError,
    FovealError,
    ImageError,
    MissingExtraError,
    ModelFileError,
    SettingsError,
)

if TYPE_CHECKING:
    from pathlib import Path

MEDIA_TYPE = "application/problem+json"

_STATUS: tuple[tuple[type[FovealError], int], ...] = (
    (MissingExtraError, 501),
    (ImageError, 422),
    (SettingsError, 422),
    (DataError, 422),
    (ModelFileError, 503),
)


class Problem(FovealError):  # noqa: N818
    """An answer that says what is wrong with a request, or with one of its images.

    Attributes:
        status: of HTTP.
        detail: what is wrong, what was expected, what to do next.
        headers: of the answer.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        """The members of problem JSON."""
        return problem_document(self.status, self.detail)


def problem_document(status: int, detail: str) -> dict[str, Any]:
    """The members of problem JSON: type, title, status and detail."""
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    return {"type": "about:blank", "title": title, "status": status, "detail": detail}


def as_problem(error: FovealError, named: Mapping[Path, str] | None = None) -> Problem:
    """An error of ours as an answer.

    Args:
        error: what was raised.
        named: what files are called outside, in place of their paths.
    """
    if isinstance(error, Problem):
        return error
    status = next((number for kind, number in _STATUS if isinstance(error, kind)), 500)
    detail = str(error)
    for path, name in (named or {}).items():
        detail = detail.replace(str(path), name)
    return Problem(status, detail)
