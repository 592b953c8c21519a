"""Value types that the parts of the SDK exchange. They are frozen, typed and do no I/O."""

from mme_sdk._attempt import Attempt
from mme_sdk.types.model import ModelVersion
from mme_sdk.types.reply import Reply
from mme_sdk.types.s3uri import S3Uri

__all__ = ["Attempt", "ModelVersion", "Reply", "S3Uri"]
