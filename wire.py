"""What umbel adds to Flower's requests, and which versions of it talk with each other."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from importlib import metadata

VERSION_HEADER = "umbel-version"
NODE_HEADER = "umbel-node"
ABOUT_HEADER = "umbel-about"
REFUSAL_HEADER = "umbel-refusal"
NO_ROOM = "no-room"
"""What is refused so may be asked for again and again until it is let in."""


ABOUT_LENGTH = 4096

PROTOCOL = 1
"""Raised when an old client could misread a new server's message, or the other way round."""


def own_version() -> str:
    """The versions here, as `umbel 0.1.0, protocol 1, flwr 1.41.0`."""
    return f"umbel {version_of('umbel')}, protocol {PROTOCOL}, flwr {version_of('flwr')}"


def talks_with(theirs: str) -> str:
    """Why a server cannot talk with a peer that says what `own_version` does; empty if it can.

    >>> talks_with(own_version())
    ''
    >>> fault = talks_with("umbel 9.0.0, protocol 9, flwr 1.50.0")
    >>> "9.0.0" in fault and own_version() in fault
    True
    """
    if f", protocol {PROTOCOL}," in theirs:
        return ""
    return (
        f"the server runs {own_version()}, this side {theirs[:80]}: they cannot talk; install "
        "the same umbel on both"
    )


def pack_about(about: Mapping[str, str]) -> str:
    """What a node says of itself, as a header.

    >>> read_about(pack_about({"name": "site-a"}))
    {'name': 'site-a'}
    """
    return base64.b64encode(json.dumps(dict(about)).encode()).decode("ascii")


def read_about(header: str) -> dict[str, str]:
    """Read what `pack_about` made; what anything else says is nothing."""
    if len(header) > ABOUT_LENGTH:
        return {}
    try:
        about = json.loads(base64.b64decode(header, validate=True))
        return {str(key)[:40]: str(value)[:200] for key, value in about.items()}
    except (ValueError, AttributeError):
        return {}


def version_of(name: str) -> str:
    """The version of an installed package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"
