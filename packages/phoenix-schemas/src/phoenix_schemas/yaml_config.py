"""YAML into frozen, typed settings, with errors that name file, line and key.

A settings type is a `msgspec.Struct` with `forbid_unknown_fields=True, frozen=True`. The YAML read
here is the core schema of YAML 1.2: only `true` and `false` are booleans (so `funding: off` stays a
word), times stay text, and a key given twice is an error.
"""

from __future__ import annotations

import datetime as dt
import difflib
import os
import re
import threading
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from phoenix_schemas.errors import ConfigError

MOST_VALUES = 1_000_000
"""Values of one file, aliases written out: far beyond any settings."""

_ONE_AT_A_TIME = threading.RLock()
"""Two threads that meet a settings type for the first time together would crash in msgspec (0.22), which
looks into half of what the other has found."""

_PATH_PART = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


class _CoreLoader(yaml.SafeLoader):
    """SafeLoader reduced to YAML 1.2's core schema, refusing duplicate keys."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 -- as PyYAML declares it

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    problem=f"key must be text (was {key!r})", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} must appear once (first on line {seen[key]})",
                    problem_mark=key_node.start_mark,
                )
            seen[key] = line
        return super().construct_mapping(node, deep=deep)


for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:bool", r"^(?:true|false)$", "tf"),
    ("tag:yaml.org,2002:null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("tag:yaml.org,2002:int", r"^[-+]?[0-9]+$", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$",
        "-+.0123456789",
    ),
):
    _CoreLoader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))


def _construct_int(_loader: _CoreLoader, node: yaml.ScalarNode) -> int:
    return int(node.value)  # YAML 1.1 would read 010 as eight


_CoreLoader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def load_yaml[T](path: Path | str, type_: type[T]) -> T:
    """Settings of type `type_` from a YAML file.

    Raises ConfigError with file, line and path into the file for text that is not YAML, an unknown
    or missing or repeated key, a wrong type or a value out of range. A rule of the type itself (a
    ValueError of its `__post_init__`) is said of the key that its message begins with.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; check the path of the configuration") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    return parse_yaml(text, type_, source=str(path))


def parse_yaml[T](text: str, type_: type[T], *, source: str) -> T:
    """Settings of type `type_` from YAML text; `source` names it in errors.

    Raises ConfigError as [load_yaml][] does.

    >>> class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ...     taker_bps: float
    >>> parse_yaml("taker_bps: 4", Cost, source="cost.yaml")
    Cost(taker_bps=4.0)
    >>> parse_yaml("taker_bp: 4", Cost, source="cost.yaml")
    Traceback (most recent call last):
    phoenix_schemas.errors.ConfigError: cost.yaml:1: at $.taker_bp: unknown key; did you mean 'taker_bps'?
    """
    try:
        loader = _CoreLoader(text)  # a SafeLoader: it builds plain values only
        node = loader.get_single_node()
        _require_finite(node)
        data = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        raise ConfigError(f"{where}: {error.problem or 'not YAML'}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: an integer of thousands of digits.
        raise ConfigError(f"{source}: not YAML ({' '.join(str(error).split())})") from None
    return _convert({} if data is None else data, type_, source, node)


def _require_finite(node: yaml.Node | None) -> None:
    """Raises MarkedYAMLError for aliases that contain themselves, or that grow beyond all use.

    A short file of aliases to lists of aliases is as many values as the machine has memory for, as
    soon as it is converted or shown.
    """
    sizes: dict[int, int] = {}
    open_: set[int] = set()

    def size(node: yaml.Node) -> int:
        if not isinstance(node, yaml.CollectionNode):
            return 1
        if (known := sizes.get(id(node))) is not None:
            return known
        if id(node) in open_:
            raise yaml.MarkedYAMLError(
                problem="an alias must not contain itself", problem_mark=node.start_mark
            )
        open_.add(id(node))
        total = 1
        for item in node.value:
            total += sum(map(size, item)) if isinstance(item, tuple) else size(item)
        open_.remove(id(node))
        if total > MOST_VALUES:
            raise yaml.MarkedYAMLError(
                problem=f"aliases must stand for at most {MOST_VALUES:,} values (was {total:,})",
                problem_mark=node.start_mark,
            )
        sizes[id(node)] = total
        return total

    if node is not None:
        size(node)


def decode_config[T](data: Any, type_: type[T], *, source: str) -> T:
    """Settings of type `type_` from plain Python values (an override, a JSON request).

    Paths and times may be those of Python: they count as the text that a file would have.

    Raises ConfigError as [load_yaml][] does, with `source` in place of file and line, and for a datetime
    without a time zone.

    >>> class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ...     taker_bps: float
    >>> decode_config({"taker_bps": 4}, Cost, source="notebook")
    Cost(taker_bps=4.0)
    """
    return _convert(_as_in_a_file(data, source, "$"), type_, source, None)


def _as_in_a_file(value: Any, source: str, path: str) -> Any:
    """Paths and times as text, all the way down."""
    if isinstance(value, Mapping):
        return {k: _as_in_a_file(item, source, f"{path}.{k}") for k, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_in_a_file(item, source, f"{path}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise ConfigError(
                f"{source}: at {path}: time must carry its zone (was {value}); add tzinfo=UTC, or write "
                f'"{value.isoformat()}Z"'
            )
        return value.astimezone(dt.UTC).isoformat()
    return value.isoformat() if isinstance(value, dt.date) else value


def json_schema(type_: type) -> dict[str, Any]:
    """JSON Schema of a settings type, for editors and for `config schema` commands."""
    return msgspec.json.schema(type_)


def _convert[T](data: Any, type_: type[T], source: str, node: yaml.Node | None) -> T:
    try:
        with _ONE_AT_A_TIME:
            return msgspec.convert(data, type_)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), data, type_, source, node)) from None


def _explain(message: str, data: Any, type_: type, source: str, node: yaml.Node | None) -> str:
    """msgspec's message in house style: `<file>:<line>: at $.a.b: expected ..., was ...`."""
    problem, _, path = message.partition(" - at `")
    path = path.removesuffix("`") or "$"
    parts: list[str | int] = [
        name or (0 if index == "..." else int(index)) for name, index in _PATH_PART.findall(path)
    ]
    owner = _type_at(type_, parts)
    fields = [f.encode_name for f in msgspec.structs.fields(owner)] if _is_struct(owner) else []
    if unknown := re.fullmatch(r"Object contains unknown field `(.+)`", problem):
        key = unknown.group(1)
        path, parts = f"{path}.{key}", [*parts, key]
        close = difflib.get_close_matches(key, fields, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(fields)}"
        text = f"unknown key; {hint}"
    elif missing := re.fullmatch(r"Object missing required field `(.+)`", problem):
        text = f"key {missing.group(1)!r} is missing"
    else:
        rule = re.match(r"\w+", problem)
        if rule is not None and rule[0] in fields:  # a rule of ours begins with the key it is about
            path, parts = f"{path}.{rule[0]}", [*parts, rule[0]]
            return f"{_place(source, node, parts)}: at {path}: {problem}"
        found, value = _value_at(data, parts)
        problem = re.sub(r", got `.*`$", "", problem).replace("`", "")
        if accepted := _choices(owner):
            problem = f"expected one of {', '.join(map(repr, accepted))}"
        text = problem[:1].lower() + problem[1:]
        if found and "(was " not in text:  # a rule of ours says so itself
            text += f', was "{value}"' if isinstance(value, str) else f", was {value!r}"
        if text.startswith("expected array") and isinstance(value, str):
            text += f"; write [{value}]"
    return f"{_place(source, node, parts)}: at {path}: {text}"


def _place(source: str, node: yaml.Node | None, parts: list[str | int]) -> str:
    line = _line_at(node, parts)
    return f"{source}:{line}" if line else source


def _is_struct(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def _alternatives(type_: Any) -> list[Any]:
    """Members of a union, aliases and annotations unwrapped."""
    if isinstance(type_, typing.TypeAliasType):
        return _alternatives(type_.__value__)
    origin = typing.get_origin(type_)
    if origin is typing.Annotated:
        return _alternatives(typing.get_args(type_)[0])
    if origin in (typing.Union, types.UnionType):
        return [leaf for arg in typing.get_args(type_) for leaf in _alternatives(arg)]
    return [type_]


def _type_at(type_: Any, parts: list[str | int]) -> Any:
    for part in parts:
        for option in _alternatives(type_):
            if _is_struct(option) and isinstance(part, str):
                hints = typing.get_type_hints(option, include_extras=True)
                names = {f.encode_name: f.name for f in msgspec.structs.fields(option)}
                if part in names:
                    type_ = hints[names[part]]
                    break
            elif typing.get_origin(option) in (list, tuple, dict):
                args = [a for a in typing.get_args(option) if a is not Ellipsis]
                type_ = args[-1]
                break
        else:
            return None
    options = [o for o in _alternatives(type_) if o is not type(None)]
    return options[0] if len(options) == 1 else None


def _choices(type_: Any) -> tuple[Any, ...]:
    return typing.get_args(type_) if typing.get_origin(type_) is typing.Literal else ()


def _value_at(data: Any, parts: list[str | int]) -> tuple[bool, Any]:
    for part in parts:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return False, None
    return True, data


def _line_at(node: yaml.Node | None, parts: list[str | int]) -> int | None:
    """Line of the deepest key of the path that the file has."""
    if node is None:
        return None
    line = node.start_mark.line + 1
    for part in parts:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == part), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            found = (node.value[part], node.value[part]) if part < len(node.value) else None
        else:
            found = None
        if found is None:
            return line
        line, node = found[0].start_mark.line + 1, found[1]
    return line
