"""Credentials are hidden however an address is written, and however a message quotes it."""

import string
import subprocess
import sys
import time
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from components.masking import address, mask, plain

MARK = "marker"  # stands in each secret: no part of one may be left
PRINTABLE = string.ascii_letters + string.digits + string.punctuation
SECRETS = st.tuples(st.text(PRINTABLE, max_size=20), st.text(PRINTABLE, max_size=20)).map(MARK.join)
SCHEMES = st.sampled_from(["http", "https", "postgresql+psycopg2", "mysql", "s3", "git+ssh", "sftp", "socks5h", "ssh"])
HOSTS = st.sampled_from(["h", "db.example.org:5432", "127.0.0.1", "[::1]:80", "a-b.c"])
PATHS = st.sampled_from(["", "/", "/db", "/a/b.git", "/api/2.0?x=1", "?sslmode=require&x=1"])
NAMES = ["password", "token", "access_token", "api_key", "apikey", "sig", "client_secret", "PWD", "auth", "AccountKey"]
QUERIES = st.sampled_from([*NAMES, "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "sslpassword", "jwt"])
AROUND = st.sampled_from(
    ["{}", "cannot reach '{}': refused", 'url="{}"', "({}, 3)", "a\n{}\nb", "<{}>", "Could not parse URL from '{}'"]
)


@given(SCHEMES, st.one_of(st.just(""), SECRETS), SECRETS, HOSTS, PATHS, AROUND)
@example("postgresql", "u", f"a@{MARK}/b", "h", "/db", "{}")
@example("https", "", f"{MARK}?x=y&token=1@2", "h", "", "{}")
def test_no_user_and_no_password_is_left(
    scheme: str, user: str, password: str, host: str, path: str, around: str
) -> None:
    """As they are, though they should have been quoted, and quoted."""
    for credentials in (f"{user}:{password}", password, f"{quote(user, '')}:{quote(password, '')}"):
        text = around.format(f"{scheme}://{credentials}@{host}{path}")
        assert MARK not in mask(text)
        assert mask(mask(text)) == mask(text)


@given(SCHEMES, HOSTS, st.lists(st.tuples(QUERIES, SECRETS), min_size=1, max_size=3), AROUND)
def test_no_secret_of_a_query_is_left(scheme: str, host: str, query: list[tuple[str, str]], around: str) -> None:
    written = "&".join(f"{name}={quote(value, '')}" for name, value in query)
    for text in (f"{scheme}://{host}/db?x=1&{written}", f"{scheme}://u:p@{host}?{written}", f"/api/2.0?{written}"):
        hidden = mask(around.format(text))
        assert MARK not in hidden
        assert "x=1" in hidden or "x=1" not in text


@given(st.text(PRINTABLE.replace("@", "").replace(":", "").replace("/", ""), max_size=20).map(lambda t: f"{MARK}{t}"))
def test_an_address_without_a_scheme(password: str) -> None:
    for text in (f"u:{password}@db.example.org/x", f"postgresql:/u:{password}@h/db"):
        assert MARK not in mask(text)


@given(st.text(PRINTABLE + " é", max_size=20).map(lambda text: f"{MARK}{text}end".replace("\\", "/")))
def test_what_the_environment_keeps_secret_is_hidden_however_it_is_quoted(password: str) -> None:
    """Such as in an error that names the user and the password on their own."""
    for name, value in {
        "MLFLOW_TRACKING_URI": f"postgresql://u:{password}@h/db",
        "HTTPS_PROXY": f"http://u:{quote(password, '')}@proxy:3128",
        "MLFLOW_TRACKING_PASSWORD": password,
        "AWS_SECRET_ACCESS_KEY": password,
    }.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(name, value)
            for written in (password, quote(password, "")):
                assert MARK not in mask(f"login failed for u, {written!r} is wrong")


@pytest.mark.parametrize(
    "text",
    [
        "models:/digits@champion and models:/a/1",
        "see https://example.org/a?b=1#c",
        "git@github.com:org/repo.git",
        "data/a.csv:3: x is not a number, at 12:30",
        "loss: 0.1, accuracy: 0.9 - 3s 10ms/step",
        "write to me@example.org",
        "a token: [UNK], the key: 3",
    ],
)
def test_what_holds_no_secret_stays(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT_TOKEN", "loss")  # a word is no secret
    monkeypatch.setenv("PWD", "data/a.csv")
    assert mask(text) == text


def test_headers_and_settings() -> None:
    assert mask("{'Authorization': 'Basic bWFya2Vy', 'x': 1}") == "{'Authorization': 'Basic ***', 'x': 1}"
    assert mask("host=h user=u password='my marker' dbname=d") == "host=h user=u password=*** dbname=d"


def test_control_characters_are_shown_and_do_nothing() -> None:
    assert plain("a\x1b[2J\x00\x9b\rb\tc\nd ü\u3000") == r"a\x1b[2J\x00\x9b\rb" + "\tc\nd ü\u3000"
    assert plain("sftp://u:p@h/\x07") == r"sftp://***@h/\x07"


def test_an_address_to_be_shown_is_a_link() -> None:
    assert address("https://u:p@h:1/api?token=t&x=1") == "https://h:1/api?token=***&x=1"
    assert address("http://127.0.0.1:5000") == "http://127.0.0.1:5000"


CRASH = """
import threading
from components import masking
masking.tracebacks()
thread = threading.Thread(target=lambda: open("postgresql://u:marker@h/db"))
thread.start()
thread.join()
import sqlalchemy
sqlalchemy.create_engine("postgres:/u:marker@h/db")
"""


def test_a_traceback_tells_no_password() -> None:
    done = subprocess.run([sys.executable, "-c", CRASH], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") >= 2
    assert "marker" not in done.stderr.replace("open(", "")


@pytest.mark.parametrize("unit", ["a", "a:", "http://", "key=", "u:p", "authorization", "'", "https://h/?key=1&x="])
def test_a_long_line_takes_no_time(unit: str) -> None:
    started = time.perf_counter()
    mask(unit * (200_000 // len(unit)))
    assert time.perf_counter() - started < 5
