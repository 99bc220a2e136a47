"""Addresses of streams: what kind they are, and how they are written without their passwords."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from uavdet.video.sources.pictures import PICTURES

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HIDDEN = "***"
# The user's part of an address ends at the last @ before the path. A password with an unescaped slash or question mark
# moves that end into what looks like the path; it is known by a "port" that is no number.
_LOGIN = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^\s:@/?#]*)(?P<secret>:[^\s/?#]*)?@")
_ODD_LOGIN = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^\s:@/?#]*):(?!\d+(?:[/?#]|$))\S*@(?=[\w\[])")
_SECRET = re.compile(
    r"(?P<name>[\w-]*(?:pass|pwd|secret|token|signature|api_?key|user-pw)[\w-]*\s*=\s*)(?P<value>\"[^\"]*\"|[^\s&#;,!]+)",
    re.IGNORECASE,
)
_FILES = frozenset({".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}) | PICTURES
_DOWNLOADS = frozenset({"http", "https", "ftp", "sftp"})


def redact(address: object) -> str:
    """Return an address, a pipeline or any text with such in it, its passwords, tokens and keys replaced by `***`."""
    text = _ODD_LOGIN.sub(rf"\g<scheme>\g<user>:{_HIDDEN}@", str(address))
    text = _LOGIN.sub(_hide_login, text)
    return _SECRET.sub(rf"\g<name>{_HIDDEN}", text)


def _hide_login(match: re.Match[str]) -> str:
    secret = f":{_HIDDEN}" if match["secret"] else ""
    return f"{match['scheme']}{match['user']}{secret}@"


def is_address(text: str) -> bool:
    """Return whether a text is the address of a stream: `scheme://...`, but no file's."""
    return bool(_SCHEME.match(text)) and not text.lower().startswith("file://")


def is_pipeline(text: str) -> bool:
    """Return whether a text is a pipeline of GStreamer, whose elements are joined by ` ! `."""
    return " ! " in text


def camera_number(text: str) -> int | None:
    """Return the number of a camera, given as `0` or `/dev/video0`; None for anything else."""
    match = re.fullmatch(r"\s*(?:/dev/video)?(\d+)\s*", text)
    return int(match[1]) if match and match[1].isascii() else None


def split_addresses(text: str) -> list[str]:
    """Split `rtsp://a,rtsp://b` or `0,1` at its commas; a comma within an address is none.

    A pipeline and anything that is not several addresses come back alone.
    """
    if is_pipeline(text):
        return [text]
    parts = [part.strip() for part in text.split(",")]
    if all(part.isdecimal() for part in parts):
        return parts
    if not is_address(text.strip()):
        return [text]
    return [part.strip() for part in re.split(rf",(?=\s*{_SCHEME.pattern})", text.strip())]


def scheme(address: str) -> str:
    """Return the scheme of an address in small letters, such as `rtsp`."""
    return address.strip().partition("://")[0].lower()


def may_be_finite(address: str) -> bool:
    """Return whether an address can be that of a file, which ends: it comes by HTTP or FTP."""
    return scheme(address) in _DOWNLOADS


def looks_finite(address: str) -> bool:
    """Return whether an address is a file's by its name: it comes by HTTP or FTP and ends as pictures and videos do."""
    try:
        path = urlsplit(address).path
    except ValueError:
        return False
    return may_be_finite(address) and PurePosixPath(path).suffix.lower() in _FILES
