"""Specs as plain data and YAML: what a repository keeps and a pipeline applies."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from mme_sdk.endpoints.spec.spec import EndpointSpec
from mme_sdk.errors import InvalidInputError, MissingExtraError

__all__ = ["from_dict", "from_yaml", "to_dict", "to_yaml"]

_SHORT = {"multi_model": EndpointSpec.multi_model, "single_model": EndpointSpec.single_model}
_FULL = "endpoint"


def to_dict(spec: EndpointSpec) -> dict[str, Any]:
    """A spec as plain data; fields that have their default are left out."""
    return {_FULL: _plain(spec)}


def from_dict(data: Mapping[str, Any]) -> EndpointSpec:
    """A spec from plain data: one key, `endpoint` with a spec's fields, or `multi_model` or `single_model` with theirs.

    Raises:
        InvalidInputError: A key is unknown, missing or twice there, or a value breaks a rule; the message says where.
    """
    if not isinstance(data, Mapping) or len(data) != 1:
        raise InvalidInputError(f"a spec has one key of {', '.join((_FULL, *_SHORT))}, not {_shown(data)}")
    kind, fields = next(iter(data.items()))
    if kind not in (_FULL, *_SHORT):
        raise InvalidInputError(f"{kind!r} is none of {', '.join((_FULL, *_SHORT))}")
    if not isinstance(fields, Mapping):
        raise InvalidInputError(f"{kind}: wants fields, not {fields!r}")
    if kind == _FULL:
        return typing.cast(EndpointSpec, _built(EndpointSpec, fields, kind))
    make = _SHORT[kind]
    names = {name for name in typing.get_type_hints(make) if name not in ("return", "options")}
    hints = _hints(EndpointSpec) | typing.get_type_hints(make)
    known = (names | set(_hints(EndpointSpec))) - {"variants"}
    _check_keys(known, fields, kind)
    values = {key: _value(hints[key], item, f"{kind}.{key}") for key, item in fields.items()}
    return typing.cast(EndpointSpec, _calling(make, values, kind))


def to_yaml(spec: EndpointSpec, path: str | Path | None = None) -> str:
    """A spec as YAML.

    Args:
        spec: The spec. Its environment variables are written out: keep secrets elsewhere.
        path: Where to write it too.

    Returns:
        The text.

    Raises:
        InvalidInputError: An `extra` holds more than plain data, or the path cannot be written.
        MissingExtraError: PyYAML is not installed.
    """
    yaml = _yaml()
    try:
        text: str = yaml.safe_dump(to_dict(spec), sort_keys=False, allow_unicode=True)
    except yaml.YAMLError as error:
        raise InvalidInputError(f"this spec is no YAML: {error}", hint="an extra holds more than plain data") from error
    if path is not None:
        try:
            Path(path).write_text(text, encoding="utf-8")
        except OSError as error:
            raise InvalidInputError(f"{path} cannot be written: {error}") from error
    return text


def from_yaml(source: str | Path) -> EndpointSpec:
    """A spec from YAML.

    Args:
        source: A path, or the text itself where it has more than one line.

    Returns:
        The spec.

    Raises:
        InvalidInputError: No such file, no YAML, or no spec; the message says where.
        MissingExtraError: PyYAML is not installed.
    """
    if not isinstance(source, (str, Path)):
        raise InvalidInputError(f"from_yaml: wants a path or text, not {source!r}")
    yaml = _yaml()
    text, where = source, "the text"
    if isinstance(source, Path) or "\n" not in source:
        where = str(source)
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"{where} cannot be read: {error}") from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInputError(f"{where} is no YAML: {error}") from error
    try:
        return from_dict(data)
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error.message}", hint=error.hint) from error


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("specs in YAML need PyYAML", hint="pip install 'mme-sdk[yaml]'") from error
    return yaml


def _shown(data: Any) -> str:
    return ", ".join(map(str, data)) or "nothing" if isinstance(data, Mapping) else repr(data)


def _hints(kind: Any) -> dict[str, Any]:
    return {key: hint for key, hint in typing.get_type_hints(kind).items() if key in attrs.fields_dict(kind)}


def _plain(value: Any) -> Any:
    if attrs.has(type(value)):
        found = {}
        for field in attrs.fields(type(value)):
            item = getattr(value, field.name)
            default = field.default
            if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
                default = default.factory(value) if default.takes_self else default.factory()
            if item != default:
                found[field.name] = _plain(item)
        return found
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _check_keys(known: set[str], fields: Mapping[str, Any], where: str) -> None:
    for key in fields:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(sorted(known))}"
            raise InvalidInputError(f"{where}: unknown key {key!r}", hint=hint)


def _built(kind: type[Any], fields: Mapping[str, Any], where: str) -> Any:
    hints = _hints(kind)
    _check_keys(set(hints), fields, where)
    missing = [
        field.name for field in attrs.fields(kind) if field.default is attrs.NOTHING and field.name not in fields
    ]
    if missing:
        raise InvalidInputError(f"{where}: {', '.join(missing)} is missing")
    return _calling(kind, {key: _value(hints[key], item, f"{where}.{key}") for key, item in fields.items()}, where)


def _calling(make: Any, fields: dict[str, Any], where: str) -> Any:
    try:
        return make(**fields)
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error.message}", hint=error.hint) from error
    except TypeError as error:
        # The factories' own words: "missing 1 required keyword-only argument: 'image'".
        raise InvalidInputError(f"{where}: {str(error).partition(') ')[2] or error}") from error


def _value(hint: Any, item: Any, where: str) -> Any:
    """Data as the type that a field wants; what is no part of a spec goes to the field's own validator as it is."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [one for one in typing.get_args(hint) if attrs.has(one)]
        hint = parts[0] if parts and isinstance(item, Mapping) else hint
    part = next((one for one in typing.get_args(hint) if attrs.has(one)), None)
    if attrs.has(hint):
        if not isinstance(item, Mapping):
            raise InvalidInputError(f"{where}: wants fields, not {item!r}")
        return _built(hint, item, where)
    if part is not None and isinstance(item, list):
        return tuple(_value(part, one, f"{where}[{position}]") for position, one in enumerate(item))
    return item
