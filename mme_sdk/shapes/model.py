"""A registered model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import attrs

__all__ = ["ModelVersion"]


@attrs.frozen(kw_only=True)
class ModelVersion:
    """One immutable archive under a multi-model endpoint's S3 prefix.

    Attributes:
        name: The model's name, such as `fraud`.
        version: The version, such as `v3`; empty for an archive that this SDK did not name.
        target_model: What goes into `TargetModel`: the key relative to the prefix, such as `fraud/v3.tar.gz`.
        uri: The archive's full S3 address.
        size: Bytes of the archive.
        sha256: Hex digest of the archive; None where the archive was not registered by this SDK or only listed.
        etag: S3's entity tag.
        created: When S3 stored it.
        framework: Framework found at packing, such as `sklearn`.
        metadata: What the caller attached.
    """

    name: str
    version: str
    target_model: str
    uri: str
    size: int | None = None
    sha256: str | None = None
    etag: str | None = None
    created: datetime | None = None
    framework: str | None = None
    metadata: Mapping[str, str] = attrs.field(factory=dict, hash=False)

    def __str__(self) -> str:
        return self.target_model
