"""Explain why AWS refused a request's signature: the clock, the secret key, the token or the region.

AWS answers all of them with 400 or 403, as it answers a missing permission. Codes and texts are those of
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html and of the SageMaker runtime.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

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
_STAMP = re.compile(r"\((\d{8}T\d{6}Z) [-+] ")
_TOLERATED = 240.0  # seconds; AWS refuses beyond 300


@attrs.frozen
class Refusal:
    """Why a signature was refused.

    Attributes:
        reason: What is wrong, to follow a colon.
        hint: What to do.
        local: Whether this machine's settings are wrong (clock, region), and not the credentials.
    """

    reason: str
    hint: str
    local: bool = False


def explain_refusal(code: str, said: str, *, date: str | None, now: float) -> Refusal | None:
    """Explain an answer that refuses a request's signature.

    Args:
        code: The service's error code.
        said: The service's text.
        date: The answer's `Date` header.
        now: Seconds since the epoch, by this machine's clock.

    Returns:
        The explanation; None for any other answer, a missing permission included.
    """
    signature = code in _SIGNATURE_CODES or (code in _MISSING_CODES and "signature" in said.lower())
    if not (signature or code in _SKEW_CODES):
        if code in _EXPIRED_CODES or "security token included in the request is expired" in said:
            return Refusal(
                "the session token has expired", "renew the credentials: log in again, or assume the role again"
            )
        if code in _UNKNOWN_KEY_CODES or "security token included in the request is invalid" in said:
            return Refusal(
                "the access key or the session token is not valid",
                "check AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN or the profile; temporary keys need their token",
            )
        if code in _MISSING_CODES:
            return Refusal(
                "the request arrived without a signature", "check the endpoint URL, and proxies that remove headers"
            )
        return None
    if _SCOPE.search(said):
        return Refusal(
            "the request was signed for another region or service than that of the endpoint",
            "set region= to the region in the endpoint's address",
            local=True,
        )
    ahead = _ahead(said, date, now)
    if code in _SKEW_CODES or _TIMES.search(said) or (ahead is not None and abs(ahead) > _TOLERATED):
        measured = "" if ahead is None else f" by {_duration(ahead)} ({'ahead' if ahead > 0 else 'behind'})"
        return Refusal(
            f"this machine's clock differs from the service's{measured}",
            "set the clock (NTP); AWS accepts signatures within 5 minutes of its own time",
            local=True,
        )
    return Refusal(
        "the signature does not match the secret access key",
        "check AWS_SECRET_ACCESS_KEY or the profile, and proxies that change requests",
    )


def _ahead(said: str, date: str | None, now: float) -> float | None:
    """Seconds by which this machine's clock is ahead of the service's; None where the answer does not tell."""
    try:
        there = parsedate_to_datetime(date).timestamp() if date else None
    except (ValueError, OverflowError, TypeError):
        there = None
    if there is None and (stamp := _STAMP.search(said)):
        try:
            there = datetime.strptime(stamp[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        except ValueError:
            return None
    return None if there is None else now - there


def _duration(seconds: float) -> str:
    seconds = abs(seconds)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
