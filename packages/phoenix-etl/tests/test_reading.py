"""Blocks of a file: whole lines, right numbers, the hash of what lies on disk, and hostile ZIPs."""

from __future__ import annotations

import hashlib
import io
import random
import struct
import threading
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from phoenix_etl import reading
from phoenix_etl.errors import SourceError
from phoenix_etl.reading import SourceReader

from .conftest import zipped

ROW = "1,42000.1,0.5,1,1,1704067200000,true\n"


def read(path: Path) -> tuple[bytes, str]:
    """All lines of a file, checked to be numbered in one go, and the file's hash."""
    reader = SourceReader(path, path.name)
    data, line = b"", 1
    for block in reader:
        assert block.first_line == line
        assert block.data.count(b"\n") == block.lines
        assert block.data.endswith(b"\n")
        data += bytes(block.data)
        line += block.lines
    return data, reader.sha256


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.binary(max_size=30), max_size=30), st.integers(1, 40), st.booleans())
def test_blocks_hold_every_byte_whatever_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: list[bytes], size: int, packed: bool
) -> None:
    monkeypatch.setattr(reading, "BLOCK_BYTES", size)
    data = b"\n".join(parts).removeprefix(b"\xef\xbb\xbf")
    path = tmp_path / ("f.zip" if packed else "f.csv")
    path.write_bytes(zipped(data) if packed else data)
    found, sha256 = read(path)
    assert found.removesuffix(b"\n") == data.removesuffix(b"\n")
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_byte_order_mark_is_no_part_of_the_first_cell(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(b"\xef\xbb\xbf" + ROW.encode())
    assert read(path)[0] == ROW.encode()


def test_a_line_without_end_is_refused_before_it_fills_memory(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(ROW.encode() + b"x" * (3 << 20))
    with pytest.raises(SourceError, match=r"f.csv:2: a line of over 1,048,576 bytes; not a CSV"):
        read(path)


def zip_of(*members: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return packed.getvalue()


def claiming(size: int) -> bytes:
    """A ZIP whose member claims another size than it has."""
    data = zip_of(("a.csv", ROW.encode()))
    true = struct.pack("<I", len(ROW))
    return data.replace(true, struct.pack("<I", size))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a whole ZIP"),
        (b"PK\x05\x06" + bytes(18), r"must hold one CSV \(holds 0 files\)"),
        (zip_of(("a.csv", b"1\n"), ("b.csv", b"2\n")), r"must hold one CSV \(holds 2 files\)"),
        (zipped(ROW)[:40], "not a whole ZIP"),
        (claiming(0xFFFFFF00), "its member claims 4,294,967,040 bytes out of"),
        (claiming(10), "not a whole ZIP"),
        (zip_of(("a.csv", b"0\n" * (33 << 20))), "more than 200 times; not a dump file"),
    ],
)  # fmt: skip
def test_a_hostile_zip_is_bad_input(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "f.zip"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=rf"f.zip: .*{said}"):
        read(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_another_packing_is_refused(tmp_path: Path, method: int) -> None:
    path = tmp_path / "f.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.csv", ROW)
    with pytest.raises(
        SourceError, match=rf"must be deflated, .* \(is packed by method {method}\)"
    ):
        read(path)


def test_a_zip_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.zip"
    path.write_bytes(zipped(ROW * 100_000))
    blocks = iter(SourceReader(path, path.name))
    next(blocks)
    with path.open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(SourceError, match=r"f.zip: it changed while it was read"):
        list(blocks)


@pytest.mark.parametrize("ending", ["csv", "zip"])
def test_a_reader_left_behind_waits_for_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """The garbage collector closes it, at a moment when waiting can be for ever."""
    path = tmp_path / f"f.{ending}"
    text = "".join(f"{chance}\n" for chance in random.Random(1).randbytes(2 << 20))
    path.write_bytes(zipped(text) if ending == "zip" else text.encode())
    blocks = iter(SourceReader(path, path.name))
    next(blocks)
    joined: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "join", lambda self, *_: joined.append(self))
    blocks.close()  # type: ignore[attr-defined]
    assert joined == []


def test_an_encrypted_member_is_bad_input(tmp_path: Path) -> None:
    data = bytearray(zipped(ROW))
    data[6] |= 1  # the flags of the local header, and of the directory
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path = tmp_path / "f.zip"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"cannot be unpacked .*encrypted"):
        read(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_whatever_byte_of_a_zip_is_damaged_it_is_bad_input_or_whole(
    tmp_path: Path, method: int
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.writestr("a.csv", ROW * 40)
    whole = packed.getvalue()
    path = tmp_path / "f.zip"
    chance = random.Random(1)
    refused = 0
    for at in range(len(whole)):
        data = bytearray(whole)
        data[at] = chance.choice([0, 0xFF, data[at] ^ (1 << chance.randrange(8))])
        path.write_bytes(data)
        try:
            found, _ = read(path)
        except SourceError:
            refused += 1
        else:
            assert found == (ROW * 40).encode()
    assert refused > len(whole) / 4


@pytest.mark.parametrize("name", ["f.zip", "f.csv"])
def test_a_checksum_beside_the_file_is_compared(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(zipped(ROW) if name.endswith("zip") else ROW.encode())
    beside = tmp_path / f"{name}.CHECKSUM"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    beside.write_text(f"{sha256.upper()}  {name}\n")
    assert read(path)[0] == ROW.encode()
    for wrong in (f"{'0' * 64}  {name}\n", "", "<html>"):
        beside.write_text(wrong)
        with pytest.raises(SourceError, match="differs from its CHECKSUM file"):
            read(path)


def test_a_file_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"gone.csv: cannot be read \(No such file or directory\)"
    ):
        read(tmp_path / "gone.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(SourceError, match=r"folder.csv: cannot be read \(Is a directory\)"):
        read(tmp_path / "folder.csv")
