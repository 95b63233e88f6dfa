"""Who may ask: a token, and the names by which a server that needs none is called."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal.errors import SettingsError
from foveal.serving.problems import Problem

if TYPE_CHECKING:
    from starlette.datastructures import Headers

OPEN = frozenset(("/", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"))
"""Routes that need no token: what probes ask, and the page, which holds no secret."""
OPEN_FOLDER = "/page/"
"""The page's parts, which need none either."""

_LOCAL_NAMES = frozenset(("localhost", "127.0.0.1", "[::1]"))
_SHORTEST = 16
_SCHEME = "bearer "


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask.

    Attributes:
        token: what requests must bring; None: nothing.
        local_only: requests must call the server by a local name, and come from no page of
            another server: a browser on this machine must not lend itself to foreign pages.
    """

    token: str | None = None
    local_only: bool = True

    def check(self, path: str, headers: Headers) -> None:
        """See whether a request is allowed.

        Args:
            path: that it asks for.
            headers: of the request.

        Raises:
            Problem: it is not.
        """
        if self.token is None:
            host = headers.get("host", "")
            if self.local_only and _name(host) not in _LOCAL_NAMES:
                raise Problem(
                    403,
                    "This server answers to localhost and 127.0.0.1 only. Behind a proxy start it "
                    "with --token, or with --no-auth.",
                )
            origin = headers.get("origin")
            if self.local_only and origin is not None and origin.partition("://")[2] != host:
                raise Problem(403, "Pages of other servers may not ask this one.")
            return
        if path in OPEN or path.startswith(OPEN_FOLDER):
            return
        given = headers.get("authorization", "")
        is_bearer = given[: len(_SCHEME)].lower() == _SCHEME
        token = given[len(_SCHEME) :].strip() if is_bearer else ""
        # All of it is compared, so that the time says nothing of how much is right.
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            raise Problem(
                401,
                "This server needs its token. Expected the header Authorization: Bearer TOKEN.",
                {"WWW-Authenticate": "Bearer"},
            )


def choose_access(host: str, *, token: str | None, no_auth: bool) -> Access:
    """Who may ask a server on an address.

    Args:
        host: the address that it listens on.
        token: what requests must bring.
        no_auth: that nothing is needed was asked for.

    Raises:
        SettingsError: others can reach it, and neither was said; or both were.
    """
    if token is not None and no_auth:
        raise SettingsError("--token and --no-auth: expected one of them.")
    if token is not None:
        if len(token) < _SHORTEST or not token.isascii() or not token.isprintable():
            raise SettingsError(
                f"--token: expected at least {_SHORTEST} letters and digits, such as what "
                "openssl rand -hex 32 gives."
            )
        return Access(token, local_only=False)
    if not (no_auth or is_loopback(host)):
        raise SettingsError(
            f"--host {host}: other machines can reach it. Expected --token TOKEN (or "
            "FOVEAL_TOKEN in the environment), or --no-auth where everybody may ask."
        )
    return Access(None, local_only=not no_auth)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """The name in a Host header, without the port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower()
