"""Tell people what became of a run: by a webhook, by e-mail, by a command of theirs.

Nothing here fails or holds up a run: a message that cannot be delivered within LIMIT_SECONDS is told in the run's own
output, in Prefect's log of the run and in the log `notify`. An event of a run is told once, whoever notices it.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from http.client import HTTPException
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from components import SlipwayError, params, surroundings, temporary
from components.files import read_json
from components.masking import mask
from components.tracking import connection, record
from flows.machinery import logs, models

WEBHOOK, SMTP = "SLIPWAY_WEBHOOK", "SLIPWAY_SMTP"  # variables of the environment: both hold secrets
TOLD = Path(".prefect/told")  # a file for each event that was told
FAILING = Path(".prefect/failing")  # a file for each model whose last run failed
NAME = "notify"  # of the log
TRY_SECONDS = 10.0  # that a receiver has to answer, each time
PAUSES = (1.0, 3.0)  # seconds before a message is sent once more
LIMIT_SECONDS = 30.0  # for all tries and all ways
MAX_TEXT = 8000  # characters
MAX_LINES = 12  # of an error
KEPT_SECONDS = 90 * 86_400  # that it is remembered what was told
MARKS = {"failed": "✗", "recovered": "✓", "promoted": "★", "waiting": "…", "refused": "✗", "missed": "!", "test": "·"}

Message = dict[str, Any]
Settings = params.Notify


class _NotNowError(Exception):
    """A receiver did not take a message, but may take it a moment later."""


def tell(
    event: str,
    model: str,
    text: str,
    details: Mapping[str, Any] | None = None,
    run: str = "",
    settings_of: Path = Path("params.yaml"),
) -> list[str]:
    """Send an event to whoever a params.yaml and the environment name; return what could not be delivered.

    `event` is one of failed, recovered, promoted, waiting, refused and missed; `details` are numbers, versions and
    links that belong to it. `run` names what the event is of, such as the flow run's id: with one it is told once and
    no more.
    """
    try:
        settings, trouble = params.section("notify", Settings, settings_of), ""
    except SlipwayError as error:  # the webhook needs none, and such a file is why a run failed
        settings, trouble = Settings(), str(error)
    if event not in settings.events or not ways(settings):
        return []
    failed: list[str] = []
    try:
        with _once(f"{event} {model} {run}" if run else "") as first:
            if not first:
                return []
            failed = [told for told in deliver(settings, message(event, model, text, details or {})).values() if told]
            _remember(event, model)
    except OSError as error:  # such as a full disk
        failed = [f"{error.filename}: {error.strerror}"]
    failed += [f"e-mail and command are not known: {trouble}"] if trouble else []
    for line in failed:
        _say(f"warning: a notification ({event}) was not delivered: {line}")
    return failed


class Watched:
    """A run that is watched, and what the registry said of its model: build/register.json."""

    registered: Mapping[str, Any] | None = None
    run_name = ""  # that the flow run has got meanwhile


@contextlib.contextmanager
def watching(model: str = "") -> Iterator[Watched]:
    """Tell what becomes of the flow run in whose context the block runs: that it failed, or what it registered.

    Who interrupted or cancelled a run knows of it; one that something else ended is told as failed.
    """
    from prefect.runtime import flow_run

    from flows.machinery import server

    run, watched, of = str(flow_run.id or ""), Watched(), _settings_of(model, Path.cwd())
    name = model or params.name(of)  # of a model that is gone there are no settings
    details: dict[str, Any] = {"run": flow_run.name}
    if not server.temporary() and flow_run.ui_url:
        details["page"] = flow_run.ui_url
    try:
        yield watched
    except KeyboardInterrupt:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        tell("failed", name, "\n".join(lines[:MAX_LINES]), details, run, of)
        timed_out()
        raise
    except BaseException:
        if not server.is_cancelled(run):
            tell("failed", name, "a signal ended it; what it had finished is kept", details, run, of)
        raise
    if watched.run_name:
        details["run"] = watched.run_name
    if watched.registered is not None:
        _succeeded(name, watched.registered, details, run, of)
    timed_out()


def buried(model: str, run: str, run_name: str, why: str) -> None:
    """Tell that a flow run of a model was found dead."""
    of = _settings_of(model, connection.root())
    tell("failed", model or params.name(of), why, {"run": run_name}, run, of)


def _settings_of(model: str, here: Path) -> Path:
    """Return the params.yaml of a model ("": the root's): in its folder, or in the workspace that we are in."""
    root = connection.root()
    folders = [root / place / model for place in ("models", "examples") if model and here.resolve() == root.resolve()]
    return next((place / "params.yaml" for place in folders if (place / "params.yaml").exists()), here / "params.yaml")


def _succeeded(name: str, registered: Mapping[str, Any], details: dict[str, Any], run: str, of: Path) -> None:
    if failing(name):
        tell("recovered", name, "retraining works again", details, run, of)
    version, about = registered.get("version"), dict(details)
    score = registered.get("score")
    about |= {"version": version, score or "score": (registered.get("metrics") or {}).get(score)}
    if old := registered.get("champion"):
        about |= {"before": f"version {old['version']}, {score} {old.get('metrics', {}).get(score)}"}
    if not str(registered.get("tracking_uri", "sqlite")).startswith("sqlite"):
        about["registry"] = registered["tracking_uri"]
    if registered.get("decision") == "waiting":
        text = f"version {version} waits for approval: {registered.get('reason')}"
        tell("waiting", name, text, about, f"version {version}", of)
    elif registered.get("refused"):
        tell(
            "refused", name, f"version {version} is {registered.get('reason')}", details | {"version": version}, run, of
        )
    elif registered.get("new_champion"):
        tell("promoted", name, f"version {version} is the champion: {registered.get('reason')}", about, run, of)


def failing(name: str) -> bool:
    """Tell whether the last that was told of a model is that its retraining failed."""
    return (connection.root() / FAILING / name).exists()


def moved(name: str, done: record.Entry) -> None:
    """Tell what a person decided by a command: a version is the champion, or was refused. The move stands, whatever."""
    try:
        of = _registered_as(name)
        details: dict[str, Any] = {"version": done.version, "by": done.who}
        if done.kind not in record.MOVES:
            tell("refused", name, f"version {done.version} is {decision(done)}", details, settings_of=of)
            return
        details |= _measured(name, done, of)
        if not connection.uri().startswith("sqlite"):
            details["registry"] = mask(connection.uri())
        tell("promoted", name, f"version {done.version} is the champion: {decision(done)}", details, settings_of=of)
    except Exception as error:  # noqa: BLE001 - whatever it is
        _say(f"warning: a notification was not sent: {mask(str(error))[:200]}")


def timed_out() -> None:
    """Tell of each version that waited for an approval in vain, whoever found that its time is over."""
    for path in sorted((connection.root() / record.TIMED_OUT).glob("*.json")):
        try:
            over = read_json(path)
            name, version = over["name"], over["version"]
            text, key = f"version {version} is refused: {over['why']}", f"{version} until {over['until']}"
            tell("refused", name, text, {"version": version}, key, _registered_as(name))
            path.unlink(missing_ok=True)
        except Exception as error:  # noqa: BLE001 - as above
            _say(f"warning: a notification was not sent: {path}: {mask(str(error))[:200]}")


def decision(done: record.Entry) -> str:
    """Say who decided what, and why."""
    how = "promoted by hand" if done.kind == "by hand" else done.kind
    return f"{how} by {done.who}{f': {done.why}' if done.why else ''}"


def _registered_as(name: str) -> Path:
    """Return the params.yaml of the model of that name in the registry; the root's, where it is none's."""
    root = connection.root()
    found = (root / place / name / "params.yaml" for place in (models.MODELS, models.EXAMPLES))
    return next((path for path in found if path.exists()), root / "params.yaml")


def _measured(name: str, done: record.Entry, of: Path) -> dict[str, Any]:
    """Return the score of a new champion, and of the one before if that was measured on the same test split."""
    from components.evaluation import promotion
    from components.tracking import registry

    before: dict[str, Any] = {"before": f"version {done.before}"} if done.before else {}
    try:
        score = promotion.score(params.load(of))
    except SlipwayError:  # the settings are not as they were then
        return before
    tags = connection.version(name, str(done.version)).tags
    now, then = (
        ((registry.with_metrics(name, {"version": each}, tags) or {}).get("metrics") or {}).get(score)
        for each in (done.version, done.before)
    )
    if done.before and then is not None:
        before = {"before": f"version {done.before}, {score} {then}"}
    return ({score: now} if now is not None else {}) | before


def _remember(event: str, model: str) -> None:
    """Keep whether the last that was told of a model is a failure: then its end is told, too."""
    place = connection.root() / FAILING / model
    if event == "failed":
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    elif event == "recovered":
        place.unlink(missing_ok=True)


def message(event: str, model: str, text: str, details: Mapping[str, Any]) -> Message:
    """Return what is sent: `text` is for people, and what chats show of a webhook's message."""
    text = mask(text).replace("\0", "")[:MAX_TEXT]
    shown = {key: mask(value) if isinstance(value, str) else value for key, value in details.items()}
    lines = [f"{MARKS.get(event, '')} {model}: {event}: {text}".strip()]
    lines += [f"{key}: {value}" for key, value in shown.items()]
    return {
        "text": "\n".join(lines),
        "event": event,
        "model": model,
        "details": shown,
        "host": socket.gethostname(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def ways(settings: Settings) -> dict[str, Callable[[Message], None]]:
    """Return the ways that are set up, by name; each sends a message or raises SlipwayError or _NotNowError."""
    found: dict[str, Callable[[Message], None]] = {}
    if os.environ.get(WEBHOOK):
        found["webhook"] = _post
    if mail := settings.mail:
        found["e-mail"] = lambda sent: _mail(mail, sent)
    if command := settings.command:
        found["command"] = lambda sent: _run(command, sent)
    return found


def deliver(settings: Settings, sent: Message) -> dict[str, str]:
    """Send a message by every way at once; return, by way, why it did not arrive: empty where it did."""
    became: dict[str, str] = {}

    def send(name: str, way: Callable[[Message], None]) -> None:
        try:
            _tried(way, sent)
            became[name] = ""
        except (SlipwayError, _NotNowError) as error:
            became[name] = mask(f"{name}: {error}")
        except Exception as error:  # noqa: BLE001 - whatever a receiver makes of it, the run goes on
            became[name] = mask(f"{name}: {type(error).__name__}: {error}")

    until = time.monotonic() + LIMIT_SECONDS
    started = {
        name: threading.Thread(target=send, args=(name, way), daemon=True) for name, way in ways(settings).items()
    }
    for thread in started.values():
        thread.start()
    for thread in started.values():
        thread.join(max(0.0, until - time.monotonic()))
    late = f"no answer within {LIMIT_SECONDS:g} seconds"
    return {name: became.get(name, f"{name}: {late}") for name in started}


def show(model: str = "", *, send: bool) -> int:
    """Print what is sent of a model ("": the root's), and by which ways; with `send`, send a test by each.

    Of the root's also which other models have settings of their own. Returns 1 where a test did not arrive, or no way
    is set up.
    """
    path = models.find(model).folder / "params.yaml"
    settings = params.section("notify", Settings, path)
    found, name = ways(settings), params.name(path)
    print(f"{name}: events that are sent: {', '.join(settings.events) or 'none'}")
    became: dict[str, str] = {}
    if not found:
        print(
            f"nothing is set up: export {WEBHOOK}=https://..., or set notify.mail or notify.command in {path} "
            "(docs/operations.md)"
        )
    elif not send:
        test = " ".join(["slipway notify", *filter(None, [model]), "--test"])
        print(f"they are sent by: {', '.join(found)}; `{test}` sends one")
    else:
        became = deliver(settings, message("test", name, "a test of the notifications of Slipway", {}))
        for way, trouble in became.items():
            print(f"{way}: {'not delivered: ' + trouble.partition(': ')[2] if trouble else 'delivered'}")
    if not model:
        _show_others()
    return int(not found or any(became.values()))


def _show_others() -> None:
    """Say which models of models/ have settings of their own; the root's are not theirs."""
    own = [name for name in models.names() if params.holds("notify", models.find(name).folder / "params.yaml")]
    others = [name for name in models.names() if name not in own]
    if own:
        print(f"with settings of their own: {', '.join(own)}; `slipway notify {own[0]}` shows them")
    if others:
        print(f"without, so that only the webhook is told of them: {', '.join(others)}")


def _tried(way: Callable[[Message], None], sent: Message) -> None:
    for pause in PAUSES:
        try:
            return way(sent)
        except _NotNowError:
            time.sleep(pause)
    return way(sent)


class _NoRedirect(HTTPRedirectHandler):
    """A message that is redirected would arrive as an empty question."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none."""


def _post(sent: Message) -> None:
    address = os.environ[WEBHOOK]
    parts = urlsplit(address)
    where = f"{parts.scheme}://{parts.hostname}"  # what follows is a secret
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SlipwayError(f"{WEBHOOK}: expected an address such as https://chat.example.org/hooks/...")
    headers = {"Content-Type": "application/json", "User-Agent": "slipway"}
    request = Request(address, json.dumps(sent, default=str).encode(), headers)  # noqa: S310 - http or https
    try:
        with build_opener(_NoRedirect).open(request, timeout=TRY_SECONDS):
            return
    except HTTPError as error:
        with error:
            told = f"{where} answered {error.code} {error.reason}"
        if error.code >= 500 or error.code in (408, 429):
            raise _NotNowError(told) from None
        raise SlipwayError(told) from None
    except ValueError:  # a port that is none, a blank in the address: its message quotes it
        raise SlipwayError(f"{WEBHOOK}: {where}...: not a valid address") from None
    except URLError as error:  # before it was sent
        raise _NotNowError(f"{where}: {_cause(error)}") from None
    except (OSError, HTTPException) as error:  # it may have arrived: not once more
        raise SlipwayError(f"{where}: {_cause(error)}") from None


def _mail(mail: params.Mail, sent: Message) -> None:
    try:
        found = urlsplit(os.environ.get(SMTP, ""))
        valid = found.scheme in ("smtp", "smtps") and found.hostname and found.port != 0 and not found.path.strip("/")
    except ValueError:  # a slash in the password, which should be %2F; the message quotes it
        valid = False
    if not valid:
        raise SlipwayError(
            f"{SMTP} must name the mail server, such as smtps://mail.example.org, or smtp:// for STARTTLS; with "
            "USER:PASSWORD@ before the host, signs such as / and @ in the password written as %2F and %40"
        )
    letter = EmailMessage()
    letter["Subject"] = re.sub(r"\s+", " ", sent["text"].partition("\n")[0])[:150]
    letter["From"], letter["To"] = mail.sender, ", ".join(mail.to)
    letter["Date"], letter["Message-ID"] = formatdate(), make_msgid(domain=mail.sender.rpartition("@")[2])
    letter["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence is answered to it
    letter.set_content(f"{sent['text']}\n\n{sent['host']}, {sent['time']}\n")
    sent_off = False  # whether it may have arrived, and so must not be sent once more
    try:
        with contextlib.closing(_server(found)) as server:
            sent_off = True
            refused = server.send_message(letter)
            with contextlib.suppress(OSError):  # smtplib's errors are such
                server.quit()
    except smtplib.SMTPRecipientsRefused as error:
        raise SlipwayError(f"{found.hostname} refused {_refusals(error.recipients)}") from None
    except smtplib.SMTPResponseException as error:
        told = f"{found.hostname} answered {error.smtp_code} {_plain(error.smtp_error)}"
        raise _NotNowError(told) if 400 <= error.smtp_code < 500 else SlipwayError(told) from None
    except ssl.SSLCertVerificationError as error:
        raise SlipwayError(f"{found.hostname}: its certificate is not trusted: {error.verify_message}") from None
    except OSError as error:  # smtplib's errors are such
        told = f"{found.hostname}: {_cause(error)}"
        raise SlipwayError(told) if sent_off else _NotNowError(told) from None
    if refused:
        raise SlipwayError(f"{found.hostname} took it, but refused {_refusals(refused)}")


def _server(found: SplitResult) -> smtplib.SMTP:
    """Connect to a mail server and log in; the password goes over no open line but loopback."""
    secure, host = ssl.create_default_context(), str(found.hostname)
    if found.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, found.port or 465, timeout=TRY_SECONDS, context=secure)
    else:
        server = smtplib.SMTP(host, found.port or (587 if found.username else 25), timeout=TRY_SECONDS)
    try:
        server.ehlo_or_helo_if_needed()
        if found.scheme == "smtp" and server.has_extn("starttls"):
            server.starttls(context=secure)
            server.ehlo()
        elif found.scheme == "smtp" and found.username and host not in surroundings.LOOPBACK:
            raise SlipwayError(f"{host} offers no STARTTLS: the password would be sent for all to read")
        if found.username:
            server.login(unquote(found.username), unquote(found.password or ""))
    except BaseException:
        server.close()
        raise
    return server


def _refusals(found: Mapping[str, tuple[int, bytes]]) -> str:
    return "; ".join(f"{to}: {code} {_plain(why)}" for to, (code, why) in found.items())


def _plain(text: bytes | str) -> str:
    return " ".join((text.decode("utf-8", "replace") if isinstance(text, bytes) else text).split())[:300]


def _cause(error: BaseException) -> str:
    """Say in a few words why a receiver was not reached."""
    found = error.reason if isinstance(error, URLError) and isinstance(error.reason, OSError) else error
    if isinstance(found, TimeoutError):
        return f"no answer within {TRY_SECONDS:g} seconds"
    return _plain(getattr(found, "strerror", None) or str(found) or type(found).__name__)


def _run(words: list[str], sent: Message) -> None:
    """Run the user's command in the project's root: the message as JSON on its stdin, and its parts as variables."""
    own = {key: str(value) for key, value in sent["details"].items()} | {
        key: sent[key] for key in ("event", "model", "text", "host", "time")
    }
    variables = {f"SLIPWAY_{re.sub('[^A-Z0-9]', '_', key.upper())}": value for key, value in own.items()}
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:  # a pipe could be held open for long
        given.write(json.dumps(sent, default=str).encode())
        given.seek(0)
        try:
            process = subprocess.Popen(
                words,
                stdin=given,
                stdout=said,
                stderr=said,
                cwd=connection.root(),
                env=os.environ | variables,
                start_new_session=True,
            )
        except OSError as error:
            raise SlipwayError(f"{words[0]}: {error.strerror}") from None
        try:
            code = process.wait(LIMIT_SECONDS - 1)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise SlipwayError(f"{words[0]} did not end within {LIMIT_SECONDS - 1:g} seconds and was ended") from None
        if code:
            said.seek(0)
            last = said.read()[-1000:].decode("utf-8", "replace").strip().splitlines()[-3:]
            raise SlipwayError(f"{words[0]} ended with exit code {code}{': ' if last else ''}{' | '.join(last)}")


@contextlib.contextmanager
def _once(key: str) -> Iterator[bool]:
    """Yield whether nobody has told an event yet, or is about to: one whose process died over it is told again."""
    if not key:
        yield True
        return
    folder = connection.root() / TOLD
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > KEPT_SECONDS:
                path.unlink()
    place = folder / hashlib.sha256(key.encode()).hexdigest()[:32]
    try:
        with place.open("x", encoding="utf-8") as file:
            file.write(temporary.owner())
    except FileExistsError:
        owner = place.read_text(encoding="utf-8")
        if not temporary.is_dead(owner):
            yield False
            return
        place.write_text(temporary.owner(), encoding="utf-8")
    yield True
    place.write_text("told", encoding="utf-8")


def _say(line: str) -> None:
    """Say it where people look: in the run's output, in Prefect's log of the run, in the log `notify`."""
    print(line, flush=True)
    if "prefect" in sys.modules:  # else this is no flow run
        from prefect import get_run_logger
        from prefect.exceptions import MissingContextError

        with contextlib.suppress(MissingContextError):
            get_run_logger().warning(line)
    path = connection.root() / logs.path(NAME)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        log = RotatingFileHandler(path, maxBytes=logs.MAX_BYTES, backupCount=1, encoding="utf-8")
        with contextlib.closing(log):
            text = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}"
            log.emit(logging.LogRecord(NAME, logging.WARNING, "", 0, text, None, None))
