"""Images named by addresses: which file names an address of the web or of a tool may mean."""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
from urllib.parse import parse_qsl, unquote

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):(?=/)/{0,2}")
_WEB = ("http", "https", "ftp")
"""Schemes whose first part names a machine; a bucket or a store may also be a folder."""

_FILE_PARAMETERS = ("d", "filename", "file_name", "file", "path", "image", "img", "key", "name")
"""Parameters of a query that hold a file's name, as Label Studio's `?d=` does."""

_UPLOAD = re.compile(r"(?:^|/)(?:data/)?upload/\d+/[0-9a-f]{8}-([^/]+)$")
"""Label Studio stores an uploaded file under eight digits and the file's own name."""


def uploaded_name(path: str) -> str | None:
    """The name that a file had before it was uploaded to Label Studio; None for any other path."""
    upload = _UPLOAD.search(path)
    return upload[1] if upload else None


def is_address(name: str) -> bool:
    """Whether a name may be more than a path: with a scheme, a query, or percent signs."""
    return "?" in name or "%" in name or ":/" in name or "upload/" in name


def names_in(address: str) -> list[str]:
    """The file names that an address may mean, the most literal first, without doubles.

    The address itself comes first, so that a file that is really called so is found; then the path
    in it, as it is and with percent signs decoded, and its last part. None of these is absolute or
    climbs.
    """
    names = [address]
    path, _, query = address.partition("?")
    for key, value in parse_qsl(query, keep_blank_values=False):
        if key.lower() == "fileuri":
            value = _base64(value)
        elif key.lower() not in _FILE_PARAMETERS:
            continue
        for inner in dict.fromkeys((value, value.partition("?")[0])):
            if "." in posixpath.basename(inner):
                names += _paths(inner)
    if not _is_drive(address):
        # a path that only ends in a slash names no file: /data/local-files/?d=...
        plain = path.partition("#")[0] if _SCHEME.match(path) else path
        names += _paths(plain) if plain.rpartition("/")[2] else []
    return [address, *(name for name in dict.fromkeys(names[1:]) if "\0" not in name)]


def _paths(text: str) -> list[str]:
    """The path below a scheme and machine, decoded, with and without its folders."""
    scheme = _SCHEME.match(text)
    rest = text[scheme.end() :] if scheme else text
    if scheme and scheme[1].lower() in _WEB:
        rest = rest.partition("/")[2]
    found: list[str] = []
    for path in dict.fromkeys((rest, unquote(rest, errors="surrogateescape"))):
        parts = [p for p in path.replace("\\", "/").split("/") if p not in ("", ".", "..")]
        if not parts:
            continue
        # a bucket is no folder as a rule
        starts = range(2) if scheme and scheme[1].lower() not in (*_WEB, "file") else range(1)
        found += ["/".join(parts[start:]) for start in starts if parts[start:]]
        if scheme or path.startswith("/"):
            found.append(parts[-1])
        if own := uploaded_name(path):
            found.append(own)
    return found


def _is_drive(text: str) -> bool:
    return bool(re.match(r"^[A-Za-z]:[/\\]", text))


def _base64(text: str) -> str:
    try:
        padded = text + "=" * (-len(text) % 4)
        return base64.urlsafe_b64decode(padded).decode()
    except (binascii.Error, ValueError):
        return ""
