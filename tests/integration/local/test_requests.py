"""Test that requests are limited in size and time, checked early, and answered with 4xx if they are invalid."""

from __future__ import annotations

import gzip
import json
import threading

import cbor2
import pytest

from mme_sdk.local import Fault
from mme_sdk.local.http import connections
from mme_sdk.local.wire import cbor
from mme_sdk.local.wire.errors import ApiError
from mme_sdk.local.wire.parameters import decode_json
from mme_sdk.local.wire.protocols import detect_protocol
from mme_sdk.local.wire.query import decode_form, parse_form_parameters
from mme_sdk.local.wire.service_model import load_service_model
from tests.support.local.helpers import make_endpoint
from tests.support.local.hostile import no_errors_logged
from tests.support.local.raw import Link, alive, ask, head, signature, signed

MB = 1024 * 1024
CBOR = {"smithy_protocol": "rpc-v2-cbor", "Content_Type": "application/cbor"}
FORM = "application/x-www-form-urlencoded"


def cbor_request(plane, body: bytes, operation: str = "ListMetrics", **more: str) -> bytes:
    path = f"/service/GraniteServiceVersion20100801/operation/{operation}"
    return signed(plane, body, path=path, service="monitoring", **CBOR, **more)


@pytest.fixture(autouse=True)
def errors():
    """Check that no request makes the host log an error."""
    with no_errors_logged():
        yield


# The event loop is not blocked.


def lists(count: int) -> bytes:
    return b"\x9a" + count.to_bytes(4) + b"\x80" * count


@pytest.mark.parametrize("kind", ["cbor", "json", "query", "gzip"])
def test_a_ping_that_comes_while_a_large_body_is_decoded_is_answered_first(plane, kind, monkeypatch):
    if kind == "cbor":
        large = cbor_request(plane, lists(MB - 5))
    elif kind == "json":
        body = b'{"NameContains": [' + b"1," * (MB // 2 - 20) + b"1]}"
        large = signed(plane, body, target="ListModels")
    elif kind == "gzip":
        body = gzip.compress(b'{"NameContains": [' + b"1," * (MB // 2 - 20) + b"1]}")
        large = signed(plane, body, target="ListModels", Content_Encoding="gzip")
    else:
        body = b"Action=ListMetrics&" + b"&".join(b"X%d=" % i for i in range(100_000))
        large = signed(plane, body, service="monitoring", Content_Type=FORM)
    began, answered = threading.Event(), threading.Event()

    def slowly(headers, path, body):
        if len(body) > MB // 2:
            began.set()
            assert answered.wait(60), "the decoding held the event loop"
        return detect_protocol(headers, path, body)

    monkeypatch.setattr("mme_sdk.local.http.server.detect_protocol", slowly)
    with Link(plane) as link:
        link.send(large)
        assert began.wait(60)
        alive(plane)
        answered.set()
        assert 200 <= link.answer()[0] < 500


def test_a_thread_that_decodes_cbor_lets_others_run():
    ended, turns = threading.Event(), 0

    def decode() -> None:
        with pytest.raises(ValueError, match="not valid CBOR"):
            cbor.loads(lists(MB)[:-1])
        ended.set()

    thread = threading.Thread(target=decode)
    thread.start()
    while not ended.wait(0.001):
        turns += 1
    thread.join()
    assert turns > 3, "the decoder held the interpreter from its beginning to its end"


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_001, b"{" * 100_001, b'{"a":[' + b"[]," * 100_000 + b"[]]}", b"[" + b"1," * 1_000_001],
    ids=["lists", "structures", "many lists", "many items"],
)
def test_json_of_too_many_parts_is_not_given_to_the_parser(body, monkeypatch):
    # In this module alone: hosts of other tests run in other threads and read JSON meanwhile.
    monkeypatch.setattr("mme_sdk.local.wire.parameters.json", None)
    with pytest.raises(ApiError, match="more than"):
        decode_json(body)


# Size of bodies before and after decompression, and checks before a body is read.


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/", MB),
        ("/service/GraniteServiceVersion20100801/operation/PutMetricData", MB),
        ("/endpoints/e/invocations", 25 * MB),
        ("/endpoints/e/invocations-response-stream", 25 * MB),
        ("/endpoints/e/async-invocations", 128_000),
        ("/_mme/faults", 65536),
    ],
)
def test_a_body_that_is_too_large_is_refused_before_it_is_sent(plane, path, limit):
    headers = {"Content-Type": "application/json", "X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}
    headers = signature(plane, "POST", path, b"", headers, "sagemaker")
    status, said, body = ask(plane, head("POST", path, headers | {"Content-Length": str(limit + 1)}))
    assert (status, said["connection"]) == (413, "close")
    assert str(limit) in json.dumps(body)
    # In chunks, the length is not known before the limit is reached.
    with Link(plane) as link:
        link.send(head("POST", path, headers | {"Transfer-Encoding": "chunked"}))
        try:
            for _ in range(limit // MB + 2):
                link.send(b"%x\r\n" % MB + bytes(MB) + b"\r\n")
        except ConnectionError:
            pass
        assert link.answer()[0] in (0, 413)
    alive(plane)


@pytest.mark.parametrize("path", ["/", "/endpoints/e/invocations", "/_mme/faults"])
@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Authorization": ""}, 403),
        ({"Authorization": "Bearer x"}, 403),
        ({"replace": ("LOCAL", "OTHER")}, 403),
        ({"replace": ("us-east-1", "eu-west-1")}, 403),
        ({"replace": ("host;", "")}, 403),
        ({"replace": ("host;", "host;x-not-sent;")}, 403),
        ({"X-Amz-Date": "20200101T000000Z"}, 403),
        ({"X-Amz-Content-SHA256": "x"}, 403),
        ({"X-Amz-Content-SHA256": "0" * 64}, 403),
        ({"Content-Length": "26214401"}, 413),
    ],
)
def test_what_the_headers_show_is_refused_before_the_body_is_sent(plane, path, change, status):
    change = dict(change)
    headers = signature(plane, "POST", path, b"x", {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}, "sagemaker")
    if replaced := change.pop("replace", None):
        assert replaced[0] in headers["Authorization"]
        headers["Authorization"] = headers["Authorization"].replace(*replaced, 1)
    # The client waits for "100 Continue" and gets the error.
    sent = head("POST", path, {"Content-Length": "1000", "Expect": "100-continue"} | headers | change)
    assert ask(plane, sent)[0] == status


def test_a_client_that_waits_for_100_continue_gets_it_when_the_headers_are_in_order(plane):
    request = signed(plane, b"{}", target="ListModels", Expect="100-continue")
    with Link(plane) as link:
        link.send(request[:-2])
        assert link.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        link.send(request[-2:])
        assert link.answer()[0] == 200
    assert ask(plane, signed(plane, b"{}", target="ListModels", Expect="200-ok"))[0] == 417


def test_a_body_that_unpacks_to_too_much_is_refused(plane):
    bomb = gzip.compress(b"{" + b" " * (5 * MB) + b"}")
    assert len(bomb) < 10_000
    status, _, body = ask(plane, signed(plane, bomb, target="ListModels", Content_Encoding="gzip"))
    assert (status, body["__type"]) == (413, "RequestEntityTooLarge")
    for encoding, content in (("gzip", b"not gzip"), ("gzip", gzip.compress(b"{}")[:-9]), ("br", b"{}")):
        assert ask(plane, signed(plane, content, target="ListModels", Content_Encoding=encoding))[0] == 400
    packed = gzip.compress(b"{}")
    assert ask(plane, signed(plane, packed, target="ListModels", Content_Encoding="GZIP"))[0] == 200


# Contents of bodies.


DEEP = 100_000


@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEEP,
        b'{"a":' * DEEP,
        b'{"NameContains":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"MaxResults": 1' + b"0" * 400 + b"}",
        b'{"MaxResults": 1' + b"0" * 5000 + b"}",
        b'{"MaxResults": 2147483648}',
        b'{"MaxResults": true}',
        b'{"MaxResults": 1.0}',
        b'{"MaxResults": NaN}',
        b'{"MaxResults": -Infinity}',
        b'{"CreationTimeAfter": 1e400}',
        b'{"CreationTimeAfter": 1' + b"0" * 400 + b"}",
        b'{"CreationTimeAfter": true}',
        b'{"CreationTimeAfter": "0001-01-01T00:00:00+14:00"}',
        b'{"CreationTimeAfter": {}}',
        b'{"NameContains": "a", "NameContains": "b"}',
        b'{"NameContains": "\\ud800"}',
        b'{"NameContains": "\xff"}',
        b'{"NameContains": "\xed\xa0\x80"}',
        b'{"NameContains": "' + b"-" * 500_000 + b'!"}',
        b"\xff\xfe{\x00}\x00",
        b"{} {}",
        b"nul",
        b'"x"',
        b"\x00" * 1000,
    ],
    ids=lambda body: f"{body[:40]!r}…{len(body)}",
)
def test_json_that_makes_no_sense_is_400(plane, body):
    status, _, said = ask(plane, signed(plane, body, target="ListModels"))
    assert (status, said["__type"]) in [(400, "SerializationException"), (400, "ValidationException")]
    assert len(said["message"]) < 10_000
    alive(plane)


def test_floats_beyond_the_type_are_400(plane):
    for value in (b"1e999", b"1" + b"0" * 400, b'"NaN"', b'"Infinity"', b"true", b"[]"):
        body = b'{"Namespace": "a", "MetricData": [{"MetricName": "m", "Value": ' + value + b"}]}"
        assert ask(plane, signed(plane, body, service="monitoring", target="PutMetricData"))[0] == 400, value


@pytest.mark.parametrize(
    "statistics",
    [
        {"SampleCount": 0, "Sum": 1, "Minimum": 1, "Maximum": 1},
        {"SampleCount": -1, "Sum": 1, "Minimum": 1, "Maximum": 1},
        {"SampleCount": 0.0, "Sum": 0, "Minimum": 0, "Maximum": 0},
    ],
)
def test_a_statistic_of_no_samples_is_400(plane, statistics):
    datum = {"MetricName": "m", "StatisticValues": statistics}
    body = json.dumps({"Namespace": "none", "MetricData": [datum]}).encode()
    status, headers, said = ask(plane, signed(plane, body, service="monitoring", target="PutMetricData"))
    assert (status, said["__type"]) == (400, "InvalidParameterValueException")
    assert headers["x-amzn-query-error"] == "InvalidParameterValue;Sender"
    datum = {"MetricName": "m", "Values": [1.0], "Counts": [0.0]}
    body = json.dumps({"Namespace": "none", "MetricData": [datum]}).encode()
    assert ask(plane, signed(plane, body, service="monitoring", target="PutMetricData"))[0] == 400


@pytest.mark.parametrize(
    "tag", [0, *range(2, 70), 100, 256, 258, 260, 261, 1004, 43000, 55799, 65535, 2**32, 2**64 - 1]
)
def test_cbor_takes_no_tag_but_that_of_a_timestamp(tag):
    # cbor2 makes dates, decimals, regular expressions, MIME messages, addresses and references of some of them.
    for value in (
        "2013-03-21T20:04:00Z",
        0,
        -1,
        b"\x01",
        [1, 2],
        [[1], 2],
        {},
        None,
        "192.168.1.1",
        b"\xc0\xa8\x01\x01",
    ):
        with pytest.raises(ValueError, match="a tag that is not that of a timestamp"):
            cbor.loads(cbor2.dumps({"a": cbor2.CBORTag(tag, value)}, string_referencing=False))


@pytest.mark.parametrize(
    "encoded",
    [
        "c1f5", "c16161", "c1f7", "c1a0",  # timestamps that are not numbers
        "a2616101616102", "bf616101616102ff",  # a key twice
        "a10102", "a18001", "a1a001", "a1f600", "a1fb00000000000000000",  # keys of other types
        "9bffffffffffffffff", "9b00000000ffffffff", "5bffffffffffffffff", "7b7fffffffffffffff", "bbffffffffffffffff",
        "81" * 65 + "00", "9f" * 100, "a16161" * 70 + "00", "c1" * 100 + "00",
        "1c", "1f", "3f", "fe", "f818", "0000", "f6f6", "bf6161ff", "5f6161ff", "7f4161ff", "5f5f4161ffff",
        "61ff", "62c328", "63eda080",  # not UTF-8; an incomplete surrogate pair
    ],
)  # fmt: skip
def test_cbor_that_cannot_be_a_request_is_refused(encoded):
    with pytest.raises(ValueError, match="not valid CBOR"):
        cbor.loads(bytes.fromhex(encoded[: len(encoded) // 2 * 2]))


def test_cbor_that_makes_no_sense_is_400(plane):
    for body in (b"\x9f" * 1000, b"\xa1\x61a\xc2\x41\x00", b"\xf7", b"\x80", b"\xa1\x69Namespace\xf7", b"\xff" * 100,
                 cbor2.dumps({"Namespace": 1}), cbor2.dumps({"Dimensions": [{"Name": cbor2.undefined}]}),
                 cbor2.dumps({"Namespace": cbor2.CBORSimpleValue(1)})):  # fmt: skip
        status, headers, said = ask(plane, cbor_request(plane, body))
        assert (status, headers["content-type"]) == (400, "application/cbor"), body
        assert cbor2.loads(said)["__type"] in ("SerializationException", "ValidationException")
    alive(plane)


def put(text: str):
    operation = load_service_model("cloudwatch").operation_model("PutMetricData")
    return parse_form_parameters(
        operation, decode_form(f"Namespace=n&MetricData.member.1.MetricName=m&{text}".encode())
    )


@pytest.mark.parametrize(
    "text",
    [
        "MetricData.member.999999999.MetricName=m",
        "MetricData.member.3.MetricName=m",
        "MetricData.member.0.MetricName=m",
        "MetricData.member.01.MetricName=m",
        "MetricData.member.-1.MetricName=m",
        "MetricData.member.x.MetricName=m",
        "MetricData.2.MetricName=m",
        "MetricData=m",
        "MetricData.member.1=m",
        "Namespace=o",
        "Namespace.x=o",
        "MetricData.member.1.Value=1_0",
        "MetricData.member.1.Value=%201",
        "MetricData.member.1.Value=1e400",
        "MetricData.member.1.Value=nan",
        "MetricData.member.1.Value=%D9%A1",
        "MetricData.member.1.StorageResolution=99999999999",
        "MetricData.member.1.StorageResolution=" + "9" * 5000,
        "MetricData.member.1.Timestamp=yesterday",
        "StrictEntityValidation=yes",
        "X=%FF",
        "X=%ED%A0%80",
        "a." * 1000 + "=1",
    ],
)
def test_a_form_is_taken_as_a_whole_or_refused(text):
    assert put("MetricData.member.1.Value=1.5")["MetricData"] == [{"MetricName": "m", "Value": 1.5}]
    with pytest.raises(ApiError) as caught:
        put(text)
    assert caught.value.status == 400
    assert len(caught.value.message) < 1000


def test_the_work_on_a_form_does_not_grow_with_the_indices_it_names():
    operation = load_service_model("cloudwatch").operation_model("PutMetricData")

    class Counted(dict):
        looks = 0

        def __getitem__(self, key):
            Counted.looks += 1
            return super().__getitem__(key)

        def get(self, key, default=None):
            Counted.looks += 1
            return super().get(key, default)

    fields = Counted({"Namespace": "n"} | {f"MetricData.member.{9**9 + i}.MetricName": "m" for i in range(1000)})
    with pytest.raises(ApiError, match="without a gap"):
        parse_form_parameters(operation, fields)
    assert Counted.looks < 10_000


def test_what_xml_cannot_carry_does_not_break_an_answer(plane):
    from xml.etree import ElementTree as ET

    body = b"Action=ListMetrics&Namespace=a%01b"
    name = "a\x01b\x1b"
    given = json.dumps({"Namespace": "xml", "MetricData": [{"MetricName": name, "Value": 1}]}).encode()
    assert ask(plane, signed(plane, given, service="monitoring", target="PutMetricData"))[0] == 200
    body = b"Action=ListMetrics&Namespace=xml"
    status, _, said = ask(plane, signed(plane, body, service="monitoring", Content_Type=FORM))
    assert status == 200
    assert "a\ufffdb\ufffd" in [node.text for node in ET.fromstring(said).iter() if node.text]
    status, _, said = ask(plane, signed(plane, b"Action=%01", service="monitoring", Content_Type=FORM))
    assert status == 400
    ET.fromstring(said)


def test_a_credential_for_another_service_is_403(plane):
    sent = signed(plane, b"{}", service="monitoring")
    assert ask(plane, sent)[0] in (403, 404)
    headers = {"X-Amz-Target": "SageMaker.ListModels", "Content-Type": "application/x-amz-json-1.1"}
    headers = signature(plane, "POST", "/", b"{}", headers, "monitoring")
    status, _, said = ask(plane, head("POST", "/", headers | {"Content-Length": "2"}) + b"{}")
    assert (status, said["message"]) == (403, "Credential should be scoped to correct service: 'sagemaker'.")


# Request lines and headers.


def unsigned(line: str = "POST / HTTP/1.1", *lines: str, body: str = "{}") -> bytes:
    return "\r\n".join([line, *lines, "", body]).encode("latin-1")


HOST = "Host: 127.0.0.1"
LENGTH = "Content-Length: 2"


@pytest.mark.parametrize(
    "sent",
    [
        unsigned("POST * HTTP/1.1", HOST, LENGTH),
        unsigned("OPTIONS * HTTP/1.1", HOST, body=""),
        unsigned("POST http://127.0.0.1/_mme/ HTTP/1.1", HOST, LENGTH),
        unsigned("GET http://127.0.0.1/_mme/status HTTP/1.1", "Host: evil.example", body=""),
        unsigned("CONNECT 127.0.0.1:80 HTTP/1.1", HOST, body=""),
        unsigned("POST // HTTP/1.1", HOST, LENGTH),
        unsigned("POST /%2e%2e/%2e%2e/etc/passwd HTTP/1.1", HOST, LENGTH),
        unsigned("POST /%zz%%%/%00 HTTP/1.1", HOST, LENGTH),
        unsigned("POST /endpoints/%ff%0d%0aX:1/invocations HTTP/1.1", HOST, LENGTH),
        unsigned("POST /\xff HTTP/1.1", HOST, LENGTH),
        unsigned("POST /\xc3\xbc HTTP/1.1", HOST, LENGTH),
        unsigned("POST /[::1 HTTP/1.1", HOST, LENGTH),
        unsigned("POST //[::1 HTTP/1.1", HOST, LENGTH),
        unsigned("POST /?a=\x00 HTTP/1.1", HOST, LENGTH),
        unsigned("POST  HTTP/1.1", HOST, LENGTH),
        unsigned("POST / HTTP/9.9", HOST, LENGTH),
        unsigned("POST /", HOST),
        unsigned("PRI * HTTP/2.0", "", "SM"),
        unsigned("FROBNICATE / HTTP/1.1", HOST, LENGTH),
        unsigned("DELETE / HTTP/1.1", HOST, body=""),
        unsigned("OPTIONS / HTTP/1.1", HOST, body=""),
        unsigned("TRACE / HTTP/1.1", HOST, body=""),
        unsigned("GET / HTTP/1.0", body=""),
        unsigned("POST / HTTP/1.1", LENGTH),
        unsigned("POST / HTTP/1.1", HOST, HOST, LENGTH),
        unsigned("POST / HTTP/1.1", HOST, "Host: evil.example", LENGTH),
        unsigned("POST / HTTP/1.1", HOST, LENGTH, "Authorization: a", "Authorization: b"),
        unsigned("POST / HTTP/1.1", HOST, LENGTH, "X-Amz-Date: a", "x-amz-date: b"),
        unsigned("POST / HTTP/1.1", HOST, LENGTH, "X-Amz-Target: a", "x-amz-target: a"),
        unsigned("POST / HTTP/1.1", HOST, LENGTH, LENGTH),
        unsigned("POST / HTTP/1.1", HOST, LENGTH, "Content-Length: 3"),
        unsigned("POST / HTTP/1.1", HOST, "Content-Length: +2"),
        unsigned("POST / HTTP/1.1", HOST, "Content-Length: -2"),
        unsigned("POST / HTTP/1.1", HOST, "Content-Length: " + "9" * 30),
        unsigned("POST / HTTP/1.1", HOST, "Content-Length: 999999999999999999"),
        unsigned("POST / HTTP/1.1", HOST, LENGTH, "Transfer-Encoding: chunked"),
        unsigned("POST / HTTP/1.1", HOST, "Transfer-Encoding: gzip, chunked"),
        unsigned("POST / HTTP/1.1", HOST, "Transfer-Encoding: chunked", body="zz\r\n"),
        unsigned("POST / HTTP/1.1", HOST, "Transfer-Encoding: chunked", body="2\r\n{}x"),
        unsigned("POST / HTTP/1.1", HOST, LENGTH, "X-Amz-Target: SageMaker.ListModels\xff"),
        unsigned("POST / HTTP/1.1", HOST, LENGTH, "X-Amz-Target: SageMaker.\xc3\xbc"),
        unsigned("POST / HTTP/1.1", HOST, LENGTH, "Authorization: AWS4-HMAC-SHA256 \xe9"),
        unsigned("POST / HTTP/1.1", HOST, LENGTH, "X-Y: a\x01b"),
        unsigned("POST / HTTP/1.1", HOST, LENGTH, "X-Y: a\x00b"),
        unsigned("POST / HTTP/1.1", HOST, LENGTH, "X-Y: a\x7fb"),
        unsigned("POST / HTTP/1.1", HOST, LENGTH, "X-Y: " + "a" * 20_000),
        unsigned("POST / HTTP/1.1", HOST, LENGTH, *(f"X-{i}: a" for i in range(2000))),
        unsigned("POST / HTTP/1.1", HOST, LENGTH, "X Y: a"),
        unsigned("POST / HTTP/1.1", HOST, LENGTH, ": a"),
        unsigned("POST / HTTP/1.1", HOST, LENGTH, " folded: a"),
        unsigned("GET /chat HTTP/1.1", HOST, "Upgrade: websocket", "Connection: Upgrade", body=""),
        unsigned("POST / HTTP/1.1", HOST, LENGTH, "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings"),
        unsigned("POST /" + "a" * 20_000 + " HTTP/1.1", HOST, LENGTH),
    ],
    ids=lambda sent: ascii(sent[:100]),
)  # fmt: skip
def test_a_request_that_is_none_of_ours_is_4xx_and_gives_nothing_away(plane, sent):
    status, headers, body = ask(plane, sent)
    assert status == 0 or 400 <= status < 500, (status, body)
    assert not any(name.startswith("access-control") for name in headers)
    assert b"Traceback" not in (body if isinstance(body, bytes) else json.dumps(body).encode())
    assert plane.credentials.access_key not in str(body)
    alive(plane)


def test_a_presigned_url_is_not_a_signature(plane):
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    keys = Credentials(plane.credentials.access_key, plane.credentials.secret_key)
    for path in ("/?Action=GetCallerIdentity&Version=2011-06-15", "/_mme/faults", "/endpoints/e/invocations"):
        request = AWSRequest(method="POST", url=f"{plane.endpoint_url}{path}", data=b"")
        SigV4QueryAuth(keys, "sts", plane.region).add_auth(request)
        sent = unsigned(
            f"POST {request.url.removeprefix(plane.endpoint_url)} HTTP/1.1", HOST, "Content-Length: 0", body=""
        )
        assert ask(plane, sent)[0] == 403


def test_several_values_of_a_harmless_header_are_one_list(plane):
    request = signed(plane, b"{}", target="ListModels")
    line, rest = request.split(b"\r\n", 1)
    assert ask(plane, line + b"\r\nX-Note: a\r\nX-Note: b\r\nCookie: \xff\r\n" + rest)[0] == 200


def test_many_requests_at_once_on_one_connection_are_answered_in_turn(plane):
    request = signed(plane, b"{}", target="ListModels")
    with Link(plane) as link:
        sending = threading.Thread(target=link.send, args=(request * 300,))
        sending.start()
        said = b""
        while said.count(b"HTTP/1.1 200 OK") < 300:
            said += link.socket.recv(MB)
        sending.join()
    assert said.count(b"HTTP/1.1") == 300


# Clients that stop during a request or a response.


def hung_up(link: Link) -> bool:
    try:
        return link.socket.recv(1000) == b""
    except ConnectionResetError:
        return True


def test_headers_that_do_not_end_end_the_connection(plane, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_TIMEOUT", 0.05)
    with Link(plane) as link:
        link.send(b"POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert hung_up(link)
    with Link(plane) as link:  # the same for the second request of a connection
        link.send(signed(plane, b"{}", target="ListModels"))
        assert link.answer()[0] == 200
        link.send(b"POST")
        assert hung_up(link)
    with Link(plane) as link, Link(plane):  # an idle connection stays open
        link.send(signed(plane, b"{}", target="ListModels"))
        assert link.answer()[0] == 200
        with Link(plane) as other:  # whose time is over later
            other.send(b"POST")
            assert hung_up(other)
        link.send(signed(plane, b"{}", target="ListModels"))
        assert link.answer()[0] == 200


def test_an_answer_that_is_not_read_ends_the_connection(plane, monkeypatch, name):
    sm = plane.boto("sagemaker")
    make_endpoint(sm, name)
    sm.close()
    monkeypatch.setattr(connections, "READ_TIMEOUT", 0.2)
    ended = threading.Event()

    def aborted(connection):
        abort(connection)
        ended.set()

    abort = connections._Connection._abort
    monkeypatch.setattr(connections._Connection, "_abort", aborted)
    request = signed(plane, bytes(20 * MB), path=f"/endpoints/{name}/invocations")
    with Link(plane) as link:
        link.send(request)
        assert ended.wait(60)
        received = 0
        try:
            while chunk := link.socket.recv(MB):
                received += len(chunk)
        except ConnectionResetError:
            pass
        assert received < 20 * MB


# The admin API.


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:{port}", "localhost", "LocalHost:1", "127.9.9.9", "[::1]", "[::1]:80"]
)
@pytest.mark.parametrize("path", ["/_mme/", "/_mme/status", "/_mme/status.js", "/_mme/faults"])
def test_the_status_page_is_there_under_every_loopback_name(plane, host, path):
    host = host.format(port=plane.port)
    for more in ([], [f"Origin: http://{host}"], ["Sec-Fetch-Site: same-origin"], ["Sec-Fetch-Site: none"]):
        status, headers, _ = ask(plane, unsigned(f"GET {path} HTTP/1.1", f"Host: {host}", *more, body=""), "GET")
        assert status == 200, more
        assert not any(name.startswith("access-control") for name in headers)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize(
    "lines",
    [
        ["Host: evil.example"],
        ["Host: evil.example:4567"],
        ["Host: localhost.evil.example"],
        ["Host: 127.0.0.1.evil.example"],
        ["Host: evil.localhost"],
        ["Host: 10.0.0.1"],
        ["Host: 0.0.0.0"],
        ["Host: [::]"],
        ["Host: [fe80::1]"],
        ["Host: 2130706433"],
        ["Host: 127.1"],
        ["Host: 127.0.0.1@evil.example"],
        ["Host: evil.example, 127.0.0.1"],
        ["Host: "],
        ["Host: 127.0.0.1:"],
        ["Host: 127.0.0.1", "Origin: null"],
        ["Host: 127.0.0.1", "Origin: https://127.0.0.1"],
        ["Host: 127.0.0.1", "Origin: http://127.0.0.1:3000"],
        ["Host: 127.0.0.1", "Origin: http://localhost"],
        ["Host: 127.0.0.1", "Origin: http://evil.example"],
        ["Host: 127.0.0.1", "Origin: "],
        ["Host: 127.0.0.1", "Origin: http://127.0.0.1", "Origin: http://evil.example"],
        ["Host: 127.0.0.1", "Sec-Fetch-Site: cross-site"],
        ["Host: 127.0.0.1", "Sec-Fetch-Site: same-site"],
        ["Host: 127.0.0.1", "Sec-Fetch-Site: anything"],
        [],
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_the_status_page_is_for_no_other_name_and_no_other_origin(plane, lines, version):
    for line in (
        "GET /_mme/",
        "GET /_mme/status",
        "GET /%5fmme/status",
        "GET /_mme",
        "HEAD /_mme/status",
        "GET /_mme/faults",
        "GET /_mme/charts.js",
    ):
        status, _, body = ask(plane, unsigned(f"{line} HTTP/{version}", *lines, body=""), line.split()[0])
        assert status in (400, 403), (line, body)
    for line in ("POST /_mme/faults", "DELETE /_mme/faults", "DELETE /_mme/faults/fault-1"):
        assert ask(plane, unsigned(f"{line} HTTP/{version}", *lines, LENGTH))[0] in (400, 403)
    status, _, _ = ask(plane, unsigned(f"GET / HTTP/{version}", *lines, "Accept: text/html", body=""), "GET")
    assert status in (400, 403)


def test_a_change_needs_the_key(plane):
    plane.faults.clear()
    fault = b'{"kind": "slow_load"}'
    first = plane.faults.add(Fault(kind="slow_load", model="never"))
    for line in ("POST /_mme/faults", "DELETE /_mme/faults", f"DELETE /_mme/faults/{first}", "PUT /_mme/faults"):
        sent = unsigned(
            f"{line} HTTP/1.1", HOST, "Content-Type: application/json", f"Content-Length: {len(fault)}", body=""
        )
        assert ask(plane, sent + fault)[0] == 403
        method, path = line.split()
        wrong = signed(plane, fault, method=method, path=path, Content_Type="application/json")
        wrong = wrong.replace(b"Signature=", b"Signature=0", 1).replace(b"Signature=00", b"Signature=1", 1)
        assert ask(plane, wrong)[0] == 403
        changed = signed(plane, fault, method=method, path=path, Content_Type="application/json")
        assert ask(plane, changed.replace(b"slow_load", b"slow-load"))[0] == 403
    assert list(plane.faults.list()) == [first]
    status, _, said = ask(plane, signed(plane, fault, path="/_mme/faults", Content_Type="application/json"))
    assert (status, list(said)) == (200, ["id"])
    assert ask(plane, signed(plane, method="DELETE", path="/_mme/faults"))[0] == 200
    assert plane.faults.list() == {}


WRONG_VALUES = {
    "kind": ["5", "null", "true", '["throttle"]', "{}", '"earthquake"', '"throttle\\n"'],
    "code": [
        "5", "null", "true", "[]", "{}", '""', '"a b"', '"A\\r\\nX-Injected: 1"', '"A\\n"', '"A\\u0000"', '"\\u00fc"',
        '"\\ud800"', '"' + "A" * 2000 + '"',
    ],
    "message": ["5", "true", "{}", '"a\\r\\nb"', '"\\ud800"', '"\\u2028"', '"\\u0000"', '"' + "x" * 5000 + '"'],
    "operation": ["5", "false", '["A"]', '"a\\nb"', '"\\ud800"'],
    "endpoint": ["5", "true", "{}", '"a\\nb"', '"\\ud800"'],
    "model": ["1.5", "true", "[]", '"a\\nb"', '"\\ud800"'],
    "status": ['"500"', "200", "1000", "500.5", "500.0", "true", "null", "1e400", "-1", "[]"],
    "times": ["0", "-1", "1.5", "true", '"1"', "1" + "0" * 400, "1" + "0" * 5000, "1e400", "NaN"],
    "skip": ["-1", "null", "0.5", "false", '"1"', "1" + "0" * 400, "Infinity"],
    "probability": ["NaN", "2", "-0.1", "Infinity", "null", "[]", "true", '"1"'],
    "seconds": ["-1", "1e9", '"1"', "true", "null", "NaN", "-Infinity", "1" + "0" * 400],
    "self": ["1"],
    "Code": ['"A"'],
    "__class__": ["1"],
    "": ["1"],
}  # fmt: skip


@pytest.mark.parametrize(
    "fault",
    [
        *(f'{{"kind": "error", "{name}": {value}}}' for name, values in WRONG_VALUES.items() for value in values),
        *('"throttle"', "5", "[]", "null", "{}", "{", '{"kind": "throttle"', '{"kind": "error", "kind": "error"}', ""),
        *("[" * 50_000, '{"kind":' * 7_000, "\x00", "\xff", '{"kind": "error"} {}'),
    ],
    ids=lambda text: ascii(text[:60]),
)
def test_what_is_not_a_fault_is_400_in_plain_words(plane, fault):
    plane.faults.clear()
    status, _, said = ask(
        plane, signed(plane, fault.encode("latin-1"), path="/_mme/faults", Content_Type="application/json")
    )
    assert status == 400
    assert "__init__" not in said["message"]
    assert len(said["message"]) < 1000
    assert plane.faults.list() == {}


def test_a_fault_cannot_split_a_response(plane):
    with pytest.raises(ValueError, match="must be one line"):
        Fault(kind="error", message="a\r\nSet-Cookie: b")
    plane.faults.add(Fault(kind="error", operation="ListModels", code="Odd", status=418, message="ü € <&> \U0001f600"))
    try:
        status, headers, said = ask(plane, signed(plane, b"{}", target="ListModels"))
        assert (status, headers["x-amzn-errortype"], said["message"]) == (418, "Odd", "ü € <&> \U0001f600")
    finally:
        plane.faults.clear()


@pytest.mark.parametrize("kind", ["text/ü", "a\x01b", "a\udcffb", "a\x7f", "a\r\nX-Injected: 1", "a\x00"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_header_of_a_models_answer_cannot_split_a_response(plane, name, kind, stream, monkeypatch):
    from mme_sdk.local.hosting_interface import InvocationResponse

    closed = []

    async def chunks():
        try:
            yield b"x"
        finally:
            closed.append(True)

    for header in ("Content-Type", "x-amzn-sagemaker-custom-attributes"):

        async def answer(_invocation, header=header):
            return InvocationResponse(
                status=200, headers={header: kind}, body=b"x", chunks=chunks() if stream else None
            )

        monkeypatch.setattr(plane.hosting, "invoke", answer)
        end = "invocations-response-stream" if stream else "invocations"
        status, headers, said = ask(plane, signed(plane, b"x", path=f"/endpoints/{name}/{end}"))
        assert (status, said["__type"]) == (424, "ModelError")
        assert "x-injected" not in headers


@pytest.mark.parametrize(
    "header", ["X-Amzn-SageMaker-Target-Model", "X-Amzn-SageMaker-Custom-Attributes", "Content-Type", "X-Y"]
)
@pytest.mark.parametrize(
    "value", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"a\xc2\x85b", b"\xe2\x80\xa8", b"a\x7f", b"\x1b[31m"]
)
def test_a_header_that_is_not_printable_utf8_is_400_by_name(plane, name, header, value):
    request = signed(plane, b"x", path=f"/endpoints/{name}/invocations")
    line, rest = request.split(b"\r\n", 1)
    status, _, said = ask(plane, line + b"\r\n" + header.encode() + b": " + value + b"\r\n" + rest)
    assert status == 400
    if value.isascii():
        return  # the HTTP parser may have refused it
    assert header.lower() in said["message"]


@pytest.mark.parametrize(
    "header",
    ["Authorization", "Host", "X-Amz-Date", "X-Amz-Target", "Content-Type", "Content-Encoding", "Amz-Sdk-Invocation-Id",
     "X-Amzn-SageMaker-Target-Model", "Smithy-Protocol"],
)  # fmt: skip
def test_two_headers_that_contradict_each_other_are_400_by_name(plane, header):
    request = signed(plane, b"{}", target="ListModels", Amz_Sdk_Invocation_Id="i")
    line, rest = request.split(b"\r\n", 1)
    name = header.lower().encode()
    own = [one for one in rest.split(b"\r\n\r\n")[0].split(b"\r\n") if one.lower().startswith(name + b":")]
    twice = own or [name + b": a", name + b": a"]
    status, _, said = ask(plane, b"\r\n".join([line, *twice, rest]))
    assert status == 400
    parsers = ("Host", "Content-Type")  # the HTTP parser refuses two of these by itself
    assert header in parsers or header.lower() in said["message"]
