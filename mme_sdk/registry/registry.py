"""`ModelRegistry` and `AsyncModelRegistry`: two faces of the same verbs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from mme_sdk.aws import Aws
from mme_sdk.registry.names import Keys, check_name
from mme_sdk.registry.store import ObjectOptions, Store
from mme_sdk.registry.verbs import Deletion, Verbs
from mme_sdk.shapes.model import ModelVersion
from mme_sdk.shapes.s3uri import S3Uri

__all__ = ["AsyncModelRegistry", "ModelRegistry"]


class _Registry:
    """What both faces are made of."""

    def __init__(
        self,
        aws: Aws,
        uri: str,
        *,
        key: str = "{name}/{version}.tar.gz",
        options: ObjectOptions | None = None,
    ) -> None:
        self._aws = aws
        self._keys = Keys(S3Uri.parse(uri).as_prefix(), key)
        self._verbs = Verbs(Store(self._keys, options or ObjectOptions(), _read))

    @property
    def uri(self) -> str:
        """The prefix: the ModelDataUrl of a multi-model endpoint."""
        return str(self._keys.prefix)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.uri}>"


class ModelRegistry(_Registry):
    """Models in S3 under one prefix, which is what a multi-model endpoint serves.

    A version is written once and never changed; its key is `<name>/<version>.tar.gz` unless `key` says otherwise.

    Args:
        aws: The way to AWS.
        uri: The prefix, such as `s3://ml-models/prod/`.
        key: Layout of keys below the prefix, with `{name}` and `{version}`.
        options: KMS key, tags, storage class and the like, for every object written.

    Raises:
        InvalidInputError: Not an S3 address, or a layout whose keys could not be invoked.

    Example:
        ```python
        models = client.models("s3://ml-models/prod/")
        fraud = models.register("fraud", "build/fraud/", version="v3")
        reply = endpoint.invoke(row, model=fraud)
        ```
    """

    def register(
        self,
        name: str,
        source: str | Path | Any,
        version: str | None = None,
        *,
        framework: str | None = None,
        metadata: Mapping[str, str] | None = None,
        check_layout: bool = True,
    ) -> ModelVersion:
        """Pack a model and put it where endpoints find it; the same again changes nothing.

        Args:
            name: The model's name; parts may be separated by `/`.
            source: A directory, one file, or a tar.gz (which is taken as it is).
            version: The version; taken from the content where None, so that the same files give the same version.
            framework: Framework whose layout is checked; found from the names where None.
            metadata: Text to travel with the archive, up to about 1.8 kB.
            check_layout: False to accept whatever it is.

        Returns:
            The version.

        Raises:
            InvalidInputError: A name or version that cannot be, or nothing to pack.
            LayoutError: No container would load it; shows the tree found and the tree wanted.
            ConflictError: This version exists with other content.
            BucketNotFoundError: There is no such bucket.
            AccessDeniedError: A permission is missing.
            StorageError: The local disk is full.
        """
        return self._aws.run(
            self._verbs.register(
                name, source, version, framework=framework, metadata=metadata, check_layout=check_layout
            )
        )

    def get(self, name: str, version: str | None = None) -> ModelVersion:
        """One version, with size, digest, framework and metadata.

        Args:
            name: The model's name, or a target model where no version is given.
            version: The version.

        Returns:
            The version.

        Raises:
            ModelNotFoundError: There is none.
        """
        return self._aws.run(self._verbs.get(name, version))

    def list(self, name: str | None = None) -> Iterator[ModelVersion]:
        """Every version that can be invoked, page by page as S3 tells them.

        Folder markers, dot-directories and siblings of the prefix are left out. A listed version has no digest and
        metadata; `get` has them.

        Args:
            name: Only versions of this model.

        Returns:
            An iterator.

        Raises:
            BucketNotFoundError: There is no such bucket.
        """
        if name is not None:
            check_name(name)
        return self._pages(name)

    def _pages(self, name: str | None) -> Iterator[ModelVersion]:
        token = None
        while True:
            versions, token = self._aws.run(self._verbs.store.page(name, token))
            yield from versions
            if token is None:
                return

    def delete(self, name: str, version: str | None = None, *, dry_run: bool = False) -> Deletion:
        """Delete one version, or every version of a name.

        Args:
            name: The model's name.
            version: The version; all where None.
            dry_run: Only tell.

        Returns:
            What was deleted, or would be.

        Raises:
            ModelNotFoundError: There is nothing to delete.
        """
        return self._aws.run(self._verbs.delete(name, version, dry_run=dry_run))


class AsyncModelRegistry(_Registry):
    """`ModelRegistry`, awaited."""

    async def register(
        self,
        name: str,
        source: str | Path | Any,
        version: str | None = None,
        *,
        framework: str | None = None,
        metadata: Mapping[str, str] | None = None,
        check_layout: bool = True,
    ) -> ModelVersion:
        """Pack a model and put it where endpoints find it; see `ModelRegistry.register`."""
        return await self._aws.arun(
            self._verbs.register(
                name, source, version, framework=framework, metadata=metadata, check_layout=check_layout
            )
        )

    async def get(self, name: str, version: str | None = None) -> ModelVersion:
        """One version, with its metadata; see `ModelRegistry.get`."""
        return await self._aws.arun(self._verbs.get(name, version))

    def list(self, name: str | None = None) -> AsyncIterator[ModelVersion]:
        """Every version that can be invoked; see `ModelRegistry.list`."""
        if name is not None:
            check_name(name)
        return self._pages(name)

    async def _pages(self, name: str | None) -> AsyncIterator[ModelVersion]:
        token = None
        while True:
            versions, token = await self._aws.arun(self._verbs.store.page(name, token))
            for version in versions:
                yield version
            if token is None:
                return

    async def delete(self, name: str, version: str | None = None, *, dry_run: bool = False) -> Deletion:
        """Delete one version, or every version of a name; see `ModelRegistry.delete`."""
        return await self._aws.arun(self._verbs.delete(name, version, dry_run=dry_run))


def _read(answer: Mapping[str, Any]) -> bytes:
    from mme_sdk.aws.translate import translating

    with translating(service="s3", operation="get_object"):
        body: bytes = answer["Body"].read()
        answer["Body"].close()
        return body
