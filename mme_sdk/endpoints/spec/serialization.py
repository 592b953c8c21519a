"""Specs as plain data and as YAML; see the methods of `EndpointSpec`."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from mme_sdk.endpoints.spec.deployment import BlueGreen, Rolling
from mme_sdk.endpoints.spec.fields import SpecFields
from mme_sdk.errors import InvalidInputError, MissingExtraError
from mme_sdk.types.near import near_names

__all__ = ["built", "from_dict", "from_yaml", "to_dict", "to_yaml"]

_FACTORIES = ("multi_model", "single_model")
_FULL = "endpoint"
_DEPLOYMENTS: dict[str, type[Any]] = {"blue_green": BlueGreen, "rolling": Rolling}
SpecT = TypeVar("SpecT", bound=SpecFields)


def to_dict(spec: SpecFields) -> dict[str, Any]:
    """Return a spec as plain data, without fields that have their default value."""
    return {_FULL: _plain(spec)}


def from_dict(kind: type[SpecT], data: Mapping[str, Any]) -> SpecT:
    """Make a spec of a class from plain data."""
    if not isinstance(data, Mapping) or len(data) != 1:
        raise InvalidInputError(f"a spec has one key, one of {', '.join((_FULL, *_FACTORIES))}, not {_shown(data)}")
    key, fields = next(iter(data.items()))
    if key not in (_FULL, *_FACTORIES):
        raise InvalidInputError(f"{key!r} is not one of {', '.join((_FULL, *_FACTORIES))}")
    if not isinstance(fields, Mapping):
        raise InvalidInputError(f"{key} must be a mapping of fields, not {fields!r}")
    if key == _FULL:
        return typing.cast(SpecT, built(kind, fields, key))
    factory = getattr(kind, key)
    hints = {name: hint for name, hint in typing.get_type_hints(factory).items() if name != "return"}
    _check_keys(set(hints), fields, key)
    values = {name: _value(hints[name], item, f"{key}.{name}") for name, item in fields.items()}
    return typing.cast(SpecT, _calling(factory, values, key))


def to_yaml(spec: SpecFields, path: str | Path | None = None) -> str:
    """Return a spec as YAML, and write it to a file if a path is given."""
    yaml = _yaml()
    try:
        text: str = yaml.safe_dump(to_dict(spec), sort_keys=False, allow_unicode=True)
    except yaml.YAMLError as error:
        raise InvalidInputError(f"the spec is not plain data: {error}", hint="an `extra` is not plain data") from error
    if path is not None:
        try:
            Path(path).write_text(text, encoding="utf-8")
        except OSError as error:
            raise InvalidInputError(f"{path} cannot be written: {error}") from error
    return text


def from_yaml(kind: type[SpecT], source: str | Path) -> SpecT:
    """Read a spec of a class from a YAML file, or from YAML text with more than one line."""
    if not isinstance(source, (str, Path)):
        raise InvalidInputError(f"source must be a path or text, not {source!r}")
    yaml = _yaml()
    text, where = source, "the text"
    if isinstance(source, Path) or "\n" not in source:
        where = str(source)
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"{where} cannot be read: {error}") from error
    try:
        data = yaml.load(text, _loader(yaml))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f" at line {mark.line + 1}, column {mark.column + 1}"
        raise InvalidInputError(f"{where} is not valid YAML{place}: {getattr(error, 'problem', error)}") from error
    try:
        return from_dict(kind, data)
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error.message}", hint=error.hint) from error


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("specs in YAML need PyYAML", hint="pip install 'mme-sdk[yaml]'") from error
    return yaml


def _loader(yaml: Any) -> Any:
    """Return a safe loader that refuses a key that is given twice; PyYAML takes the last one."""

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if key.value in seen and isinstance(key, yaml.ScalarNode):
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
                seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
            return super().construct_mapping(node, deep)

    return Loader


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
        kind = next((key for key, one in _DEPLOYMENTS.items() if isinstance(value, one)), None)
        return found if kind is None else {kind: found}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _check_keys(known: set[str], fields: Mapping[str, Any], where: str) -> None:
    for key in fields:
        if key not in known:
            close = near_names(str(key), sorted(known), limit=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(sorted(known))}"
            raise InvalidInputError(f"{where}: unknown key {key!r}", hint=hint)


def built(kind: type[Any], fields: Mapping[str, Any], where: str) -> Any:
    """Make a value of an attrs class from plain data.

    Args:
        kind: The class.
        fields: Its fields.
        where: What an error calls the data.

    Raises:
        InvalidInputError: A field is unknown, missing or not valid.
    """
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
        # Python's own message: "missing 1 required keyword-only argument: 'image'".
        raise InvalidInputError(f"{where}: {str(error).partition(') ')[2] or error}") from error


def _deployment(item: Mapping[str, Any], where: str) -> Any:
    if len(item) != 1 or next(iter(item)) not in _DEPLOYMENTS:
        raise InvalidInputError(f"{where} must have one key, one of {', '.join(_DEPLOYMENTS)}, not {_shown(item)}")
    key, fields = next(iter(item.items()))
    if not isinstance(fields, Mapping):
        raise InvalidInputError(f"{where}.{key} must be a mapping of fields, not {fields!r}")
    return built(_DEPLOYMENTS[key], fields, f"{where}.{key}")


def _value(hint: Any, item: Any, where: str) -> Any:
    """Convert data to the type of a field. Data of another form is returned unchanged, for the field's validator."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [one for one in typing.get_args(hint) if attrs.has(one)]
        if len(parts) > 1 and isinstance(item, Mapping):
            return _deployment(item, where)
        hint = parts[0] if parts and isinstance(item, Mapping) else hint
    part = next((one for one in typing.get_args(hint) if attrs.has(one)), None)
    if attrs.has(hint):
        if not isinstance(item, Mapping):
            raise InvalidInputError(f"{where} must be a mapping of fields, not {item!r}")
        return built(hint, item, where)
    if part is not None and isinstance(item, list):
        return tuple(_value(part, one, f"{where}[{position}]") for position, one in enumerate(item))
    return item
