"""What each model takes: size, service time, load time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import attrs

from mme_sdk.errors import InvalidInputError
from mme_sdk.planning.checks import check_number, number
from mme_sdk.types import ModelVersion

__all__ = ["Catalogue", "ListsModels", "ModelProfile"]


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


@attrs.frozen(kw_only=True)
class ModelProfile:
    """One model's needs.

    Attributes:
        memory_bytes: In the container once loaded.
        disk_bytes: On the volume once extracted.
        archive_bytes: In S3; the same as on the volume where None.
        service_seconds: Mean time that a request keeps a vCPU.
        service_cv: Coefficient of variation of that time.
        load_seconds: From the volume into memory.
    """

    memory_bytes: int = attrs.field(converter=_whole, validator=number(over=True))
    disk_bytes: int = attrs.field(converter=_whole, validator=number(over=True))
    archive_bytes: int | None = attrs.field(default=None, converter=_whole, validator=number(over=True, optional=True))
    service_seconds: float = attrs.field(default=0.02, validator=number(over=True))
    service_cv: float = attrs.field(default=0.5, validator=number())
    load_seconds: float = attrs.field(default=1.0, validator=number(over=True))


class ListsModels(Protocol):
    """A model registry, as far as a catalogue needs it."""

    def list(self) -> Iterable[ModelVersion]:
        """Every archive under the prefix."""
        ...


@attrs.frozen
class Catalogue(Mapping[str, ModelProfile]):
    """Profiles by model name; a default serves names that are not listed.

    Attributes:
        profiles: By model name, as the workload names it (a target model).
        default: For models that are not listed; None refuses them.

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
                f"the catalogue does not know model {model!r}", hint="add its profile, or give a default profile"
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
        """The same profile for every model.

        Args:
            memory_mb: MiB in memory.
            disk_mb: MiB on the volume; as in memory where None.
            archive_mb: MiB in S3; as on the volume where None.
            service_ms: Mean milliseconds on a vCPU.
            service_cv: Its coefficient of variation.
            load_seconds: From the volume into memory.
        """
        disk = memory_mb if disk_mb is None else disk_mb
        archive = disk if archive_mb is None else archive_mb
        for name, value in (("memory_mb", memory_mb), ("disk_mb", disk), ("archive_mb", archive)):
            check_number(name, value)
        check_number("service_ms", service_ms)
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
        """Profiles from the sizes of the archives in a registry; the rest is guessed from them until it is measured.

        Args:
            registry: A model registry.
            unpacked: Size on the volume over size of the archive.
            in_memory: Size in memory over size on the volume.
            service_ms: Mean milliseconds on a vCPU.
            seconds_per_gb: Load time per GiB on the volume.
            overhead_seconds: Load time of an empty model.
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
            raise InvalidInputError("the registry lists no archive with a size")
        return cls(profiles)

    @classmethod
    def from_table(cls, table: Any) -> Catalogue:
        """Profiles from a table with a column `model` and columns named as the fields of `ModelProfile`.

        Args:
            table: A pandas frame, an Arrow table, or the path of a CSV or Parquet file.

        Raises:
            InvalidInputError: A column that must be there is not, or a value makes no sense.
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
        for number_, row in enumerate(frame.to_dict("records")):
            known: dict[str, Any] = {key: value for key, value in row.items() if key in fields and value == value}
            name = row["model"]
            if name is None or name != name or not str(name):
                raise InvalidInputError(f"the catalogue names no model in row {number_}")
            if str(name) in profiles:
                raise InvalidInputError(f"the catalogue has model {name!r} twice, again in row {number_}")
            for needed in ("memory_bytes", "disk_bytes"):
                if needed not in known:
                    raise InvalidInputError(f"the catalogue has no {needed} of {name!r} in row {number_}")
            try:
                profiles[str(name)] = ModelProfile(**known)
            except InvalidInputError as error:
                raise InvalidInputError(f"the catalogue's row {number_}, {name!r}: {error.message}") from error
        if not profiles:
            raise InvalidInputError("the catalogue is empty")
        return cls(profiles)

    def scaled(self, *, memory: float = 1.0, service: float = 1.0, load: float = 1.0) -> Catalogue:
        """The same with every profile's figures multiplied: for what-ifs."""
        for name, factor in (("memory", memory), ("service", service), ("load", load)):
            check_number(name, factor)

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
        """A catalogue from what users hand in."""
        if isinstance(given, Catalogue):
            return given
        if isinstance(given, ModelProfile):
            return cls(default=given)
        if isinstance(given, Mapping):
            for name, profile in given.items():
                if not isinstance(profile, ModelProfile):
                    raise InvalidInputError(f"the catalogue has {profile!r} for {name!r}, which is no ModelProfile")
            return cls(dict(given))
        return cls.from_table(given)
