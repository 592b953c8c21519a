import pytest

from mme_sdk.errors import InvalidInputError
from mme_sdk.types import S3Uri


@pytest.mark.parametrize(
    ("uri", "bucket", "key"),
    [
        ("s3://ml-models/prod/", "ml-models", "prod/"),
        ("s3://ml-models", "ml-models", ""),
        ("s3://ml-models/", "ml-models", ""),
        ("s3://a.b-c/x/y z", "a.b-c", "x/y z"),
    ],
)
def test_parse(uri, bucket, key):
    assert S3Uri.parse(uri) == S3Uri(bucket, key)


@pytest.mark.parametrize(
    "uri",
    ["", "ml-models/prod", "http://ml-models/prod", "s3://", "s3:///prod", "s3://AB/x", "s3://a/x", "s3://10.0.0.1/x",
     "s3://a..b/x", "s3://-ab/x", "s3://" + "a" * 64 + "/x", None, 3],
)  # fmt: skip
def test_what_is_no_address_is_refused(uri):
    with pytest.raises(InvalidInputError):
        S3Uri.parse(uri)


def test_a_prefix_ends_in_a_slash_so_that_siblings_do_not_match():
    assert str(S3Uri.parse("s3://ml-models/prod").as_prefix()) == "s3://ml-models/prod/"
    assert str(S3Uri.parse("s3://ml-models").as_prefix()) == "s3://ml-models/"
    assert str(S3Uri.parse("s3://ml-models/prod").join("fraud/v3.tar.gz")) == "s3://ml-models/prod/fraud/v3.tar.gz"
