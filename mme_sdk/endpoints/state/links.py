"""Addresses of an endpoint's pages in the AWS console, in every partition."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["console_url", "log_group", "logs_url", "metrics_url", "pages"]

_PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}  # by the beginning of a region's name
_CONSOLES = {"aws-cn": "console.amazonaws.cn", "aws-us-gov": "console.amazonaws-us-gov.com"}


def _console(region: str, service: str, partition: str | None = None) -> str:
    if partition is None:
        partition = next((name for prefix, name in _PARTITIONS.items() if region.startswith(prefix)), "aws")
    host = _CONSOLES.get(partition, "console.aws.amazon.com")
    return f"https://{region}.{host}/{service}/home?region={region}"


def console_url(name: str, region: str, address: str | None = None) -> str:
    """Return the address of an endpoint's page.

    Args:
        name: EndpointName.
        region: AWS region.
        address: Address that the client sends SageMaker's requests to. One outside AWS, such as that of the embedded
            SageMaker, is returned itself: it shows its status page. Default: None, AWS's own.
    """
    if _is_outside(address):
        return f"{str(address).rstrip('/')}/"
    return f"{_console(region, 'sagemaker')}#/endpoints/{name}"


def pages(name: str, region: str | None, address: str | None) -> dict[str, str]:
    """Return the pages of an endpoint by name, as far as the region and the address are known."""
    if _is_outside(address):
        return {"status page": console_url(name, "", address)}
    if region is None:
        return {}
    return {
        "console": console_url(name, region),
        "logs": logs_url(name, region),
        "metrics": metrics_url(name, region),
    }


def _is_outside(address: str | None) -> bool:
    host = urlsplit(address or "").hostname or ""
    return bool(host) and not host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def log_group(name: str) -> str:
    """Return the name of the CloudWatch log group of an endpoint's containers."""
    return f"/aws/sagemaker/Endpoints/{name}"


def logs_url(name: str, region: str, partition: str | None = None) -> str:
    """Return the address of an endpoint's log group; the partition is that of the region if it is None."""
    group = log_group(name).replace("/", "$252F")
    return f"{_console(region, 'cloudwatch', partition)}#logsV2:log-groups/log-group/{group}"


def metrics_url(name: str, region: str) -> str:
    """Return the address of an endpoint's metrics."""
    query = f"~'*7bAWS*2fSageMaker*2cEndpointName*2cVariantName*7d*20EndpointName*3d*22{name}*22"
    return f"{_console(region, 'cloudwatch')}#metricsV2?graph=~()&query={query}"
