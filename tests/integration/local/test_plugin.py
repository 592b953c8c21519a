"""Test the pytest plugin in a separate test suite."""

from __future__ import annotations

import os
import subprocess
import sys

import boto3
import pytest

from mme_sdk.local import Fault
from mme_sdk.testing import mme_bucket, mme_client, mme_environment, mme_faults

__all__ = ["mme_bucket", "mme_client", "mme_environment", "mme_faults"]
SUITE = """
import boto3
import pytest
from mme_sdk.local import Fault


def test_client_bucket_and_faults(mme_client, mme_bucket, mme_faults, mme_local):
    s3 = mme_local.boto("s3")
    s3.put_object(Bucket=mme_bucket, Key="left/behind", Body=b"x")
    mme_faults.add(Fault(kind="throttle"))
    assert mme_local.faults.list()
    assert mme_client.region == "us-east-1"
    s3.close()


def test_faults_are_lifted_and_buckets_gone(mme_local, mme_environment):
    assert mme_local.faults.list() == {}
    s3 = boto3.client("s3")
    assert s3.list_buckets()["Buckets"] == []
    s3.close()
    sts = boto3.client("sts")
    assert sts.get_caller_identity()["Account"] == "111122223333"
    sts.close()
"""
CONFTEST = """
import pytest

pytest_plugins = ["mme_sdk.testing"]


@pytest.fixture(scope="session")
def mme_local_options():
    return {"account_id": "111122223333"}
"""


@pytest.fixture(scope="session")
def mme_local(plane):
    """The plugin's fixture, replaced by a host that runs."""
    return plane


def test_the_fixtures(request, mme_client, mme_environment, plane):
    assert mme_client.region == mme_environment["AWS_DEFAULT_REGION"] == os.environ["AWS_REGION"]
    faults = request.getfixturevalue("mme_faults")
    faults.add(Fault(kind="throttle", operation="ListModels"))
    assert plane.faults.list()
    s3 = boto3.client("s3")  # finds the host by the environment
    s3.put_object(Bucket=request.getfixturevalue("mme_bucket"), Key="a", Body=b"x")
    s3.close()


def test_faults_were_lifted(plane):
    assert plane.faults.list() == {}


KEPT = """
def test_it(mme_local):
    s3 = mme_local.boto("s3")
    names = [one["Name"] for one in s3.list_buckets()["Buckets"]]
    s3.create_bucket(Bucket=f"bucket-{len(names)}")
    s3.close()
    print("buckets", names)
"""


@pytest.mark.slow
def test_a_data_directory_is_kept(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["mme_sdk.testing"]')
    (tmp_path / "test_theirs.py").write_text(KEPT)
    command = [sys.executable, "-m", "pytest", "-qs", "-p", "no:cacheprovider", "--mme-data-dir=kept", str(tmp_path)]
    for buckets in ("buckets []", "buckets ['bucket-0']"):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert "1 passed" in done.stdout, done.stdout + done.stderr
        assert buckets in done.stdout
    assert (tmp_path / "kept" / "main" / "credentials.json").exists()


@pytest.mark.slow
def test_a_suite_of_somebody_else(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_theirs.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
