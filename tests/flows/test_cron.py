import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from components import SlipwayError
from flows.machinery import cron

BERLIN = "Europe/Berlin"


def moments(expression: str, start: datetime, count: int) -> list[str]:
    """Return the next moments of a schedule in Berlin, as its clocks show them, one asked after the other."""
    found, moment = [], start
    for _ in range(count):
        moment = cron.after(expression, BERLIN, moment)
        found.append(f"{moment.astimezone(ZoneInfo(BERLIN)):%d. %H:%M %z}")
    return found


def test_the_next_moment_of_a_schedule() -> None:
    noon = datetime(2026, 11, 27, 12, tzinfo=UTC)
    assert cron.after("* * * * *", "UTC", noon) == noon.replace(minute=1)  # not the moment itself
    assert cron.after("0 3 * * 1", "UTC", noon) == datetime(2026, 11, 30, 3, tzinfo=UTC)
    assert cron.after("0 14 * * *", "America/New_York", noon) == noon.replace(hour=19)
    assert cron.after("0 14 * * *", "America/New_York", noon.replace(month=7)) == noon.replace(month=7, hour=18)


def test_clocks_put_forward() -> None:
    """02:30 does not exist in the night of 29 March 2026: it runs an hour later, at 03:30; all others as ever."""
    night = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert moments("30 2 * * *", night, 2) == ["29. 03:30 +0200", "30. 02:30 +0200"]
    assert moments("0 3 * * *", night, 2) == ["29. 03:00 +0200", "30. 03:00 +0200"]
    assert moments("0 1 * * *", night, 2) == ["29. 01:00 +0100", "30. 01:00 +0200"]


def test_clocks_put_back() -> None:
    """02:30 comes twice in the night of 25 October 2026: it runs once, the first time."""
    night = datetime(2026, 10, 24, 12, tzinfo=UTC)
    assert moments("30 2 * * *", night, 2) == ["25. 02:30 +0200", "26. 02:30 +0100"]
    assert moments("0 3 * * *", night, 2) == ["25. 03:00 +0100", "26. 03:00 +0100"]
    hourly = datetime(2026, 10, 24, 23, tzinfo=UTC)
    assert moments("30 * * * *", hourly, 3) == ["25. 01:30 +0200", "25. 02:30 +0200", "25. 03:30 +0100"]


def test_prefects_scheduler_finds_the_same_moments_when_it_makes_many_at_once() -> None:
    import asyncio

    from prefect.server.schemas.schedules import CronSchedule

    for start in (datetime(2026, 3, 27, 12, tzinfo=UTC), datetime(2026, 10, 23, 12, tzinfo=UTC)):
        many = asyncio.run(CronSchedule(cron="30 2 * * *", timezone=BERLIN).get_dates(4, start))
        assert [f"{each:%d. %H:%M %z}" for each in many] == moments("30 2 * * *", start, 4)


def test_a_moment_is_said_in_utc_and_where_it_differs_in_the_zone_and_here(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2026, 11, 28, 19, tzinfo=UTC)
    try:
        monkeypatch.setenv("TZ", "America/New_York")
        time.tzset()
        assert cron.spelled(moment, "UTC") == "2026-11-28 19:00 UTC (2026-11-28 14:00 local time)"
        assert cron.spelled(moment, "America/New_York") == ("2026-11-28 19:00 UTC (2026-11-28 14:00 America/New_York)")
        assert cron.spelled(moment, "Asia/Tokyo").endswith("(2026-11-29 04:00 Asia/Tokyo, 2026-11-28 14:00 local time)")
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("zone", ["Europe/Berlinn", "+01:00", ""])
def test_a_schedule_in_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(SlipwayError, match=r"time.zone"):
        cron.check("0 3 * * *", zone)


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def is_of(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield is_of
    monkeypatch.undo()
    time.tzset()


def test_the_time_zone_of_this_machine(local: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    files = f"/usr/share/zoneinfo/{BERLIN}"
    names = {BERLIN: BERLIN, f":{BERLIN}": BERLIN, files: BERLIN, f":{files}": BERLIN, "UTC": "UTC", "Etc/UTC": "UTC"}
    for name, expected in names.items():
        local(name)
        assert cron.here() == expected
    local("EST5EDT,M3.2.0,M11.1.0")  # a rule, and no name
    monkeypatch.setattr(os.path, "realpath", lambda path: "/usr/share/zoneinfo/America/New_York")
    assert cron.here() == "America/New_York"
    now = datetime.now(UTC)
    assert cron.after("* * * * *", cron.here(), now) - now <= timedelta(minutes=1, seconds=1)


def test_a_clock_that_the_machines_files_do_not_name(local: Callable[[str], None]) -> None:
    """It was taken for UTC, or for the zone of /etc/localtime, and called the time zone of this machine."""
    for name, expected in {"UTC-3": "Etc/GMT-3", "<-08>8": "Etc/GMT+8", "": "UTC", "UTC0": "UTC"}.items():
        local(name)
        assert cron.here() == expected
        assert datetime.now(ZoneInfo(expected)).utcoffset() == datetime.now().astimezone().utcoffset()
        cron.check("0 3 * * *", cron.here())
    for name in ("<+0530>-5:30", "XST-1XDT,M1.5.0,M2.5.0/3"):
        local(name)
        with pytest.raises(SlipwayError, match=r"UTC\+0\d[03]0\) has no name .* --time-zone"):
            cron.here()
