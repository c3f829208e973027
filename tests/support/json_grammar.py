"""RFC 8259 as a slow, obvious recogniser: what the readers of rows are held against."""

from __future__ import annotations

import re

_WHITE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"')
_WORD = re.compile(r"true|false|null")


def conforms(content: bytes) -> bool:
    """Whether `content` is one JSON text in UTF-8 (RFC 8259, sections 2 to 8.1)."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    end = _value(text, 0)
    return end is not None and end == len(text)


def _value(text: str, at: int) -> int | None:
    """The place behind the value that begins at `at`, white space around it included; None if there is none."""
    # One entry for each container that is open: "]" or "}". A stack, so that nesting has no bound.
    open_: list[str] = []
    while True:
        at = _skip(text, at)
        opened = text[at : at + 1]
        if opened in ("[", "{") and opened:
            at = _skip(text, at + 1)
            close = "]" if opened == "[" else "}"
            if text[at : at + 1] == close:
                at += 1
            else:
                open_.append(close)
                if opened == "{" and (key := _key(text, at)) is None:
                    return None
                at = key if opened == "{" else at  # type: ignore[possibly-undefined]
                continue
        else:
            found = _NUMBER.match(text, at) or _STRING.match(text, at) or _WORD.match(text, at)
            if not found:
                return None
            at = found.end()
        at = _skip(text, at)
        while open_ and text[at : at + 1] == open_[-1]:
            open_.pop()
            at = _skip(text, at + 1)
        if not open_:
            return at
        if text[at : at + 1] != ",":
            return None
        at = _skip(text, at + 1)
        if open_[-1] == "}":
            key = _key(text, at)
            if key is None:
                return None
            at = key


def _key(text: str, at: int) -> int | None:
    found = _STRING.match(text, at)
    if not found:
        return None
    at = _skip(text, found.end())
    return at + 1 if text[at : at + 1] == ":" else None


def _skip(text: str, at: int) -> int:
    found = _WHITE.match(text, at)
    assert found
    return found.end()
