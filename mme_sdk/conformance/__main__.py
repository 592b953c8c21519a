"""`python -m mme_sdk.conformance`: check what SageMaker does against the contract that this package relies on."""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from mme_sdk.aws import Aws
from mme_sdk.conformance.account import Account
from mme_sdk.conformance.check import Check, Outcome, all_checks
from mme_sdk.conformance.run import minutes_at_most, run_checks
from mme_sdk.errors import MMEError

_EXIT = """exit status:
  0  SageMaker does what the contract says, and everything is removed
  1  a check differs, or could not be carried out
  2  wrong arguments, or the run was declined
  3  a resource could not be removed; the report names it
"""


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mme_sdk.conformance",
        description="Check what SageMaker does against docs/contract.md. Everything that a run creates is removed.",
        epilog=_EXIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--endpoint-url", metavar="URL", help="address of an embedded SageMaker")
    target.add_argument(
        "--aws", action="store_true", help="AWS itself, with the credentials of the environment; costs money"
    )
    parser.add_argument("--role", metavar="ARN", help="execution role of the models (default with --endpoint-url: any)")
    parser.add_argument("--region", help="AWS region (default: that of the environment)")
    parser.add_argument("--image", help="image of a container for multi-model endpoints (default: AWS's scikit-learn)")
    parser.add_argument("--instance-type", default="ml.m5.large", help="default: ml.m5.large")
    parser.add_argument("--budget-minutes", type=float, default=30.0, metavar="MINUTES", help="default: 30")
    parser.add_argument(
        "--slow-load-seconds",
        type=float,
        default=100.0,
        metavar="SECONDS",
        help="load time of the model that loads for longer than SageMaker waits (default: 100; AWS waits 60)",
    )
    parser.add_argument("--only", action="append", metavar="NAME", help="run this check only; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was seen to this file")
    parser.add_argument("--yes", action="store_true", help="do not ask before a run against AWS")
    parser.add_argument("--list", action="store_true", help="list the checks and exit")
    options = parser.parse_args(words)
    if not options.list and not (options.endpoint_url or options.aws):
        parser.error("one of --endpoint-url and --aws is required")
    if options.aws and not options.list and not options.role:
        parser.error("--aws needs --role, the execution role of the models")
    if not options.budget_minutes > 0:
        parser.error(f"--budget-minutes must be positive, not {options.budget_minutes:g}")
    return options


def _chosen(names: list[str] | None) -> list[Check]:
    checks = {one.name: one for one in all_checks()}
    unknown = sorted(set(names or ()) - checks.keys())
    if unknown:
        raise SystemExit(f"no such check: {', '.join(unknown)}; --list shows all")
    return [one for name, one in checks.items() if not names or name in names]


def _price(instance_type: str) -> str:
    text = resources.files("mme_sdk.planning").joinpath("data", "prices.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        if row["instance_type"] == instance_type:
            return f", about {float(row['usd_per_hour']):.3f} USD an hour each (indicative, us-east-1)"
    return ""


def _show(outcome: Outcome) -> None:
    print(f"{outcome.verdict:9} {outcome.line:5} {outcome.name}: {outcome.expected}", flush=True)
    if outcome.verdict in {"differs", "failed", "skipped", "observed"}:
        print(f"{'':15} seen: {outcome.seen}", flush=True)


def main(words: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _arguments(words)
    checks = _chosen(options.only)
    if options.list:
        for one in checks:
            print(f"{one.line:5} {one.name}: {one.expected}")
        return 0
    endpoints = len({one.needs for one in checks} - {"nothing"})
    minutes = min(minutes_at_most(checks), options.budget_minutes)
    print(
        f"{len(checks)} checks with {endpoints} endpoints of one {options.instance_type} each"
        f"{_price(options.instance_type)}, for at most {minutes:g} minutes and their removal."
    )
    if options.aws and not options.yes and input("Run them in this AWS account? [y/N] ").strip().lower() != "y":
        return 2
    aws = Aws(region=options.region, endpoint_url=_addresses(options.endpoint_url))
    try:
        account = Account(
            aws,
            role=options.role or "arn:aws:iam::123456789012:role/conformance",
            image=options.image or _image(aws.region),
            instance_type=options.instance_type,
            poll=5.0 if options.aws else 0.2,
            slow_load=options.slow_load_seconds,
        )
        report = run_checks(
            account,
            checks,
            budget_minutes=options.budget_minutes,
            clock=time,
            target="aws" if options.aws else options.endpoint_url,
            region=aws.region,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            progress=_show,
        )
    except MMEError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        aws.close()
    if options.json:
        options.json.write_text(report.to_json(), encoding="utf-8")
    counts = {
        verdict: sum(one.verdict == verdict for one in report.outcomes)
        for verdict in ("agrees", "differs", "observed", "failed", "skipped")
    }
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    for label, reason in report.left_behind.items():
        print(f"left behind: {label}: {reason}", file=sys.stderr)
    return 3 if report.left_behind else int(bool(counts["differs"] or counts["failed"]))


def _addresses(url: str | None) -> str | dict[str, str] | None:
    """The embedded SageMaker has two addresses; its exports name that of S3."""
    s3 = os.environ.get("AWS_ENDPOINT_URL_S3")
    return url if url is None or s3 is None else {"*": url, "s3": s3}


def _image(region: str) -> str:
    from mme_sdk.endpoints import images

    return images.retrieve("sklearn", region=region)


if __name__ == "__main__":
    sys.exit(main())
