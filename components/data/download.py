"""Files from the net: whole and with the right content, or not at all."""

import fnmatch
import gzip
import hashlib
import http.client
import tarfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from components import SlipwayError
from components.files import replacing

BLOCK_BYTES = 2**16  # bytes in memory at a time
TIMEOUT_SECONDS = 60.0  # without a byte, until a server counts as gone


def fetch(address: str, path: Path, sha256: str, members: str = "") -> None:
    """Download `address` to `path` and check its content (see `digest`); an interrupted one leaves nothing behind.

    Shows its progress on a terminal. Raises SlipwayError with the reason where the address cannot be reached or
    answers with an error, the answer is cut short, or the content is another.
    """
    with replacing(path) as aside:
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as answer, aside.open("wb") as file:  # noqa: S310 - the examples name their addresses
                expected = int(answer.headers.get("Content-Length") or 0)
                bar = tqdm(desc=path.name, total=expected or None, unit="B", unit_scale=True, disable=None)
                with bar as progress:
                    while block := answer.read(BLOCK_BYTES):
                        file.write(block)
                        progress.update(len(block))
                size = file.tell()
        except urllib.error.HTTPError as error:
            raise SlipwayError(f"{address}: the server responded with {error.code} {error.reason}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise SlipwayError(f"{address}: cannot be reached ({reason})") from None
        if size < expected:  # http.client says nothing of it before Python 3.14
            raise SlipwayError(f"{address}: the download stopped after {size:,} of {expected:,} bytes; run it again")
        check(aside, sha256, members, path.name, f"{address}: ")


def check(path: Path, sha256: str, members: str = "", name: str = "", where: str = "") -> None:
    """Raise SlipwayError where a file's content has another digest; `name` tells its kind, `where` begins the error."""
    where = where or f"{path}: "
    try:
        found = digest(path, members, name or path.name)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise SlipwayError(f"{where}damaged: {error}; download it again") from None
    if found != sha256:
        raise SlipwayError(f"{where}not the expected file: its SHA-256 is {found}, not {sha256}")


def digest(path: Path, members: str = "", name: str = "") -> str:
    """Return the SHA-256 of a file's content, 64 hex digits: of what is in it, where it is packed.

    The wrapping differs between mirrors, the content does not. Of a file named .gz it is that of the unpacked
    bytes; of a tar file, with `members` such as `*.wav`, that of what `sha256sum *.wav` prints in its folder.
    """
    if members:
        lines = []
        with tarfile.open(path) as archive:
            for member in archive:
                base = PurePosixPath(member.name).name
                file = archive.extractfile(member) if fnmatch.fnmatchcase(base, members) else None
                if file is not None:
                    lines.append((base, f"{hashlib.sha256(file.read()).hexdigest()}  {base}\n"))
        return hashlib.sha256("".join(line for _, line in sorted(lines)).encode()).hexdigest()
    if (name or path.name).endswith(".gz"):
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        if packed:
            with gzip.open(path) as content:
                return hashlib.file_digest(content, "sha256").hexdigest()
    with path.open("rb") as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()
