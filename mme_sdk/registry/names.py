"""Names, versions and keys: what may be invoked under a prefix, and what a key says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from mme_sdk.errors import InvalidInputError
from mme_sdk.types.model import ModelVersion, is_invokable
from mme_sdk.types.s3uri import S3Uri

__all__ = ["RESERVED", "Keys", "check_alias", "check_name"]

RESERVED = ".mme/"
"""Where aliases, tombstones and uploads in progress are noted; a dot-directory, so never invokable nor listed."""

_LIMIT = 1024  # of TargetModel, and of a key in S3
_PRINTABLE = re.compile(r"[\x20-\x7e]+")


def check_name(name: str) -> str:
    """A model's name, refused if it cannot be part of a target model.

    Args:
        name: Parts separated by `/`.

    Returns:
        The name.

    Raises:
        InvalidInputError: Empty, not printable ASCII, a part that is empty or begins with a dot or a space, or an `@`.
    """
    return _check("name", name, parts=True)


def check_alias(alias: str) -> str:
    """An alias, refused if it is not a single legal part."""
    return _check("alias", alias, parts=False)


def _check(what: str, text: str, *, parts: bool) -> str:
    def refuse(reason: str) -> InvalidInputError:
        return InvalidInputError(
            f"{what} {str(text)[:80]!r} {reason}",
            hint="use letters, digits, '.', '-' and '_'" + (", with '/' between parts" if parts else ""),
        )

    if not isinstance(text, str) or not text:
        raise refuse("is empty" if text == "" else "is no text")
    if len(text) > _LIMIT:
        raise refuse(f"has {len(text)} characters; {_LIMIT} are allowed")
    if not _PRINTABLE.fullmatch(text):
        raise refuse("holds a character that TargetModel does not allow (printable ASCII only)")
    if "@" in text:
        raise refuse("holds an '@', which separates an alias")
    if "/" in text and not parts:
        raise refuse("holds a '/'")
    for part in text.split("/"):
        if not part:
            raise refuse("begins or ends with '/', or holds '//'")
        if part.startswith(".") or part != part.strip():
            raise refuse("has a part that begins with '.', or begins or ends with a space")
    return text


@attrs.frozen
class Keys:
    """How versions are laid out under one prefix.

    Attributes:
        prefix: Bucket and key prefix; the prefix ends in `/` or is empty.
        template: Key relative to the prefix, with `{name}` and `{version}`.
    """

    prefix: S3Uri
    template: str
    _pattern: re.Pattern[str] = attrs.field(
        init=False,
        repr=False,
        eq=False,
        default=attrs.Factory(lambda self: _pattern_of(self.template), takes_self=True),
    )

    def target(self, name: str, version: str) -> str:
        """The target model of a version.

        Args:
            name: The model's name.
            version: Its version; empty where `name` is itself the target model of an archive named by somebody else.

        Returns:
            The key relative to the prefix.

        Raises:
            InvalidInputError: A name or version that cannot be, or a key that would be too long.
        """
        if version == "":
            if not is_invokable(name):
                raise InvalidInputError(f"{str(name)[:80]!r} is no target model")
            target = name
        else:
            check_name(name)
            _check("version", version, parts=False)
            target = self.template.replace("{version}", version).replace("{name}", name)
            if self.parse(target) != (name, version):
                raise InvalidInputError(
                    f"name {name!r} and version {version!r} cannot be told apart again in {target!r}",
                    hint="choose another version, or another key template",
                )
        length = len(self.prefix.key) + len(target)
        if length > _LIMIT:
            raise InvalidInputError(f"the key of {target[:80]!r} has {length} characters; {_LIMIT} are allowed")
        return target

    def parse(self, target: str) -> tuple[str, str]:
        """Name and version of a target model; the target itself and an empty version where it is not laid out so."""
        match = self._pattern.fullmatch(target)
        return (match["name"], match["version"]) if match else (target, "")

    def key(self, target: str) -> str:
        """The full key of a target model."""
        return self.prefix.key + target

    def reserved(self, kind: str, name: str = "") -> str:
        """The key of a note of ours, such as an alias."""
        return f"{self.prefix.key}{RESERVED}{kind}/{name}"

    def starts(self, name: str | None) -> str:
        """The key prefix under which every version of a name lies, and others may."""
        return self.prefix.key + (
            "" if name is None else self.template.partition("{version}")[0].replace("{name}", name)
        )

    def version(self, target: str, **facts: Any) -> ModelVersion:
        """The model version of a target model."""
        name, version = self.parse(target)
        return ModelVersion(name=name, version=version, target_model=target, uri=str(self.prefix.join(target)), **facts)

    def listed(self, item: Mapping[str, Any], name: str | None) -> ModelVersion | None:
        """A model version from an entry of a listing; None where it is not invokable, or of another name."""
        target = str(item["Key"])[len(self.prefix.key) :]
        if not is_invokable(target):
            return None
        found = self.version(
            target, size=item.get("Size"), etag=_bare(item.get("ETag")), created=item.get("LastModified")
        )
        return found if name in (None, found.name) else None


def _bare(etag: Any) -> str | None:
    return None if etag is None else str(etag).strip('"')


def _pattern_of(template: str) -> re.Pattern[str]:
    """What keys of a layout look like.

    Raises:
        InvalidInputError: Its keys could not be invoked, or not be read back.
    """
    if template.count("{name}") != 1 or template.count("{version}") != 1:
        raise InvalidInputError(f"the key template {template!r} must hold {{name}} and {{version}} once each")
    sample = template.replace("{name}", "n").replace("{version}", "v")
    if not is_invokable(sample) or re.search(r"[{}@]", sample):
        raise InvalidInputError(f"the key template {template!r} makes keys that cannot be invoked")
    if template.index("{name}") > template.index("{version}"):
        raise InvalidInputError(f"the key template {template!r} must name the model before the version")
    if "{name}{version}" in template:
        raise InvalidInputError(f"the key template {template!r} needs something between name and version")
    pattern = re.escape(template).replace(r"\{name\}", r"(?P<name>.+)")
    return re.compile(pattern.replace(r"\{version\}", r"(?P<version>[^/]+)"))
