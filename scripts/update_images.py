"""Regenerate `mme_sdk/endpoints/spec/images.json` from the data that the `sagemaker` wheel publishes.

    python scripts/update_images.py            # downloads sagemaker 2 into a temporary folder
    python scripts/update_images.py WHEEL      # reads a wheel on this machine

The wheel (Apache-2.0) has one file per framework under `sagemaker/image_uri_config/`. The script keeps the prebuilt
images that AWS documents for multi-model endpoints
(https://docs.aws.amazon.com/sagemaker/latest/dg/multi-model-support.html), with their tags and accounts by region.
"""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import botocore.session

TARGET = Path(__file__).parent.parent / "mme_sdk" / "endpoints" / "spec" / "images.json"
FOLDER = "sagemaker/image_uri_config/"

# Name in this SDK: file in the wheel, and its repositories for multi-model endpoints.
MULTI_MODEL = {
    "knn": ("knn", {"knn"}),
    "linear-learner": ("linear-learner", {"linear-learner"}),
    "mxnet": ("mxnet", {"mxnet-inference"}),
    "pytorch": ("pytorch", {"pytorch-inference"}),
    "randomcutforest": ("randomcutforest", {"randomcutforest"}),
    "sklearn": ("sklearn", {"sagemaker-scikit-learn"}),
    "tensorflow": ("tensorflow", {"tensorflow-inference"}),
    "triton": ("sagemaker-tritonserver", {"sagemaker-tritonserver"}),
    "xgboost": ("xgboost", {"sagemaker-xgboost"}),
}
# Built-in algorithms that the same page does not list.
SINGLE_MODEL = (
    "blazingtext",
    "factorization-machines",
    "forecasting-deepar",
    "image-classification",
    "ipinsights",
    "kmeans",
    "lda",
    "ntm",
    "object-detection",
    "object2vec",
    "pca",
    "semantic-segmentation",
    "seq2seq",
)


def newest(versions: list[str]) -> str:
    """Return the highest version."""
    return max(versions, key=lambda text: [int(part) for part in re.findall(r"\d+", text)])


def tags(name: str, config: dict[str, Any], version: str, entry: dict[str, Any]) -> dict[str, str]:
    """Return the tags by accelerator, built as in the sagemaker package: prefix, processor, Python version."""
    processors = config.get("processors") or entry.get("processors") or [""]
    python = (entry.get("py_versions") or [""])[-1]
    prefix = entry.get("tag_prefix", version)
    found = {}
    for one in processors:
        shown = "" if name == "triton" and one == "gpu" else one  # tags of Triton's GPU images name no processor
        found[one or "cpu"] = "-".join(part for part in (prefix, shown, python) if part)
    return found


def collect(wheel: zipfile.ZipFile, source: str) -> dict[str, Any]:
    """Return the content of the data file."""
    registries: list[dict[str, str]] = []
    frameworks: dict[str, Any] = {}

    def read(file: str) -> dict[str, Any]:
        config = json.loads(wheel.read(f"{FOLDER}{file}.json"))
        return config.get("inference", config)

    def numbered(accounts: dict[str, str]) -> int:
        accounts = dict(sorted(accounts.items()))
        if accounts not in registries:
            registries.append(accounts)
        return registries.index(accounts)

    for name, (file, repositories) in MULTI_MODEL.items():
        config = read(file)
        versions = {}
        for version, described in config["versions"].items():
            entry = described | {"py_versions": ["py3"]} | described["py3"] if "py3" in described else described
            if entry.get("repository") in repositories:
                versions[version] = {
                    "repository": entry["repository"],
                    "registry": numbered(entry["registries"]),
                    "tags": tags(name, config, version, entry),
                }
        aliases = {short: full for short, full in config.get("version_aliases", {}).items() if full in versions}
        frameworks[name] = {"default": newest(list(versions)), "aliases": aliases, "versions": versions}
    regions = {region for accounts in registries for region in accounts}
    partitions = botocore.session.get_session().get_data("partitions")["partitions"]
    suffixes = {
        region: next(one for one in partitions if re.match(one["regionRegex"], region))["outputs"]["dnsSuffix"]
        for region in sorted(regions)
    }
    common = "amazonaws.com"
    return {
        "source": source,
        "licence": "Apache-2.0",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "dns_suffixes": {region: suffix for region, suffix in suffixes.items() if suffix != common},
        "registries": registries,
        "frameworks": frameworks,
        "single_model_only": sorted({read(one)["versions"]["1"]["repository"] for one in SINGLE_MODEL}),
    }


def main() -> None:
    """Write the data file."""
    with tempfile.TemporaryDirectory() as folder:
        if len(sys.argv) > 1:
            path = Path(sys.argv[1])
        else:
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--dest",
                folder,
                "sagemaker==2.*",
            ]
            subprocess.run(command, check=True)
            path = next(Path(folder).glob("sagemaker-*.whl"))
        version = path.name.split("-")[1]
        with zipfile.ZipFile(path) as wheel:
            data = collect(wheel, f"https://pypi.org/project/sagemaker/{version}/")
    TARGET.write_text(compact(data) + "\n")
    print(f"{TARGET}: {TARGET.stat().st_size / 1000:.1f} kB from sagemaker {version}")


def compact(data: dict[str, Any]) -> str:
    """Return JSON with one version or one registry on each line, which keeps diffs readable."""
    text = json.dumps(data, indent=1)
    text = re.sub(r"\{\n\s+(\"repository\"[^{}]*\"tags\": )\{([^{}]*)\}\n\s+\}", _one_line, text)
    return re.sub(r"\{\n([^{}]*\"us-east-1\"[^{}]*)\}", lambda m: "{" + " ".join(m[1].split()) + "}", text)


def _one_line(found: re.Match[str]) -> str:
    return "{" + " ".join(found[1].split()) + " {" + " ".join(found[2].split()) + "}}"


if __name__ == "__main__":
    main()
