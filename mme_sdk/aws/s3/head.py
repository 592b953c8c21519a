"""HeadObject, whose refusal has no body: another request asks S3 for the reason."""

from __future__ import annotations

from typing import Any

from mme_sdk._flows.effects import Call, Flow
from mme_sdk.errors import AccessDeniedError, ConfigurationError, MMEError

__all__ = ["head_object"]


def head_object(params: dict[str, Any], *, model: str | None = None) -> Flow[dict[str, Any]]:
    """Return the answer of HeadObject.

    Args:
        params: Arguments of the call.
        model: Name of the model, for the error.

    Raises:
        ConfigurationError: The clock or the region of the request is wrong.
        AccessDeniedError: The credentials are not valid, or a permission is missing.
        NotFoundError: The object does not exist.
    """
    try:
        answer: dict[str, Any] = yield Call(service="s3", operation="head_object", params=params, model=model)
    except AccessDeniedError as error:
        if error.code != "403":
            raise
        try:
            owner = {name: value for name, value in params.items() if name in ("ExpectedBucketOwner", "RequestPayer")}
            listing = {"Bucket": params["Bucket"], "Prefix": params["Key"], "MaxKeys": 1, **owner}
            yield Call(service="s3", operation="list_objects_v2", params=listing, model=model)
        except (AccessDeniedError, ConfigurationError) as found:
            if found.code != "AccessDenied":
                raise found from None
        except MMEError:
            pass
        raise
    return answer
