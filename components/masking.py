"""Credentials hidden in all that is printed, logged or kept; and control characters shown as what they are."""

import os
import re
import sys
import threading
import traceback
from functools import lru_cache, partial
from types import TracebackType
from urllib.parse import quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"
# What a secret is called, or how its name ends: ?user=me&password=..., X-Amz-Signature=..., AccountKey=...
NAMES = "password|passwd|pwd|pass|passphrase|token|secret|key|sig|signature|credential|credentials|auth|jwt"
VALUE = r"\"[^\"]*\"|'[^']*'|[^&\s\"']+[^&\s]*"
VARIABLES = r"(?i)(password|passwd|passphrase|token|secret|key|auth_string|webhook)$"  # of the environment
WRITTEN = (quote, partial(quote, safe=""), quote_plus, lambda text: repr(text)[1:-1])  # how others may write it
NAMED = re.compile(rf"(?i)((?:{NAMES})=)(?:{VALUE})")
BARE = re.compile(r"(?<![^\s:/@'\"])[^\s:/@'\"]{1,100}:(?!/)[^\s@]{1,200}@(?=[\w\[])")  # user:password@host
HEADER = re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?(?:(?:basic|bearer)\s+)?)[^\s'\",]+")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and newline
SHORTEST = 8  # characters of a secret that is hidden wherever it stands (half, if it has signs): others may be words


def mask(text: str) -> str:
    """Hide the user and password of every address in a text, and what its query keeps secret.

    A password may hold a slash or an @ that should have been %2F or %40: all before the last @ goes, and where that
    could stand in a secret of the query, what follows it too. What the environment holds of secrets (those in its
    addresses, and the values of variables that are named so) is hidden however it is quoted.
    """
    if secrets := _secrets(tuple(os.environ.items())):
        text = secrets.sub(HIDDEN, text)
    if "@" in text:
        text = BARE.sub(f"{HIDDEN}@", re.sub(r"\S+", _unnamed, text))
    return HEADER.sub(rf"\1{HIDDEN}", NAMED.sub(rf"\1{HIDDEN}", text))


def plain(text: str) -> str:
    """Mask a text, and write its control characters as escapes: a broken file that is quoted would move the cursor.

    Tabs and ends of lines stay.
    """
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], mask(text))


def _unnamed(found: re.Match[str]) -> str:
    """Hide who is named in the addresses of a word: from the first :// to the last @."""
    scheme, slashes, rest = found[0].partition("://")
    user, at, place = rest.rpartition("@")
    if not slashes or not at:
        return found[0]
    return f"{scheme}{slashes}{HIDDEN}" if NAMED.search(user) else f"{scheme}{slashes}{HIDDEN}@{place}"


def address(url: str) -> str:
    """Return an address to be shown as a link: without user and password, and without secrets in its query."""
    return mask(re.sub(r"^(\w[\w+.-]*://)\S*@", r"\1", url))


@lru_cache(maxsize=8)
def _secrets(environment: tuple[tuple[str, str], ...]) -> re.Pattern[str] | None:
    """Return what finds the secrets of an environment, as they stand there and as others may write them."""
    found: set[str] = set()
    for name, value in environment:
        if re.search(VARIABLES, name):
            found.add(value)
            if "://" in value:  # of a webhook, what follows the host is the secret
                found.add(value.partition("://")[2].partition("/")[2])
        if user := re.match(r"(?s)\w[\w+.-]*:/{0,2}([^/].*)@", value):
            found.add(user[1].partition(":")[2] or user[1])
        if "://" in value:
            found.update(re.findall(rf"(?i)(?:{NAMES})=([^&\s]+)", value))
    found |= {way(secret) for secret in found for way in (unquote, unquote_plus)}
    every = found | {way(secret) for secret in found for way in WRITTEN}
    long = sorted((s for s in every if len(s) >= (SHORTEST if s.isalnum() else SHORTEST // 2)), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, long))})(?!\w)") if long else None


def tracebacks() -> None:
    """Mask the tracebacks of this process, also of its threads: errors of databases and of HTTP quote the address."""

    def told(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> None:
        if error is not None:
            print(mask("".join(traceback.format_exception(kind, error, where))), file=sys.stderr, end="", flush=True)

    if sys.excepthook is sys.__excepthook__:  # else somebody tells them otherwise, such as a debugger
        sys.excepthook = told
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = lambda args: told(args.exc_type, args.exc_value, args.exc_traceback)
