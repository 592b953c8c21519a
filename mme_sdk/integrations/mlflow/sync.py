"""`sync_registry`: the registered models of MLflow become versions of a registry, and its aliases move those of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, Literal

import attrs

from mme_sdk._flows.cancellation import CleanUp, attach_partial
from mme_sdk._flows.workers import run_concurrently
from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import check_instance, check_number
from mme_sdk.artifacts.temporary import TemporaryFolder
from mme_sdk.display.progress import ProgressOption, Reporter, reporting
from mme_sdk.display.shown import Shown
from mme_sdk.errors import (
    BatchError,
    ConflictError,
    InvalidInputError,
    LayoutError,
    MMEError,
    ModelNotFoundError,
    StorageError,
)
from mme_sdk.integrations.mlflow.flavors import native_model
from mme_sdk.integrations.mlflow.tracking import SOURCE, RegisteredModel, RegisteredVersion, Tracking, connect
from mme_sdk.registry import ModelRegistry
from mme_sdk.types.model import ModelVersion

__all__ = ["MlflowSyncReport", "register", "sync_registry"]

_CLEANUP = 5.0  # seconds for interrupted uploads to be aborted
_HALF = "is not ready in MLflow: its files are still uploaded, or their upload failed"


@attrs.frozen(kw_only=True, repr=False)
class MlflowSyncReport(Shown):
    """Result of `sync_registry`. Names and versions are those of MLflow, as `name/version` and `name@alias`.

    Attributes:
        registered: Versions that were registered, or would be in a dry run.
        unchanged: Versions that were registered already.
        aliased: Aliases that were moved, or would be in a dry run.
        skipped: Why a version or an alias was left out, by its name: the version is not ready in MLflow, or no
            container would load it and `skip_unsupported` is True.
        failed: The error of each version and alias that failed, by its name.
        dry_run: Whether this was a dry run: nothing was changed.
    """

    registered: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    aliased: tuple[str, ...] = ()
    skipped: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    failed: Mapping[str, MMEError] = attrs.field(factory=dict, hash=False)
    dry_run: bool = False


@short_tracebacks
def sync_registry(
    models: ModelRegistry,
    *,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    names: Iterable[str] | None = None,
    rename: Mapping[str, str] | None = None,
    versions: Literal["all", "aliased"] = "all",
    aliases: bool = True,
    image: str | None = None,
    multi_model: bool = True,
    skip_unsupported: bool = False,
    dry_run: bool = False,
    concurrency: int = 8,
    progress: ProgressOption = False,
) -> MlflowSyncReport:
    """Register the versions of MLflow's registered models, and point the aliases at the versions that MLflow names.

    Version 3 of the registered model `fraud` becomes the version `3` of the model `fraud`. Of each model, only the file
    of its library is read and packed; no model is loaded. The flavors are sklearn, xgboost, lightgbm, catboost
    and onnx. A version that is registered already is neither downloaded nor uploaded; that takes one request to S3.

    Nothing is deleted: a version or an alias that MLflow no longer has stays. Several syncs can run at the same time.
    In asyncio, call it with `asyncio.to_thread`, because MLflow's client blocks.

    Args:
        models: The registry, from `MMEClient.models`.
        tracking_uri: Address of MLflow's tracking server. None means MLflow's own setting, such as
            MLFLOW_TRACKING_URI. Default None.
        registry_uri: Address of MLflow's model registry. None means MLflow's own setting. Default None.
        names: Names of the registered models. None means all; Unity Catalog needs the names. Default None.
        rename: Name in this registry, by the name in MLflow. The other names are kept. Default None.
        versions: `all`, or `aliased` for the versions that an alias refers to. Default `all`.
        aliases: Whether to point the aliases of `models` at the versions that those of MLflow refer to. Default True.
        image: Name of the image that will load the models, as in `register`. Default None, not known.
        multi_model: Whether a multi-model endpoint will load them, as in `register`. Default True.
        skip_unsupported: Whether a model that no container would load is skipped instead of failing. Default False.
        dry_run: Whether only to report what would be done. It does not download the models, so it does not find
            flavors that are refused. Default False.
        concurrency: Number of versions that are downloaded and registered at the same time. Each needs temporary disk
            space of its size. Default 8.
        progress: Called with an `mme_sdk.Progress` after each version; True shows a progress bar. Default False.

    Returns:
        What was done, or would be in a dry run.

    Raises:
        BatchError: Some versions or aliases failed; the others are done. `errors` has each error, and `partial` the
            report.
        ModelNotFoundError: MLflow does not have a model of `names`.
        InvalidInputError: An argument is invalid.
        MissingExtraError: MLflow is not installed.
        MMEError: MLflow or S3 cannot be read.

    Example:
        ```python
        report = sync_registry(client.models("s3://ml-models/prod/"), tracking_uri="http://mlflow:5000")
        print(report.registered, report.aliased)
        ```
    """
    check_instance("models", models, ModelRegistry)
    check_number("concurrency", concurrency, at_least=1, integer=True)
    if versions not in ("all", "aliased"):
        raise InvalidInputError(f"versions must be 'all' or 'aliased', not {versions!r}")
    if isinstance(names, str):
        raise InvalidInputError(f"names must be several names, not {names!r}", hint=f"write names=[{names!r}]")
    given = None if names is None else list(dict.fromkeys(names))
    with reporting(progress, "sync_registry", models.uri, unit="version") as report:
        sync = Sync(
            models,
            connect(tracking_uri, registry_uri),
            rename=dict(rename or {}),
            only_aliased=versions == "aliased",
            image=image,
            multi_model=multi_model,
            skip_unsupported=skip_unsupported,
            dry_run=dry_run,
            concurrency=concurrency,
            report=report,
        )
        return sync.run(given, aliases=aliases)


def register(
    models: ModelRegistry,
    tracking: Tracking,
    source: RegisteredVersion | str,
    name: str,
    version: str | None,
    *,
    flavor: str | None = None,
    image: str | None = None,
    multi_model: bool = True,
) -> ModelVersion:
    """Read the native files of an MLflow model, and register them.

    Args:
        models: The registry.
        tracking: Reads from MLflow.
        source: The version in MLflow, or another address of a model.
        name: Name of the model in the registry.
        version: Its version; None derives it from the content.
        flavor: Flavor to pack; None chooses it.
        image: Name of the image that will load the model.
        multi_model: Whether a multi-model endpoint will load it.

    Returns:
        The version.

    Raises:
        MMEError: A step failed. Nothing was registered.
    """
    try:
        scratch = TemporaryFolder("mme-sdk-mlflow-")
    except OSError as error:
        raise StorageError(
            f"cannot create a temporary folder: {error.strerror or error}",
            hint="free disk space, or set TMPDIR to another directory",
        ) from error
    with scratch as folder:
        for part in ("downloads", "model"):
            (folder / part).mkdir()
        native = native_model(tracking.folder(source, folder / "downloads"), flavor)
        native.place(folder / "model")
        known = {SOURCE: source} if isinstance(source, str) else source.metadata
        return models.register(
            name,
            folder / "model",
            version,
            metadata={**known, "mlflow-flavor": native.flavor},
            image=image,
            multi_model=multi_model,
        )


@attrs.define
class Sync:
    """One run of `sync_registry`, which documents the settings.

    Attributes:
        models: The registry.
        tracking: Reads from MLflow.
        rename: Name in the registry, by the name in MLflow.
        only_aliased: Whether only versions that an alias refers to are registered.
        image: Name of the image that will load the models.
        multi_model: Whether a multi-model endpoint will load them.
        skip_unsupported: Whether a model that no container would load is skipped.
        dry_run: Whether nothing is changed.
        concurrency: Number of versions at the same time.
        report: Reports the progress.
    """

    models: ModelRegistry
    tracking: Tracking
    rename: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)
    only_aliased: bool = attrs.field(default=False, kw_only=True)
    image: str | None = attrs.field(default=None, kw_only=True)
    multi_model: bool = attrs.field(default=True, kw_only=True)
    skip_unsupported: bool = attrs.field(default=False, kw_only=True)
    dry_run: bool = attrs.field(default=False, kw_only=True)
    concurrency: int = attrs.field(default=8, kw_only=True)
    report: Reporter | None = attrs.field(default=None, kw_only=True)
    _outcomes: dict[str, str | MMEError] = attrs.field(factory=dict, init=False)  # by reference: what was done
    _reasons: dict[str, str] = attrs.field(factory=dict, init=False)  # by reference: why it was skipped
    _stored: dict[str, ModelVersion] = attrs.field(factory=dict, init=False)  # by reference

    def run(self, names: list[str] | None, *, aliases: bool) -> MlflowSyncReport:
        """Register the versions, then move the aliases."""
        # The aliases are read before the versions, so that the versions they refer to are among those.
        found = self.tracking.models(names)
        self._check_names(found)
        wanted = {f"{one.name}/{number}" for one in found for number in one.aliases.values()}
        known = {one.name for one in found}
        listed = [
            one
            for one in self.tracking.versions(names)
            # A model that was made since is left to the next sync.
            if one.name in known and (not self.only_aliased or one.reference in wanted)
        ]
        listed.sort(key=lambda one: (one.name, int(one.version) if one.version.isdecimal() else 0))
        if self.report is not None:
            self.report(total=len(listed))
        try:
            self._each((one.reference, partial(self._version, one)) for one in listed)
            if aliases:
                self._move_aliases(found)
        except BaseException as stop:
            if not isinstance(stop, Exception):
                attach_partial(stop, self._result())
            raise
        result = self._result()
        if not result.failed:
            return result
        first = next(iter(result.failed))
        failed = BatchError(
            f"{len(result.failed)} of {len(self._outcomes)} versions and aliases failed; "
            f"{first}: {result.failed[first].message}",
            hint="see .errors for each error, and .partial for the report; calling it again skips what is done",
            errors=result.failed,
            done=tuple(self._stored[one] for one in result.registered),
        )
        attach_partial(failed, result)
        raise failed

    def _result(self) -> MlflowSyncReport:
        outcomes = dict(self._outcomes)
        return MlflowSyncReport(
            **{
                kind: tuple(one for one, outcome in outcomes.items() if outcome == kind)
                for kind in ("registered", "unchanged", "aliased")
            },
            skipped=dict(self._reasons),
            failed={one: outcome for one, outcome in outcomes.items() if isinstance(outcome, MMEError)},
            dry_run=self.dry_run,
        )

    def _name(self, name: str) -> str:
        return self.rename.get(name, name)

    def _check_names(self, found: Collection[RegisteredModel]) -> None:
        """Raise InvalidInputError if two models would have one name: each would take the versions of the other.

        A name of `rename` that is not among the models is refused too.
        """
        if unknown := sorted(set(self.rename) - {one.name for one in found}):
            raise InvalidInputError(
                f"rename= has the name {unknown[0]!r}, which is not among the registered models",
                hint="correct the name",
            )
        used: dict[str, str] = {}
        for one in found:
            other = used.setdefault(self._name(one.name), one.name)
            if other != one.name:
                raise InvalidInputError(
                    f"the registered models {other!r} and {one.name!r} would both be {self._name(one.name)!r}",
                    hint="give them different names with rename=",
                )

    def _each(self, work: Iterable[tuple[str, Callable[[], str]]]) -> None:
        """Run functions in threads, and keep what each returns, or its MMEError."""

        def call(reference: str, function: Callable[[], str]) -> None:
            try:
                self._outcomes[reference] = function()
            except MMEError as error:
                if isinstance(error, LayoutError) and self.skip_unsupported:
                    self._outcomes[reference], self._reasons[reference] = "skipped", error.message
                else:
                    self._outcomes[reference] = error

        calls = []
        for reference, function in work:
            self._outcomes[reference] = "open"  # here, so that the report has the order of MLflow
            calls.append(partial(call, reference, function))
        if not calls:
            return
        cleanup = CleanUp(_CLEANUP)
        try:
            for outcome in run_concurrently(calls, self.concurrency, cleanup):
                if isinstance(outcome, BaseException):
                    raise outcome
        finally:
            cleanup.stop()

    def _skip(self, reference: str, reason: str) -> str:
        self._reasons[reference] = reason
        return "skipped"

    def _version(self, wanted: RegisteredVersion) -> str:
        failed = 1
        try:
            outcome = self._register(wanted)
            failed = 0
            return outcome
        finally:
            if self.report is not None:
                self.report(model=wanted.reference, done=1, failed=failed)

    def _register(self, wanted: RegisteredVersion) -> str:
        name = self._name(wanted.name)
        if not wanted.ready:
            return self._skip(wanted.reference, _HALF)
        try:
            stored = self.models.get(name, wanted.version)
        except ModelNotFoundError:
            if not self.dry_run:
                self._stored[wanted.reference] = register(
                    self.models,
                    self.tracking,
                    wanted,
                    name,
                    wanted.version,
                    image=self.image,
                    multi_model=self.multi_model,
                )
            return "registered"
        if any(stored.metadata.get(key) != value for key, value in wanted.metadata.items()):
            raise ConflictError(
                f"{stored.uri} is not version {wanted.version} of MLflow's model {wanted.name!r}: another program "
                "registered it, or the model was deleted in MLflow and made again",
                model=stored.target_model,
                hint="use another prefix or another name (rename=), or register a new version in MLflow",
            )
        return "unchanged"

    def _move_aliases(self, found: Iterable[RegisteredModel]) -> None:
        current = {(one.name, one.alias): one.weights for one in self.models.aliases()}
        moves = []
        for model in found:
            for alias, version in model.aliases.items():
                now = current.get((self._name(model.name), alias))
                if now is None or [*now] != [version]:
                    reference = f"{model.name}@{alias}"
                    moves.append((reference, partial(self._move, reference, model.name, alias, version, now)))
        self._each(moves)

    def _move(self, reference: str, name: str, alias: str, version: str, now: Mapping[str, float] | None) -> str:
        outcome: Any = self._outcomes.get(f"{name}/{version}", "it is not among the versions of MLflow")
        if outcome == "skipped":
            return self._skip(reference, f"version {version} was skipped")
        if outcome not in ("registered", "unchanged"):
            raise ModelNotFoundError(
                f"the alias {reference} was not moved to version {version}, which was not registered: "
                f"{outcome.message if isinstance(outcome, MMEError) else outcome}",
                model=reference,
            )
        if not self.dry_run:
            self.models.alias(self._name(name), alias, version, expected=now)
        return "aliased"
