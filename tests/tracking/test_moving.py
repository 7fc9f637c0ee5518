"""The record of a model's champions, and the commands that move them."""

import contextlib
import itertools
import multiprocessing
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components import SlipwayError, params, recipes, temporary
from components.tracking import connection, moving, record, registry, shown
from components.tracking.record import Entry
from flows import moves
from tests.receivers import hook
from tests.tracking.test_side_by_side import saved

NAME = "boats"
TABULAR = "recipe: tabular\ntabular: {numeric: [weight], labels: [a, b]}\nnetwork: {model: mlp}\n"


class KilledError(BaseException):
    """As good as SIGKILL: nothing catches it."""


@dataclass
class Store:
    """What MLflow's registry keeps of one model, in memory; it may die before or after any write."""

    versions: dict[str, dict[str, str]] = field(default_factory=dict)  # number -> tags
    tags: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    lives: int | None = None  # writes until it dies; an odd half is after the write

    def _write(self, change: Any) -> None:
        if self.lives is not None:
            self.lives -= 1
            if self.lives == 0:
                raise KilledError
        change()
        if self.lives is not None:
            self.lives -= 1
            if self.lives == 0:
                raise KilledError

    def search_registered_models(self, query: str = "") -> list[Any]:
        model = {"name": NAME, "tags": dict(self.tags), "aliases": dict(self.aliases), "creation_timestamp": 0}
        return [SimpleNamespace(**model)] if query in ("", f"name = '{NAME}'") else []

    def search_model_versions(self, query: str) -> list[Any]:
        found = [self.get_model_version(NAME, number) for number in self.versions]
        _, wanted, number = query.partition("version_number = ")
        return [version for version in found if not wanted or str(version.version) == number]

    def get_model_version(self, name: str, number: str) -> Any:
        aliases = [alias for alias, holder in self.aliases.items() if holder == number]
        about = {"tags": dict(self.versions[number]), "aliases": aliases, "run_id": None, "description": None}
        return SimpleNamespace(name=name, version=number, **about)

    def set_registered_model_tag(self, _: str, key: str, value: str) -> None:
        self._write(lambda: self.tags.update({key: value}))

    def set_model_version_tag(self, _: str, number: str, key: str, value: str) -> None:
        self._write(lambda: self.versions[number].update({key: value}))

    def set_registered_model_alias(self, _: str, alias: str, number: str) -> None:
        assert number in self.versions
        self._write(lambda: self.aliases.update({alias: number}))

    def delete_registered_model_alias(self, _: str, alias: str) -> None:
        self._write(lambda: self.aliases.pop(alias, None))

    def create_registered_model(self, *_: Any, **__: Any) -> None:
        pass

    def delete_registered_model(self, _: str) -> None:
        pass


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    found = Store({str(n): {"slipway.model": f"m{n}", "slipway.proved": "yes"} for n in range(1, 7)})
    monkeypatch.setattr(connection, "client", lambda: found)
    monkeypatch.setattr(moving, "prove", lambda *_, **__: None)
    return found


def flow_promotes(number: str, **changes: Any) -> Entry:
    """Do what `register` does for a version that the comparison lets pass."""
    there = moving.settle(NAME)
    entry = Entry("promoted", number, there.champion, who="flow@host", model=f"m{number}", reference=number)
    return moving.move(there, replace(entry, **changes))


def flow_asks(number: str, hours: float = 72) -> None:
    there = moving.settle(NAME)
    moving.ask(there, Entry("waiting", number, there.champion, model=f"m{number}", reference=number), hours)


def champion() -> str | None:
    return record.read(NAME).champion


def text(on: str | None = None) -> str:
    return moves.history(moving.look(NAME), on)


def test_a_rollback_goes_back_by_the_record_and_never_to_what_was_rolled_back_from(store: Store) -> None:
    for number in "123":
        flow_promotes(number)
    assert store.aliases == {"champion": "3", "reference": "3"}
    done = moving.rollback(NAME, why="bad in production")
    assert (done.before, done.version, done.why, done.kind) == ("3", "2", "bad in production", "rolled back")
    assert store.aliases == {"champion": "2", "reference": "2"}  # what counts no more is no yardstick either
    assert store.versions["3"]["decision"] == "refused" and store.versions["2"]["decision"] == "promoted"
    assert re.fullmatch(r"rolled back from by .* \(bad in production\)", store.versions["3"]["reason"])
    assert moving.rollback(NAME, why="").version == "1"  # not to 3, which was the champion before 2
    with pytest.raises(SlipwayError, match="no version was the champion before version 1"):
        moving.rollback(NAME, why="")
    with pytest.raises(
        SlipwayError, match=r"version 3 was rolled back from by .* \(bad in production\); `slipway promote"
    ):
        moving.rollback(NAME, to="3", why="")
    flow_promotes("4")
    assert moving.rollback(NAME, why="").version == "1"
    # a person's word lifts it
    assert moving.promote(NAME, "3", why="it was the sensor") is not None
    assert store.versions["3"]["decision"] == "promoted"
    assert re.fullmatch(
        r"made the champion by .* \(it was the sensor\); before: refused, rolled back from .*",
        store.versions["3"]["reason"],
    )
    flow_promotes("5")
    assert moving.rollback(NAME, why="").version == "3"
    assert store.versions["3"]["reason"].count("; before: ") == 1
    assert "only a person promotes these again, a run does not: 2, 4, 5" in text()


def test_a_rollback_over_several_versions_leaves_all_of_them(store: Store) -> None:
    for number in "1234":
        flow_promotes(number, reference="3")
    moving.rollback(NAME, to="2", why="")
    assert set(record.read(NAME).standing().withdrawn) == {"3", "4"}
    assert store.aliases["reference"] == "2"
    with pytest.raises(SlipwayError, match="version 2 is the champion now"):
        moving.rollback(NAME, to="2", why="")
    with pytest.raises(SlipwayError, match="boats has no version '9'; there are: 1, 2, 3, 4, 5, 6"):
        moving.rollback(NAME, to="9", why="")


@pytest.mark.usefixtures("store")
def test_a_run_does_not_undo_what_a_person_decided() -> None:
    began = record.now()
    flow_promotes("1")
    flow_promotes("2")
    there = record.read(NAME)
    assert moving.objection(there, "3", "m3", began) == ""
    moving.rollback(NAME, why="it drifts")
    there = record.read(NAME)
    assert "while this run was under way, version 1 was made the champion (rolled back by" in moving.objection(
        there, "3", "m3", began
    )
    later = record.now()
    assert moving.objection(there, "3", "m3", later) == ""
    assert "it was rolled back from by" in moving.objection(there, "2", "m2", later)
    same = moving.objection(there, "6", "m2", later)  # the same model, registered again
    assert "it (the same model as version 2) was rolled back from by" in same
    assert "`slipway promote boats 6`" in same


def test_a_move_in_mlflows_page_is_noticed_and_told(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    flow_promotes("1")
    flow_promotes("2")
    flow_promotes("3")
    store.aliases["champion"] = "1"
    capsys.readouterr()
    assert "moved outside Slipway 3 -> 1" in text()
    assert "boats: the champion was moved outside Slipway between" in capsys.readouterr().out
    assert set(record.read(NAME).standing().withdrawn) == {"2", "3"}  # moved back by hand: no run undoes that
    text()
    assert capsys.readouterr().out == ""  # once
    del store.aliases["champion"]
    assert "moved outside Slipway 1 -> none" in text()
    with pytest.raises(SlipwayError, match="boats has no champion to roll back from"):
        moving.rollback(NAME, why="")


def test_a_champion_from_before_there_was_a_record(store: Store) -> None:
    store.aliases["champion"] = "2"
    assert "moved outside Slipway none -> 2" in text()
    flow_promotes("3")
    assert moving.rollback(NAME, why="").version == "2"


def at(store: Store, *entries: Entry) -> None:
    """Write a record as of other days."""
    for entry in entries:
        record.write(NAME, entry)
    store.aliases["champion"] = str(entries[-1].version)


def test_who_was_the_champion_on_any_day(store: Store) -> None:
    at(
        store,
        Entry("promoted", "1", None, when="2026-03-01T03:00:00.000Z", who="a@b"),
        Entry("promoted", "2", "1", when="2026-03-05T03:00:00.000Z", who="a@b"),
        Entry("rolled back", "1", "2", when="2026-03-05T14:02:03.004Z", who="ann@desk", why="it drifts"),
        Entry("moved outside Slipway", "3", "1", when="2026-03-09T00:00:00.000Z", since="2026-03-07T12:00:00.000Z"),
    )
    assert "was not registered yet" in moves.history(replace(record.read(NAME), created="2026-02-01"), "2026-01-01")
    assert text("2026-02-28") == "boats on 2026-02-28 (UTC):\n    no champion to 2026-03-01 03:00:00 UTC"
    assert text("2026-03-02").endswith(
        "    version 1 from 2026-03-01 03:00:00 UTC to 2026-03-05 03:00:00 UTC (promoted by a@b)"
    )
    assert text("2026-03-05").splitlines()[1:] == [
        "    version 1 from 2026-03-01 03:00:00 UTC to 2026-03-05 03:00:00 UTC (promoted by a@b)",
        "    version 2 from 2026-03-05 03:00:00 UTC to 2026-03-05 14:02:03 UTC (promoted by a@b)",
        "    version 1 from 2026-03-05 14:02:03 UTC to 2026-03-07 12:00:00 UTC (rolled back by ann@desk)",
    ]
    assert "version 2 from" in text("2026-03-05T14:00") and len(text("2026-03-05T14:00").splitlines()) == 2
    assert "version 1 or version 3 from" in text("2026-03-08") and "some time between" in text("2026-03-08")
    assert "version 3 from 2026-03-09 00:00:00 UTC up to now" in text("2026-03-10")
    for wrong in ("yesterday", "2026-13-01"):
        with pytest.raises(SlipwayError, match="expected a day such as"):
            text(wrong)
    with pytest.raises(SlipwayError, match="in the future"):
        text("2999-01-01")
    with pytest.raises(SlipwayError, match=r"no registered model 'boat' .* did you mean boats\?"):
        record.read("boat")


def test_a_version_waits_and_is_approved_or_refused(store: Store) -> None:
    flow_promotes("1")
    flow_asks("2")
    assert store.aliases == {"champion": "1", "reference": "1", "staging": "2"}
    assert "boats version 2 waits for an approval until" in text()
    flow_asks("2")  # once is enough
    assert len(record.read(NAME).entries) == 2
    done = moving.approve(NAME, "2", why="looks right")
    assert store.aliases == {"champion": "2", "reference": "2"}
    assert (done.kind, done.why) == ("approved", "looks right")
    assert store.versions["2"]["decision"] == "promoted"
    assert "approved by" in store.versions["2"]["reason"]
    with pytest.raises(SlipwayError, match="version 2 is the champion already"):
        moving.approve(NAME, "2")
    flow_asks("3")
    flow_asks("4")  # in its place
    with pytest.raises(SlipwayError, match=r"version 3 does not wait for an approval \(dropped by .*waiting: 4"):
        moving.approve(NAME, "3")
    moving.refuse(NAME, "4", why="too slow", who="somebody in Prefect's page")
    assert "staging" not in store.aliases
    assert champion() == "2"
    assert "refused by somebody in Prefect's page" in store.versions["4"]["reason"]
    assert "it was refused by somebody in Prefect's page" in moving.objection(
        record.read(NAME), "4", "m4", record.now()
    )
    with pytest.raises(SlipwayError, match="does not wait for an approval"):
        moving.refuse(NAME, "4")
    assert moving.promote(NAME, "4", why="after all") is not None  # a person may


def test_an_approval_of_what_was_compared_with_another_champion(store: Store) -> None:
    flow_promotes("1")
    flow_asks("2")
    moving.promote(NAME, "3", why="")
    with pytest.raises(SlipwayError, match=r"expected version 1, found version 3\. `slipway run` compares anew"):
        moving.approve(NAME, "2")
    assert store.aliases["champion"] == "3"


def test_nobodys_word_is_a_refusal(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    flow_promotes("1")
    flow_asks("2", hours=1e-9)
    with pytest.raises(SlipwayError, match=r"version 2 does not wait for an approval \(timed out\)"):
        moving.approve(NAME, "2")
    assert "boats version 2: timed out: nobody approved it until" in capsys.readouterr().out
    assert "staging" not in store.aliases
    assert champion() == "1"


def test_a_long_reason_is_kept_as_far_as_mlflow_keeps_tags(store: Store) -> None:
    flow_promotes("1", why='"ü\n' * 5000)
    (tag,) = (value for key, value in store.tags.items() if key.startswith(record.PREFIX))
    assert 2000 < len(tag) <= 5000
    assert record.read(NAME).entries[0].why.startswith('"ü\n"ü')


def test_aliases_that_are_renamed_keep_their_versions(store: Store) -> None:
    flow_promotes("1")
    store.aliases["challenger"] = "2"
    moving.rename(NAME, params.Aliases(champion="production", challenger="candidate"))
    assert store.aliases == {"production": "1", "candidate": "2", "reference": "1"}
    flow_promotes("2")
    assert store.aliases["production"] == "2"
    assert moving.rollback(NAME, why="").version == "1"
    assert "champion" not in store.aliases


ACTIONS = st.sampled_from(
    ["flow", "flow", "asks", "promote", "rollback", "back to", "approve", "refuse", "outside", "none", "look"]
)


@settings(max_examples=100)
@given(st.lists(st.tuples(ACTIONS, st.sampled_from("123456"), st.integers(1, 24) | st.none()), max_size=14))
def test_any_sequence_with_kills_between_writes_leaves_a_record_that_answers(
    steps: list[tuple[str, str, int | None]],
) -> None:
    """The record always answers, as it was; no alias points to nothing; no run undoes a person's word."""
    store = Store({str(n): {"slipway.model": f"m{n}", "slipway.proved": "yes"} for n in range(1, 7)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "client", lambda: store)
        patch.setattr(moving, "prove", lambda *_, **__: None)
        clock = Clock()
        patch.setattr(record, "now", clock.now)
        actual: list[tuple[str, str | None]] = []  # when -> the champion that one would have seen
        for action, number, lives in steps:
            before, withdrawn = store.aliases.get("champion"), set(moving.look(NAME).standing().withdrawn)
            store.lives = None if action in ("outside", "none") else lives
            with contextlib.suppress(KilledError, SlipwayError):
                act(store, action, number)
            store.lives = None
            if action == "flow" and number in withdrawn:
                assert store.aliases.get("champion") == before
            clock.now()
            moving.look(NAME)  # sets right what is left
            found = record.read(NAME)
            assert found.champion == store.aliases.get("champion") == found.standing().champion
            assert set(store.aliases.values()) <= set(store.versions)
            assert all(entry.state != "begun" for entry in found.entries)
            assert [entry.number for entry in found.entries] == list(range(1, len(found.entries) + 1))
            assert store.aliases.get("staging") in (None, *found.standing().waiting)
            actual.append((clock.now(), found.champion))
        entries = record.read(NAME).entries
        for when, holder in actual:
            (part,) = record.during(entries, when, when)
            assert holder in part.versions
            assert len(part.versions) == 1 or (part.entry and part.entry.kind == "moved outside Slipway")
        whole = record.stretches(entries)
        assert all(a.end == b.begin for a, b in itertools.pairwise(whole))
        assert (whole[0].begin, whole[-1].end) == ("", "")


class Clock:
    """A clock that ticks at each look."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> str:
        self.moment += timedelta(minutes=1)
        return record.spelled(self.moment)


def act(store: Store, action: str, number: str) -> None:
    if action == "flow":
        there = moving.settle(NAME)
        if there.champion != number and not moving.objection(there, number, f"m{number}", record.now()):
            flow_promotes(number)
    elif action == "asks":
        flow_asks(number, hours=1e6)
    elif action == "promote":
        moving.promote(NAME, number, why="")
    elif action in ("rollback", "back to"):
        moving.rollback(NAME, to=number if action == "back to" else None, why="")
    elif action in ("approve", "refuse"):
        getattr(moving, action)(NAME, number)
    elif action == "outside":
        store.aliases["champion"] = number
    elif action == "none":
        store.aliases.pop("champion", None)


@pytest.fixture
def sqlite(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A real MLflow store with three versions of nothing."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr(moving, "prove", lambda *_, **__: None)
    client = connection.client()
    client.create_registered_model(NAME)
    for _ in range(3):
        client.create_model_version(NAME, str(tmp_path))
    yield tmp_path


def test_what_a_person_decides_is_told_by_the_models_own_settings(
    sqlite: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (sqlite / "params.yaml").write_text("name: another\nnotify: {events: []}\n")
    own = sqlite / "models" / NAME / "params.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(f"name: {NAME}\nregister: {{score: accuracy}}\n{TABULAR}")
    client = connection.client()
    for number, accuracy in (("4", 0.8), ("5", 0.9)):
        run = client.create_run(client.create_experiment(number)).info.run_id
        client.log_metric(run, "test/accuracy", accuracy)
        assert str(client.create_model_version(NAME, str(sqlite), run).version) == number
    with hook() as chat:
        monkeypatch.setenv("SLIPWAY_WEBHOOK", chat.address)
        moves.run("promote", NAME, "4", why="a test")
        moves.run("promote", NAME, "5")
        moves.run("promote", NAME, "5")  # it is the champion already
        moves.run("rollback", NAME, why="it is slow")
        with registry.turn(NAME):
            flow_asks("2")
        moves.run("approve", NAME, "2", why="looks right")
        with registry.turn(NAME):
            flow_asks("3")
        moves.run("refuse", NAME, "3")
        me, start = record.who(), f"★ {NAME}: promoted: version"
        assert [told["text"].splitlines()[0] for told in chat.got] == [
            f"{start} 4 is the champion: promoted by hand by {me}: a test",
            f"{start} 5 is the champion: promoted by hand by {me}",
            f"{start} 4 is the champion: rolled back by {me}: it is slow",
            f"{start} 2 is the champion: approved by {me}: looks right",
            f"✗ {NAME}: refused: version 3 is refused by {me}",
        ]
        about = {"version": "5", "by": me, "accuracy": 0.9, "before": "version 4, accuracy 0.8"}
        assert chat.got[1]["details"] == about
        (sqlite / ".prefect").mkdir()
        (sqlite / ".prefect/environment").write_text(f"SLIPWAY_WEBHOOK={chat.address}\n")
        monkeypatch.delenv("SLIPWAY_WEBHOOK")
        moves.run("promote", NAME, "5")
        assert len(chat.got) == 5
        monkeypatch.setattr("flows.machinery.state.running", lambda: {"since": "then"})
        moves.run("promote", NAME, "2")
        assert len(chat.got) == 6  # as a run of `slipway up` is told of
    monkeypatch.setattr("flows.machinery.notify.PAUSES", ())
    capsys.readouterr()
    assert moves.run("promote", NAME, "1") == 0  # nobody listens any more
    assert "a notification (promoted) was not delivered: webhook: " in capsys.readouterr().out
    own.write_text("notify: [")
    monkeypatch.setattr("flows.machinery.notify.tell", lambda *_, **__: 1 / 0)
    assert moves.run("promote", NAME, "2") == 0
    assert "warning: a notification was not sent: division by zero" in capsys.readouterr().out
    assert champion() == "2"


def test_a_wait_that_is_over_is_told_once_by_the_command_that_finds_it(
    sqlite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sqlite / ".dvc").mkdir()
    with registry.turn(NAME):
        flow_promotes("1")
        flow_asks("2", hours=1e-9)
    with hook() as chat:
        monkeypatch.setenv("SLIPWAY_WEBHOOK", chat.address)
        with pytest.raises(SlipwayError, match=r"does not wait for an approval \(timed out\)"):
            moves.run("approve", NAME, "2")
        moves.run("history", NAME)
        (told,) = chat.got
    said = f"✗ {NAME}: refused: version 2 is refused: nobody approved it until 20"
    assert told["text"].startswith(said) and told["details"] == {"version": "2"}
    assert not list((sqlite / record.TIMED_OUT).iterdir())


@pytest.mark.usefixtures("sqlite")
def test_the_record_in_a_real_store(capsys: pytest.CaptureFixture[str]) -> None:
    with registry.turn(NAME):
        flow_promotes("1")
    reason = f"accuracy is 0.1{shown.anyway(NAME, '2')}"
    registry.tag(connection.version(NAME, "2"), {"slipway.decision": "kept", "slipway.reason": reason})
    assert moves.run("promote", NAME, "2", why="a test") == 0
    assert "note: the run did not promote it: accuracy is 0.1\n" in capsys.readouterr().out
    assert connection.version(NAME, "2").tags["reason"].endswith("before: refused, accuracy is 0.1")
    assert moves.run("rollback", NAME) == 0
    with registry.turn(NAME):
        flow_asks("3")
    assert moves.run("refuse", NAME, "staging", why="no") == 0
    capsys.readouterr()
    assert moves.run("history", NAME) == 0
    out = capsys.readouterr().out
    for words in (
        "promoted     none -> 1",
        "by hand      1 -> 2",
        "    a test",
        "rolled back  2 -> 1",
        "refused      version 3",
    ):
        assert words in out
    model = connection.client().get_registered_model(NAME)
    assert {alias: str(version) for alias, version in model.aliases.items()} == {"champion": "1", "reference": "1"}
    for number, who in (("3", "note: it was refused by "), ("2", "note: it was rolled back from by ")):
        assert moves.run("promote", NAME, number) == 0
        said = capsys.readouterr().out
        assert who in said and "the run did not" not in said
    assert moves.run("promote", NAME, "1") == 0
    assert "note: " not in capsys.readouterr().out


def race(number: str, start: Any, results: Any) -> None:
    """Promote, in a process of its own; both read the champion before either moves."""
    moving.prove = lambda *_, **__: start.wait(60)
    try:
        moving.promote(NAME, number, why="")
        results.put("won")
    except SlipwayError as error:
        results.put(str(error))


@pytest.mark.usefixtures("sqlite")
@pytest.mark.e2e
def test_two_at_once_cannot_both_win() -> None:
    with registry.turn(NAME):
        flow_promotes("1")
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    both = [context.Process(target=race, args=(number, start, results)) for number in "23"]
    for process in both:
        process.start()
    found = sorted([results.get(timeout=120), results.get(timeout=120)])
    for process in both:
        process.join(30)
    assert found[1] == "won"
    winner = champion()
    assert winner in ("2", "3")
    assert f"the champion changed meanwhile: expected version 1, found version {winner}; nothing was moved" in found[0]
    assert [entry.version for entry in record.read(NAME).entries] == ["1", winner]


@pytest.mark.e2e
@pytest.mark.parametrize("recipe", recipes.names())
def test_every_kind_of_data_can_be_tried_on_its_input_example(recipe: str, tmp_path: Path) -> None:
    place, _, _ = saved(tmp_path, recipe)
    (tmp_path / "work").mkdir()
    assert moving.tried(place, tmp_path / "work") == ""
    path = next(place.rglob("model.onnx"))
    path.write_bytes(b"damaged")
    assert "cannot predict its own input example" in moving.tried(place, tmp_path / "work")


def test_a_turn_that_was_taken_over_leaves_the_lock_of_the_other(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was stopped for minutes is taken for dead: another one may have the turn when it goes on."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    client = connection.client()
    with registry.turn(NAME):
        client.delete_registered_model(f"{NAME}.lock")
        client.create_registered_model(f"{NAME}.lock", description="held by another")
    assert client.get_registered_model(f"{NAME}.lock").description == "held by another"
    client.delete_registered_model(f"{NAME}.lock")
    with registry.turn(NAME):
        pass
    assert client.search_registered_models(f"name = '{NAME}.lock'") == []


def test_a_lock_may_go_while_mlflow_looks_whose_it_is(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a name is taken, MLflow reads who has it before it says so: gone by then, it says that there is none."""
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    client, lock, read = connection.client(), f"{NAME}.lock", SqlAlchemyStore.get_registered_model
    client.create_registered_model(lock, description="held by another")

    def gone(self: SqlAlchemyStore, name: str) -> Any:
        monkeypatch.setattr(SqlAlchemyStore, "get_registered_model", read)
        self.delete_registered_model(name)
        return read(self, name)

    monkeypatch.setattr(SqlAlchemyStore, "get_registered_model", gone)
    with registry.turn(NAME):
        assert client.get_registered_model(lock).description != "held by another"


@pytest.mark.usefixtures("sqlite")
def test_a_turn_that_a_killed_move_left_is_ended_by_the_next_look() -> None:
    """Such as a `promote` killed after its move: the same one again finds nothing more to move."""
    with registry.turn(NAME):
        flow_promotes("1")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        dead = pool.apply(temporary.owner)
        pool.close()
        pool.join()
    connection.client().create_registered_model(f"{NAME}.lock", description=f"held: elsewhere {dead}")
    assert moves.run("promote", NAME, "1") == 0
    assert [found.name for found in connection.client().search_registered_models()] == [NAME]
