"""Regenerate `mme_sdk/instance_types.csv` from botocore and from the EC2 data that the `moto` wheels publish.

    python scripts/update_instance_types.py                # downloads the wheels into a temporary folder
    python scripts/update_instance_types.py WHEEL [WHEEL]  # reads wheels on this machine; the first has priority

botocore's service model lists the instance types of each SageMaker operation; `ProductionVariantInstanceType` is the
list for hosting. moto (Apache-2.0) ships the answers of EC2's `DescribeInstanceTypes`; the older wheel covers types
that EC2 no longer describes (p2, p3, dl1).
"""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import botocore
import botocore.session

TARGET = Path(__file__).parent.parent / "mme_sdk" / "instance_types.csv"
WHEELS = ("moto", "moto==5.0.16")
DATA = re.compile(r"moto/ec2/resources/instance_types\.json(\.gz)?")
HOSTING = "ProductionVariantInstanceType"
# Shapes of the service model whose members are instance types with EC2 counterparts.
SHAPES = (HOSTING, "TrainingInstanceType", "ProcessingInstanceType", "TransformInstanceType", "InstanceType")
COLUMNS = (
    "instance_type", "hosting", "architecture", "vcpus", "memory_gib", "gpus", "gpu_memory_gib", "network_gbps",
    "local_gb",
)  # fmt: skip
# Not in EC2's data; a share of one eighteenth of https://aws.amazon.com/ec2/instance-types/p6/ (u-p6e-gb200x72).
MANUAL = {"p6e-gb200.36xlarge": ("arm64", 144, 960, 4, 740, 1600, 22500)}


def read(wheel: Path) -> dict[str, dict[str, Any]]:
    """Return EC2's description of each instance type in a moto wheel."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if DATA.fullmatch(name))
        data = archive.read(name)
    found: dict[str, dict[str, Any]] = json.loads(gzip.decompress(data) if name.endswith(".gz") else data)
    return found


def facts(described: dict[str, Any]) -> tuple[object, ...]:
    """Return the columns after `hosting` for one description."""
    gpu = described.get("GpuInfo", {})
    nvidia = [card for card in gpu.get("Gpus", []) if card["Manufacturer"] == "NVIDIA"]
    cards = described["NetworkInfo"]["NetworkCards"]
    return (
        "arm64" if "arm64" in described["ProcessorInfo"]["SupportedArchitectures"] else "x86_64",
        described["VCpuInfo"]["DefaultVCpus"],
        described["MemoryInfo"]["SizeInMiB"] / 1024,
        sum(card["Count"] for card in nvidia),
        gpu["TotalGpuMemoryInMiB"] / 1024 if nvidia else 0,
        sum(card["BaselineBandwidthInGbps"] for card in cards),
        described.get("InstanceStorageInfo", {}).get("TotalSizeInGB", 0),
    )


def rows(known: dict[str, dict[str, Any]]) -> list[tuple[object, ...]]:
    """Return one row for each SageMaker instance type that EC2 describes."""
    model = botocore.session.get_session().get_service_model("sagemaker")
    listed = {shape: set(model.shape_for(shape).enum) for shape in SHAPES}
    found: list[tuple[object, ...]] = []
    for name in sorted(set().union(*listed.values())):
        short = name.removeprefix("ml.")
        if short in known or short in MANUAL:
            columns = facts(known[short]) if short in known else MANUAL[short]
            found.append((name, int(name in listed[HOSTING]), *columns))
    return found


def main() -> None:
    """Write the data file."""
    with tempfile.TemporaryDirectory() as folder:
        wheels = [Path(name) for name in sys.argv[1:]]
        for number, requirement in enumerate(() if wheels else WHEELS):
            target = Path(folder) / str(number)
            options = ["download", "--quiet", "--no-deps", "--dest", str(target)]
            subprocess.run([sys.executable, "-m", "pip", *options, requirement], check=True)
            wheels.append(next(target.glob("moto-*.whl")))
        known: dict[str, dict[str, Any]] = {}
        for wheel in reversed(wheels):
            known |= read(wheel)
        versions = " and ".join(wheel.name.split("-")[1] for wheel in wheels)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    text = io.StringIO()
    text.write(
        f"# Written on {today} by scripts/update_instance_types.py. hosting: ProductionVariantInstanceType of botocore "
        f"{botocore.__version__}.\n# The rest: EC2 DescribeInstanceTypes, from moto {versions} (Apache-2.0).\n"
    )
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows(known):
        writer.writerow(f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row)
    TARGET.write_text(text.getvalue(), encoding="utf-8")
    print(f"{TARGET}: {text.getvalue().count(chr(10)) - 3} types")


if __name__ == "__main__":
    main()
