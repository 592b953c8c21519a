"""`ModelRegistry`: the verbs, in the calling thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mme_sdk.aws import Flow
from mme_sdk.errors import MMEError
from mme_sdk.registry._registry_base import Registry
from mme_sdk.registry.aliases import ANY, Alias
from mme_sdk.registry.names import check_name
from mme_sdk.registry.operations import batch as many
from mme_sdk.registry.operations import copy as copying
from mme_sdk.registry.operations import delete as deleting
from mme_sdk.registry.operations.batch import Watcher
from mme_sdk.registry.results import Copied, Deletion, Registration, SyncReport, Tidied
from mme_sdk.types.model import ModelVersion

__all__ = ["ModelRegistry"]

T = TypeVar("T")


class ModelRegistry(Registry):
    """Models in S3 under one prefix, which is what a multi-model endpoint serves.

    A version is written once and never changed; its key is `<name>/<version>.tar.gz` unless `key` says otherwise.
    Safe to share between threads.

    Args:
        aws: The way to AWS.
        uri: The prefix, such as `s3://ml-models/prod/`.
        key: Layout of keys below the prefix, with `{name}` and `{version}`.
        options: KMS key, tags, storage class and the like, for every object written.
        staleness: Seconds that `resolve` may lag behind a change of an alias, or a deletion, by somebody else.

    Raises:
        InvalidInputError: Not an S3 address, or a layout whose keys could not be invoked.

    Example:
        ```python
        models = client.models("s3://ml-models/prod/")
        fraud = models.register("fraud", "build/fraud/", version="v3")
        models.alias("fraud", "live", "v3")
        reply = endpoint.invoke(row, model="fraud@live")
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

        The version that is returned is in service, unless a deletion came after. Beside a deletion of the same version
        by another client, either the deletion fails, or it comes first and the archive is written again.

        Args:
            name: The model's name; parts may be separated by `/`.
            source: A directory, one file, a tar.gz (taken as it is), or a fitted estimator (saved by its own library).
            version: The version; taken from the content where None, so that the same files give the same version.
            framework: Framework whose layout is checked; found from the names where None.
            metadata: Text to travel with the archive, up to about 1.8 kB.
            check_layout: False to accept whatever it is.

        Returns:
            The version.

        Raises:
            InvalidInputError: A name or version that cannot be, or nothing to pack.
            LayoutError: No container would load it; shows the tree found and the tree wanted.
            ConflictError: This version exists, or existed, with other content; or another client is deleting it.
            BucketNotFoundError: There is no such bucket.
            AccessDeniedError: A permission is missing.
            StorageError: The local disk is full.
        """
        return self._change(
            self._verbs.register(
                name, source, version, framework=framework, metadata=metadata, check_layout=check_layout
            )
        )

    def register_many(
        self,
        models: Mapping[str, Any] | Iterable[Registration],
        *,
        progress: Watcher | bool | None = None,
    ) -> list[ModelVersion]:
        """Register many models side by side; one that fails does not stop the others.

        Each is registered as by `register`; other clients may see some of them before the others.

        Args:
            models: Source by name, or registrations.
            progress: Called as models arrive, from one thread at a time; True draws a bar with tqdm.

        Returns:
            The versions, in order.

        Raises:
            BatchError: Some failed; carries each error, and what is done.
        """
        watcher, close = many.with_bar(progress)
        try:
            return self._change(many.register_many(self._verbs, models, watcher))
        finally:
            close()

    def sync(
        self,
        directory: str | Path,
        *,
        alias: str | None = None,
        delete: bool = False,
        grace: float = 0.0,
        dry_run: bool = False,
        progress: Watcher | bool | None = None,
    ) -> SyncReport:
        """Register every entry of a directory whose content is not there yet.

        Each model is registered, pointed at and deleted as by `register_many`, `alias` and `delete`. What another
        client changes meanwhile is not looked at again.

        Args:
            directory: Each entry (directory, file or tar.gz) is a model, named by its own name.
            alias: Point this alias of each model at the version that the directory holds.
            delete: Delete the models whose name is not in the directory; refused while an alias means one of them.
            grace: Seconds between tombstones and deletion, as in `delete`.
            dry_run: Only tell.
            progress: As in `register_many`.

        Returns:
            What was done, or would be.

        Raises:
            BatchError: Some models failed; nothing was deleted.
            ConflictError: An alias means a model that would be deleted.
        """
        watcher, close = many.with_bar(progress)
        try:
            return self._change(
                many.sync(
                    self._verbs,
                    directory,
                    alias=alias,
                    delete=delete,
                    grace=grace,
                    dry_run=dry_run,
                    watcher=watcher,
                )
            )
        finally:
            close()

    def copy(
        self, to: str | ModelRegistry, name: str | None = None, version: str | None = None, *, dry_run: bool = False
    ) -> Copied:
        """Copy versions to another prefix, bucket or region, without the bytes passing here.

        Versions that are deleted, or being deleted, are not copied. At the destination, each is created as by
        `register`.

        Args:
            to: The other prefix, or a registry over it (of another region's client, for instance).
            name: Only this model.
            version: Only this version of it.
            dry_run: Only tell.

        Returns:
            What was copied, or would be. Aliases are not.

        Raises:
            BatchError: Some failed; carries each error.
        """
        other, elsewhere = self._destination(to, name, version)
        return self._aws.run(copying.copy(self._verbs, other, elsewhere, name, version, dry_run=dry_run))

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

    def verify(self, name: str, version: str | None = None) -> ModelVersion:
        """Read an archive whole and compare it with what was registered.

        Args:
            name: The model's name, or a target model where no version is given.
            version: The version.

        Returns:
            The version.

        Raises:
            ModelNotFoundError: There is none.
            IntegrityError: It is damaged.
        """
        return self._aws.run(self._verbs.verify(name, version))

    def list(self, name: str | None = None) -> Iterator[ModelVersion]:
        """Every version that can be invoked, page by page as S3 tells them.

        Folder markers, dot-directories, siblings of the prefix, and versions whose deletion has begun are left out. The
        listing is not a snapshot: a version that is deleted while you iterate may still come. A listed version has no
        digest and metadata; `get` has them.

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
        dead = self._aws.run(self._verbs.aliases.tombstones.read())
        while True:
            versions, token = self._aws.run(self._verbs.store.page(name, token))
            yield from (one for one in versions if one.target_model not in dead)
            if token is None:
                return

    def delete(
        self,
        name: str,
        version: str | None = None,
        *,
        grace: float = 0.0,
        force: bool = False,
        dry_run: bool = False,
    ) -> Deletion:
        """Delete one version, or every version of a name: tombstone, grace, archive.

        From the tombstone on, invokers of this SDK refuse the model (at once in this process, within `staleness` in
        others). Endpoints go on holding copies that they have loaded.

        A version is deleted only if no alias means it at the commit, which comes after the grace period. A move of an
        alias to it that another client is making then fails. What is registered again within the grace period stays.

        Args:
            name: The model's name.
            version: The version; all where None.
            grace: Seconds between the tombstone and the deletion; more than `staleness` lets every caller stop first.
            force: Delete although an alias means it.
            dry_run: Only tell, with the aliases that would break.

        Returns:
            What was deleted, or would be.

        Raises:
            ModelNotFoundError: There is nothing to delete, or another client deleted it at the same time.
            ConflictError: An alias means it, or it was registered again meanwhile; nothing is deleted.
            ServiceError: S3 refused to delete some archives; those versions stay in service.
            OutcomeUnknownError: S3 gave no answer; clients refuse the versions, and deleting again completes it.
        """
        return self._change(
            deleting.delete(self._verbs.aliases, name, version, grace=grace, force=force, dry_run=dry_run)
        )

    def prune(self, keep: int, name: str | None = None, *, grace: float = 0.0, dry_run: bool = False) -> Deletion:
        """Delete all but the newest versions of each model; never one that an alias means, or would after a rollback.

        Which versions are the newest is decided once; aliases are looked at again right before the deletion.

        Args:
            keep: How many to keep of each.
            name: Only of this model.
            grace: As in `delete`.
            dry_run: Only tell.

        Returns:
            What was deleted, or would be.

        Raises:
            ConflictError: An alias came to need one of the versions meanwhile; nothing is deleted.
        """
        return self._change(deleting.prune(self._verbs.aliases, keep, name, grace=grace, dry_run=dry_run))

    def tidy(self, *, older_than: float = 86_400.0, dry_run: bool = False) -> Tidied:
        """Abort uploads under the prefix that nobody finished.

        Args:
            older_than: Only those begun so many seconds ago.
            dry_run: Only tell.

        Returns:
            What was aborted, or would be.
        """
        return self._aws.run(deleting.tidy(self._verbs.store, older_than=older_than, dry_run=dry_run))

    def alias(
        self,
        name: str,
        alias: str,
        version: str | ModelVersion | Mapping[str, float],
        *,
        expected: str | ModelVersion | Mapping[str, float] | None = ANY,
    ) -> Alias:
        """Point an alias at a version, or at several with weights; all at once, or not at all.

        Args:
            name: The model's name.
            alias: The alias, such as `live`.
            version: The version, or the share of each.
            expected: Only if the alias means this now; None: only if there is none yet.

        Returns:
            The alias, with its history.

        Raises:
            ModelNotFoundError: A version does not exist, was deleted, or is being deleted; the alias is as it was.
            ConflictError: The alias means something else than expected; it is as it was.

        Example:
            ```python
            models.alias("fraud", "live", {"v3": 0.95, "v4": 0.05}, expected="v3")
            ```
        """
        return self._change(self._verbs.aliases.set(name, alias, version, expected))

    def rollback(self, name: str, alias: str) -> Alias:
        """Point an alias at what it meant before; again: one further back.

        Args:
            name: The model's name.
            alias: The alias.

        Returns:
            The alias, with its history.

        Raises:
            ModelNotFoundError: There is no such alias, or the version before was deleted or is being deleted.
            ConflictError: It never meant anything else, or was moved meanwhile; it is as it was.
        """
        return self._change(self._verbs.aliases.rollback(name, alias))

    def unalias(self, name: str, alias: str) -> None:
        """Forget an alias and its history.

        Args:
            name: The model's name.
            alias: The alias.

        Raises:
            ModelNotFoundError: There is none.
        """
        self._change(self._verbs.aliases.remove(name, alias))

    def aliases(self, name: str | None = None) -> tuple[Alias, ...]:
        """All aliases, with their histories.

        Args:
            name: Only of this model.

        Returns:
            The aliases.
        """
        return tuple(self._aws.run(self._verbs.aliases.all(name)))

    def resolve(self, reference: str, *, key: str | None = None) -> ModelVersion:
        """The version behind a reference, from memory; made to be called before every invocation.

        Args:
            reference: `name@alias`, or a target model.
            key: Makes a weighted alias sticky: one key gets one version as long as the weights stay.

        Returns:
            The version; name and address only, as nothing is read from S3.

        Raises:
            ModelNotFoundError: There is no such alias, or the version was deleted.
            InvalidInputError: No legal reference.
        """
        while True:
            found = self._resolver.look(reference, key)
            if found.stale:
                self._refresh(found.stale)
            if found.version is not None:
                return found.version
            mine, others = self._resolver.claim(found.missing)
            failed: MMEError | None = None
            try:
                if mine:
                    self._aws.run(self._resolver.read(mine))
                for flight in others:
                    flight.result()
            except MMEError as error:
                failed = error
            known = self._resolver.last_known(reference, key)
            if known is not None:
                return known
            if failed is not None:
                raise failed

    def _change(self, flow: Flow[T]) -> T:
        try:
            return self._aws.run(flow)
        finally:
            self._resolver.forget()
