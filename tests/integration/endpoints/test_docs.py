"""docs/endpoints.md says what runs: its blocks, one after the other, against the embedded control plane."""

from __future__ import annotations

import asyncio
import re

from mme_sdk import AsyncMMEClient, MMEClient
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "endpoints.md"


def test_the_page_runs_from_top_to_bottom(plane, aws, capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) > 8
    aws.client("cloudwatch").put_metric_alarm(
        AlarmName="scoring-5xx",
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=0,
        ComparisonOperator="GreaterThanThreshold",
    )
    options = {"session": plane.session(), "endpoint_url": plane.endpoint_urls}
    async_client = AsyncMMEClient(**options)
    with MMEClient(**options) as client:
        names = {"client": client, "async_client": async_client}
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
    asyncio.run(async_client.close())
    shown = capsys.readouterr().out
    assert "instance_type: 'ml.m5.xlarge' → 'ml.m5.2xlarge' (new fleet)" in shown
    assert shown.rstrip().endswith("[]")
