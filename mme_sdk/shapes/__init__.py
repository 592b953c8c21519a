"""What passes between rooms: frozen, typed, without I/O."""

from mme_sdk.shapes.model import ModelVersion
from mme_sdk.shapes.reply import Attempt, Reply
from mme_sdk.shapes.s3uri import S3Uri

__all__ = ["Attempt", "ModelVersion", "Reply", "S3Uri"]
