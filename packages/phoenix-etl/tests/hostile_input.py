"""Files of hostile bytes, ingested and proven: `python hostile_input.py FOLDER SEED RUNS`.

A process of its own, as what it looks for includes a crash of the interpreter. The files of the run
that crashed are left in the folder. Good rows stand between the bad ones, so that the bad ones reach
every parser, not only the sniffing of the first line.
"""

from __future__ import annotations

import io
import random
import shutil
import sys
import zipfile
from pathlib import Path

from phoenix_etl.config import EtlConfig
from phoenix_etl.pipeline import ingest
from phoenix_etl.verify import verify
from phoenix_schemas.datasets import DATASETS, DatasetSpec, Kind

T0 = 1_704_067_200_000
GOOD = {
    Kind.PRICE: ["42000.10", "1"], Kind.SIZE: ["0.001", "12"], Kind.PRICE_8: ["-0.00012345", "3"],
    Kind.AMOUNT: ["123.456789", "7"], Kind.RATIO: ["1.5", "-5.00", "0E-8"],
    Kind.INTEGER: ["1", "123456789"], Kind.FLAG: ["true", "False"], Kind.TEXT: ["BTCUSDT"],
    Kind.UNUSED: ["0", ""],
}  # fmt: skip
CELLS = [
    b"1e-999999999", b"0e-999999999", b"1E-999999999", b"1e999999999", b"1e-99", b"0e-400", b"1e400",
    b"-", b"+", b".", b"e", b"e5", b"1e", b"1e+", b"NaN", b"inf", b"-Infinity", b"null", b"NA", b"0x1F",
    b"9" * 400, b"0" * 400 + b"1", b"0." + b"0" * 60 + b"1", b"." + b"9" * 60, b"-9223372036854775808",
    b"9223372036854775808", b"17014118346047", b'"', b'"1', b'1"2"', b"\x00", b"1\x00", b"\xff\xfe",
    b"\xc3(", b"\xe2\x80\xae", "٣".encode(), "1\u00a0".encode(), b" 1", b"1 ", b"\t", b"\r", b"1\r2", b"",
    b"9999-12-31 23:59:59", b"0000-00-00 00:00:00", b"2024-02-30 00:00:00", b"1_000", b"1,000", b"1;2",
    b"=1+1", b"../../etc", b"\x1b[2J", b"tru", b"truee", b"TRUE", b"1.70027E+12", b"x" * 70_000,
]  # fmt: skip


def good_line(spec: DatasetSpec, number: int, chance: random.Random) -> bytes:
    at = T0 + 60_000 * number
    cells = []
    for column in spec.columns:
        if column.kind is Kind.EPOCH:
            cells.append(str(at + (59_999 if column.name == "close_time" else 0)))
        elif column.kind is Kind.DATETIME:
            cells.append(f"2024-01-01 {number // 60:02}:{number % 60:02}:00")
        elif column.name.endswith("_id") or column.name == "id":
            cells.append(str(number))
        else:
            cells.append(chance.choice(GOOD[column.kind]))
    return ",".join(cells).encode()


def hostile_text(spec: DatasetSpec, chance: random.Random) -> bytes:
    lines = [good_line(spec, n, chance) for n in range(chance.randrange(1, 40))]
    for _ in range(chance.randrange(12)):
        at = chance.randrange(len(lines))
        cells = lines[at].split(b",")
        match chance.randrange(12):
            case 0:
                lines[at] = bytes(chance.randrange(256) for _ in range(chance.randrange(60)))
            case 1:
                lines[at] = b"," * chance.choice([1, 6, 7, 8, 100_000])
            case 2:
                lines[at] += b"\r"
            case 3:
                lines.insert(at, lines[chance.randrange(len(lines))])
            case 4:
                lines[at] = lines[at][: chance.randrange(len(lines[at]) + 1)]
            case _:
                for _ in range(chance.randrange(1, 3)):
                    where = chance.randrange(len(cells))
                    old, new = cells[where], chance.choice(CELLS)
                    cut = chance.randrange(len(old) + 1)
                    cells[where] = chance.choice([new, new, old[:cut] + new + old[cut:]])
                lines[at] = b",".join(cells)
    if chance.random() < 0.5:
        lines.insert(0, ",".join(c.name for c in spec.columns).encode())
    if chance.random() < 0.1:
        lines.insert(0, b"\xef\xbb\xbf" + lines.pop(0))
    if chance.random() < 0.1:  # a line that no block can hold
        lines.append(b"1" * chance.choice([1_000_000, 2_500_000]))
    return b"\n".join(lines) + b"\n" * chance.randrange(3)


def packed(data: bytes, chance: random.Random) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", data)
    found = bytearray(stream.getvalue())
    match chance.randrange(4):
        case 0:
            del found[chance.randrange(len(found)) :]
        case 1:
            found[chance.randrange(len(found))] = chance.randrange(256)
    return bytes(found)


def run(folder: Path, chance: random.Random) -> tuple[int, int, int]:
    """Files read, files refused, lines rejected, of one ingest that the ledger must account for."""
    shutil.rmtree(folder, ignore_errors=True)
    raw = folder / "raw"
    for (market, dataset), spec in DATASETS.items():
        if market != "futures":
            continue
        for period, day in (("daily", "2024-01-01"), ("monthly", "2024-01")):
            ending = chance.choice(["csv", "csv", "zip"])
            path = raw / f"futures/{period}/{dataset}/BTCUSDT-{spec.file_label}-{day}.{ending}"
            path.parent.mkdir(parents=True)
            data = hostile_text(spec, chance)
            path.write_bytes(packed(data, chance) if ending == "zip" else data)
    result = ingest(
        EtlConfig(
            raw_roots=[str(raw)],
            catalog_path=str(folder / "catalog"),
            max_reject_share=1.0,
            trade_source=chance.choice(["trades", "aggTrades"]),
        )
    )
    found = verify(folder / "catalog", [raw])
    left_out = {f"left out: {text}" for text in found.left_out.values()}
    if problems := [text for text in found.problems if text not in left_out]:
        raise SystemExit("\n".join(problems))
    files = result.manifest.files
    return len(files), len(result.failed), sum(f.report.rejected for f in files.values())


def main() -> None:
    folder, seed, runs = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    total = [0, 0, 0]
    for _ in range(runs):
        total = [a + b for a, b in zip(total, run(folder, chance), strict=True)]
    print(*total)


if __name__ == "__main__":
    main()
