"""Operations on many models at once. Each model succeeds or fails as a whole; errors are reported together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from mme_sdk._flows.cancellation import attach_partial
from mme_sdk._flows.effects import Do, Flow, Together
from mme_sdk.artifacts import fingerprint, inspect, is_archive
from mme_sdk.display.progress import Reporter
from mme_sdk.errors import BatchError, InvalidInputError, MMEError, StorageError
from mme_sdk.registry.names import check_alias, check_name
from mme_sdk.registry.operations.delete import delete_versions
from mme_sdk.registry.operations.package import LayoutCheck
from mme_sdk.registry.operations.register import DIGEST, Batch, RegistryOperations
from mme_sdk.registry.operations.upload import PART
from mme_sdk.registry.results import Registration, SyncReport
from mme_sdk.types.model import ModelVersion

__all__ = ["register_many", "sync"]

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
    """Register models concurrently.

    An exception that interrupts it, such as KeyboardInterrupt, carries the versions that are registered as `partial`.
    """
    wanted = _registrations(models)
    done: dict[int, ModelVersion] = {}
    if not wanted:
        return []
    try:
        return (yield from _register(operations, wanted, report, width, done))
    except (Exception, GeneratorExit):
        raise
    except BaseException as stop:
        attach_partial(stop, tuple(done[at] for at in sorted(done)))
        raise


def _register(
    operations: RegistryOperations,
    wanted: list[Registration],
    report: Reporter | None,
    width: int,
    done: dict[int, ModelVersion],
) -> Flow[list[ModelVersion]]:
    yield from operations.check_bucket()
    batch = Batch((yield from operations.aliases.tombstones.record()))
    if report is not None:
        report(total=len(wanted))

    def one(at: int, concurrent: int = 1) -> Flow[ModelVersion]:
        model = wanted[at]
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

    large = yield Do(lambda: [_is_large(model.source) for model in wanted])
    order = [at for at, is_large in enumerate(large) if not is_large]
    results: dict[int, Any] = dict(zip(order, (yield Together([one(at) for at in order], width)), strict=True))
    order = [at for at, is_large in enumerate(large) if is_large]
    concurrent = max(min(len(order), _LARGE_WIDTH), 1)
    flows = [one(at, concurrent) for at in order]
    results |= dict(zip(order, (yield Together(flows, concurrent)), strict=True))
    # Find the deletions that came after the tombstones were read: one request for all models.
    again, errors = yield from operations.finish_batch(batch)
    for at, result in results.items():
        target = result.target_model if isinstance(result, ModelVersion) else None
        if target in errors:
            results[at] = errors[target]
        elif target in again:
            (results[at],) = yield Together([operations.register(**_arguments(wanted[at]))])
    return _raise_errors([model.name for model in wanted], [results[at] for at in range(len(wanted))], "registered")


def _arguments(model: Registration) -> dict[str, Any]:
    return {
        "name": model.name,
        "source": model.source,
        "version": model.version,
        "layout": LayoutCheck(model.framework, model.image, model.multi_model),
        "metadata": model.metadata,
    }


def _registrations(models: Mapping[str, Any] | Iterable[Registration]) -> list[Registration]:
    if isinstance(models, Mapping):
        return [Registration(str(name), source) for name, source in models.items()]
    found = list(models)
    for one in found:
        if not isinstance(one, Registration):
            raise InvalidInputError(
                f"register_many takes Registration objects, not {type(one).__name__}",
                hint="give {name: source}, or Registration(name, source, version)",
            )
    return found


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


def _raise_errors(names: list[str], results: list[Any], what: str) -> list[Any]:
    """Return the results, or raise BatchError if some of them are errors."""
    errors: dict[str, MMEError] = {}
    for name, result in zip(names, results, strict=True):
        if isinstance(result, MMEError):
            label, number = name, 1
            while label in errors:  # several versions of one name
                number += 1
                label = f"{name} ({number})"
            errors[label] = result
        elif isinstance(result, BaseException):
            raise result
    done = [result for result in results if not isinstance(result, BaseException)]
    if errors:
        first = next(iter(errors))
        raise BatchError(
            f"{len(errors)} of {len(names)} models were not {what}; {first}: {errors[first].message}",
            hint="see .errors for each error; calling it again skips the models that are done",
            errors=errors,
            done=tuple(done),
        )
    return done


@attrs.frozen
class _Entry:
    name: str
    source: Path
    version: str


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
    sources = yield Do(lambda: _sources(Path(directory)))
    yield from operations.check_bucket()
    if report is not None:
        report(doing="reading the models", total=len(sources))
    digests = yield Together([_digest(source) for source in sources.values()], os.cpu_count() or 4)
    entries = [
        _Entry(name, source, digest)
        for (name, source), digest in zip(sources.items(), _raise_errors(list(sources), digests, "read"), strict=True)
    ]
    listed = yield from operations.store.all()
    # Read after the listing: a listed version without a tombstone can be invoked. One with a tombstone is registered
    # again.
    targets = {one.target_model for one in listed}.difference((yield from operations.aliases.tombstones.read()))
    new = [one for one in entries if operations.keys.target(one.name, one.version) not in targets]
    unchanged = {one.name: one.version for one in entries if one not in new}
    surplus = [one for one in listed if one.version and one.name not in sources] if delete else []
    if report is not None:
        report(doing="", total=len(new))
    if not dry_run:
        # Take the version from what was packed: the directory may have changed since it was read.
        wanted = [Registration(one.name, one.source, image=image, multi_model=multi_model) for one in new]
        registered = yield from register_many(operations, wanted, report)
        new = [attrs.evolve(one, version=done.version) for one, done in zip(new, registered, strict=True)]
        entries = [*new, *(one for one in entries if one.name in unchanged)]
        if alias is not None:
            changes = [operations.aliases.set(one.name, alias, one.version) for one in entries]
            what = f"given the alias {alias}"
            _raise_errors([one.name for one in entries], (yield Together(changes, _WIDTH)), what)
    # Last, so that nothing is deleted if another step fails.
    deletion = yield from delete_versions(
        operations.aliases, surplus, {one.name for one in surplus}, grace=grace, force=False, dry_run=dry_run
    )
    return SyncReport(
        registered={one.name: one.version for one in new},
        unchanged=unchanged,
        deleted=deletion.versions,
        dry_run=dry_run,
    )


def _sources(directory: Path) -> dict[str, Path]:
    try:
        children = sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidInputError(
            f"{directory} is not a directory", hint="pass the directory whose entries are the models"
        ) from error
    except OSError as error:
        raise StorageError(f"cannot read {directory}: {error.strerror or error}") from error
    found: dict[str, Path] = {}
    for child in children:
        if child.name.startswith("."):
            continue
        name = check_name(child.name.removesuffix(".tar.gz").removesuffix(".tgz") if child.is_file() else child.name)
        if name in found:
            raise InvalidInputError(f"{found[name].name} and {child.name} in {directory} have the same name {name!r}")
        found[name] = child
    if not found:
        raise InvalidInputError(
            f"the directory {directory} contains no models", hint="give a directory whose entries are models"
        )
    return found


def _digest(source: Path) -> Flow[str]:
    content: str = yield Do(
        lambda: inspect(source).content if is_archive(source) and source.is_file() else fingerprint(source)
    )
    return content[:DIGEST]
