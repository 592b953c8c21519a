import botocore.exceptions as bc
import pytest

from mme_sdk import errors
from mme_sdk.aws.error_translation import translate


def answer(code, message, status=400, **headers):
    return bc.ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "r-1", "HTTPHeaders": headers},
        },
        "Operation",
    )


ARN = "arn:aws:sagemaker:eu-west-1:123456789012:endpoint"
KEY = {"Bucket": "ml", "Key": "prod/a.tar.gz"}
CASES = [
    (answer("ValidationException", f'Could not find endpoint "{ARN}/x".'), {}, errors.EndpointNotFoundError),
    (answer("ValidationException", f'Could not find endpoint configuration "{ARN}/x".'), {}, errors.NotFoundError),
    (answer("ValidationException", f'Could not find model "{ARN}/x".'), {}, errors.NotFoundError),
    (answer("ValidationException", f'Cannot create already existing endpoint "{ARN}".'), {}, errors.ConflictError),
    (answer("ValidationException", f'Cannot update in-progress endpoint "{ARN}".'), {}, errors.ConflictError),
    (answer("ValidationException", "1 validation error detected"), {}, errors.InvalidInputError),
    (answer("ThrottlingException", "Rate exceeded"), {}, errors.ThrottledError),
    (answer("TooManyRequestsException", "slow", 429), {}, errors.ThrottledError),
    (answer("SlowDown", "slow", 503), {}, errors.ThrottledError),
    (answer("AccessDeniedException", "not authorized to perform: sagemaker:CreateModel"), {}, errors.AccessDeniedError),
    (answer("SignatureDoesNotMatch", "no", 403), KEY, errors.AccessDeniedError),
    (answer("PreconditionFailed", "At least one", 412), KEY, errors.ConflictError),
    (answer("NoSuchBucket", "no bucket", 404), KEY, errors.BucketNotFoundError),
    (answer("NoSuchKey", "no key", 404), KEY, errors.ModelNotFoundError),
    (answer("404", "Not Found", 404), KEY, errors.ModelNotFoundError),
    (answer("404", "Not Found", 404), {"Bucket": "ml"}, errors.NotFoundError),
    (answer("PermanentRedirect", "elsewhere", 301), KEY, errors.ConfigurationError),
    (answer("InternalFailure", "oops", 500), {}, errors.ServiceError),
    (answer("ResourceLimitExceeded", "The account-level service limit", 400), {}, errors.QuotaExceededError),
    (answer("LimitExceededException", "too many scalable targets", 400), {}, errors.QuotaExceededError),
    (answer("TooManyBuckets", "100", 400), {"Bucket": "ml"}, errors.QuotaExceededError),
    (answer("SomethingNewOfTomorrow", "hm", 400), {}, errors.InvalidInputError),
    (answer("ValidationException", f"Could not find endpoint '{ARN}/x'."), {}, errors.EndpointNotFoundError),
    (answer("ValidationException", f"Could not find endpoint configuration '{ARN}/x'."), {}, errors.NotFoundError),
    (answer("ValidationException", f"Could not find model '{ARN}/x'."), {}, errors.NotFoundError),
    (bc.NoCredentialsError(), {}, errors.ConfigurationError),
    (bc.NoRegionError(), {}, errors.ConfigurationError),
    (bc.ParamValidationError(report="bad"), {}, errors.InvalidInputError),
    (bc.EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), {}, errors.NotSentError),
    (bc.ConnectTimeoutError(endpoint_url="http://127.0.0.1:1"), {}, errors.NotSentError),
    (bc.ReadTimeoutError(endpoint_url="http://127.0.0.1:1"), {}, errors.OutcomeUnknownError),
    (bc.ConnectionClosedError(endpoint_url="http://127.0.0.1:1"), {}, errors.OutcomeUnknownError),
    (bc.UnknownServiceError(service_name="x", known_service_names="y"), {}, errors.ConfigurationError),
]  # fmt: skip


@pytest.mark.parametrize(("error", "params", "kind"), CASES, ids=lambda value: getattr(value, "__name__", None))
def test_each_becomes_our_own_kind(error, params, kind):
    translated = translate(error, "sagemaker" if "Bucket" not in params else "s3", "some_operation", params)
    assert type(translated) is kind
    assert "some_operation" in str(translated)


def test_an_answer_keeps_code_status_and_request_id():
    error = translate(
        answer("InternalFailure", "oops", 500), "sagemaker", "create_endpoint", {"EndpointName": "scoring"}
    )
    assert (error.code, error.status, error.request_id, error.endpoint) == ("InternalFailure", 500, "r-1", "scoring")
    assert error.sent is True


def test_a_missing_permission_is_named():
    error = translate(CASES[9][0], "sagemaker", "create_model", {"ModelName": "m"})
    assert "grant sagemaker:CreateModel" in str(error)


def test_the_region_of_a_bucket_elsewhere_is_named():
    error = translate(
        answer("PermanentRedirect", "elsewhere", 301, **{"x-amz-bucket-region": "eu-north-1"}), "s3", "get_object", KEY
    )
    assert "eu-north-1" in str(error)


@pytest.mark.parametrize(("header", "seconds"), [("3", 3.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None)])
def test_retry_after_is_read_where_it_is_a_number(header, seconds):
    error = translate(answer("SlowDown", "slow", 503, **{"retry-after": header}), "s3", "get_object", KEY)
    assert error.retry_after == seconds


def test_secrets_among_the_parameters_do_not_reach_the_message():
    params = {"ModelName": "m", "PrimaryContainer": {"Environment": {"TOKEN": "hunter2"}}}
    assert "hunter2" not in str(translate(answer("ThrottlingException", "x"), "sagemaker", "create_model", params))


LIMIT = (
    "The account-level service limit 'ml.m5.xlarge for endpoint usage' is 4 Instances, with current utilization of 3 "
    "Instances and a request delta of 2 Instances. Please use AWS Service Quotas to request an increase for this quota."
)


def test_a_quota_is_named_with_its_limit_and_the_place_to_raise_it():
    error = translate(
        answer("ResourceLimitExceeded", LIMIT), "sagemaker", "create_endpoint", {"EndpointName": "scoring"}
    )
    assert isinstance(error, errors.QuotaExceededError)
    assert (error.quota, error.limit) == ("ml.m5.xlarge for endpoint usage", 4.0)
    assert "'ml.m5.xlarge for endpoint usage' in Service Quotas" in (error.hint or "")
    assert (error.sent, error.replay_safe, error.fault, error.endpoint) == (True, True, "caller", "scoring")
    assert not isinstance(error, errors.InvalidInputError)


def test_a_quota_that_is_not_named_is_none():
    error = translate(answer("ResourceLimitExceeded", "cannot have more than 50 tags"), "sagemaker", "add_tags", {})
    assert isinstance(error, errors.QuotaExceededError)
    assert (error.quota, error.limit) == (None, None)
    assert "Service Quotas" in (error.hint or "")
