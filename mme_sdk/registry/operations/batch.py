"""Operations on many models at once. Each model succeeds or fails as a whole; errors are reported together."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sized
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import attrs

from mme_sdk._flows.cancellation import attach_partial, check
from mme_sdk._flows.effects import Do, Flow, Together
from mme_sdk.artifacts import fingerprint, inspect, is_archive
from mme_sdk.artifacts.archive import content_digest
from mme_sdk.display.progress import Reporter
from mme_sdk.errors import BatchError, InvalidInputError, MMEError, StorageError
from mme_sdk.registry.alias import Alias
from mme_sdk.registry.aliases import Aliases
from mme_sdk.registry.names import check_alias, check_name
from mme_sdk.registry.operations.delete import delete_versions
from mme_sdk.registry.operations.package import LayoutCheck
from mme_sdk.registry.operations.register import DIGEST, Batch, RegistryOperations
from mme_sdk.registry.operations.upload import PART
from mme_sdk.registry.results import Registration, SyncReport
from mme_sdk.types.model import ModelVersion

__all__ = ["register_many", "sync"]

_WINDOW = 1000  # models at a time for which sources and flows are in memory
_GROUP = 16  # models that a thread reads before it takes the next ones; a small model takes less than the handing over
_WIDTH = 32  # small models at a time; most of the time they wait for S3
_LARGE_WIDTH = 3  # large models at a time; each needs a temporary file of its size, and its parts go concurrently


def _uploaded(report: Reporter | None, model: str) -> Callable[[int, int], None]:
    """Return a function that reports the uploaded bytes of one model."""

    def count(size: int, total: int) -> None:
        if report is not None:
            report(size=size, model=model, model_done=size, model_total=total)

    return count


def register_many(
    operations: RegistryOperations,
    models: Mapping[str, Any] | Iterable[Registration],
    report: Reporter | None,
    *,
    width: int = _WIDTH,
) -> Flow[list[ModelVersion]]:
    """Register models concurrently. What is kept of a model after its window is its version or its error.

    An exception that interrupts it, such as KeyboardInterrupt, carries the versions that are registered as `partial`.
    So does an exception of the iterable.
    """
    done: list[ModelVersion] = []
    current: dict[int, ModelVersion] = {}
    errors = _Errors("registered")
    batch: Batch | None = None
    reading = False
    try:
        wanted = _registrations(models)
        if report is not None and isinstance(models, Sized) and len(models):
            report(total=len(models))
        while True:
            reading = True
            window = list(islice(wanted, _WINDOW))
            reading = False
            if not window:
                return errors.raise_or_return(done)
            if batch is None:
                yield from operations.check_bucket()
                batch = Batch((yield from operations.aliases.tombstones.record()))
            results = yield from _register(operations, window, batch, report, width, current)
            current.clear()
            errors.sort([one.name for one in window], results, done)
    except BaseException as stop:
        unusable = frozenset() if batch is None else (yield from operations.interrupt_batch(batch, stop))
        if reading or not isinstance(stop, (Exception, GeneratorExit)):
            written = (*done, *(current[at] for at in sorted(current)))
            attach_partial(stop, tuple(one for one in written if one.target_model not in unusable))
        raise


def _register(
    operations: RegistryOperations,
    window: list[Registration],
    batch: Batch,
    report: Reporter | None,
    width: int,
    done: dict[int, ModelVersion],
) -> Flow[list[Any]]:
    """Register the models of a window, and return a version or an error for each of them."""

    def one(at: int, concurrent: int = 1) -> Flow[ModelVersion]:
        model = window[at]
        try:
            uploaded = _uploaded(report, model.name)
            done[at] = yield from operations.register(
                **_arguments(model), batch=batch, progress=uploaded, concurrent=concurrent
            )
        except Exception:
            if report is not None:
                report(model=model.name, done=1, failed=1)
            raise
        if report is not None:
            report(model=model.name, done=1)
        return done[at]

    large = yield Do(lambda: [_is_large(model.source) for model in window])
    order = [at for at, is_large in enumerate(large) if not is_large]
    results: dict[int, Any] = dict(zip(order, (yield Together([one(at) for at in order], width)), strict=True))
    order = [at for at, is_large in enumerate(large) if is_large]
    concurrent = max(min(len(order), _LARGE_WIDTH), 1)
    flows = [one(at, concurrent) for at in order]
    results |= dict(zip(order, (yield Together(flows, concurrent)), strict=True))
    # Find the deletions that came after the tombstones were read: one request for all models of the window.
    again, errors = yield from operations.finish_batch(batch)
    for at, result in results.items():
        target = result.target_model if isinstance(result, ModelVersion) else None
        if target in errors:
            results[at] = errors[target]
        elif target in again:
            (results[at],) = yield Together([operations.register(**_arguments(window[at]))])
    return [results[at] for at in range(len(window))]


def _arguments(model: Registration) -> dict[str, Any]:
    return {
        "name": model.name,
        "source": model.source,
        "version": model.version,
        "layout": LayoutCheck(model.framework, model.image, model.multi_model),
        "metadata": model.metadata,
    }


def _registrations(models: Mapping[str, Any] | Iterable[Registration]) -> Iterator[Registration]:
    """Return an iterator over the models. What has a length is checked before the first of them is registered."""
    if isinstance(models, Mapping):
        return (Registration(str(name), source) for name, source in models.items())
    if not isinstance(models, Sized):
        return map(_checked, models if isinstance(models, Iterable) else [models])
    for one in models:
        _checked(one)
    return iter(models)


def _checked(one: Any) -> Registration:
    if isinstance(one, Registration):
        return one
    raise InvalidInputError(
        f"register_many takes Registration objects, not {type(one).__name__}",
        hint="give {name: source}, or Registration(name, source, version)",
    )


def _is_large(source: Any) -> bool:
    """Return whether a source may need several parts. Errors of reading it are reported when it is packed."""
    if not isinstance(source, (str, Path)):
        return False
    path, total = Path(source), 0
    try:
        if not path.is_dir():
            return path.stat().st_size > PART
        for folder, _, files in os.walk(path, followlinks=False):
            for name in files:
                total += Path(folder, name).stat().st_size
                if total > PART:
                    return True
    except OSError:
        return False
    return False


@attrs.define
class _Errors:
    """Errors of many models by name.

    Attributes:
        what: What was not done to these models, for the message.
        errors: The errors. The name of a model with several errors has a number.
        total: Number of models.
    """

    what: str
    errors: dict[str, MMEError] = attrs.field(factory=dict)
    total: int = 0
    _numbers: dict[str, int] = attrs.field(factory=dict)

    def sort(self, names: Iterable[str], results: Iterable[Any], done: list[Any]) -> None:
        """Add errors to `errors` and other results to `done`. Raise an error that is not an MMEError."""
        for name, result in zip(names, results, strict=True):
            self.total += 1
            if isinstance(result, MMEError):
                label, number = name, self._numbers.get(name, 1)
                while label in self.errors:  # several versions of one name
                    number += 1
                    label = f"{name} ({number})"
                self._numbers[name] = number
                self.errors[label] = result
            elif isinstance(result, BaseException):
                raise result
            else:
                done.append(result)

    def raise_or_return(self, done: list[Any]) -> list[Any]:
        """Return the results, or raise BatchError if there are errors."""
        if not self.errors:
            return done
        first = next(iter(self.errors))
        raise BatchError(
            f"{len(self.errors)} of {self.total} models were not {self.what}; {first}: {self.errors[first].message}",
            hint="see .errors for each error; calling it again skips the models that are done",
            errors=self.errors,
            done=tuple(done),
        )


def _together(names: Iterable[str], flow_of: Callable[[str], Flow[Any]], width: int, what: str) -> Flow[list[Any]]:
    """Run a flow for each model, and return the results. Only the flows of a window exist at a time.

    Raises:
        BatchError: Some of them failed.
    """
    left, errors = iter(names), _Errors(what)
    done: list[Any] = []
    while window := list(islice(left, _WINDOW)):
        errors.sort(window, (yield Together([flow_of(name) for name in window], width)), done)
    return errors.raise_or_return(done)


def _read_each(names: Collection[str], work: Callable[[str], Any]) -> Flow[list[Any]]:
    """Read the source of each model in threads, and return the results.

    Raises:
        BatchError: Some of them failed.
    """
    width, left, errors = os.cpu_count() or 4, iter(names), _Errors("read")
    size = max(min(len(names) // (8 * width), _GROUP), 1)  # a few large models must keep all threads busy
    done: list[Any] = []
    while window := list(islice(left, _WINDOW)):
        parts = [window[at : at + size] for at in range(0, len(window), size)]
        results = yield Together([_read_part(part, work) for part in parts], width)
        for part, found in zip(parts, results, strict=True):
            errors.sort(part, [found] * len(part) if isinstance(found, BaseException) else found, done)
    return errors.raise_or_return(done)


def _read_part(names: list[str], work: Callable[[str], Any]) -> Flow[list[Any]]:
    """Read several sources in one thread; the result of a source is an MMEError if it failed."""

    def read(name: str) -> Any:
        check()
        try:
            return work(name)
        except MMEError as error:
            return error

    found: list[Any] = yield Do(lambda: [read(name) for name in names])
    return found


def sync(
    operations: RegistryOperations,
    directory: str | Path,
    *,
    alias: str | None,
    delete: bool,
    grace: float,
    dry_run: bool,
    image: str | None,
    multi_model: bool,
    report: Reporter | None,
) -> Flow[SyncReport]:
    """Register the entries of a directory, move aliases, and delete other models."""
    if alias is not None:
        check_alias(alias)
    folder = Path(directory)
    files: dict[str, str] = yield Do(lambda: _sources(folder))
    yield from operations.check_bucket()
    if report is not None:
        report(doing="reading the models", total=len(files))
    digests = yield from _read_each(files, lambda name: _digest(folder / files[name]))
    versions: dict[str, str] = dict(zip(files, digests, strict=True))
    stored, surplus = yield from _stored(operations, versions, delete=delete)
    unchanged = {name: version for name, version in versions.items() if name in stored}
    registered = {name: version for name, version in versions.items() if name not in stored}
    # An archive that is stored was checked when it was registered. The others are refused before anything is changed.
    yield from _read_each(registered, lambda name: _check(folder / files[name]))
    if report is not None:
        report(doing="", total=len(registered))
    if not dry_run:
        wanted = (Registration(one, folder / files[one], image=image, multi_model=multi_model) for one in registered)
        # Take the version from what was packed: the directory may have changed since it was read.
        done = yield from register_many(operations, wanted, report)
        registered = {one.name: one.version for one in done}
        if alias is not None:
            named = registered | unchanged
            changes = partial(_set_alias, operations.aliases, alias, named)
            yield from _together(named, changes, _WIDTH, f"given the alias {alias}")
    # Last, so that nothing is deleted if another step fails.
    deletion = yield from delete_versions(
        operations.aliases, surplus, {one.name for one in surplus}, grace=grace, force=False, dry_run=dry_run
    )
    return SyncReport(registered=registered, unchanged=unchanged, deleted=deletion.versions, dry_run=dry_run)


def _stored(
    operations: RegistryOperations, versions: Mapping[str, str], *, delete: bool
) -> Flow[tuple[set[str], list[ModelVersion]]]:
    """Return the names whose version is stored and not deleted; and with `delete`, the versions of other names."""
    wanted = {operations.keys.target(name, version): name for name, version in versions.items()}
    found: set[str] = set()
    surplus: list[ModelVersion] = []
    token = None
    while True:
        page, token = yield from operations.store.page(None, token)
        found.update(one.target_model for one in page if one.target_model in wanted)
        if delete:
            surplus += [one for one in page if one.version and one.name not in versions]
        if token is None:
            break
    # Read after the listing: a listed version without a tombstone can be invoked. One with a tombstone is registered
    # again.
    deleted = yield from operations.aliases.tombstones.read()
    return {wanted[target] for target in found.difference(deleted)}, surplus


def _set_alias(aliases: Aliases, alias: str, versions: Mapping[str, str], name: str) -> Flow[Alias]:
    return aliases.set(name, alias, versions[name])


def _sources(directory: Path) -> dict[str, str]:
    """Return the entries of a directory by the name of their model."""
    try:
        with os.scandir(directory) as scan:
            children = sorted((one.name, one.is_file()) for one in scan if not one.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidInputError(
            f"{directory} is not a directory", hint="pass the directory whose entries are the models"
        ) from error
    except OSError as error:
        raise StorageError(f"cannot read {directory}: {error.strerror or error}") from error
    found: dict[str, str] = {}
    for child, is_file in children:
        name = check_name(child.removesuffix(".tar.gz").removesuffix(".tgz") if is_file else child)
        if name in found:
            raise InvalidInputError(f"{found[name]} and {child} in {directory} have the same name {name!r}")
        found[name] = child
    if not found:
        raise InvalidInputError(
            f"the directory {directory} contains no models", hint="give a directory whose entries are models"
        )
    return found


def _digest(source: Path) -> str:
    return (content_digest(source) if _is_archive_file(source) else fingerprint(source))[:DIGEST]


def _check(source: Path) -> None:
    """Raise LayoutError if a source is an archive that cannot be unpacked. Its layout is checked when it is packed."""
    if _is_archive_file(source):
        inspect(source)


def _is_archive_file(source: Path) -> bool:
    return is_archive(source) and source.is_file()
