import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_retrieveall.data.text_files import EncodingError, lines


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@given(written=st.lists(st.text(st.characters(exclude_characters="\n\r\ufeff", exclude_categories=["Cs"]))))
def test_lines_are_those_that_were_written(encoding, written):
    data = "".join(f"{line}\r\n" for line in written).encode(encoding)
    assert list(lines(io.BytesIO(data), "a.txt")) == written


def test_a_long_file_is_read_in_parts():
    written = [f"Zeile {number} über Köln" for number in range(20_000)]
    for encoding in ("utf-8", "utf-16"):
        assert list(lines(io.BytesIO("\n".join(written).encode(encoding)), "a.txt")) == written


def test_a_mark_amid_a_joined_file_is_dropped():
    assert list(lines(io.BytesIO(b"\xef\xbb\xbfBonn\n\xef\xbb\xbfGraz\n"), "a.txt")) == ["Bonn", "Graz"]


@pytest.mark.parametrize(("before", "line"), [(0, 1), (2, 3), (10_000, 10_001)])
def test_another_encoding_is_refused_with_its_line(before, line):
    data = b"Bonn\n" * before + "Köln\n".encode("cp1252")
    with pytest.raises(EncodingError, match=rf"a\.txt, line {line}: byte 0xf6 is not UTF-8"):
        list(lines(io.BytesIO(data), "a.txt"))


def test_a_mark_with_a_cut_character_is_refused():
    with pytest.raises(EncodingError, match="line 2"):
        list(lines(io.BytesIO("a\nb".encode("utf-16") + b"x"), "a.txt"))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["Bonn", "Bonn ruft.\r\nGraz auch.\r\n", "Москва\nзовёт\n" * 9999])
def test_utf_16_without_a_mark_is_refused(encoding, text):
    with pytest.raises(EncodingError, match=r"a\.txt seems to be UTF-16 without a byte order mark\. Save"):
        list(lines(io.BytesIO(text.encode(encoding)), "a.txt"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@given(text=st.text(st.characters(exclude_characters="\ufeff\x00", exclude_categories=["Cs"])))
def test_lines_with_their_ends_are_the_text(encoding, text):
    assert "".join(lines(io.BytesIO(text.encode(encoding)), "a.txt", keep_ends=True)) == text


def test_a_carriage_return_alone_ends_lines_where_there_is_no_line_feed():
    assert list(lines(io.BytesIO("Köln O\rruft O\r\r".encode()), "a.txt")) == ["Köln O", "ruft O", ""]
    assert list(lines(io.BytesIO(b"a\rb\nc"), "a.txt")) == ["a\rb", "c"]
    assert "".join(lines(io.BytesIO(b"a\rb\r"), "a.txt", keep_ends=True)) == "a\rb\r"
