"""What a diagnosis returns: findings, each with its evidence, its cost and the command that mends it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

import attrs

from mme_sdk.display import html
from mme_sdk.display.shown import Shown

__all__ = ["KINDS", "Command", "Cost", "Diagnosis", "Evidence", "Finding", "FindingKind", "Severity"]

FindingKind = Literal[
    "thrashing",
    "loader_slots",
    "hot_model",
    "spilling_model",
    "oversized_fleet",
    "autoscaling_cannot_move",
    "unseen_rollback",
    "failing_model",
    "deleted_model_called",
    "old_version_called",
    "variant_skew",
    "throttling",
    "stale_alias",
    "quota_near",
]
"""The kinds of findings.

- `thrashing`: models are unloaded and loaded again, because the memory is too small for those in use.
- `loader_slots`: loads wait for other loads of the same instance.
- `hot_model`: one model gets so many requests that its latency rises with its traffic.
- `spilling_model`: one model has so many requests at a time that SageMaker loads further copies of it.
- `oversized_fleet`: fewer instances would serve the same traffic.
- `autoscaling_cannot_move`: a policy tracks a metric that has no values, or a target that the variant cannot reach.
- `unseen_rollback`: the endpoint is InService, and its last update was rolled back.
- `failing_model`: no call of a model is answered, because it fails to load or to run.
- `deleted_model_called`: a model that is not in S3 any more is still invoked.
- `old_version_called`: an alias has moved to another version, and the former one is still invoked.
- `variant_skew`: variants of one endpoint differ in errors, in latency or from their share of the traffic.
- `throttling`: requests are throttled.
- `stale_alias`: an alias refers to a version that does not exist, or to one that a newer version replaced long ago.
- `quota_near`: the variant, or the limits of its autoscaling, come near a quota of the account.
"""
KINDS: tuple[FindingKind, ...] = (
    "unseen_rollback",
    "stale_alias",
    "failing_model",
    "deleted_model_called",
    "throttling",
    "thrashing",
    "loader_slots",
    "hot_model",
    "spilling_model",
    "autoscaling_cannot_move",
    "variant_skew",
    "quota_near",
    "old_version_called",
    "oversized_fleet",
)
"""The kinds, in the order in which a diagnosis lists findings of one severity."""

Severity = Literal["critical", "warning", "info"]
"""`critical`: requests fail or wait now. `warning`: latency or safety suffers. `info`: money or order."""

_ORDER = ("critical", "warning", "info")


@attrs.frozen(kw_only=True)
class Evidence:
    """One number, and where it comes from.

    Attributes:
        name: What the number is, such as `unloads`.
        value: The number, or a text such as a FailureReason.
        unit: Unit, such as `s`, `percent` or `requests`. Default: empty, the value is a count or a text.
        source: Where it comes from, such as `CloudWatch ModelUnloadingTime SampleCount`.
        period: Seconds of the time that the value stands for. Default: None, the value is a state at the end of it.
    """

    name: str
    value: float | str
    unit: str = ""
    source: str
    period: float | None = None

    def __str__(self) -> str:
        number = self.value if isinstance(self.value, str) else f"{self.value:.4g}"
        shown = f"{self.name} {number}{f' {self.unit}' if self.unit else ''}"
        over = "" if self.period is None else f", over {duration(self.period)}"
        return f"{shown} ({self.source}{over})"


@attrs.frozen(kw_only=True)
class Cost:
    """What a finding costs.

    Attributes:
        value: The amount.
        unit: Unit, such as `USD per month`, or `cold seconds` that callers waited in the period of the diagnosis.
        source: What the amount was computed from.
    """

    value: float
    unit: str
    source: str

    def __str__(self) -> str:
        return f"{self.value:,.2f} {self.unit}" if self.value < 1000 else f"{self.value:,.0f} {self.unit}"


@attrs.frozen
class Command:
    """The call that mends a finding, in both forms. Both are complete: they can be run as they are.

    Where only a person can decide, it is the call that shows what there is to decide; `Finding.remedy` says so.

    Attributes:
        python: Python statement. `client` is an `MMEClient`; other names are those of `mme_sdk`.
        shell: Command line of the program `mme`. Default: None, the program has no such command.
    """

    python: str
    shell: str | None = None


@attrs.frozen(kw_only=True, repr=False)
class Finding(Shown):
    """One thing that is wrong with an endpoint.

    Attributes:
        kind: Kind of the finding, such as `thrashing`; `FindingKind` lists the kinds.
        severity: `critical`, `warning` or `info`.
        confidence: Share from 0 to 1. Data that is missing lowers it.
        subject: What it concerns: an endpoint, a variant, a model or an alias.
        summary: What is wrong, in one sentence.
        evidence: The numbers that show it, with their sources and periods.
        cost: What it costs. Default: None, the data is missing that it is computed from.
        remedy: What mends it, and why.
        command: The call that does. Default: None, the remedy needs more than one call.
    """

    kind: FindingKind
    severity: Severity
    confidence: float
    subject: str
    summary: str
    evidence: tuple[Evidence, ...]
    remedy: str
    command: Command | None = None
    cost: Cost | None = None

    def _text(self) -> str:
        lines = [f"{self.severity}: {self.summary} [{self.kind}, confidence {self.confidence:.0%}]"]
        lines += [f"  evidence  {one}" for one in self.evidence]
        if self.cost is not None:
            lines.append(f"  cost      {self.cost} ({self.cost.source})")
        lines.append(f"  remedy    {self.remedy}")
        if self.command is not None:
            lines.append(f"  Python    {self.command.python}")
            if self.command.shell is not None:
                lines.append(f"  shell     {self.command.shell}")
        return "\n".join(lines)

    def _html(self) -> str:
        return html.table("", [self.row()])

    def row(self) -> dict[str, object]:
        """Return the cells of the finding by column, for a table."""
        # A command is shown whole, because it is copied.
        forms = [] if self.command is None else [one for one in (self.command.python, self.command.shell) if one]
        return {
            "severity": self.severity,
            "finding": [self.summary, f"{self.kind}, confidence {self.confidence:.0%}"],
            "evidence": [str(one) for one in self.evidence],
            "cost": None if self.cost is None else str(self.cost),
            "remedy": self.remedy,
            "command": [html.Html(html.escape(one)) for one in forms],
        }


@attrs.frozen(kw_only=True, repr=False)
class Diagnosis(Shown):
    """Findings about an endpoint, most severe first.

    Attributes:
        endpoint: EndpointName.
        start: Start of the time that was looked at, in UTC.
        end: End of it, in UTC.
        findings: The findings. Empty if nothing was found.
        missing: Data that could not be read or was not given, and what it leaves open. A kind of finding that needs it
            is not reported, or with less confidence.
    """

    endpoint: str
    start: datetime
    end: datetime
    findings: tuple[Finding, ...]
    missing: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __bool__(self) -> bool:
        """Return True, as for other results: `findings` says whether something was found."""
        return True

    def of(self, kind: FindingKind) -> tuple[Finding, ...]:
        """Return the findings of one kind.

        Args:
            kind: The kind, such as `thrashing`.

        Returns:
            The findings, most severe first.
        """
        return tuple(one for one in self.findings if one.kind == kind)

    def _heading(self) -> str:
        looked = f"the {duration((self.end - self.start).total_seconds())} until {html.plain(self.end)}"
        return f"{html.count(len(self), 'findings')} about endpoint {self.endpoint} in {looked}"

    def _text(self) -> str:
        parts = [self._heading(), *(one._text() for one in self.findings[: html.ROWS])]
        if len(self) > html.ROWS:
            parts.append(f"… {len(self) - html.ROWS:,} more")
        parts += [f"not known: {one}" for one in self.missing]
        return "\n".join(parts)

    def _html(self) -> str:
        table = html.table(self._heading(), [one.row() for one in self.findings])
        notes = "".join(f"<li>{html.escape(one)}</li>" for one in self.missing)
        return f"{table}<div>Not known:</div><ul>{notes}</ul>" if notes else table


def sort_key(finding: Finding) -> tuple[int, int, float, str]:
    """Return what findings are sorted by: severity, kind, confidence and subject."""
    return (_ORDER.index(finding.severity), KINDS.index(finding.kind), -finding.confidence, finding.subject)


def duration(seconds: float) -> str:
    """Return a length of time in a unit that fits, such as `15 min`."""
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
