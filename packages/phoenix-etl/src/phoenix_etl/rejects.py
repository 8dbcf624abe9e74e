"""Lines that are not in the catalog, kept beside it: file, line, reason, text."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from phoenix_etl.inventory import SourceFile
from phoenix_etl.manifest import FileEntry
from phoenix_etl.parsing import Reject


def rejects_path(source: SourceFile | FileEntry, path: str) -> str:
    """Where the rejected lines of the source file at `path` are kept, relative to the catalog."""
    return f"rejects/{source.market}/{source.dataset}/{source.period}/{Path(path).name}.csv"


def rejects_csv(rows: list[tuple[str, Reject]]) -> bytes:
    """Rejected lines, each with the path of its source file, as the CSV that is kept of them."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)  # ended by CRLF, it quotes a text that holds a CR
    writer.writerow(["file", "line", "reason", "text"])
    for name, reject in rows:
        writer.writerow([name, reject.line, reject.reason, reject.text])
    return text.getvalue().replace("\r\n", "\n").encode()  # a line holds no LF of its own
