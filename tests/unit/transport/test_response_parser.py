"""Compare the parser with h11: responses split and mutated at any place give the same result or an error."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from itertools import pairwise

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mme_sdk.runtime.transport.response_parser import InvalidResponseError, ResponseParser
from mme_sdk.runtime.transport_interface import InvokeResponse
from tests.support.transport.answers import ACCEPTED, REFUSED, UNFINISHED
from tests.support.transport.oracle import mutations, valid_answers, verdict

names = st.sampled_from(["X-A", "x-amzn-RequestId", "Date", "X-Empty"])
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20).map(str.strip)


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, int, bytes]:
    """Bytes on the wire, with the status and body that they mean."""
    status = draw(st.sampled_from([200, 201, 400, 424, 429, 500, 530]))
    body = draw(st.binary(max_size=60) | st.sampled_from([b"x" * 20_000, b"\r\n\r\n" * 3, b"0\r\n\r\n"]))
    lines = [f"HTTP/1.1 {status} Some Reason"]
    fields = draw(st.lists(st.tuples(names, values), max_size=4, unique_by=lambda field: field[0]))
    lines += [f"{name}:{draw(st.sampled_from(['', ' ', chr(9)]))}{value} " for name, value in fields]
    if draw(st.booleans()):
        lines.append(f"Content-Length: {len(body)}")
        wire = body
    else:
        lines.append("Transfer-Encoding: chunked")
        cuts = sorted(draw(st.lists(st.integers(1, max(len(body) - 1, 1)), max_size=3)))
        pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        extension = draw(st.sampled_from([b"", b";a", b";a=b", b';a="b c"']))
        wire = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces if piece)
        wire += b"0\r\n" + draw(st.sampled_from([b"", b"X-After: 1\r\n"])) + b"\r\n"
    head = "\r\n".join([*lines, "", ""]).encode()
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 X\r\nLink: a\r\n\r\n"]))
    return interim + head + wire, status, body


def read(parser: ResponseParser, wire: bytes, cuts: list[int]) -> InvokeResponse:
    parser.begin()
    edges = [*sorted({cut % len(wire) for cut in cuts} | {0}), len(wire)]
    pieces = [wire[a:b] for a, b in pairwise(edges)]
    for number, piece in enumerate(pieces):
        assert parser.feed(piece) is (number == len(pieces) - 1)
    return parser.answer()


@settings(max_examples=100, deadline=None)
@given(sent=st.lists(st.tuples(answers(), st.lists(st.integers(0, 1 << 20), max_size=5)), min_size=1, max_size=3))
def test_responses_split_at_any_place(sent: list[tuple[tuple[bytes, int, bytes], list[int]]]) -> None:
    parser = ResponseParser()
    for (wire, status, body), cuts in sent:
        whole, cut = read(parser, wire, []), read(parser, wire, cuts)
        assert (whole.status, whole.body) == (status, body)
        assert whole == cut
        assert parser.keep_alive
        judged = verdict(h11, wire)
        assert judged is not None
        assert (judged.status, judged.headers, judged.body) == (whole.status, whole.headers, whole.body)


@pytest.mark.parametrize(("name", "wire", "status", "body"), ACCEPTED, ids=[one[0] for one in ACCEPTED])
def test_valid_responses_equal_those_of_h11(name: str, wire: bytes, status: int, body: bytes) -> None:
    ours = verdict(ResponseParser, wire)
    assert ours is not None
    assert (ours.status, ours.body) == (status, body)
    assert ours == verdict(h11, wire)
    for at in range(1, len(wire)):
        assert verdict(ResponseParser, wire, [at]) == ours


def refused(parser: ResponseParser, pieces: list[bytes]) -> bool:
    """Whether the parser refuses one of them, or has a whole answer before the last: the rest is discarded then."""
    try:
        done = [parser.feed(piece) for piece in pieces]
    except InvalidResponseError:
        return True
    return any(done[:-1])


@pytest.mark.parametrize(("name", "wire"), REFUSED, ids=[one[0] for one in REFUSED])
def test_invalid_bytes_are_rejected_without_waiting_for_more(name: str, wire: bytes) -> None:
    """The connection stays open, so that only the bytes can tell; and however they are cut."""
    rng = random.Random(name)
    for cut in ([], [1], [len(wire) // 2], [len(wire) - 1], sorted(rng.sample(range(1, len(wire)), 3))):
        parser = ResponseParser()
        edges = [0, *sorted(set(cut)), len(wire)]
        assert refused(parser, [wire[a:b] for a, b in pairwise(edges)])


@pytest.mark.parametrize(("name", "wire"), UNFINISHED, ids=[one[0] for one in UNFINISHED])
def test_an_incomplete_response_is_rejected_at_its_end(name: str, wire: bytes) -> None:
    parser = ResponseParser()
    assert not parser.feed(wire)
    with pytest.raises(InvalidResponseError, match="before the end"):
        parser.eof()


def test_mutated_responses_are_rejected_or_equal_those_of_h11() -> None:
    """A short version of tests/integration/attack/test_http_answers.py."""
    accepted = 0
    for wire in mutations(random.Random(11), 3000):
        ours = verdict(ResponseParser, wire)
        if ours is not None:
            accepted += 1
            assert ours == verdict(h11, wire), wire
    assert accepted > 100


def test_valid_responses_are_accepted() -> None:
    for wire in valid_answers():
        assert verdict(ResponseParser, wire) is not None, wire


def test_the_end_of_the_connection() -> None:
    parser = ResponseParser()
    assert not parser.feed(b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\nall of")
    assert not parser.feed(b" it")
    parser.eof()
    assert (parser.answer().body, parser.keep_alive) == (b"all of it", False)


LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECE = bytes(range(256)) * 64


def fed(parser: ResponseParser, count: int) -> None:
    assert not parser.feed(LENGTH % (count * len(PIECE)))
    assert [parser.feed(PIECE) for _ in range(count)] == [False] * (count - 1) + [True]


def filled(parser: ResponseParser, count: int) -> None:
    assert not parser.feed(LENGTH % (count * len(PIECE)) + PIECE)
    for left in range(count - 2, -1, -1):
        assert parser.window is not None
        parser.window[: len(PIECE)] = PIECE
        assert parser.filled(len(PIECE)) is (left == 0)


def chunked(parser: ResponseParser, count: int) -> None:
    assert not parser.feed(CHUNKED)
    for _ in range(count):
        assert not parser.feed(b"%x\r\n%s\r\n" % (len(PIECE), PIECE))
    assert parser.feed(b"0\r\n\r\n")


def closed(parser: ResponseParser, count: int) -> None:
    assert not parser.feed(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(count):
        assert not parser.feed(PIECE)
    parser.eof()


@pytest.mark.parametrize(("give", "most"), [(fed, 1.02), (filled, 1.02), (chunked, 1.15), (closed, 1.15)])
def test_a_large_body_is_in_memory_once(give: Callable[[ResponseParser, int], None], most: float) -> None:
    count = 25_000_000 // len(PIECE)
    parser = ResponseParser()
    tracemalloc.start()
    try:
        give(parser, count)
        body = parser.answer().body
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert body == PIECE * count
    assert len(body) <= peak <= most * len(body)


def test_an_answer_is_not_kept_for_the_next_one() -> None:
    parser = ResponseParser()
    fed(parser, 100)
    assert parser.answer().body == PIECE * 100
    parser.begin()
    fed(parser, 5)
    assert parser.answer().body == PIECE * 5


def test_an_announced_body_takes_no_memory_beyond_what_sagemaker_sends() -> None:
    parser = ResponseParser()
    tracemalloc.start()
    try:
        assert not parser.feed(LENGTH % (1 << 40) + PIECE * 8)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
    assert parser.window is None


def test_a_window_refuses_bytes_after_the_body() -> None:
    parser = ResponseParser()
    assert not parser.feed(LENGTH % (5 * len(PIECE)) + PIECE * 4)
    with pytest.raises(InvalidResponseError, match="longer than its Content-Length"):
        parser.feed(PIECE + b"1")


def test_large_bodies_of_several_pieces() -> None:
    parser = ResponseParser()
    pieces = [bytes([number]) * 65_536 for number in range(4)]
    assert not parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 262144\r\n\r\n")
    assert parser.missing == 262_144
    for piece in pieces[:-1]:
        assert not parser.feed(piece)
    assert parser.feed(pieces[-1])
    assert parser.answer().body == b"".join(pieces)
    parser.begin()
    assert parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert parser.answer().body == b"ok"


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"a" * 1000),
        (b"HTTP/1.1 200 OK\r\n", b"X: a\r\n" * 100),
        (b"HTTP/1.1 103 X\r\n\r\n", b"HTTP/1.1 103 X\r\n\r\n" * 50),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + b"e" * 1000 + b"\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"e" * 1000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: a\r\n" * 100),
    ],
    ids=["header", "headers", "interim", "extensions", "extension", "trailers"],
)
def test_endless_heads_and_trailers_are_rejected(start: bytes, more: bytes) -> None:
    parser = ResponseParser()
    parser.feed(start)
    taken = 0

    def feed_all() -> None:
        nonlocal taken
        while taken < 200_000:
            assert not parser.feed(more)
            taken += len(more)

    with pytest.raises(InvalidResponseError):
        feed_all()
    assert taken <= 66_000


def test_too_many_header_fields_are_rejected() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + b"X-%d: 1\r\n"
    assert ResponseParser().feed(head % 1 + b"".join(b"Y-%d: 1\r\n" % n for n in range(98)) + b"\r\n")
    with pytest.raises(InvalidResponseError, match="more than 100"):
        ResponseParser().feed(head % 1 + b"".join(b"Y-%d: 1\r\n" % n for n in range(99)) + b"\r\n")


def test_a_slow_long_head_takes_time_in_proportion_to_its_length() -> None:
    """Each byte is looked at a bounded number of times: 60,000 feeds of one byte end at once."""
    parser = ResponseParser()
    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"a" * 60_000 + b"\r\nContent-Length: 2\r\n\r\no":
        assert not parser.feed(bytes([byte]))
    assert parser.feed(b"k")
    assert parser.answer().body == b"ok"
