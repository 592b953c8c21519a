"""What passes between rooms: frozen, typed, without I/O."""

from mme_sdk.types.model import ModelVersion
from mme_sdk.types.reply import Attempt, Reply
from mme_sdk.types.s3uri import S3Uri

__all__ = ["Attempt", "ModelVersion", "Reply", "S3Uri"]
