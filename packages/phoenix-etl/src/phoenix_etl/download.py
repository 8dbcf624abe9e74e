"""Files of the public archive onto this disk: checked, resumable, atomic.

This is the only module of Phoenix that opens a socket; it needs the extra `phoenix-etl[download]`.

The archive delivers `<file>.zip` and `<file>.zip.CHECKSUM` (its sha256). The checksum is asked for
first and names the content wanted: a file that has it already is left alone, one that has not is
fetched into a hidden part file named after the checksum, and moved to its place when the hash
holds. So an interrupted download goes on where it stopped, and never on bytes of another edition of
the file: the archive does replace files in place. A file the archive does not have (404) is
recorded as missing, which is not a failure.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import filelock

from phoenix_etl import durable
from phoenix_etl.archive_files import ArchiveFile
from phoenix_etl.errors import EtlError, NothingFoundError, SourceError, UsageError

if TYPE_CHECKING:
    import requests

BASE_URL = "https://data.binance.vision"
RECORD = ".download.json"
"""In the raw root: what was fetched (so that it need not be hashed again) and what is missing."""

_CHUNK = 1 << 18
_MAX_CHECKSUM_BYTES = 4096
_CHECKSUM = re.compile(r"([0-9a-fA-F]{64})\s+\*?(\S+)\s*")

Outcome = Literal["downloaded", "replaced", "known", "unpacked", "missing"]


class DownloadProgress(Protocol):
    """What a person watching a download is told."""

    def start(self, files: int) -> None: ...
    def advance(self, bytes_read: int) -> None: ...
    def file_done(self, path: str, outcome: str) -> None: ...
    def note(self, message: str) -> None: ...


class SilentDownload:
    """A [DownloadProgress][] for machines."""

    def start(self, files: int) -> None:
        pass

    def advance(self, bytes_read: int) -> None:
        pass

    def file_done(self, path: str, outcome: str) -> None:
        pass

    def note(self, message: str) -> None:
        pass


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, and how often to try again. Waits double from `first_wait_s`."""

    attempts: int = 5
    first_wait_s: float = 1.0
    connect_s: float = 10.0
    read_s: float = 30.0

    def wait_s(self, attempt: int) -> float:
        return self.first_wait_s * 2.0**attempt


@dataclass(frozen=True)
class DownloadResult:
    """What became of each file, by path below the raw root."""

    outcomes: dict[str, Outcome]
    failed: dict[str, str]
    bytes_read: int

    def paths(self, outcome: Outcome) -> list[str]:
        return sorted(path for path, o in self.outcomes.items() if o == outcome)


def download(
    files: Sequence[ArchiveFile],
    raw_root: Path,
    *,
    base_url: str = BASE_URL,
    connections: int = 4,
    patience: Patience | None = None,
    progress: DownloadProgress | None = None,
) -> DownloadResult:
    """Bring files of the archive to `raw_root`, each with its `.CHECKSUM` beside it.

    Files that the archive does not have are `missing`; a file that lies there unpacked (`.csv`) is
    left alone. A file that cannot be fetched is named in `failed`; the others go on. Running it again
    fetches what is absent, incomplete or changed.

    Raises UsageError without the extra or with a bad URL, EtlError when the archive cannot be reached,
    the disk cannot be written, or another download works on the folder; NothingFoundError when the
    archive has none of the files.
    """
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", base_url):
        raise UsageError(f"base URL must start with http:// or https:// (was {base_url!r})")
    run = _Download(raw_root, base_url.rstrip("/"), patience or Patience(), progress)
    try:
        durable.make_folder(raw_root)
        with _only_one(raw_root):
            result = run.fetch_all(files, connections)
    except OSError as error:
        raise EtlError(
            f"{raw_root}: cannot be written ({error.strerror or error}); what was downloaded is "
            "whole. Free the disk or the folder and run the command again"
        ) from error
    if result.outcomes and not result.failed and set(result.outcomes.values()) == {"missing"}:
        raise NothingFoundError(
            f"{base_url} has none of the {len(files)} files asked for (first {files[0].remote_path}); "
            "check symbols, datasets and dates"
        )
    return result


@contextmanager
def _only_one(raw_root: Path) -> Iterator[None]:
    lock = filelock.FileLock(raw_root / ".download.lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise EtlError(
            f"{raw_root}: another download works on this folder; wait for it, or stop it"
        ) from None
    try:
        yield
    finally:
        lock.release()


class _UnreachableError(Exception):
    """No answer from the server after all attempts."""


class _StoppedError(Exception):
    """The run ends; the part file stays for the next one."""


@dataclass
class _Download:
    """One run over many files. Threads share it; each has its own HTTP session."""

    root: Path
    base_url: str
    patience: Patience
    given_progress: DownloadProgress | None
    _stop: threading.Event = field(default_factory=threading.Event)
    _local: threading.local = field(default_factory=threading.local)
    _bytes: int = 0

    def __post_init__(self) -> None:
        try:
            import requests
            from urllib3.exceptions import HTTPError
        except ImportError:
            raise UsageError(
                "download must have its extra; install it with: pip install 'phoenix-etl[download]'"
            ) from None
        self._requests = requests
        self._urllib3_error = HTTPError
        self._progress = self.given_progress or SilentDownload()
        self._record = _Record(self.root / RECORD)
        self._counting = threading.Lock()

    def fetch_all(self, files: Sequence[ArchiveFile], connections: int) -> DownloadResult:
        self._progress.start(len(files))
        outcomes: dict[str, Outcome] = {}
        failed: dict[str, str] = {}
        lost = 0
        waiting = list(reversed(files))
        running: dict[Future[Outcome], ArchiveFile] = {}
        pool = ThreadPoolExecutor(connections, thread_name_prefix="download")
        try:
            while waiting or running:
                while waiting and len(running) < connections:
                    file = waiting.pop()
                    running[pool.submit(self._fetch, file)] = file
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    file = running.pop(future)
                    try:
                        outcomes[file.path] = future.result()
                        lost = 0
                        self._progress.file_done(file.path, outcomes[file.path])
                    except _UnreachableError as error:
                        failed[file.path] = f"{file.path}: {error}; run the command again later"
                        lost += 1
                        if lost >= max(connections, 3):
                            raise EtlError(
                                f"{self.base_url}: cannot be reached ({error}); check the network "
                                "and run the same command again, it goes on where it stopped"
                            ) from None
                    except SourceError as error:
                        failed[file.path] = str(error)
                        lost = 0
                        self._progress.note(f"failed: {error}")
        finally:
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            self._record.save(self.base_url, outcomes)
        return DownloadResult(outcomes, failed, self._bytes)

    def _fetch(self, file: ArchiveFile) -> Outcome:
        target = self.root / file.path
        if target.with_suffix(".csv").exists():
            return "unpacked"  # ingest reads the CSV; there is no checksum to hold it against
        checksum = self._checksum(file)
        if checksum is None:
            return "missing"
        had = self._record.sha256(target, file.path)
        if had != checksum:
            part = target.with_name(f".{target.name}.{checksum[:16]}.part")
            durable.make_folder(target.parent)
            self._fill(file, checksum, part)
            durable.move(part, target)
            for old in target.parent.glob(f".{target.name}.*.part"):
                durable.remove(old)
        self._record.remember(target, file.path, checksum)
        companion = target.with_name(f"{target.name}.CHECKSUM")
        text = f"{checksum}  {target.name}\n".encode()
        if not companion.exists() or companion.read_bytes() != text:
            durable.write_file(companion, text)
        if had == checksum:
            return "known"
        return "downloaded" if had is None else "replaced"

    def _checksum(self, file: ArchiveFile) -> str | None:
        """The sha256 that the archive states for a file; None when it has no such file."""
        url = f"{self.base_url}/{file.remote_path}.CHECKSUM"
        for attempt in range(self.patience.attempts):
            with self._answer("GET", url, attempt) as response:
                if response is None:
                    continue
                if response.status_code == 404:
                    if self._exists(file):
                        raise SourceError(
                            f"{file.path}: the archive has the file without a CHECKSUM, so it cannot be "
                            "verified; nothing is written. Try again later"
                        )
                    return None
                text = response.raw.read(_MAX_CHECKSUM_BYTES).decode("utf-8", "replace")
            match = _CHECKSUM.fullmatch(text)
            if match is None or match[2] != file.name:
                raise SourceError(
                    f"{file.path}: its CHECKSUM must be a sha256 and the file's name "
                    f"(was {text[:120]!r}); is {self.base_url} the archive?"
                )
            return match[1].lower()
        raise _UnreachableError(self._last_error)

    def _exists(self, file: ArchiveFile) -> bool:
        for attempt in range(self.patience.attempts):
            with self._answer("HEAD", f"{self.base_url}/{file.remote_path}", attempt) as response:
                if response is not None:
                    return bool(response.status_code != 404)
        raise _UnreachableError(self._last_error)

    def _fill(self, file: ArchiveFile, checksum: str, part: Path) -> None:
        """Complete a part file, from wherever it stands."""
        url = f"{self.base_url}/{file.remote_path}"
        wrong = failures = 0
        while failures < self.patience.attempts:
            hasher, size = _hash_so_far(part)
            if size and hasher.hexdigest() == checksum:
                return
            headers = {"Range": f"bytes={size}-"} if size else {}
            with self._answer("GET", url, failures, headers) as response:
                failures += 1
                if response is None:
                    continue
                if response.status_code == 404:
                    raise SourceError(
                        f"{file.path}: the archive has its CHECKSUM and not the file; try again later"
                    )
                goes_on = response.headers.get("Content-Range", "").startswith(f"bytes {size}-")
                if response.status_code == 416 or (response.status_code == 206 and not goes_on):
                    durable.remove(part)  # the part is longer than the file: not of this file
                    continue
                if response.status_code == 200:
                    hasher, size = hashlib.sha256(), 0
                received, whole = self._write(response, part, size, hasher)
            if not whole:
                if received:
                    failures = 1  # a body that ends early is still progress
                continue
            if hasher.hexdigest() == checksum:
                return
            durable.remove(part)
            wrong += 1
            if wrong == 2:
                raise SourceError(
                    f"{file.path}: sha256 {hasher.hexdigest()} differs from its CHECKSUM ({checksum}), "
                    "twice; nothing is written. The archive may be replacing it: try again later"
                )
        raise _UnreachableError(self._last_error)

    def _write(
        self, response: requests.Response, part: Path, size: int, hasher: hashlib._Hash
    ) -> tuple[int, bool]:
        """Append a body to the part at `size`: bytes received, and whether it came to its end."""
        received = 0
        with part.open("r+b" if part.exists() else "wb") as stream:
            stream.seek(size)
            stream.truncate()
            try:
                # What has come is taken as it comes: iter_content would lose the last piece.
                while chunk := response.raw.read1(_CHUNK, decode_content=False):
                    if self._stop.is_set():
                        raise _StoppedError
                    stream.write(chunk)
                    hasher.update(chunk)
                    received += len(chunk)
                    with self._counting:
                        self._bytes += len(chunk)
                    self._progress.advance(len(chunk))
            except self._urllib3_error as error:
                self._last_error = _reason(error)
                return received, False
            finally:
                durable.sync_file(stream)
        return received, True

    @contextmanager
    def _answer(
        self, method: str, url: str, attempt: int, headers: dict[str, str] | None = None
    ) -> Iterator[requests.Response | None]:
        """One request; None where it is worth another attempt (after a wait for all but the first).

        Raises SourceError for an answer that another attempt would not change.
        """
        if attempt and self._stop.wait(self.patience.wait_s(attempt - 1) + self._asked_to_wait):
            raise _StoppedError
        if self._stop.is_set():
            raise _StoppedError
        self._asked_to_wait = 0.0
        try:
            response = self._session.request(
                method,
                url,
                headers={"Accept-Encoding": "identity", **(headers or {})},
                stream=True,
                timeout=(self.patience.connect_s, self.patience.read_s),
            )
        except self._requests.RequestException as error:
            self._last_error = _reason(error)
            yield None
            return
        with response:
            status = response.status_code
            if status in (429, 500, 502, 503, 504):
                self._last_error = f"the server answered {status}"
                asked = response.headers.get("Retry-After", "")
                self._asked_to_wait = min(float(asked), 60.0) if asked.isdecimal() else 0.0
                yield None
            elif status in (200, 206, 404, 416):
                yield response
            else:
                raise SourceError(f"{url}: the server answered {status} {response.reason}")

    @property
    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = self._requests.Session()
        return session

    @property
    def _last_error(self) -> str:
        return str(getattr(self._local, "error", "no answer"))

    @_last_error.setter
    def _last_error(self, text: str) -> None:
        self._local.error = text

    @property
    def _asked_to_wait(self) -> float:
        return float(getattr(self._local, "asked", 0.0))

    @_asked_to_wait.setter
    def _asked_to_wait(self, seconds: float) -> None:
        self._local.asked = seconds


class _Record:
    """What this folder holds of the archive, as of the last download."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            found: dict[str, Any] = json.loads(path.read_text("utf-8"))
            self._files: dict[str, list[Any]] = dict(found["files"])
            self._missing: list[str] = list(found["missing"])
        except (OSError, ValueError, KeyError, TypeError):
            self._files, self._missing = {}, []

    def sha256(self, location: Path, path: str) -> str | None:
        """Hash of a file, from the record if its stat is the recorded one; None if it is not there."""
        try:
            status = location.stat()
        except FileNotFoundError:
            return None
        known = self._files.get(path)
        if known is not None and known[:2] == [status.st_size, status.st_mtime_ns]:
            return str(known[2])
        with location.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def remember(self, location: Path, path: str, sha256: str) -> None:
        status = location.stat()
        self._files[path] = [status.st_size, status.st_mtime_ns, sha256]

    def save(self, base_url: str, outcomes: dict[str, Outcome]) -> None:
        missing = set(self._missing) - set(outcomes)
        missing |= {path for path, outcome in outcomes.items() if outcome == "missing"}
        record = {
            "base_url": base_url,
            "files": dict(sorted(self._files.items())),
            "missing": sorted(missing),
        }
        durable.write_file(self._path, json.dumps(record, indent=1).encode() + b"\n")


def _hash_so_far(part: Path) -> tuple[hashlib._Hash, int]:
    """sha256 and size of what a part file holds already."""
    hasher = hashlib.sha256()
    size = 0
    if part.exists():
        with part.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                hasher.update(chunk)
                size += len(chunk)
    return hasher, size


def _reason(error: Exception) -> str:
    """The innermost cause of a failed request, on one line."""
    cause: BaseException = error
    while cause.__cause__ is not None or cause.__context__ is not None:
        cause = cause.__cause__ or cause.__context__ or cause
    text = " ".join(str(cause).split()) or type(cause).__name__
    return f"{type(error).__name__}: {text}"[:200]
