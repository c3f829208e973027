"""YAML 1.2 read into plain data, with the line and column of every key and value.

Plain scalars follow the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema): `2e-4` is a number;
`yes` and `2025-11-10` are text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.resolver import BaseResolver

from thinker.config.problems import KeyPath, Place, Problem

Position = tuple[int, int]

_TAG: Final = "tag:yaml.org,2002:"
# An alias stands for all that it names; without a bound, a kilobyte of aliases can stand for gigabytes.
_MOST_VALUES: Final = 100_000
# Python refuses to read much longer ones, and no setting is a number of this length.
_LONGEST_NUMBER: Final = 400
_BOOLEANS: Final = {"true": True, "false": False}

_CORE_SCHEMA: Final = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}


class _CoreSchemaResolver(BaseResolver):
    yaml_implicit_resolvers = {  # noqa: RUF012 (the base class reads it from the class)
        None: [(_TAG + tag, re.compile(rf"(?:{pattern})\Z")) for tag, pattern in _CORE_SCHEMA.items()]
    }

    def __init__(self, version: object = None, loader: object = None) -> None:
        super().__init__(loader)

    @property
    def processing_version(self) -> tuple[int, int]:
        return (1, 2)


@dataclass
class YamlData:
    """What a YAML text says.

    Attributes:
        value: mappings, lists, text, numbers, booleans and None; None where the text could not be read.
        keys: key path -> line and column (from 1) where the key stands; for a list item, where its value does.
        values: key path -> line and column where the value stands; a value left out after its key has none.
        problems: what is wrong, in the order found.
    """

    value: Any = None
    keys: dict[KeyPath, Position] = field(default_factory=dict)
    values: dict[KeyPath, Position] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_yaml(path: Path, name: str, top: type[dict[Any, Any] | list[Any]] = dict) -> YamlData:
    """Read a file whose top level is a mapping, or else a list; `name` is what messages call it.

    A file that cannot be read is a problem like any other.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        return _failed(Place(name), f"cannot be read: {reason} (resolved: {path})")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _position_after(content[: error.start].decode("utf-8-sig", "replace"))
        return _failed(Place(name, line, column), f"not UTF-8: byte 0x{content[error.start]:02x}")
    data = parse_yaml(text, name)
    if not data.problems and data.value is None:
        return _failed(Place(name, 1, 1), "the file is empty")
    if data.value is not None and not isinstance(data.value, top):
        wanted = "keys and values at the top level (key: value)" if top is dict else "a list at the top level (- …)"
        return _failed(Place(name, *data.values[()]), f"expected {wanted}")
    return data


def parse_yaml(text: str, name: str) -> YamlData:
    """Parse one YAML document; `name` is what messages call it. An empty text is None."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Resolver = _CoreSchemaResolver
    yaml.composer.warn_double_anchors = False
    reader = _Reader(name)
    try:
        node = yaml.compose(text)
        if node is not None:
            reader.data.value = reader.convert(node, ())
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return _failed(Place(name, mark.line + 1, mark.column + 1), f"bad YAML: {_syntax_message(error)}")
    except ReaderError as error:
        line, column = _position_after(text[: error.position])
        return _failed(Place(name, line, column), f"bad YAML: the character {text[error.position]!r} is not allowed")
    except RecursionError:
        return _failed(Place(name, 1, 1), "bad YAML: nested too deeply")
    except YAMLError as error:
        return _failed(Place(name, 1, 1), f"bad YAML: {error}")
    return reader.data


class _Reader:
    """Turns nodes into data and remembers where each stood."""

    def __init__(self, name: str) -> None:
        self.data = YamlData()
        self._name = name
        self._open: set[int] = set()
        self._values = 0

    def convert(self, node: Node, path: KeyPath) -> Any:
        """The plain value of `node`; what cannot be one becomes a problem, and None."""
        self._values += 1
        if self._values > _MOST_VALUES:
            if self._values == _MOST_VALUES + 1:
                self._problem(node, path, f"too large: more than {_MOST_VALUES:,} values, aliases written out")
            return None
        if id(node) in self._open:
            self._problem(node, path, "an alias inside what it stands for")
            return None
        if not _is_left_out(node):
            self.data.values[path] = _position(node)
            self.data.keys.setdefault(path, _position(node))
        self._open.add(id(node))
        try:
            return self._plain(node, path)
        finally:
            self._open.discard(id(node))

    def _plain(self, node: Node, path: KeyPath) -> Any:
        tag = str(node.tag).removeprefix(_TAG)
        if isinstance(node, MappingNode) and tag == "map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and tag == "seq":
            return [self.convert(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, ScalarNode) and tag in ("str", *_CORE_SCHEMA):
            return self._scalar(node, path, tag)
        self._problem(node, path, f"the tag '{node.tag}' is not allowed; write the plain value")
        return None

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _sound_text(key_node.value) if isinstance(key_node, ScalarNode) else None
            if key is None or str(key_node.tag) != _TAG + "str":
                self._problem(key_node, path, "a key that is not text; put it in quotes")
            elif key == "<<" and key_node.style is None:
                self._problem(key_node, path, "merge keys (<<) are not YAML 1.2; write the keys out")
            elif key in found:
                first_line = self.data.keys[*path, key][0]
                self._problem(key_node, (*path, key), f"duplicate key, first given in line {first_line}")
            else:
                self.data.keys[*path, key] = _position(key_node)
                found[key] = self.convert(value_node, (*path, key))
        return found

    def _scalar(self, node: ScalarNode, path: KeyPath, tag: str) -> Any:
        if tag == "str":
            sound = _sound_text(node.value)
            if sound is None:
                self._problem(node, path, "text with a NUL character or half a surrogate pair")
            return sound
        text = node.value
        if not re.fullmatch(_CORE_SCHEMA[tag], text) or len(text) > _LONGEST_NUMBER:
            self._problem(node, path, f"not a value of type {tag}")
            return None
        return _core_schema_value(tag, text)

    def _problem(self, node: Node, path: KeyPath, message: str) -> None:
        self.data.problems.append(Problem(Place(self._name, *_position(node)), message, path))


def _sound_text(text: str) -> str | None:
    """`text` with pairs of surrogate escapes joined, as JSON writes them; None if it cannot be a path or a message."""
    if "\0" in text:
        return None
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        return None


def _core_schema_value(tag: str, text: str) -> Any:
    if tag == "null":
        return None
    if tag == "bool":
        return _BOOLEANS[text.lower()]
    if tag == "int":
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    # YAML writes infinity and not-a-number with a dot in front; Python without.
    return float(text.replace(".i", "i").replace(".I", "I").replace(".n", "n").replace(".N", "N"))


def _is_left_out(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.value == "" and node.style is None


def _position(node: Node) -> Position:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _position_after(text: str) -> Position:
    """Line and column (from 1) of the character that follows `text`."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return len(lines), len(lines[-1]) + 1


def _syntax_message(error: MarkedYAMLError) -> str:
    problem = str(error.problem or error.context)
    if "'\\t'" in problem:
        return "a tab; indent with spaces"
    if "another document" in problem:
        return "a second document; a configuration is one"
    if problem == "mapping values are not allowed here":
        return "a colon where no key can end (text with ': ' needs quotes; keys of one section need one indentation)"
    if "undefined alias" in problem:
        return f"{problem} (text that begins with '*' needs quotes)"
    if "that cannot start any token" in problem:
        return problem.replace("that cannot start any token", "that no value can start with (put the value in quotes)")
    if "expected <block end>" in problem and error.context_mark:
        return f"does not go on with what begins in line {error.context_mark.line + 1}; look at indentation and quotes"
    if error.context and error.context_mark and error.context_mark.line != error.problem_mark.line:
        return f"{problem} ({error.context} that begins in line {error.context_mark.line + 1})"
    return problem


def _failed(place: Place, message: str) -> YamlData:
    return YamlData(problems=[Problem(place, message)])
