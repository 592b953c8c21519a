"""Names, versions and S3 keys of models, and the rules that decide which keys can be invoked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from mme_sdk.errors import InvalidInputError
from mme_sdk.types.model import RESERVED, ModelVersion, is_invokable
from mme_sdk.types.s3uri import S3Uri

__all__ = ["RESERVED", "UNCOMPRESSED", "KeyLayout", "check_alias", "check_name"]

UNCOMPRESSED = "uncompressed"
"""Kind of the records of uncompressed versions."""
_FOLDER = 16  # hex digits of the content in the name of a folder
_LIMIT = 1024  # characters; of TargetModel and of an S3 key
_PRINTABLE = re.compile(r"[\x20-\x7e]+")


def check_name(name: str) -> str:
    """Raise InvalidInputError if `name` is not a valid model name.

    Args:
        name: The name. Parts can be separated by `/`.

    Returns:
        The name.

    Raises:
        InvalidInputError: The name is empty, is not printable ASCII, contains an `@`, or has a part that is empty or
            begins with a dot or a space.
    """
    return _check("name", name, parts=True)


def check_alias(alias: str) -> str:
    """Raise InvalidInputError if `alias` is not a valid alias: the rules of a name, without `/`."""
    return _check("alias", alias, parts=False)


def _check(what: str, text: str, *, parts: bool) -> str:
    def error(reason: str) -> InvalidInputError:
        return InvalidInputError(
            f"{what} {str(text)[:80]!r} {reason}",
            hint="use letters, digits, '.', '-' and '_'" + (", with '/' between parts" if parts else ""),
        )

    if not isinstance(text, str) or not text:
        raise error("is empty" if text == "" else f"must be text, not {type(text).__name__}")
    if len(text) > _LIMIT:
        raise error(f"has {len(text)} characters; the maximum is {_LIMIT}")
    if not _PRINTABLE.fullmatch(text):
        raise error("contains a character that TargetModel does not allow; only printable ASCII is valid")
    if "@" in text:
        raise error("contains '@', which separates name and alias")
    if "/" in text and not parts:
        raise error("contains '/'")
    for part in text.split("/"):
        if not part:
            raise error("begins or ends with '/', or contains '//'")
        if part.startswith(".") or part != part.strip():
            raise error("has a part that begins with '.', or that begins or ends with a space")
    return text


@attrs.frozen
class KeyLayout:
    """Layout of S3 keys under one prefix.

    Attributes:
        prefix: Bucket and key prefix. The prefix ends in `/` or is empty.
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
        """Return the target model of a version.

        Args:
            name: Name of the model.
            version: The version. If it is empty, `name` is itself the target model.

        Returns:
            The key relative to the prefix.

        Raises:
            InvalidInputError: The name or the version is not valid, or the key would be too long.
        """
        if version == "":
            if not is_invokable(name):
                raise InvalidInputError(
                    f"{str(name)[:80]!r} is not a valid target model",
                    hint="give the key of an archive relative to the prefix, or a name and a version",
                )
            target = name
        else:
            check_name(name)
            _check("version", version, parts=False)
            target = self.template.replace("{version}", version).replace("{name}", name)
            if self.parse(target) != (name, version):
                raise InvalidInputError(
                    f"name {name!r} and version {version!r} cannot be read back from the key {target!r}",
                    hint="choose another version, or another key template",
                )
        length = len(self.prefix.key) + len(target)
        if length > _LIMIT:
            raise InvalidInputError(f"the key of {target[:80]!r} has {length} characters; the maximum is {_LIMIT}")
        return target

    def uncompressed(self, name: str, version: str) -> str:
        """Return the key of the record of an uncompressed version, relative to the prefix.

        Raises:
            InvalidInputError: The name or the version is not valid, or the key would be too long.
        """
        check_name(name)
        _check("version", version, parts=False)
        target = f"{RESERVED}{UNCOMPRESSED}/{name}@{version}.json"
        if len(self.prefix.key) + len(target) > _LIMIT:
            raise InvalidInputError(f"the key of {target[:80]!r} has more than {_LIMIT} characters")
        return target

    @property
    def files_root(self) -> str:
        """The folder of the files of all uncompressed versions, relative to the prefix."""
        return f"{RESERVED}files/"

    def files(self, name: str, version: str, content: str) -> str:
        """Return the folder of the files of an uncompressed version, relative to the prefix. It ends with `/`.

        The content is a part of it: two clients that register other files as the same version write into two folders.
        """
        return f"{self.files_root}{name}@{version}/{content[:_FOLDER]}/"

    def files_of(self, target: str) -> str | None:
        """Return the key below which all files of an uncompressed version lie, relative to the prefix.

        Returns:
            The key; None if the target model is an archive.
        """
        start = f"{RESERVED}{UNCOMPRESSED}/"
        if not target.startswith(start):
            return None
        return f"{self.files_root}{target.removeprefix(start).removesuffix('.json')}/"

    def file(self, folder: str, path: str) -> str:
        """Return the key of a file of an uncompressed version, relative to the prefix.

        Raises:
            InvalidInputError: SageMaker does not accept the path, or the key would be too long.
        """
        if not all(part.strip() for part in path.split("/")):
            raise InvalidInputError(f"the name of {path!r} is blank: SageMaker refuses it in an uncompressed model")
        if len(f"{self.prefix.key}{folder}{path}".encode()) > _LIMIT:
            raise InvalidInputError(
                f"the key of {path[:80]!r} has more than {_LIMIT} bytes", hint="use shorter names, or an archive"
            )
        return folder + path

    def parse(self, target: str) -> tuple[str, str]:
        """Return name and version of a target model.

        If the key does not follow the template, the name is the target model and the version is empty.
        """
        match = self._pattern.fullmatch(target)
        return (match["name"], match["version"]) if match else (target, "")

    def key(self, target: str) -> str:
        """Return the S3 key of a target model."""
        return self.prefix.key + target

    def reserved(self, kind: str, name: str = "") -> str:
        """Return the S3 key of a registry record, such as an alias."""
        return f"{self.prefix.key}{RESERVED}{kind}/{name}"

    def listing_prefix(self, name: str | None) -> str:
        """Return the key prefix of all versions of a name. Other keys can begin with it, too."""
        return self.prefix.key + (
            "" if name is None else self.template.partition("{version}")[0].replace("{name}", name)
        )

    def version(self, target: str, **facts: Any) -> ModelVersion:
        """Return the model version of a target model."""
        name, version = self.parse(target)
        return ModelVersion(name=name, version=version, target_model=target, uri=str(self.prefix.join(target)), **facts)

    def from_listing(self, item: Mapping[str, Any], name: str | None) -> ModelVersion | None:
        """Return the model version of an entry of ListObjectsV2.

        Returns:
            The version; None if the key cannot be invoked or belongs to another name.
        """
        target = str(item["Key"])[len(self.prefix.key) :]
        if not is_invokable(target):
            return None
        etag = item.get("ETag")
        found = self.version(
            target,
            size=item.get("Size"),
            etag=None if etag is None else str(etag).strip('"'),
            created=item.get("LastModified"),
        )
        return found if name in (None, found.name) else None


def _pattern_of(template: str) -> re.Pattern[str]:
    """Return the pattern of the keys of a layout.

    Raises:
        InvalidInputError: The keys could not be invoked, or name and version could not be read back from them.
    """
    if template.count("{name}") != 1 or template.count("{version}") != 1:
        raise InvalidInputError(
            f"the key template {template!r} must contain {{name}} and {{version}} once each",
            hint="use '{name}/{version}.tar.gz' or a similar key",
        )
    sample = template.replace("{name}", "n").replace("{version}", "v")
    if not is_invokable(sample) or re.search(r"[{}@]", sample):
        raise InvalidInputError(
            f"keys of the template {template!r} cannot be invoked",
            hint="use '{name}/{version}.tar.gz' or a similar key, without '@' and without other braces",
        )
    if template.index("{name}") > template.index("{version}"):
        raise InvalidInputError(f"the key template {template!r} must contain {{name}} before {{version}}")
    if "{name}{version}" in template:
        raise InvalidInputError(f"the key template {template!r} needs a separator between {{name}} and {{version}}")
    pattern = re.escape(template).replace(r"\{name\}", r"(?P<name>.+)")
    return re.compile(pattern.replace(r"\{version\}", r"(?P<version>[^/]+)"))
