"""The registry's models, indexed for the rules: by target model, and by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from mme_sdk.diagnosis.observation import ObservedAlias, ObservedRegistry

__all__ = ["Catalogue"]


class Catalogue:
    """Answers questions about the models under a prefix, each without a search.

    Args:
        registry: The models.

    Attributes:
        registry: As given.
        unnamed: Whether there are archives whose key does not fit the template.
    """

    def __init__(self, registry: ObservedRegistry) -> None:
        self.registry = registry
        self._versions: dict[str, dict[str, datetime | None]] = {}
        self._targets: dict[tuple[str, str], str] = {}
        self._aliases: dict[str, list[ObservedAlias]] = {}
        for target, (name, version, at) in registry.versions.items():
            self._targets[name, version] = target
            if version and target not in registry.deleted:
                self._versions.setdefault(name, {})[version] = at
        self.unnamed = any(not version for _, version, _ in registry.versions.values())
        for alias in registry.aliases:
            self._aliases.setdefault(alias.name, []).append(alias)

    def exists(self, target: str) -> bool:
        """Return whether an archive is in S3 and not deleted."""
        return target in self.registry.versions and target not in self.registry.deleted

    def parsed(self, target: str) -> tuple[str, str]:
        """Return name and version of a target model, also of one that was deleted."""
        found = self.registry.versions.get(target)
        if found is not None:
            return found[0], found[1]
        name, _, version = target.removesuffix(".tar.gz").rpartition("/")
        return (name, version) if name else (version, "")

    def target(self, name: str, version: str) -> str | None:
        """Return the target model of a version that is in S3; None if it is not."""
        return self._targets.get((name, version))

    def aliases(self, name: str) -> Sequence[ObservedAlias]:
        """Return the aliases of a model."""
        return self._aliases.get(name, ())

    def alias_of(self, target: str) -> ObservedAlias | None:
        """Return an alias that refers to a target model; None if there is none."""
        name, version = self.parsed(target)
        return next((one for one in self.aliases(name) if version in one.versions), None)

    def versions(self, name: str) -> Mapping[str, datetime | None]:
        """Return the versions of a model that exist, and the times of their uploads."""
        return self._versions.get(name, {})

    def existing(self, name: str, versions: Sequence[str]) -> list[str]:
        """Return those of the versions that exist."""
        found = self.versions(name)
        return [one for one in versions if one in found]

    def newest(self, name: str) -> tuple[str, datetime | None] | None:
        """Return the version that was uploaded last, and when; None if there is none."""
        oldest = datetime.min.replace(tzinfo=UTC)
        return max(self.versions(name).items(), key=lambda one: (one[1] or oldest, one[0]), default=None)
