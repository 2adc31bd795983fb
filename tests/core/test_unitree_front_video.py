"""The two layouts of Go2FrontVideoData, and bytes that are neither."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_ros.errors import WireError
from jepa_ros.unitree.front_video import read_front_video

HEADER = b"\x00\x01\x00\x00"


def cdr(head, *sequences):
    body = head
    for data in sequences:
        body += bytes(-len(body) % 4) + struct.pack("<I", len(data)) + data
    return HEADER + body


@given(st.binary(min_size=1, max_size=50), st.binary(max_size=50), st.binary(max_size=50))
def test_the_published_layout_gives_the_largest_picture(large, middle, small):
    assert read_front_video(cdr(struct.pack("<Q", 7), large, middle, small)) == large


def test_without_the_largest_the_next_is_taken():
    assert read_front_video(cdr(struct.pack("<Q", 7), b"", b"next", b"small")) == b"next"


@given(st.binary(min_size=1, max_size=100))
def test_the_older_layout_gives_its_picture(data):
    assert read_front_video(cdr(struct.pack("<Qh", 7, 720), data)) == data


@given(st.binary(max_size=120))
def test_any_bytes_give_a_picture_of_theirs_or_an_error(data):
    with contextlib.suppress(WireError):
        assert read_front_video(data) in data


def test_a_message_without_pictures_is_refused():
    with pytest.raises(WireError, match="frontvideostream"):
        read_front_video(cdr(struct.pack("<Q", 7), b"", b"", b""))
