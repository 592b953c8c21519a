"""The catalogue: size, service time and load time of each model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import attrs

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import check_number, number, optional
from mme_sdk.errors import InvalidInputError
from mme_sdk.types import ModelVersion

__all__ = ["Catalogue", "ListsModels", "ModelProfile"]


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


@attrs.frozen(kw_only=True)
class ModelProfile:
    """The size and the times of one model.

    Attributes:
        memory_bytes: Size in the container's memory, bytes.
        disk_bytes: Size on the volume after extraction, bytes.
        archive_bytes: Size of the archive in S3, bytes; None (the default) for the size on the volume.
        service_seconds: Mean time that a request uses a vCPU, seconds. Default 0.02.
        service_cv: Coefficient of variation of that time. Default 0.5.
        load_seconds: Time to load the model from the volume into memory, seconds. Default 1.

    Example:
        >>> ModelProfile(memory_bytes=150 << 20, disk_bytes=60 << 20).load_seconds
        1.0
    """

    memory_bytes: int = attrs.field(converter=_whole, validator=number(over=0))
    disk_bytes: int = attrs.field(converter=_whole, validator=number(over=0))
    archive_bytes: int | None = attrs.field(default=None, converter=_whole, validator=optional(number(over=0)))
    service_seconds: float = attrs.field(default=0.02, validator=number(over=0))
    service_cv: float = attrs.field(default=0.5, validator=number(at_least=0))
    load_seconds: float = attrs.field(default=1.0, validator=number(over=0))


class ListsModels(Protocol):
    """The part of a model registry that a catalogue needs."""

    def list(self) -> Iterable[ModelVersion]:
        """Return every archive under the prefix."""
        ...


@short_tracebacks
@attrs.frozen
class Catalogue(Mapping[str, ModelProfile]):
    """Profiles by model name, with a default for names that are not listed.

    Attributes:
        profiles: Profiles by target model, as in the workload. Default empty.
        default: Profile of models that are not listed; None (the default) raises InvalidInputError for them.

    Example:
        >>> catalogue = Catalogue.uniform(memory_mb=150, service_ms=12, load_seconds=2.0)
        >>> catalogue["any.tar.gz"].memory_bytes
        157286400
    """

    profiles: Mapping[str, ModelProfile] = attrs.field(factory=dict)
    default: ModelProfile | None = None

    def __getitem__(self, model: str) -> ModelProfile:
        found = self.profiles.get(model, self.default)
        if found is None:
            raise InvalidInputError(
                f"the catalogue has no profile of model {model!r}", hint="add its profile, or set a default profile"
            )
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.profiles)

    def __len__(self) -> int:
        return len(self.profiles)

    @classmethod
    def uniform(
        cls,
        *,
        memory_mb: float,
        disk_mb: float | None = None,
        archive_mb: float | None = None,
        service_ms: float = 20.0,
        service_cv: float = 0.5,
        load_seconds: float = 1.0,
    ) -> Catalogue:
        """Make a catalogue with the same profile for every model.

        Args:
            memory_mb: Size in memory, MiB.
            disk_mb: Size on the volume, MiB; None (the default) for the size in memory.
            archive_mb: Size of the archive in S3, MiB; None (the default) for the size on the volume.
            service_ms: Mean time of a request on a vCPU, milliseconds. Default 20.
            service_cv: Coefficient of variation of that time. Default 0.5.
            load_seconds: Time to load the model from the volume into memory, seconds. Default 1.

        Returns:
            The catalogue.

        Raises:
            InvalidInputError: A value is out of range.
        """
        disk = memory_mb if disk_mb is None else disk_mb
        archive = disk if archive_mb is None else archive_mb
        for name, value in (("memory_mb", memory_mb), ("disk_mb", disk), ("archive_mb", archive)):
            check_number(name, value, over=0)
        check_number("service_ms", service_ms, over=0)
        return cls(
            default=ModelProfile(
                memory_bytes=max(1, round(memory_mb * 2**20)),
                disk_bytes=max(1, round(disk * 2**20)),
                archive_bytes=None if archive_mb is None else max(1, round(archive_mb * 2**20)),
                service_seconds=service_ms / 1000.0,
                service_cv=service_cv,
                load_seconds=load_seconds,
            )
        )

    @classmethod
    def from_registry(
        cls,
        registry: ListsModels,
        *,
        unpacked: float = 2.5,
        in_memory: float = 1.5,
        service_ms: float = 20.0,
        seconds_per_gb: float = 4.0,
        overhead_seconds: float = 0.5,
    ) -> Catalogue:
        """Estimate profiles from the sizes of the archives in a registry.

        Args:
            registry: The model registry.
            unpacked: Size on the volume, relative to the size of the archive. Default 2.5.
            in_memory: Size in memory, relative to the size on the volume. Default 1.5.
            service_ms: Mean time of a request on a vCPU, milliseconds. Default 20.
            seconds_per_gb: Load time for each GiB on the volume, seconds. Default 4.
            overhead_seconds: Load time of an empty model, seconds. Default 0.5.

        Returns:
            The catalogue.

        Raises:
            InvalidInputError: The registry has no archive with a size.
        """
        profiles = {}
        for version in registry.list():
            if not version.size:
                continue
            disk = version.size * unpacked
            profiles[version.target_model] = ModelProfile(
                memory_bytes=max(1, round(disk * in_memory)),
                disk_bytes=max(1, round(disk)),
                archive_bytes=version.size,
                service_seconds=service_ms / 1000.0,
                load_seconds=overhead_seconds + disk / 2**30 * seconds_per_gb,
            )
        if not profiles:
            raise InvalidInputError("the registry has no archive with a size")
        return cls(profiles)

    @classmethod
    def from_table(cls, table: Any) -> Catalogue:
        """Read profiles from a table with a column `model` and columns named as the fields of `ModelProfile`.

        Args:
            table: A pandas DataFrame, an Arrow table, a mapping of columns, or the path of a CSV or Parquet file.

        Returns:
            The catalogue.

        Raises:
            InvalidInputError: A required column does not exist, or a value is missing or out of range.

        Example:
            >>> table = {"model": ["a"], "memory_bytes": [1 << 20], "disk_bytes": [1 << 20]}
            >>> Catalogue.from_table(table)["a"].memory_bytes
            1048576
        """
        from mme_sdk.planning.tables import frame_of

        frame = frame_of(table)
        fields = {each.name for each in attrs.fields(ModelProfile)}
        if "model" not in frame.columns or not {"memory_bytes", "disk_bytes"} <= set(frame.columns):
            raise InvalidInputError(
                f"the catalogue has the columns {', '.join(map(str, frame.columns))}; it needs model, memory_bytes and "
                "disk_bytes"
            )
        profiles: dict[str, ModelProfile] = {}
        for position, row in enumerate(frame.to_dict("records")):
            known: dict[str, Any] = {key: value for key, value in row.items() if key in fields and value == value}
            name = row["model"]
            if name is None or name != name or not str(name):
                raise InvalidInputError(f"the catalogue has no model in row {position}")
            if str(name) in profiles:
                raise InvalidInputError(f"the catalogue has model {name!r} twice, again in row {position}")
            for needed in ("memory_bytes", "disk_bytes"):
                if needed not in known:
                    raise InvalidInputError(f"the catalogue has no {needed} of {name!r} in row {position}")
            try:
                profiles[str(name)] = ModelProfile(**known)
            except InvalidInputError as error:
                raise InvalidInputError(f"the catalogue's row {position}, {name!r}: {error.message}") from error
        if not profiles:
            raise InvalidInputError("the catalogue is empty")
        return cls(profiles)

    def scaled(self, *, memory: float = 1.0, service: float = 1.0, load: float = 1.0) -> Catalogue:
        """Return the catalogue with the figures of every profile multiplied.

        Args:
            memory: Factor on the size in memory. Default 1.
            service: Factor on the time on a vCPU. Default 1.
            load: Factor on the load time. Default 1.

        Returns:
            The changed catalogue.

        Raises:
            InvalidInputError: A factor is not over 0.
        """
        for name, factor in (("memory", memory), ("service", service), ("load", load)):
            check_number(name, factor, over=0)
        if memory == service == load == 1.0:
            return self

        def one(profile: ModelProfile) -> ModelProfile:
            return attrs.evolve(
                profile,
                memory_bytes=max(1, round(profile.memory_bytes * memory)),
                service_seconds=profile.service_seconds * service,
                load_seconds=profile.load_seconds * load,
            )

        return Catalogue(
            {name: one(profile) for name, profile in self.profiles.items()},
            None if self.default is None else one(self.default),
        )

    @classmethod
    def coerce(cls, given: Catalogue | Mapping[str, ModelProfile] | ModelProfile | str | Path) -> Catalogue:
        """Make a catalogue from the forms that `plan` accepts.

        Args:
            given: A catalogue, a mapping of profiles, one profile for all models, or a table for `from_table`.

        Returns:
            The catalogue.

        Raises:
            InvalidInputError: A value of the mapping is not a ModelProfile, or the table is not valid.
        """
        if isinstance(given, Catalogue):
            return given
        if isinstance(given, ModelProfile):
            return cls(default=given)
        if isinstance(given, Mapping):
            for name, profile in given.items():
                if not isinstance(profile, ModelProfile):
                    raise InvalidInputError(f"the catalogue has {profile!r} for {name!r}, which is not a ModelProfile")
            return cls(dict(given))
        return cls.from_table(given)
