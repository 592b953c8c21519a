"""Many models at once: each whole or not at all, all errors told together."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import attrs

from mme_sdk._cancellation import attach_partial
from mme_sdk._effects import Do, Flow, Together
from mme_sdk.artifacts import fingerprint, inspect, is_archive
from mme_sdk.errors import BatchError, InvalidInputError, MissingExtraError, MMEError, StorageError
from mme_sdk.registry.names import check_alias, check_name
from mme_sdk.registry.operations.delete import remove
from mme_sdk.registry.operations.single import DIGEST, Batch, Verbs
from mme_sdk.registry.operations.upload import PART
from mme_sdk.registry.results import Progress, Registration, SyncReport
from mme_sdk.types.model import ModelVersion

__all__ = ["Watcher", "register_many", "sync"]

Watcher: TypeAlias = Callable[[Progress], None]
_WIDTH = 32  # small models at a time: mostly they wait for S3
_LARGE_WIDTH = 3  # large ones; each needs a temporary file of its size, and its parts go side by side


class _Meter:
    """Adds up what the workers report, and tells the caller one report at a time."""

    def __init__(self, watcher: Watcher | None, of: int) -> None:
        self._watcher, self._of = watcher, of
        self._models = self._size = 0
        self._lock = threading.Lock()

    def arrived(self, model: str) -> Callable[[int], None]:
        """A counter of bytes for one model."""
        return lambda size: self._tell(model, size, 0)

    def done(self, model: str) -> None:
        """One model is done, or failed."""
        self._tell(model, 0, 1)

    def _tell(self, model: str, size: int, models: int) -> None:
        if self._watcher is None:
            return
        with self._lock:
            self._size += size
            self._models += models
            self._watcher(Progress(model=model, models=self._models, of=self._of, size=self._size))


def register_many(
    verbs: Verbs, models: Mapping[str, Any] | Iterable[Registration], watcher: Watcher | None, *, width: int = _WIDTH
) -> Flow[list[ModelVersion]]:
    """Register models side by side; an exception that ends it early carries the versions that are done as `partial`."""
    wanted = _registrations(models)
    done: dict[int, ModelVersion] = {}
    if not wanted:
        return []
    try:
        return (yield from _register(verbs, wanted, watcher, width, done))
    except (Exception, GeneratorExit):
        raise
    except BaseException as stop:
        attach_partial(stop, tuple(done[at] for at in sorted(done)))
        raise


def _register(
    verbs: Verbs, wanted: list[Registration], watcher: Watcher | None, width: int, done: dict[int, ModelVersion]
) -> Flow[list[ModelVersion]]:
    yield from verbs.ready()
    batch = Batch((yield from verbs.aliases.tombstones.note()))
    meter = _Meter(watcher, len(wanted))

    def one(at: int, abreast: int = 1) -> Flow[ModelVersion]:
        model = wanted[at]
        try:
            arrived = meter.arrived(model.name)
            done[at] = yield from verbs.register(**_asked(model), batch=batch, progress=arrived, abreast=abreast)
            return done[at]
        finally:
            meter.done(model.name)

    large = yield Do(lambda: [_is_large(model.source) for model in wanted])
    order = [at for at, is_large in enumerate(large) if not is_large]
    results: dict[int, Any] = dict(zip(order, (yield Together([one(at) for at in order], width)), strict=True))
    order = [at for at, is_large in enumerate(large) if is_large]
    abreast = max(min(len(order), _LARGE_WIDTH), 1)
    flows = [one(at, abreast) for at in order]
    results |= dict(zip(order, (yield Together(flows, abreast)), strict=True))
    # Deletions that came after the tombstones were read; one look for all.
    again, errors = yield from verbs.settled(batch)
    for at, result in results.items():
        target = result.target_model if isinstance(result, ModelVersion) else None
        if target in errors:
            results[at] = errors[target]
        elif target in again:
            (results[at],) = yield Together([verbs.register(**_asked(wanted[at]))])
    return _told([model.name for model in wanted], [results[at] for at in range(len(wanted))], "registered")


def _asked(model: Registration) -> dict[str, Any]:
    return attrs.asdict(model, recurse=False)


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
    """Whether a source may need several parts; what cannot be read is somebody else's to report."""
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


def _told(names: list[str], results: list[Any], what: str) -> list[Any]:
    errors: dict[str, MMEError] = {}
    for name, result in zip(names, results, strict=True):
        if isinstance(result, MMEError):
            label, turn = name, 1
            while label in errors:  # several versions of one name: no error hides another
                turn += 1
                label = f"{name} ({turn})"
            errors[label] = result
        elif isinstance(result, BaseException):
            raise result
    done = [result for result in results if not isinstance(result, BaseException)]
    if errors:
        first = next(iter(errors))
        raise BatchError(
            f"{len(errors)} of {len(names)} models were not {what}; {first}: {errors[first].message}",
            hint="see .errors; doing all of it again repeats nothing that is done",
            errors=errors,
            done=tuple(done),
        )
    return done


@attrs.frozen
class _Planned:
    name: str
    source: Path
    version: str


def sync(
    verbs: Verbs,
    directory: str | Path,
    *,
    alias: str | None,
    delete: bool,
    grace: float,
    dry_run: bool,
    watcher: Watcher | None,
) -> Flow[SyncReport]:
    """Make the prefix hold what a directory holds."""
    if alias is not None:
        check_alias(alias)
    sources = yield Do(lambda: _children(Path(directory)))
    yield from verbs.ready()
    digests = yield Together([_digested(source) for source in sources.values()], os.cpu_count() or 4)
    planned = [
        _Planned(name, source, digest)
        for (name, source), digest in zip(sources.items(), _told(list(sources), digests, "read"), strict=True)
    ]
    there = yield from verbs.store.all()
    # After the listing, so that what is listed and has no tombstone is in service. What has one is registered again.
    targets = {one.target_model for one in there}.difference((yield from verbs.aliases.tombstones.read()))
    new = [one for one in planned if verbs.keys.target(one.name, one.version) not in targets]
    unchanged = {one.name: one.version for one in planned if one not in new}
    surplus = [one for one in there if one.version and one.name not in sources] if delete else []
    if not dry_run:
        # The version is taken again from what is packed: the directory may have changed since it was looked at.
        made = yield from register_many(verbs, [Registration(one.name, one.source) for one in new], watcher)
        new = [attrs.evolve(one, version=done.version) for one, done in zip(new, made, strict=True)]
        planned = [*new, *(one for one in planned if one.name in unchanged)]
        if alias is not None:
            moves = [verbs.aliases.set(one.name, alias, one.version) for one in planned]
            _told([one.name for one in planned], (yield Together(moves, _WIDTH)), f"pointed at by @{alias}")
    # Last, so that whatever fails before has taken nothing away.
    gone = yield from remove(
        verbs.aliases, surplus, {one.name for one in surplus}, grace=grace, force=False, dry_run=dry_run
    )
    return SyncReport(
        registered={one.name: one.version for one in new}, unchanged=unchanged, deleted=gone.versions, dry_run=dry_run
    )


def _children(directory: Path) -> dict[str, Path]:
    try:
        children = sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidInputError(f"there is no directory {directory}") from error
    except OSError as error:
        raise StorageError(f"cannot read {directory}: {error.strerror or error}") from error
    found: dict[str, Path] = {}
    for child in children:
        if child.name.startswith("."):
            continue
        name = check_name(child.name.removesuffix(".tar.gz").removesuffix(".tgz") if child.is_file() else child.name)
        if name in found:
            raise InvalidInputError(f"{found[name].name} and {child.name} are both named {name!r}")
        found[name] = child
    if not found:
        raise InvalidInputError(f"{directory} holds no models", hint="give the directory whose entries are the models")
    return found


def _digested(source: Path) -> Flow[str]:
    content: str = yield Do(
        lambda: inspect(source).content if is_archive(source) and source.is_file() else fingerprint(source)
    )
    return content[:DIGEST]


def with_bar(watcher: Watcher | bool | None) -> tuple[Watcher | None, Callable[[], None]]:
    """A watcher, and what to call at the end; True draws a bar.

    Raises:
        MissingExtraError: tqdm is not installed.
    """
    if not isinstance(watcher, bool):
        return watcher, lambda: None
    if not watcher:
        return None, lambda: None
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise MissingExtraError("progress=True draws with tqdm", hint="pip install 'mme-sdk[progress]'") from error
    bar = tqdm(unit="model")

    def draw(progress: Progress) -> None:
        bar.total = progress.of
        bar.n = progress.models
        bar.set_postfix_str(f"{progress.size / 1e6:.1f} MB {progress.model}", refresh=False)
        bar.refresh()

    return draw, bar.close
