"""Lines of text files in every supported encoding are read, and other encodings are refused."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall.data.text_files import EncodingError, read_lines


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
# A UTF-16 file that begins with a NUL character cannot be distinguished from a UTF-32 file.
@given(written=st.lists(st.text(st.characters(exclude_characters="\n\r\ufeff\x00", exclude_categories=["Cs"]))))
def test_lines_are_read_back_in_every_encoding(encoding, written):
    data = "".join(f"{line}\r\n" for line in written).encode(encoding)
    assert list(read_lines(io.BytesIO(data), "a.txt")) == written


def test_a_long_file_is_read_in_chunks():
    written = [f"Zeile {number} über Köln" for number in range(20_000)]
    for encoding in ("utf-8", "utf-16"):
        assert list(read_lines(io.BytesIO("\n".join(written).encode(encoding)), "a.txt")) == written


def test_a_byte_order_mark_inside_a_joined_file_is_removed():
    assert list(read_lines(io.BytesIO(b"\xef\xbb\xbfBonn\n\xef\xbb\xbfGraz\n"), "a.txt")) == ["Bonn", "Graz"]


@pytest.mark.parametrize(("before", "line"), [(0, 1), (2, 3), (10_000, 10_001)])
def test_an_unsupported_encoding_is_refused_with_a_line_number(before, line):
    data = b"Bonn\n" * before + "Köln\n".encode("cp1252")
    with pytest.raises(EncodingError, match=rf"a\.txt, line {line}: byte 0xf6 is not UTF-8"):
        list(read_lines(io.BytesIO(data), "a.txt"))


def test_a_truncated_character_is_refused():
    with pytest.raises(EncodingError, match="line 2"):
        list(read_lines(io.BytesIO("a\nb".encode("utf-16") + b"x"), "a.txt"))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["Bonn", "Bonn ruft.\r\nGraz auch.\r\n", "Москва\nзовёт\n" * 9999])
def test_utf_16_without_a_byte_order_mark_is_refused(encoding, text):
    with pytest.raises(EncodingError, match=r"a\.txt seems to be UTF-16 without a byte order mark\. Save"):
        list(read_lines(io.BytesIO(text.encode(encoding)), "a.txt"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@given(text=st.text(st.characters(exclude_characters="\ufeff\x00", exclude_categories=["Cs"])))
def test_lines_with_their_ends_join_to_the_text(encoding, text):
    assert "".join(read_lines(io.BytesIO(text.encode(encoding)), "a.txt", keep_ends=True)) == text


def test_a_carriage_return_ends_lines_in_files_without_line_feeds():
    assert list(read_lines(io.BytesIO("Köln O\rruft O\r\r".encode()), "a.txt")) == ["Köln O", "ruft O", ""]
    assert list(read_lines(io.BytesIO(b"a\rb\nc"), "a.txt")) == ["a\rb", "c"]
    assert "".join(read_lines(io.BytesIO(b"a\rb\r"), "a.txt", keep_ends=True)) == "a\rb\r"
