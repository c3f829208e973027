"""The validators that come with Thinker, for `data_validation.schema[].validator`; what is no text passes them."""

from __future__ import annotations

import datetime
import json
import re
import urllib.parse
from collections.abc import Iterator
from typing import Final, NoReturn

# UTF-8 read as Windows-1252, in sequences that no language writes: `Ã©` for an accented letter, `â€™` for a quote, an
# emoji's first half, two Cyrillic letters. What may be a letter before a quotation mark (`MENÜ“`) is left out.
_MOJIBAKE: Final = re.compile(
    "[\u00c2\u00c3][\u00a0-\u00ba\u00bc-\u00bf\u20ac\u0192\u2020\u2021\u02c6\u2030\u0160\u0152\u017d\u02dc\u2122\u0161\u0153\u017e\u0178]"
    "|\u00e2\u20ac|\u00e2\u201a\u00ac|\u00f0\u0178|(?:[\u00d0\u00d1][^\x00-\x7f\u00c0-\u00ff]){2}"
)
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# The part of RFC 5646, section 2.1, that names languages in use: language, script, region, variants.
_LANGUAGE_TAG: Final = re.compile(
    r"[a-z]{2,3}(?:-[a-z]{4})?(?:-(?:[a-z]{2}|[0-9]{3}))?(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*",
    re.IGNORECASE | re.ASCII,
)


def clean_text(value: object) -> Iterator[str]:
    """No control characters but tab and line breaks, no replacement characters, nothing decoded wrongly."""
    if not isinstance(value, str):
        return
    if found := _CONTROL.search(value):
        yield f"control character U+{ord(found[0]):04X} at character {found.start() + 1}"
    for mark, name in (("\ufffd", "replacement character U+FFFD"), ("\ufeff", "byte order mark U+FEFF")):
        if (at := value.find(mark)) >= 0:
            yield f"{name} at character {at + 1}: something was lost, or left over, when the text was decoded"
    if found := _MOJIBAKE.search(value):
        yield f"{_decoded_wrongly(value, found.start())} at character {found.start() + 1}: UTF-8 read as Windows-1252"


def json_text(value: object) -> str | None:
    """JSON (RFC 8259), such as a tool call or a structured answer."""
    if not isinstance(value, str):
        return None
    try:
        json.loads(value, parse_constant=_no_constant, parse_int=str)
    except json.JSONDecodeError as error:
        return f"no JSON: {error.msg[:1].lower()}{error.msg[1:]} at line {error.lineno}, column {error.colno}"
    except ValueError as error:
        return f"no JSON: {error}"
    except RecursionError:
        return "no JSON that can be read: nested too deep"
    return None


def url(value: object) -> str | None:
    """An absolute http or https address."""
    if not isinstance(value, str):
        return None
    try:
        parts = urllib.parse.urlsplit(value)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fine = False
    return None if fine and not re.search(r"\s", value) else "no absolute http or https address"


def iso_date(value: object) -> str | None:
    """A day of the calendar as YYYY-MM-DD (ISO 8601)."""
    if not isinstance(value, str):
        return None
    if not _DATE.fullmatch(value):
        return "no date of the form YYYY-MM-DD"
    try:
        datetime.date.fromisoformat(value)
    except ValueError:
        return "no day of the calendar"
    return None


def language_tag(value: object) -> str | None:
    """A language tag such as `en`, `pt-BR`, `zh-Hans` (RFC 5646), by its form alone."""
    if not isinstance(value, str) or _LANGUAGE_TAG.fullmatch(value):
        return None
    return "no language tag such as en, pt-BR or zh-Hans"


def _decoded_wrongly(text: str, at: int) -> str:
    """What stands in `text` at the character `at`, and what it was, as far as that can be had again."""
    run = _NOT_ASCII.search(text, at)
    assert run is not None, "none of the sequences is ASCII"
    try:
        return f"'{run[0]}' for '{run[0].encode('cp1252').decode('utf-8')}'"
    except UnicodeError:
        return f"'{run[0]}'"


def _no_constant(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is no JSON number")
