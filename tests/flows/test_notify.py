"""Notifications to real receivers on loopback, also to those that hang, refuse or fail."""

import base64
import email
import ipaddress
import json
import socket
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from components import SlipwayError, params, temporary
from flows import __main__ as flows
from flows import doctor
from flows.machinery import notify, register
from tests.conftest import ROOT
from tests.receivers import hook, post


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(notify.WEBHOOK, raising=False)
    monkeypatch.delenv(notify.SMTP, raising=False)
    monkeypatch.setattr(notify, "TRY_SECONDS", 0.3)
    monkeypatch.setattr(notify, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(notify, "LIMIT_SECONDS", 5.0)
    Path("params.yaml").write_text("name: digits\n")
    return tmp_path


def set_up(**sections: object) -> None:
    Path("params.yaml").write_text(json.dumps({"name": "digits", "notify": sections}))


def test_nothing_is_sent_where_nothing_is_set_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert notify.tell("failed", "digits", "no column label", run="r") == []
    assert capsys.readouterr().out == ""
    assert [path.name for path in Path().iterdir()] == ["params.yaml"]


def test_a_webhook_gets_the_event_and_a_text_that_chats_show(monkeypatch: pytest.MonkeyPatch) -> None:
    with hook() as chat:
        monkeypatch.setenv(notify.WEBHOOK, chat.address)
        assert notify.tell("promoted", "digits", "version 4 is the champion", {"version": "4", "accuracy": 0.97}) == []
    (got,) = chat.got
    assert got["text"] == "★ digits: promoted: version 4 is the champion\nversion: 4\naccuracy: 0.97"
    assert got["event"] == "promoted" and got["model"] == "digits"
    assert got["details"] == {"version": "4", "accuracy": 0.97}
    assert got["host"] == socket.gethostname()


@pytest.mark.parametrize(
    ("answers", "asked", "told"),
    [
        ((500, 429, 200), 3, ""),
        ((500,), 3, "webhook: http://127.0.0.1 answered 500 Internal Server Error"),
        ((404,), 1, "webhook: http://127.0.0.1 answered 404 Not Found"),
        ((302,), 1, "webhook: http://127.0.0.1 answered 302 Found"),  # a redirected message arrives as a question
        ((0,), 1, "webhook: http://127.0.0.1: no answer within 0.3 seconds"),  # it may have arrived: not once more
    ],
)
def test_what_a_webhook_does_not_take_is_told(
    answers: tuple[int, ...], asked: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with hook(*answers) as chat:
        monkeypatch.setenv(notify.WEBHOOK, chat.address)
        assert notify.tell("failed", "digits", "no column label") == ([told] if told else [])
        assert chat.asked == asked
    line = f"warning: a notification (failed) was not delivered: {told}\n" if told else ""
    assert capsys.readouterr().out == line
    assert line.strip() in Path(".prefect/logs/notify.log").read_text() if told else not Path(".prefect/logs").exists()


def test_a_receiver_that_drips_does_not_hold_up_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "LIMIT_SECONDS", 0.2)
    monkeypatch.setattr(notify, "TRY_SECONDS", 60.0)
    with hook(0) as chat:
        monkeypatch.setenv(notify.WEBHOOK, chat.address)
        began = time.monotonic()
        assert notify.tell("failed", "digits", "no column") == ["webhook: no answer within 0.2 seconds"]
        assert time.monotonic() - began < 5


def test_no_receiver_and_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        monkeypatch.setenv(notify.WEBHOOK, f"http://127.0.0.1:{taken.getsockname()[1]}/secretsecret")
        assert notify.tell("failed", "digits", "x") == ["webhook: http://127.0.0.1: Connection refused"]
    for address in ("chat.example.org/secretsecret", "http://chat.example.org/secret secret"):
        monkeypatch.setenv(notify.WEBHOOK, address)
        (told,) = notify.tell("failed", "digits", "x")
        assert "secret" not in told and ("address" in told or "URL" in told)


def test_credentials_are_masked_in_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_TOKEN", "marker-of-a-secret")
    with hook() as chat:
        monkeypatch.setenv(notify.WEBHOOK, chat.address)
        text = f"cannot read s3://me:marker2@host/x with marker-of-a-secret; told {chat.address}"
        notify.tell("failed", "digits", text, {"page": "https://me:marker3@host/"})
    sent = json.dumps(chat.got)
    assert "marker" not in sent and "secretsecret" not in sent and "cannot read" in sent


def test_an_event_of_a_run_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with hook() as chat:
        monkeypatch.setenv(notify.WEBHOOK, chat.address)
        for run in ("1", "1", "2", "", ""):
            notify.tell("failed", "digits", "x", run=run)
        assert len(chat.got) == 4
        # whoever died before it was told leaves it to the next
        for path in Path(notify.TOLD).iterdir():
            path.write_text(f"4194303-1-{temporary.owner()[-4:]}")
        notify.tell("failed", "digits", "x", run="1")
        notify.tell("failed", "digits", "x", run="1")
        assert len(chat.got) == 5
        for path in Path(notify.TOLD).iterdir():
            path.write_text(temporary.owner())  # another process is at it
        notify.tell("failed", "digits", "x", run="2")
        assert len(chat.got) == 5


def test_only_the_events_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(events=["failed"])
    with hook() as chat:
        monkeypatch.setenv(notify.WEBHOOK, chat.address)
        notify.tell("promoted", "digits", "x")
        notify.tell("failed", "digits", "x")
    assert [got["event"] for got in chat.got] == ["failed"]


def test_a_webhook_is_told_of_params_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(evnts=["failed"])
    with hook() as chat:
        monkeypatch.setenv(notify.WEBHOOK, chat.address)
        (told,) = notify.tell("failed", "digits", "params.yaml: unknown key")
    assert "notify.evnts: unknown key; did you mean notify.events?" in told
    assert len(chat.got) == 1


MAIL = {"to": ["a@example.org", "b@example.org"], "sender": "slipway@example.org"}


def test_an_e_mail_with_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(mail=MAIL)
    with post(login=True) as server:
        monkeypatch.setenv(notify.SMTP, f"smtp://me:p%40ss%2Fword@127.0.0.1:{server.port}")
        assert notify.tell("failed", "digits", "at train:\nno column „label“", {"run": "brave-owl"}) == []
    (letter,) = server.letters
    assert letter["to"] == MAIL["to"]
    assert base64.b64decode(letter["login"]) == b"\0me\0p@ss/word"
    found = email.message_from_bytes(letter["text"], policy=email.policy.default)
    assert found["Subject"] == "✗ digits: failed: at train:" and found["From"] == MAIL["sender"]
    assert "no column „label“" in found.get_content() and "run: brave-owl" in found.get_content()
    assert found["Auto-Submitted"] == "auto-generated"


@pytest.mark.parametrize(
    ("refuse", "tries", "told"),
    [
        ({"b@example.org": "550 no such user"}, 1, "took it, but refused b@example.org: 550 no such user"),
        ({"RCPT": "550 no"}, 1, "refused a@example.org: 550 no; b@example.org: 550 no"),
        ({"DATA": "451 later"}, 3, "answered 451 later"),
        ({"MAIL": "553 sender marker-of-a-secret"}, 1, "answered 553 sender ***"),
        ({"connect": ""}, 3, "timed out"),
        ({"AUTH": "535 wrong"}, 1, "answered 535 wrong"),
    ],
)
def test_what_a_mail_server_refuses_is_told(
    refuse: dict[str, str], tries: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(mail=MAIL)
    monkeypatch.setenv("MY_TOKEN", "marker-of-a-secret")
    with post(refuse, login="AUTH" in refuse) as server:
        user = "me:password@" if "AUTH" in refuse else ""
        monkeypatch.setenv(notify.SMTP, f"smtp://{user}127.0.0.1:{server.port}")
        (found,) = notify.tell("failed", "digits", "x")
        assert told in found and found.startswith("e-mail: 127.0.0.1")
        assert server.asked.count("EHLO") == (0 if "connect" in refuse else tries)


def test_an_e_mail_needs_a_server_and_a_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(mail=MAIL)
    for value in ("", "mail.example.org", "smtp://me:pa/ss@host", "smtp://me:1/23@host"):
        monkeypatch.setenv(notify.SMTP, value)
        (told,) = notify.tell("failed", "digits", "x")
        assert "SLIPWAY_SMTP must name the mail server" in told and "pa/" not in told
    with post(starttls=True) as server:  # and then speaks no TLS
        monkeypatch.setenv(notify.SMTP, f"smtp://me:pass-word-1@127.0.0.1:{server.port}")
        (told,) = notify.tell("failed", "digits", "x")
        assert told.startswith("e-mail: 127.0.0.1: ") and "AUTH" not in server.asked
    with post(login=True) as server:
        monkeypatch.setattr("components.surroundings.LOOPBACK", ())  # as if it were far away
        monkeypatch.setenv(notify.SMTP, f"smtp://me:pass-word-1@127.0.0.1:{server.port}")
        (told,) = notify.tell("failed", "digits", "x")
        assert "offers no STARTTLS: the password would be sent" in told and "AUTH" not in server.asked


def test_a_command_gets_the_event_on_its_stdin_and_in_variables() -> None:
    code = "import json, os, sys; json.dump([json.load(sys.stdin), dict(os.environ)], open('got', 'w'))"
    set_up(command=[sys.executable, "-c", code])
    assert notify.tell("waiting", "digits", "version 4 waits", {"version": "4", "f1 macro": 0.5}) == []
    given, variables = json.loads(Path("got").read_text())
    assert given["event"] == "waiting" and given["details"] == {"version": "4", "f1 macro": 0.5}
    assert variables["SLIPWAY_EVENT"] == "waiting" and variables["SLIPWAY_VERSION"] == "4"
    assert variables["SLIPWAY_F1_MACRO"] == "0.5" and "version 4 waits" in variables["SLIPWAY_TEXT"]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("there-is-no-such", "command: there-is-no-such: No such file or directory"),
        ("sh -c 'echo no route; exit 3'", "command: sh ended with exit code 3: no route"),
        ("sh -c 'exit 1'", "command: sh ended with exit code 1"),
        ("sh -c 'echo $HOME; exit 1'", None),
        ("echo $HOME; exit 1", ""),  # no shell reads it
        ("sleep 60", "command: sleep did not end within 0.1 seconds and was ended"),
    ],
)
def test_what_a_command_does_is_told(command: str, told: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if command.startswith("sleep"):
        monkeypatch.setattr(notify, "LIMIT_SECONDS", 1.1)
    set_up(command=command)
    found = notify.tell("failed", "digits", "x")
    assert found == ([told] if told else []) or (told is None and "$HOME" not in found[0])


def test_a_command_with_a_child_that_lives_on_is_not_waited_for() -> None:
    set_up(command=["sh", "-c", "sleep 30 & exit 0"])
    began = time.monotonic()
    assert notify.tell("failed", "digits", "x") == []
    assert time.monotonic() - began < 20


def test_settings_that_make_no_sense() -> None:
    for section, told in {
        '{"mail": {"to": []}}': "notify.mail.to",
        '{"mail": {"to": ["me"]}}': "notify.mail.to.0",
        '{"mail": {"to": ["a@b.c"], "sendr": "a@b.c"}}': "notify.mail.sendr: unknown key; did you mean",
        '{"events": ["faild"]}': "notify.events.0",
        '{"command": ""}': "notify.command",
        '{"comand": "x"}': "notify.comand: unknown key; did you mean notify.command?",
    }.items():
        Path("params.yaml").write_text(f"notify: {section}\n")
        with pytest.raises(SlipwayError) as caught:
            params.section("notify", params.Notify)
        assert told in str(caught.value)


def test_the_test_says_what_became_of_each_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flows.main(["notify", "--test"]) == 1
    assert "nothing is set up: export SLIPWAY_WEBHOOK" in capsys.readouterr().out
    set_up(command="false", mail=MAIL)
    with hook() as chat, post() as server:
        monkeypatch.setenv(notify.WEBHOOK, chat.address)
        monkeypatch.setenv(notify.SMTP, f"smtp://127.0.0.1:{server.port}")
        assert flows.main(["notify"]) == 0
        assert "they are sent by: webhook, e-mail, command" in capsys.readouterr().out
        assert flows.main(["notify", "--test"]) == 1
        out = capsys.readouterr().out.splitlines()[1:]
        assert out[:2] == ["webhook: delivered", "e-mail: delivered"]
        assert out[2].startswith("command: not delivered: false ended with exit code 1")
        assert chat.got[0]["event"] == "test" and len(server.letters) == 1
        set_up()
        assert flows.main(["notify", "--test"]) == 0


def test_a_models_own_notifications_are_shown_and_tested(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, section in (("churn", {"command": "false", "events": ["failed"]}), ("sales", None)):
        path = Path("models", name, "params.yaml")
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"name": name, "notify": section}))
    with hook() as chat:
        monkeypatch.setenv(notify.WEBHOOK, chat.address)
        assert flows.main(["notify"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "digits: events that are sent: failed, recovered, promoted, waiting, refused, missed",
            "they are sent by: webhook; `slipway notify --test` sends one",
            "with settings of their own: churn; `slipway notify churn` shows them",
            "without, so that only the webhook is told of them: sales",
        ]
        assert flows.main(["notify", "churn"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "churn: events that are sent: failed",
            "they are sent by: webhook, command; `slipway notify churn --test` sends one",
        ]
        for words in (["churn", "--test"], ["--test", "churn"]):
            assert flows.main(["notify", *words]) == 1
            assert "\ncommand: not delivered: false ended with exit code 1" in capsys.readouterr().out
        assert {got["model"] for got in chat.got} == {"churn"}
        assert doctor._notifications() == (
            "digits, sales: by webhook; churn: by webhook, command; `slipway notify NAME --test` sends one"
        )
    monkeypatch.delenv(notify.WEBHOOK)
    Path(".prefect").mkdir()
    Path(".prefect/environment").write_text(f"{notify.WEBHOOK}=http://127.0.0.1:1/x\n")
    with monkeypatch.context() as patch:
        patch.setattr("flows.machinery.state.running", lambda: {"since": "then"})
        assert flows.main(["notify", "sales"]) == 0  # as the runs of `slipway up` are told of
    monkeypatch.delenv(notify.WEBHOOK)
    capsys.readouterr()
    assert "digits, sales: none set up; churn: by command" in doctor._notifications()
    assert flows.main(["notify", "sales"]) == 1
    assert "notify.command in models/sales/params.yaml" in capsys.readouterr().out
    assert flows.main(["notify", "chrun"]) == 1
    assert "no model 'chrun'; did you mean churn?" in capsys.readouterr().err
    Path("models/sales/params.yaml").write_text('{"name": "sales", "notify": {"comand": "x"}}')
    with pytest.raises(SlipwayError, match=r"models/sales/params\.yaml.*notify\.comand"):
        doctor._notifications()


REGISTERED = {
    "name": "digits", "version": "4", "reason": "f1_macro is not worse", "promoted": True, "changed": True,
    "new_champion": True, "score": "f1_macro", "metrics": {"f1_macro": 0.97}, "tracking_uri": "https://mlflow.example.org",
    "champion": {"version": "2", "metrics": {"f1_macro": 0.96}},
}  # fmt: skip


def test_what_became_of_a_model_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with hook() as chat:
        monkeypatch.setenv(notify.WEBHOOK, chat.address)
        kept = REGISTERED | {"promoted": False, "new_champion": False}
        notify._succeeded("digits", kept, {}, "1", Path("params.yaml"))
        notify._succeeded(
            "digits", REGISTERED | {"new_champion": False}, {}, "2", Path("params.yaml")
        )  # it is the champion since long
        assert chat.got == []
        notify._succeeded("digits", REGISTERED, {"run": "brave-owl"}, "3", Path("params.yaml"))
        (told,) = chat.got
        assert told["event"] == "promoted"
        assert told["text"].splitlines() == [
            "★ digits: promoted: version 4 is the champion: f1_macro is not worse",
            "run: brave-owl",
            "version: 4",
            "f1_macro: 0.97",
            "before: version 2, f1_macro 0.96",
            "registry: https://mlflow.example.org",
        ]
        waiting = kept | {"decision": "waiting", "champion": None, "tracking_uri": "sqlite:///mlflow.db"}
        for run in ("4", "5"):  # a version waits once
            notify._succeeded("digits", waiting, {}, run, Path("params.yaml"))
        assert [told["event"] for told in chat.got[1:]] == ["waiting"]
        refused = {"version": "5", "decision": "kept", "refused": True, "reason": "refused by me: no"}
        notify._succeeded("digits", refused, {}, "9", Path("params.yaml"))
        assert chat.got.pop()["text"] == "✗ digits: refused: version 5 is refused by me: no\nversion: 5"
        notify.tell("failed", "digits", "x", run="6")
        for run in ("7", "8"):
            notify._succeeded("digits", kept, {}, run, Path("params.yaml"))
        assert [told["event"] for told in chat.got[2:]] == ["failed", "recovered"]


def test_a_run_of_a_model_that_is_gone_is_told_of_that_model(monkeypatch: pytest.MonkeyPatch) -> None:
    with hook() as chat:
        monkeypatch.setenv(notify.WEBHOOK, chat.address)
        with pytest.raises(SlipwayError), notify.watching("churn"):
            raise SlipwayError("no model 'churn'")
        assert chat.got[0]["text"].startswith("✗ churn: failed: no model 'churn'")


def test_exit_codes_tell_promoted_and_not_promoted_apart() -> None:
    kept = REGISTERED | {"promoted": False}
    assert register.code(REGISTERED) == register.code(REGISTERED | {"changed": False}) == 0
    assert register.code(kept | {"changed": False}) == 0
    assert register.code(kept) == 3
    assert register.code(kept | {"decision": "waiting"}) == 4


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (1, 2), (2, 2), (3, 0), (4, 0), (130, 2)])
def test_make_takes_a_model_that_is_not_promoted_for_a_result(tmp_path: Path, code: int, ends: int) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/slipway").write_text(f"#!/bin/sh\nexit {code}\n")
    (tmp_path / "bin/slipway").chmod(0o755)
    words = ["make", "-s", "-f", str(ROOT / "Makefile"), "run", "BIN=bin", "READY="]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == ends, done.stderr
    assert ("make run: done; slipway run ended with exit code" in done.stdout) == (code in (3, 4))


def certified(folder: Path) -> ssl.SSLContext:
    """A server's TLS with a certificate of its own for 127.0.0.1, in cert.pem."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
    made = made.add_extension(names, critical=True).add_extension(x509.BasicConstraints(True, None), critical=True)
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "cert.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_mail_server_shows_a_certificate_that_is_trusted(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(mail=MAIL)
    monkeypatch.setattr(notify, "TRY_SECONDS", 5.0)
    with post(login=True, starttls=scheme == "smtp", tls=certified(tmp_path)) as server:
        monkeypatch.setenv(notify.SMTP, f"{scheme}://me:pass-word-1@127.0.0.1:{server.port}")
        (told,) = notify.tell("failed", "digits", "x")
        assert "127.0.0.1: its certificate is not trusted: self-signed certificate" in told
        assert server.letters == [] and "AUTH" not in server.asked
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        assert notify.tell("failed", "digits", "x") == []
        assert server.letters[0]["login"] and server.letters[0]["secure"]
