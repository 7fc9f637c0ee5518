"""Cron schedules: whether one is valid, when it comes next, how a moment is written, and this machine's time zone."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from components import SlipwayError
from components.data import times

ZONES = "zoneinfo/"  # /etc/localtime is a link to a file below a folder of this name


def here() -> str:
    """Return the name of this machine's time zone, such as Europe/Berlin.

    Raises SlipwayError where no name is found of which the machine's clock is, such as for TZ=UTC-5:30.
    """
    named = [os.environ.get("TZ", "").removeprefix(":"), os.path.realpath("/etc/localtime")]
    if Path("/etc/timezone").is_file():
        named.append(Path("/etc/timezone").read_text(encoding="utf-8").strip())
    names = [name.rpartition(ZONES)[2] for name in named]
    hours = round(datetime.now().astimezone().utcoffset() / timedelta(hours=1))  # type: ignore[operator]
    names += ["UTC", f"Etc/GMT{-hours:+}"]  # the signs of these are the other way round
    found = next((name for name in names if _is_zone(name) and _is_of_the_clock(name)), "")
    if not found:
        raise SlipwayError(
            f"the time zone of this machine (UTC{datetime.now().astimezone():%z}) has no name that Slipway knows: "
            "say one with --time-zone, such as Europe/Berlin, or as the variable TZ"
        )
    return "UTC" if found in ("Etc/UTC", "Etc/UCT", "UCT", "Zulu", "Universal") else found


def _is_of_the_clock(name: str) -> bool:
    """Return whether the machine's clock and a zone agree, through this year: TZ may be another than the files'."""
    days = [datetime(datetime.now(UTC).year, month, 1, 12, tzinfo=UTC) for month in range(1, 13)]
    return all(day.astimezone().utcoffset() == day.astimezone(times.zone(name)).utcoffset() for day in days)


def _is_zone(name: str) -> bool:
    try:
        return name == "UTC" or isinstance(times.zone(name), ZoneInfo)
    except SlipwayError:
        return False


def check(cron: str, time_zone: str) -> None:
    """Raise SlipwayError for a schedule that is none or never comes, and for a time zone that does not exist."""
    from prefect.client.schemas.schedules import CronSchedule

    if not isinstance(times.zone(time_zone), ZoneInfo) and time_zone != "UTC":
        raise SlipwayError(f"--time-zone {time_zone}: a schedule needs the name of a zone, such as Europe/Berlin")
    try:
        if not cron.startswith("@") and len(cron.split()) != 5:  # a sixth field would be seconds
            raise ValueError(cron)
        CronSchedule(cron=cron)
    except ValueError:
        raise SlipwayError(
            f'"{cron}" is not a valid cron expression; "0 3 * * *", for example, is every night at 03:00'
        ) from None
    try:
        after(cron, time_zone, datetime.now(UTC))
    except ValueError:  # such as the 31st of February
        raise SlipwayError(f'"{cron}" never comes; "0 3 * * *", for example, is every night at 03:00') from None


def after(cron: str, time_zone: str, moment: datetime) -> datetime:
    """Return the first moment of a schedule after another, in UTC, as Prefect's scheduler finds it."""
    from prefect.server.schemas.schedules import CronSchedule

    (found,) = asyncio.run(CronSchedule(cron=cron, timezone=time_zone).get_dates(1, moment + timedelta(seconds=1)))
    return datetime.fromtimestamp(found.timestamp(), UTC)


def spelled(moment: datetime, time_zone: str) -> str:
    """Spell a moment in UTC, and in the schedule's zone and the local one where these differ from it."""
    in_zone, local = moment.astimezone(times.zone(time_zone)), moment.astimezone()
    parts = [f"{moment:%Y-%m-%d %H:%M} UTC"]
    if time_zone != "UTC":
        parts.append(f"{in_zone:%Y-%m-%d %H:%M} {time_zone}")
    if local.utcoffset() not in (moment.utcoffset(), in_zone.utcoffset()):
        parts.append(f"{local:%Y-%m-%d %H:%M} local time")
    return parts[0] + (f" ({', '.join(parts[1:])})" if len(parts) > 1 else "")
