"""Explain why AWS refused a request's signature: the clock, the secret key, the token or the region.

AWS answers all of these with status 400 or 403, the status of a missing permission, too. The codes and texts are from
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html and of the SageMaker runtime.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import attrs

__all__ = ["Refusal", "explain_refusal"]

_SKEW_CODES = frozenset({"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"})
_SIGNATURE_CODES = frozenset(
    {"InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature", "IncompleteSignatureException"}
)
_EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
_UNKNOWN_KEY_CODES = frozenset(
    {"InvalidAccessKeyId", "InvalidClientTokenId", "InvalidToken", "UnrecognizedClientException", "AuthFailure"}
)
_MISSING_CODES = frozenset({"MissingAuthenticationToken", "MissingAuthenticationTokenException"})
_SCOPE = re.compile(r"[Cc]redential should be scoped to (?:a valid region|correct service)|region '[^']*' is wrong")
_TIMES = re.compile(r"Signature (?:expired|not yet current)|request time and the current time", re.IGNORECASE)
_TIMESTAMP = re.compile(r"\((\d{8}T\d{6}Z) [-+] ")
_MAX_SKEW = 240.0  # seconds; AWS rejects requests beyond 300


@attrs.frozen
class Refusal:
    """Reason why AWS refused a signature.

    Attributes:
        reason: What is wrong, in words that can follow a colon.
        hint: What to do.
        local: Whether a setting of this machine is wrong (clock, region), and not the credentials.
    """

    reason: str
    hint: str
    local: bool = False


def explain_refusal(code: str, message: str, *, date: str | None, now: float) -> Refusal | None:
    """Explain a response that refuses the signature of a request.

    Args:
        code: Error code of the service.
        message: Error text of the service.
        date: `Date` header of the response.
        now: Time of this machine, in seconds since the epoch.

    Returns:
        The reason; None for any other response, such as a missing permission.
    """
    signature = code in _SIGNATURE_CODES or (code in _MISSING_CODES and "signature" in message.lower())
    if not (signature or code in _SKEW_CODES):
        if code in _EXPIRED_CODES or "security token included in the request is expired" in message:
            return Refusal(
                "the session token has expired", "renew the credentials: log in again, or assume the role again"
            )
        if code in _UNKNOWN_KEY_CODES or "security token included in the request is invalid" in message:
            return Refusal(
                "the access key or the session token is not valid",
                "check AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN and the AWS profile; temporary keys need a session token",
            )
        if code in _MISSING_CODES:
            return Refusal(
                "the request arrived without a signature",
                "check the endpoint URL, and whether a proxy removes the Authorization header",
            )
        return None
    if _SCOPE.search(message):
        return Refusal(
            "the request was signed for another region or service than the one it was sent to",
            "set region= to the region in the endpoint URL",
            local=True,
        )
    ahead = _seconds_ahead(message, date, now)
    if code in _SKEW_CODES or _TIMES.search(message) or (ahead is not None and abs(ahead) > _MAX_SKEW):
        measured = "" if ahead is None else f" by {_duration(ahead)} ({'ahead' if ahead > 0 else 'behind'})"
        return Refusal(
            f"this machine's clock differs from the service's{measured}",
            "synchronise the clock (NTP); AWS accepts signatures within 5 minutes of its own time",
            local=True,
        )
    return Refusal(
        "the signature does not match the secret access key",
        "check AWS_SECRET_ACCESS_KEY or the AWS profile, and whether a proxy changes requests",
    )


def _seconds_ahead(message: str, date: str | None, now: float) -> float | None:
    """Return the seconds by which this machine's clock is ahead of the service's; None if the response has no time."""
    from email.utils import parsedate_to_datetime

    try:
        service_time = parsedate_to_datetime(date).timestamp() if date else None
    except (ValueError, OverflowError, TypeError):
        service_time = None
    if service_time is None and (timestamp := _TIMESTAMP.search(message)):
        try:
            service_time = datetime.strptime(timestamp[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        except ValueError:
            return None
    return None if service_time is None else now - service_time


def _duration(seconds: float) -> str:
    seconds = abs(seconds)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
