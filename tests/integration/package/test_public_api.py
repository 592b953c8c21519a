"""Public names are a promise: a change of one must be seen, and written into the changelog."""

import importlib.util
import subprocess
import sys

import mme_sdk
from tests.support.paths import ROOT


def describe():
    spec = importlib.util.spec_from_file_location("public_api", ROOT / "scripts" / "public_api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.describe()


def test_the_public_api_is_the_one_promised():
    promised = (ROOT / "tests" / "public_api.txt").read_text()
    assert describe() == promised, "run `make api`, and tell the users in CHANGELOG.md"


def test_all_is_sorted_and_every_name_of_it_loads():
    assert mme_sdk.__all__ == sorted(mme_sdk.__all__)
    assert set(dir(mme_sdk)) == set(mme_sdk.__all__)
    for name in mme_sdk.__all__:
        assert getattr(mme_sdk, name) is not None


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_the_import_brings_in_neither_boto3_nor_anything_heavy():
    heavy = {"boto3", "botocore", "numpy", "aiohttp", "pydantic", "asyncio", "tenacity", "ssl"}
    assert heavy & set(run("import sys, mme_sdk; print(*sys.modules)")) == set()


def test_boto3_is_imported_when_a_client_first_needs_it_and_not_before():
    loaded = run(
        "import sys, mme_sdk\n"
        "client = mme_sdk.MMEClient(region='eu-west-1')\n"
        "client.models('s3://ml-models/prod/'); client.endpoint('scoring')\n"
        "print(*sys.modules); client.close()"
    )
    assert {"boto3", "botocore", "numpy", "aiohttp"} & set(loaded) == set()
