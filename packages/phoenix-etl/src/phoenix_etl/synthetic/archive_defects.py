"""Known defects of files as files: archives, checksums, replacements, strangers."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

from phoenix_etl.synthetic.planting import Planter


def archives(plan: Planter) -> None:
    """Archives that cannot be read, and one whose checksum is right (#405, #498)."""

    def pack(day: int, members: dict[str, bytes]) -> tuple[str, bytes]:
        file = plan.path("indexPriceKlines", day).replace(".csv", ".zip")
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), data)
        return file, packed.getvalue()

    def put(kind: str, day: int, file: str, data: bytes, **expected: Any) -> None:
        (plan.root / plan.path("indexPriceKlines", day)).unlink()
        (plan.root / file).write_bytes(data)
        plan.note(kind, "indexPriceKlines", day, file, [], **expected)

    def checksum(file: str, data: bytes) -> None:
        digest = hashlib.sha256(data).hexdigest()
        text = f"{digest}  {Path(file).name}\n"
        (plan.root / f"{file}.CHECKSUM").write_text(text, "ascii")

    source = [plan.open("indexPriceKlines", day) for day in range(7)]
    whole = [(plan.root / csv.file).read_bytes() for csv in source]
    names = [Path(csv.file).name for csv in source]

    file, data = pack(0, {names[0]: whole[0]})
    put("truncated archive", 0, file, data[: len(data) * 2 // 3], file_error="truncated")
    file, data = pack(1, {})
    put("archive without member", 1, file, data, file_error="no member")
    file, data = pack(2, {names[2]: whole[2], "notes.csv": b"a,b\n1,2\n"})
    put("archive with two members", 2, file, data, file_error="two members")
    file, data = pack(3, {names[3]: whole[3]})
    checksum(file, data[:-1] + b"?")
    put("wrong checksum", 3, file, data, file_error="checksum")
    file, data = pack(4, {names[4]: whole[4]})
    checksum(file, data)
    rows = len(source[4].rows)
    put("right checksum", 4, file, data, rows=rows, written=rows)
    put("file of no bytes", 5, plan.path("indexPriceKlines", 5), b"", coverage="empty")
    page = b"<html><body>404 Not Found</body></html>\n"
    put("not a CSV", 6, plan.path("indexPriceKlines", 6), page, file_error="not CSV")


def replaced(plan: Planter) -> None:
    """An archive that is replaced in place: the new file waits beside the truth."""
    csv = plan.open("klines_1m", 4)
    old = csv.rows[300].split(",")[5]
    csv.edit(300, 5, f"1{old}")
    csv.root = plan.replacements
    target = plan.replacements / csv.file
    target.parent.mkdir(parents=True, exist_ok=True)
    csv.save()
    plan.note(
        "replaced source", "klines_1m", 4, csv.file, [csv.line(300)],
        replacement=target.relative_to(plan.replacements.parent).as_posix(), restatement=True,
    )  # fmt: skip


def misplaced(plan: Planter) -> None:
    """A file whose name and folder disagree, and one that is no dump file at all."""
    name = Path(plan.path("bookTicker", 8)).name
    misplaced = f"futures/daily/aggTrades/{name}"
    (plan.root / misplaced).write_bytes((plan.root / plan.path("bookTicker", 8)).read_bytes())
    plan.note("misplaced file", "aggTrades", 8, misplaced, [], unknown_file=True)
    notes = "futures/daily/metrics/read me.txt"
    (plan.root / notes).write_text("downloaded again on Friday\n", "ascii")
    plan.note("unknown file", "metrics", 8, notes, [], unknown_file=True)
