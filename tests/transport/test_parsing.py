"""Both parsers on the same bytes, cut anywhere: one answer, or one kind of error."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mme_sdk.runtime.transport.parsing import BadAnswerError, FastParser, Parser, StdlibParser
from mme_sdk.runtime.wire import InvokeAnswer

PARSERS = [FastParser, StdlibParser]
names = st.sampled_from(["X-A", "x-amzn-RequestId", "Date", "X-Empty"])
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20).map(str.strip)


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, int, bytes]:
    """Bytes on the wire, with the status and body that they mean."""
    status = draw(st.sampled_from([200, 201, 400, 424, 429, 500, 530]))
    body = draw(st.binary(max_size=60) | st.sampled_from([b"x" * 20_000, b"\r\n\r\n" * 3, b"0\r\n\r\n"]))
    lines = [f"HTTP/1.1 {status} Some Reason"]
    lines += [f"{name}: {value}" for name, value in draw(st.lists(st.tuples(names, values), max_size=4))]
    if draw(st.booleans()):
        lines.append(f"Content-Length: {len(body)}")
        wire = body
    else:
        lines.append("Transfer-Encoding: chunked")
        cuts = sorted(draw(st.lists(st.integers(1, max(len(body) - 1, 1)), max_size=3)))
        pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        wire = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"
    head = "\r\n".join([*lines, "", ""]).encode()
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 X\r\nLink: a\r\n\r\n"]))
    return interim + head + wire, status, body


def read(parser: Parser, wire: bytes, cuts: list[int]) -> InvokeAnswer:
    parser.begin()
    edges = [*sorted({cut % len(wire) for cut in cuts} | {0}), len(wire)]
    pieces = [wire[a:b] for a, b in pairwise(edges)]
    for number, piece in enumerate(pieces):
        assert parser.feed(piece) is (number == len(pieces) - 1)
    return parser.answer()


@settings(max_examples=150, deadline=None)
@given(sent=st.lists(st.tuples(answers(), st.lists(st.integers(0, 1 << 20), max_size=5)), min_size=1, max_size=3))
def test_answers_cut_anywhere(sent: list[tuple[tuple[bytes, int, bytes], list[int]]]) -> None:
    parsers = [kind() for kind in PARSERS]
    for (wire, status, body), cuts in sent:
        fast, stdlib = (read(parser, wire, cuts) for parser in parsers)
        assert (fast.status, fast.body) == (status, body)
        assert fast == stdlib
        assert all(parser.keep_alive for parser in parsers)


@pytest.mark.parametrize("kind", PARSERS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_garbage_is_one_kind_of_error(kind: type[Parser], data: st.DataObject) -> None:
    wire, _, _ = data.draw(answers())
    at = data.draw(st.integers(0, len(wire) - 1))
    mutated = wire[:at] + data.draw(st.binary(min_size=1, max_size=3)) + wire[at + 1 :]
    parser = kind()
    try:
        if not parser.feed(mutated):
            parser.eof()
        parser.answer()
    except BadAnswerError:
        pass


@pytest.mark.parametrize("kind", PARSERS)
@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"220 smtp.example ESMTP\r\n",
        b"\r\n\r\n\r\nSSH-2.0-x\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n\x00",
    ],
)
def test_no_answer(kind: type[Parser], wire: bytes) -> None:
    with pytest.raises(BadAnswerError):
        kind().feed(wire)


@pytest.mark.parametrize("kind", PARSERS)
def test_the_end_of_the_connection(kind: type[Parser]) -> None:
    parser = kind()
    assert not parser.feed(b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\nall of")
    assert not parser.feed(b" it")
    parser.eof()
    assert (parser.answer().body, parser.keep_alive) == (b"all of it", False)
    for broken in (b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", b"H"):
        parser = kind()
        assert not parser.feed(broken)
        with pytest.raises(BadAnswerError, match="before the end"):
            parser.eof()


@pytest.mark.parametrize("kind", PARSERS)
def test_large_bodies_are_not_copied_on_the_way(kind: type[Parser]) -> None:
    parser = kind()
    pieces = [bytes([number]) * 65_536 for number in range(4)]
    assert not parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 262144\r\n\r\n")
    assert parser.missing == 262_144
    for piece in pieces[:-1]:
        assert not parser.feed(piece)
    assert parser.feed(pieces[-1])
    assert all(kept is given for kept, given in zip(parser._pieces, pieces, strict=True))
    assert parser.answer().body == b"".join(pieces)
    parser.begin()
    assert parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert parser.answer().body == b"ok"


@pytest.mark.parametrize("kind", PARSERS)
@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"a" * 1000),
        (b"HTTP/1.1 200 OK\r\n", b"X: a\r\n" * 100),
        (b"HTTP/1.1 103 X\r\n\r\n", b"HTTP/1.1 103 X\r\n\r\n" * 50),
    ],
)
def test_a_head_without_end_is_refused_early(kind: type[Parser], start: bytes, more: bytes) -> None:
    parser = kind()
    parser.feed(start)
    taken = 0

    def feed_all() -> None:
        nonlocal taken
        while taken < 200_000:
            assert not parser.feed(more)
            taken += len(more)

    with pytest.raises(BadAnswerError):
        feed_all()
    assert taken <= 66_000


@pytest.mark.parametrize(
    "chunks",
    [
        b"5;" + b"a" * 70_000 + b"\r\nhello\r\n0\r\n\r\n",
        b"0\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"f" * 20 + b"\r\n\r\n",
    ],
    ids=["extension", "trailer", "size"],
)
def test_chunks_that_http_client_gives_up_on(chunks: bytes) -> None:
    with pytest.raises(BadAnswerError):
        StdlibParser().feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
