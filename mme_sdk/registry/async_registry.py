"""Asynchronous model registry. One file because it is one class, and most of its lines are documentation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk.aws import Flow
from mme_sdk.display.progress import ProgressOption
from mme_sdk.errors import MMEError
from mme_sdk.registry._registry_base import RegistryBase, async_result, uploading
from mme_sdk.registry.alias import Alias
from mme_sdk.registry.aliases import ANY
from mme_sdk.registry.names import check_name
from mme_sdk.registry.operations import batch, uncompressed
from mme_sdk.registry.operations import copy as copying
from mme_sdk.registry.operations import delete as deleting
from mme_sdk.registry.operations.package import LayoutCheck
from mme_sdk.registry.results import (
    AbortedUploads,
    CopyReport,
    ModelDeletion,
    Registration,
    SyncReport,
)
from mme_sdk.registry.versions import AsyncVersions, Page
from mme_sdk.types.model import ModelVersion

__all__ = ["AsyncModelRegistry"]

T = TypeVar("T")


@short_tracebacks
class AsyncModelRegistry(RegistryBase):
    """Models in S3 under one prefix, which a multi-model endpoint serves.

    A version is written once and never changed. Several tasks can use one registry at the same time. Create it with
    `AsyncMMEClient.models`.

    Args:
        aws: Access to AWS.
        uri: S3 address of the prefix, such as `s3://ml-models/prod/`.
        key: Layout of the keys below the prefix. It contains `{name}` and `{version}`. Default:
            `{name}/{version}.tar.gz`.
        options: S3 settings of every object that is written: KMS key, tags, storage class. Default: those of the
            bucket.
        staleness: Maximum age in seconds of the aliases and deletions that `resolve` uses. A change by another client
            takes effect within this time. Default: 5.

    Raises:
        InvalidInputError: `uri` is not an S3 address, or no model could be invoked under the keys of the layout.

    Example:
        ```python
        models = client.models("s3://ml-models/prod/")
        fraud = await models.register("fraud", "build/fraud/", version="v3")
        await models.alias("fraud", "live", "v3")
        reply = await endpoint.invoke(row, model="fraud@live")
        ```
    """

    async def register(
        self,
        name: str,
        source: str | Path | Any,
        version: str | None = None,
        *,
        framework: str | None = None,
        metadata: Mapping[str, str] | None = None,
        image: str | None = None,
        multi_model: bool = True,
        check_layout: bool = True,
        compressed: bool = True,
        progress: ProgressOption = False,
    ) -> ModelVersion:
        """Pack a model and upload it as a new version. Registering the same content again changes nothing.

        After it returns, endpoints can load the version. If another client deletes the same version at the same time,
        either that deletion fails, or the archive is written again after it.

        Args:
            name: Name of the model. Parts can be separated by `/`.
            source: A directory, a file, a tar.gz archive (uploaded as it is), or a fitted estimator (saved with the
                functions of its own library).
            version: The version. Default: derived from the content, so that the same files give the same version.
            framework: Framework whose layout is checked. Default: detected from the file names.
            metadata: Text to store with the archive, up to about 1.8 kB. Default: none.
            image: Name of the image that will load the model, as in CreateModel. With it, the model is refused if this
                image would not load it: for example, scikit-learn's image requires a script with a `model_fn`. Every
                layout passes for an image that is not one of AWS. Default: not known; the model is refused if no image
                of AWS and no container of the embedded SageMaker would load it.
            multi_model: Whether a multi-model endpoint will load it. It counts with `image` only. Default: True.
            check_layout: Whether to refuse a model that the container could not load. Default: True.
            compressed: False uploads the files as they are, for a single-model endpoint that downloads them without
                extraction: `EndpointSpec.single_model(artifact=version)`. Multi-model endpoints, aliases, `copy` and
                `prune` do not use such a version; it is independent of an archive with the same name and version.
                Executable bits and empty directories are not kept. Default: True, one tar.gz archive.
            progress: Called with an `mme_sdk.Progress` after each upload; True shows a progress bar. Default: False.

        Returns:
            The version.

        Raises:
            InvalidInputError: The name or the version is not valid, or the source cannot be packed.
            LayoutError: The container could not load the model. The message shows the files found and those expected.
            ConflictError: This version has, or had before a deletion, other content; or another client is deleting it.
            BucketNotFoundError: The bucket does not exist.
            AccessDeniedError: A permission is missing.
            StorageError: The local disk is full, or a file cannot be read.

        Example:
            ```python
            fraud = await models.register("fraud", "build/fraud/", version="v3", metadata={"run": "17"})
            ```
        """
        write = self._operations.register if compressed else partial(uncompressed.register, self._operations)
        with self._reporting(progress, "register", str(name)) as report:
            return await self._change(
                write(
                    name,
                    source,
                    version,
                    layout=LayoutCheck(framework, image, multi_model and compressed, check_layout),
                    metadata=metadata or {},
                    progress=uploading(report),
                )
            )

    async def register_many(
        self,
        models: Mapping[str, Any] | Iterable[Registration],
        *,
        progress: ProgressOption = False,
    ) -> list[ModelVersion]:
        """Register many models concurrently. A failure does not stop the others.

        Each model is registered as by `register`. Other clients see the models one after the other.

        Args:
            models: Sources by name, or `Registration` objects. An iterator is read 1,000 at a time, so that not all
                sources are in memory; its exception carries the versions that are registered as `partial`.
            progress: Called with an `mme_sdk.Progress` after each upload and each finished model; True shows progress
                bars. Default: False.

        Returns:
            The versions, in the order of `models`.

        Raises:
            BatchError: Some models failed. `errors` has each error, `done` the versions that were registered.
            MissingExtraError: `progress` is True and tqdm is not installed.

        Example:
            ```python
            await models.register_many({"churn": "build/churn/", "scores": "build/scores/"})
            ```
        """
        with self._reporting(progress, "register_many", self.uri, "model") as report:
            return await self._change(batch.register_many(self._operations, models, report))

    async def sync(
        self,
        directory: str | Path,
        *,
        alias: str | None = None,
        delete: bool = False,
        grace: float = 0.0,
        dry_run: bool = False,
        image: str | None = None,
        multi_model: bool = True,
        progress: ProgressOption = False,
    ) -> SyncReport:
        """Register each entry of a directory whose content is not registered yet.

        Models are registered, aliased and deleted as by `register_many`, `alias` and `delete`. Changes that other
        clients make while it runs are not taken into account.

        Args:
            directory: Path of the directory. Each entry (a directory, a file or a tar.gz archive) is one model, and
                the name of the entry is the name of the model.
            alias: Alias of each model to point at the version in the directory. Default: no alias is changed.
            delete: Whether to delete the models whose name is not in the directory. Default: False.
            grace: Seconds between tombstone and deletion, as in `delete`. Default: 0.
            dry_run: Whether only to report what would be done. Default: False.
            image: Name of the image that will load the models, as in `register`. Default: not known.
            multi_model: Whether a multi-model endpoint will load them, as in `register`. Default: True.
            progress: As in `register_many`. Default: False.

        Returns:
            What was registered and deleted, or would be in a dry run.

        Raises:
            BatchError: Some models failed. Nothing was deleted.
            ConflictError: An alias refers to a version that would be deleted. Nothing was deleted.
            InvalidInputError: The directory does not exist, is empty, or an entry is not a valid name.
            MissingExtraError: `progress` is True and tqdm is not installed.
        """
        with self._reporting(progress, "sync", self.uri, "model") as report:
            return await self._change(
                batch.sync(
                    self._operations,
                    directory,
                    alias=alias,
                    delete=delete,
                    grace=grace,
                    dry_run=dry_run,
                    image=image,
                    multi_model=multi_model,
                    report=report,
                )
            )

    async def copy(
        self,
        to: str | AsyncModelRegistry,
        name: str | None = None,
        version: str | None = None,
        *,
        dry_run: bool = False,
        progress: ProgressOption = False,
    ) -> CopyReport:
        """Copy versions to another prefix, bucket or region. S3 copies the bytes; they do not pass through here.

        Versions that are deleted, or are being deleted, are not copied. Aliases are not copied. At the destination,
        each version is created as by `register`.

        Args:
            to: S3 address of the other prefix, or a registry over it. To copy to another region, give a registry of a
                client of that region.
            name: Name of the model to copy. Default: all models.
            version: The version to copy. Default: all versions.
            dry_run: Whether only to report what would be copied. Default: False.
            progress: Called with an `mme_sdk.Progress` after each version; True shows a progress bar. Default: False.

        Returns:
            What was copied, or would be in a dry run.

        Raises:
            BatchError: Some versions failed. `errors` has each error, `done` the versions that were copied.
            ModelNotFoundError: The model or the version does not exist.
            InvalidInputError: `version` is given without `name`, or the destination is this prefix.
        """
        other, run_there = self._destination(to, name, version)
        with self._reporting(progress, "copy", self.uri, "version") as report:
            return await self._aws.arun(
                copying.copy(self._operations, other, run_there, name, version, dry_run=dry_run, report=report)
            )

    async def get(self, name: str, version: str | None = None, *, compressed: bool = True) -> ModelVersion:
        """Return a version with size, digest, framework and metadata.

        Args:
            name: Name of the model; or the target model (`fraud/v3.tar.gz`) if no version is given.
            version: The version. Default: None, `name` is a target model.
            compressed: False for a version that was registered with `compressed=False`. Default: True.

        Returns:
            The version.

        Raises:
            ModelNotFoundError: The version does not exist.
            InvalidInputError: `compressed` is False and no version is given.
        """
        if not compressed:
            return await self._aws.arun(uncompressed.get(self._tombstones, name, self._required(version)))
        return await self._aws.arun(self._operations.get(name, version))

    async def verify(
        self, name: str, version: str | None = None, *, compressed: bool = True, progress: ProgressOption = False
    ) -> ModelVersion:
        """Read a whole version from S3 and compare it with the digests that were stored when it was registered.

        Args:
            name: Name of the model; or the target model (`fraud/v3.tar.gz`) if no version is given.
            version: The version. Default: None, `name` is a target model.
            compressed: False for a version that was registered with `compressed=False`. Default: True.
            progress: Called with an `mme_sdk.Progress` after each read; True shows a progress bar. Default: False.

        Returns:
            The version.

        Raises:
            ModelNotFoundError: The version does not exist.
            IntegrityError: The archive or a file differs from what was registered, or cannot be read.
            InvalidInputError: `compressed` is False and no version is given.
        """
        with self._reporting(progress, "verify", str(name)) as report:
            if not compressed:
                flow = uncompressed.verify(self._tombstones, name, self._required(version), report)
                return await self._aws.arun(flow)
            return await self._aws.arun(self._operations.verify(name, version, report))

    def list(self, name: str | None = None, *, compressed: bool = True) -> AsyncVersions:
        """Iterate over the versions that can be invoked, or over the uncompressed ones.

        Pages are read from S3 as they are needed.

        Folder markers, directories whose name begins with a dot, neighbours of the prefix, and versions that are being
        deleted are left out. The listing is not a snapshot: it can contain a version that is deleted while you
        iterate. Listed versions have no digest and no metadata; `get` returns them.

        Args:
            name: Name of the model. Default: all models.
            compressed: False for the versions that were registered with `compressed=False`. They have their metadata.
                Default: True, the archives.

        Returns:
            The versions, to iterate over. Those of the synchronous registry have `len` and an index too.

        Raises:
            BucketNotFoundError: The bucket does not exist.

        Example:
            ```python
            versions = [version async for version in models.list("fraud")]
            ```
        """
        if name is not None:
            check_name(name)
        title = f"under {self.uri}" if name is None else f"of {name} under {self.uri}"
        return AsyncVersions(title, lambda: self._pages(name) if compressed else self._uncompressed(name))

    async def _uncompressed(self, name: str | None) -> AsyncIterator[Page]:
        yield await self._aws.arun(uncompressed.versions(self._tombstones, name)), False

    async def _pages(self, name: str | None) -> AsyncIterator[Page]:
        token = None
        tombstones = await self._aws.arun(self._operations.aliases.tombstones.read())
        while True:
            versions, token = await self._aws.arun(self._operations.store.page(name, token))
            yield [one for one in versions if one.target_model not in tombstones], token is not None
            if token is None:
                return

    async def delete(
        self,
        name: str,
        version: str | None = None,
        *,
        grace: float = 0.0,
        force: bool = False,
        dry_run: bool = False,
        compressed: bool = True,
        progress: ProgressOption = False,
    ) -> ModelDeletion:
        """Delete one version, or all versions of a model.

        First a tombstone is written: from then on, clients of this SDK refuse to invoke the version (this client at
        once, others within their `staleness`). After the grace period the archive is deleted. Endpoints keep the copies
        that they have loaded.

        Aliases are checked after the grace period. If one refers to the version, nothing is deleted. A concurrent
        change of an alias to the version fails. A version that is registered again during the grace period is kept.

        Args:
            name: Name of the model.
            version: The version. Default: all versions.
            grace: Seconds between tombstone and deletion. A value above `staleness` lets all clients stop invoking the
                version first. Default: 0.
            force: Whether to delete a version that an alias refers to. Default: False.
            dry_run: Whether only to report what would be deleted, and the aliases that would break. Default: False.
            compressed: False deletes versions that were registered with `compressed=False`, to which no alias refers.
                Default: True, the archives.
            progress: Called with an `mme_sdk.Progress` at each step; True shows a progress bar. Default: False.

        Returns:
            What was deleted, or would be in a dry run.

        Raises:
            ModelNotFoundError: The version does not exist, or another client deleted it at the same time.
            ConflictError: An alias refers to the version, or it was registered again. Nothing was deleted.
            ServiceError: S3 refused to delete some archives. These versions can still be invoked.
            OutcomeUnknownError: S3 did not answer. Clients refuse the versions; delete again to complete the deletion.

        Example:
            ```python
            print((await models.delete("fraud", "v3", dry_run=True)).broken_aliases)
            ```
        """
        with self._reporting(progress, "delete", str(name), "version") as report:
            return await self._change(
                deleting.delete(
                    self._operations.aliases,
                    name,
                    version,
                    grace=grace,
                    force=force,
                    dry_run=dry_run,
                    compressed=compressed,
                    report=report,
                )
            )

    async def prune(
        self,
        keep: int,
        name: str | None = None,
        *,
        grace: float = 0.0,
        dry_run: bool = False,
        progress: ProgressOption = False,
    ) -> ModelDeletion:
        """Delete all but the newest versions of each model. Versions that an alias or its rollback needs are kept.

        The newest versions are determined once. Aliases are checked again right before the deletion.

        Args:
            keep: Number of versions of each model to keep, at least 1.
            name: Name of the model. Default: all models.
            grace: Seconds between tombstone and deletion, as in `delete`. Default: 0.
            dry_run: Whether only to report what would be deleted. Default: False.
            progress: Called with an `mme_sdk.Progress` at each step; True shows a progress bar. Default: False.

        Returns:
            What was deleted, or would be in a dry run.

        Raises:
            ConflictError: An alias was changed and needs one of the versions now. Nothing was deleted.
            InvalidInputError: `keep` is not a whole number of at least 1, or `grace` is negative.
        """
        with self._reporting(progress, "prune", self.uri, "version") as report:
            return await self._change(
                deleting.prune(self._operations.aliases, keep, name, grace=grace, dry_run=dry_run, report=report)
            )

    async def abort_uploads(self, *, older_than: float = 86_400.0, dry_run: bool = False) -> AbortedUploads:
        """Abort unfinished multipart uploads under the prefix. S3 bills for their parts until they are aborted.

        Files that an unfinished registration with `compressed=False` left are deleted too.

        Args:
            older_than: Minimum age of an upload in seconds. Default: 86400 (one day).
            dry_run: Whether only to report what would be aborted. Default: False.

        Returns:
            The uploads that were aborted, or would be in a dry run.

        Raises:
            InvalidInputError: `older_than` is negative.
        """
        flow = deleting.abort_uploads(self._operations.store, older_than=older_than, dry_run=dry_run)
        return await self._aws.arun(flow)

    async def alias(
        self,
        name: str,
        alias: str,
        version: str | ModelVersion | Mapping[str, float],
        *,
        expected: str | ModelVersion | Mapping[str, float] | None = ANY,
    ) -> Alias:
        """Point an alias at a version, or at several versions with weights. The change is atomic.

        Args:
            name: Name of the model.
            alias: The alias, such as `live`.
            version: The version, or the weight of each version. Weights need not add up to 1.
            expected: Change the alias only if it refers to this version now; None: only if the alias does not exist.
                Default: change it in any case.

        Returns:
            The alias with its history.

        Raises:
            ModelNotFoundError: A version does not exist, was deleted, or is being deleted. The alias is unchanged.
            ConflictError: The alias does not refer to `expected`. The alias is unchanged.
            InvalidInputError: A weight is not a positive number, or no version is given.

        Example:
            ```python
            await models.alias("fraud", "live", {"v3": 0.95, "v4": 0.05}, expected="v3")
            ```
        """
        return await self._change(self._operations.aliases.set(name, alias, version, expected))

    async def rollback(self, name: str, alias: str) -> Alias:
        """Point an alias at the version before the current one. Each further rollback goes back one more change.

        Args:
            name: Name of the model.
            alias: The alias.

        Returns:
            The alias with its history.

        Raises:
            ModelNotFoundError: The alias does not exist, or the version before was deleted or is being deleted.
            ConflictError: The alias has no earlier version, or was changed concurrently. The alias is unchanged.
        """
        return await self._change(self._operations.aliases.rollback(name, alias))

    async def unalias(self, name: str, alias: str) -> None:
        """Delete an alias and its history. The versions are kept.

        Args:
            name: Name of the model.
            alias: The alias.

        Raises:
            ModelNotFoundError: The alias does not exist.
            ConflictError: Other clients changed the alias in every attempt. It was not deleted.
        """
        await self._change(self._operations.aliases.remove(name, alias))

    async def aliases(self, name: str | None = None) -> tuple[Alias, ...]:
        """Return aliases with their histories.

        Args:
            name: Name of the model. Default: all models.

        Returns:
            The aliases.
        """
        return tuple(await self._aws.arun(self._operations.aliases.all(name)))

    async def resolve(self, reference: str, *, key: str | None = None) -> ModelVersion:
        """Return the version that a reference stands for, from a cache. `invoke` calls it for every invocation.

        The cache is refreshed in the background. Only the first use of a reference, and the first after a pause, wait
        for S3.

        Args:
            reference: `name@alias`, a target model such as `fraud/v3.tar.gz`, or `name@latest` for the version that
                was stored last, unless an alias `latest` was created.
            key: Key that makes the choice of a weighted alias sticky: one key gets the same version until the weights
                change. Default: None, a random choice by weight.

        Returns:
            The version with name and address. Size, digest and metadata are not read.

        Raises:
            ModelNotFoundError: The alias does not exist, or the version was deleted.
            InvalidInputError: The reference is neither `name@alias` nor a target model.
        """
        while True:
            found = self._resolver.lookup(reference, key)
            if found.stale:
                self._refresh(found.stale)
            if found.version is not None:
                return found.version
            own, others = self._resolver.claim(found.missing)
            failed: MMEError | None = None
            try:
                if own:
                    try:
                        await self._aws.arun(self._resolver.load(own))
                    finally:
                        self._resolver.release(own)  # a client that was closed does not begin to read
                for read in others:
                    await async_result(read)
            except MMEError as error:
                failed = error
            known = self._resolver.last_known(reference, key)
            if known is not None:
                return known
            if failed is not None:
                raise failed

    async def _change(self, flow: Flow[T]) -> T:
        try:
            return await self._aws.arun(flow)
        finally:
            self._invalidate()
