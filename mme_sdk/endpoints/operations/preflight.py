"""Checks before a creation: name, role, archives, images and quotas."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Literal
from urllib.parse import unquote

import attrs

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk.aws import Call, Flow, Together
from mme_sdk.display import html
from mme_sdk.display.shown import Shown
from mme_sdk.endpoints.operations.calls import describe_if_exists, gather, paginate
from mme_sdk.endpoints.spec import images, validators
from mme_sdk.endpoints.spec.components import Container, Variant
from mme_sdk.endpoints.spec.spec import EndpointSpec, check_spec
from mme_sdk.errors import BucketNotFoundError, ConfigurationError, InvalidInputError, MMEError, QuotaExceededError

__all__ = ["QUICK", "Finding", "Preflight", "check_references", "preflight"]

Verdict = Literal["ok", "failed", "unknown"]
_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.[a-z.]+/(?P<repository>[^:@]+)(?P<tag>[:@].+)?"
)
_ARCHIVES = (".tar.gz", ".tgz")
_EMPTY = "the prefix has no archive yet; models can be added at any time"
_log = logging.getLogger(__name__)
QUICK = 1.0
"""Seconds that `create` spends on checks before it creates anything."""


@attrs.frozen(kw_only=True)
class Finding:
    """Result of one check.

    Attributes:
        subject: `name`, `role`, `models`, `image` or `quota`, and what was checked.
        verdict: `ok`, `failed`, or `unknown` if the caller may not read it or no API reports it.
        detail: Explanation.
    """

    subject: str
    verdict: Verdict
    detail: str

    def __str__(self) -> str:
        return f"{self.verdict:<8}{self.subject}: {self.detail}"


@short_tracebacks
@attrs.frozen(repr=False)
class Preflight(Shown):
    """Results of the checks before a creation.

    Attributes:
        findings: One result for each check.
    """

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed. Unknown results do not count as failures."""
        return not any(one.verdict == "failed" for one in self.findings)

    def check(self) -> None:
        """Raise an error if a check failed.

        Raises:
            QuotaExceededError: Only checks of quotas failed.
            InvalidInputError: Another check failed; the message lists all failures.
        """
        failed = [one for one in self.findings if one.verdict == "failed"]
        if not failed:
            return
        text = "the creation of this endpoint would fail:\n  " + "\n  ".join(
            f"{one.subject}: {one.detail}" for one in failed
        )
        if all(one.subject.startswith("quota ") for one in failed):
            raise QuotaExceededError(
                text, hint="raise the quota in Service Quotas, or use other or fewer instances", sent=False
            )
        raise InvalidInputError(text)

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings))

    def _text(self) -> str:
        failed = [f"{one.subject}: {one.detail}" for one in self.findings if one.verdict == "failed"]
        unknown = sum(one.verdict == "unknown" for one in self.findings)
        text = f"<Preflight of {len(self.findings)} checks: {len(failed)} failed, {unknown} unknown"
        return f"{text}{': ' if failed else ''}{'; '.join(failed)[:300]}>"

    def _html(self) -> str:
        rows = [{"verdict": one.verdict, "subject": one.subject, "detail": one.detail} for one in self.findings]
        return html.table("Preflight", rows)


def preflight(spec: EndpointSpec, region: str) -> Flow[Preflight]:
    """Check everything that a spec refers to.

    Args:
        spec: The spec.
        region: AWS region of the endpoint.

    Returns:
        The results. What the caller may not read is `unknown`.
    """
    check_spec(spec)
    flows: list[Flow[Finding]] = [_name(spec), *_references(spec, region)]
    flows += [_quota(one, one.runs_on) for one in spec.variants if one.runs_on]
    return Preflight(tuple((yield from gather(flows))))


def check_references(spec: EndpointSpec, region: str) -> Flow[None]:
    """Raise an error if the role, an image, a bucket or an archive that a new endpoint needs does not exist.

    The checks run concurrently, for a second at most. A check without a result by then, or without permission, is no
    error.

    Args:
        spec: The spec.
        region: AWS region of the endpoint.

    Raises:
        InvalidInputError: The creation would fail. Nothing was created.
    """
    results = yield Together(_references(spec, region), within=QUICK)
    report = Preflight(tuple(one for one in results if isinstance(one, Finding)))
    for one in report.findings:
        if one.detail == _EMPTY:
            _log.warning("endpoint %s: %s: %s", spec.name, one.subject, one.detail)
    report.check()


def _references(spec: EndpointSpec, region: str) -> list[Flow[Finding]]:
    """Return the checks of what a spec refers to."""
    containers = dict.fromkeys(one for variant in spec.variants for one in variant.containers)
    flows: list[Flow[Finding]] = [_role(spec.role)] if spec.role is not None else []
    flows += [_models(one, region) for one in containers if one.model_data]
    flows += [
        _image(one.image, one.mode, region) for one in {(c.image, c.mode): c for c in containers}.values() if one.image
    ]
    return flows


def _finding(subject: str) -> Callable[[Verdict, str], Finding]:
    return lambda verdict, detail: Finding(subject=subject, verdict=verdict, detail=detail)


def _name(spec: EndpointSpec) -> Flow[Finding]:
    say = _finding(f"name {spec.name}")
    try:
        seen = yield from describe_if_exists(spec.name)
    except MMEError as error:
        return say("failed", error.message)
    return (
        say("ok", "the name is free")
        if seen is None
        else say("failed", f"an endpoint of this name exists and is {seen.status}")
    )


def _role(role: str) -> Flow[Finding]:
    name = role.rpartition("/")[2]
    say = _finding(f"role {name}")
    try:
        answer = yield Call(service="iam", operation="get_role", params={"RoleName": name})
    except MMEError as error:
        if error.code == "NoSuchEntity":
            return say("failed", "there is no such role")
        return say("unknown", error.message)
    trusts = answer["Role"].get("AssumeRolePolicyDocument", "")
    if "sagemaker.amazonaws.com" not in unquote(str(trusts)):
        return say("failed", "it does not trust sagemaker.amazonaws.com; policies.trust() returns the trust policy")
    return say("ok", "it exists and trusts SageMaker")


def _models(container: Container, region: str) -> Flow[Finding]:
    where = validators.in_s3("model_data", container.model_data, 1024)
    say = _finding(f"models {where}")
    try:
        answer = yield Call(service="s3", operation="head_bucket", params={"Bucket": where.bucket})
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        there = answer.get("BucketRegion") or headers.get("x-amz-bucket-region")
        if there and there != region:
            return say("failed", f"the bucket is in {there}, the endpoint would be in {region}")
        if container.mode == "SingleModel" and not where.key.endswith("/") and where.key:
            yield Call(service="s3", operation="head_object", params={"Bucket": where.bucket, "Key": where.key})
            return say("ok", "the archive exists" if container.compressed else "the object exists")
        listing = yield Call(
            service="s3",
            operation="list_objects_v2",
            params={"Bucket": where.bucket, "Prefix": where.key, "MaxKeys": 100},
        )
    except (BucketNotFoundError, ConfigurationError) as error:
        return say("failed", error.message)
    except MMEError as error:
        missing = error.status == 404
        return say("failed" if missing else "unknown", "it does not exist" if missing else error.message)
    keys = [one["Key"] for one in listing.get("Contents", [])]
    if container.mode == "SingleModel":
        return say("ok", "the prefix has files") if keys else say("failed", "the prefix has no files")
    archives = sum(key.endswith(_ARCHIVES) for key in keys)
    if not archives:
        return say("ok", _EMPTY)
    return say("ok", f"archives found: {archives}{'+' if listing.get('IsTruncated') else ''}")


def _image(image: str, mode: str, region: str) -> Flow[Finding]:
    say = _finding(f"image {image}")
    if mode == "MultiModel" and images.supports_multi_model(image) is False:
        return say("failed", "it does not support multi-model endpoints")
    found = _ECR.fullmatch(image)
    if found is None:
        return say("unknown", "it is not in ECR")
    if found["region"] != region:
        return say("failed", f"it is in {found['region']}, the endpoint would be in {region}")
    tag = found["tag"] or ":latest"
    wanted = {"imageTag": tag[1:]} if tag[0] == ":" else {"imageDigest": tag[1:]}
    params = {"registryId": found["account"], "repositoryName": found["repository"], "imageIds": [wanted]}
    try:
        yield Call(service="ecr", operation="describe_images", params=params)
    except MMEError as error:
        if error.code in ("RepositoryNotFoundException", "ImageNotFoundException"):
            return say("failed", error.message)
        if images.supports_multi_model(image):
            return say("ok", "AWS provides it, for multi-model endpoints too")
        return say("unknown", error.message)
    return say("ok", "it exists")


def _quota(variant: Variant, kind: str) -> Flow[Finding]:
    say = _finding(f"quota of {kind}")
    call = Call(service="service-quotas", operation="list_service_quotas", params={"ServiceCode": "sagemaker"})
    try:
        quotas = yield from paginate(call, "Quotas")
    except MMEError as error:
        return say("unknown", error.message)
    limit = next((one["Value"] for one in quotas if one.get("QuotaName") == f"{kind} for endpoint usage"), None)
    count = variant.instance_count or 1
    most = max(count, variant.autoscaling.max if variant.autoscaling else 0)
    if limit is None:
        return say("unknown", "Service Quotas does not list it")
    if limit < count:
        return say("failed", f"the account may use {limit:g}, the endpoint begins with {count}")
    if limit < most:
        return say("failed", f"the account may use {limit:g}, autoscaling may ask for {most}")
    return say("ok", f"the account may use {limit:g}")
