"""Error codes of AWS services, grouped by meaning."""

from __future__ import annotations

__all__ = ["DENIED", "QUOTAS", "THROTTLES"]

THROTTLES = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "SlowDown",
        "ProvisionedThroughputExceededException",
    }
)
DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AllAccessDisabled",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "403",
    }
)
QUOTAS = frozenset(
    {
        "LimitExceeded",
        "LimitExceededException",
        "ResourceLimitExceeded",
        "ServiceQuotaExceededException",
        "TooManyBuckets",
    }
)
