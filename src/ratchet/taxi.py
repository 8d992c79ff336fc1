"""Simulated months of green-taxi trips, in the files that New York's TLC publishes."""

import calendar
import io
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.errors import RatchetError

# From this month on the TLC writes zone ids as int32 and ehail_fee as a number.
NARROW_SINCE = "2023-02"

ZONES = 265
"""Zones of the city; the last two stand for places outside it and unknown ones."""

# Shares of all pick-ups in the busiest zones; the rest falls off as rank ** -1.3.
_BUSIEST = {
    **{74: 0.194, 75: 0.134, 41: 0.060, 166: 0.057, 95: 0.056, 82: 0.043, 43: 0.042, 97: 0.032},
    **{7: 0.029, 244: 0.026, 42: 0.026, 65: 0.023, 116: 0.012, 260: 0.020, 130: 0.017, 129: 0.017},
}

# Middle of a district in miles, its spread, its share of the zones and how it slows traffic.
_DISTRICTS = (
    ("uptown", 0.0, 0.0, 0.9, 0.16, 1.00),
    ("midtown", -0.9, -3.0, 0.9, 0.16, 0.74),
    ("east", 5.2, -2.6, 1.6, 0.28, 1.04),
    ("south", 1.4, -8.0, 1.6, 0.24, 0.86),
    ("north", 1.6, 4.6, 1.5, 0.16, 1.12),
)
_HOME = {
    **dict.fromkeys((74, 75, 41, 166, 42, 43, 116, 24, 152), 0),
    **dict.fromkeys((236, 238, 263, 239, 151, 237, 141, 161, 162, 230, 48), 1),
    **dict.fromkeys((95, 82, 7, 129, 260, 130, 83, 223, 196), 2),
    **dict.fromkeys((97, 65, 25, 33, 66, 61, 181), 3),
    **dict.fromkeys((244, 243, 127, 247, 159), 4),
}

# Pick-ups per hour, in per mille of a day: workdays have a morning of commuters.
_WORKDAY = (
    12,
    8,
    6,
    6,
    6,
    7,
    17,
    46,
    56,
    54,
    53,
    54,
    55,
    59,
    66,
    78,
    79,
    79,
    78,
    62,
    45,
    33,
    25,
    16,
)
_WEEKEND = (
    30,
    25,
    20,
    16,
    12,
    6,
    8,
    14,
    24,
    36,
    50,
    56,
    58,
    60,
    62,
    65,
    66,
    66,
    66,
    60,
    52,
    44,
    36,
    30,
)
_WEEKDAY = (0.98, 1.06, 1.06, 1.10, 1.05, 0.96, 0.84)

# Speed in each hour as a multiple of the day's usual one.
_PACE = (
    *(1.22, 1.26, 1.28, 1.30, 1.36, 1.48, 1.28, 0.98, 0.89, 0.95, 0.99, 0.99),
    *(0.98, 0.95, 0.88, 0.83, 0.84, 0.87, 0.93, 1.02, 1.08, 1.14, 1.17, 1.20),
)


@dataclass(frozen=True)
class _City:
    """What stays the same from month to month; arrays have one value per zone."""

    x: np.ndarray
    y: np.ndarray
    pickups: np.ndarray
    dropoffs: np.ndarray
    pace: np.ndarray
    generosity: np.ndarray
    midtown: np.ndarray


@dataclass(frozen=True)
class _Trips:
    """The trips themselves, before a meter or a clerk has seen them."""

    pickup: np.ndarray
    hour: np.ndarray
    origin: np.ndarray
    goal: np.ndarray
    miles: np.ndarray
    minutes: np.ndarray
    dispatched: np.ndarray


def simulate_month(
    month: str = "2023-01", rows: int = 15_000, seed: int = 0, drift: float = 0.0
) -> pa.Table:
    """Simulate one month of trips with the columns and types of the TLC's file.

    No real trip is in it: its parameters were chosen so that shares, quantiles
    and the difficulty of the task resemble the published months of 2023. Two
    months with the same seed share their city.

    - **City**: 265 zones around five districts on a plane. Pick-ups are
      heavy-tailed (zone 74 has a fifth), and follow hour and weekday.
      Drop-offs favour near zones: a zone's pull falls as exp(-miles / 0.9), for
      3 % of it (40 % with dispatched trips) as exp(-miles / 7).
    - **Distance**: 1.15 times the straight line between random points of both
      zones, with 12 % noise.
    - **Duration**: distance over speed, times log-normal noise of 23 %, plus
      stops of 0.7 minutes on average. Speed is 9 mph on the shortest trips and
      nears 34 on long ones; it is lower by day, on workdays, in slow zones, and
      in midtown above all from 7 to 19.
    - **Fare**: $3 plus $0.70 per fifth of a mile and per slow minute, with the
      extras of hour, tax and congestion; negotiated fares for 2.4 %.
    - **Tip**: none in cash. By card, 87 % tip; whether depends on the zone, the
      distance, the hour, the party and the kind of fare; the amount is mostly
      15 to 30 % of the total.
    - **Flaws**: 6.3 % come from dispatch apps, which leave six columns empty and
      round to minutes; 4.7 % have no distance; 0.26 % are refunds with negative
      amounts; 0.2 % last about 24 hours, 0.5 % some hours; 0.05 % have absurd
      distances and a handful are dated years before, or a little outside the month.

    Parameters
    ----------
    month : str
        Year and month, such as ``"2023-01"``. Up to 2023-01 ids are int64 and
        ``ehail_fee`` has the null type; later ids are int32 and it is a number.
    rows : int
        Number of trips.
    seed : int
        Seed of the city and, with the month, of the trips.
    drift : float
        How far the month has moved from the others: at 1 prices are 15 % higher,
        speeds 15 % lower, rides later and half of the demand is elsewhere.

    Returns
    -------
    pa.Table
        ``rows`` trips in 20 columns: metered ones by time, then dispatched ones.

    Raises
    ------
    RatchetError
        If the month, the number of rows or the drift is not allowed.
    """
    if not re.fullmatch(r"(19|20)\d\d-(0[1-9]|1[0-2])", month):
        raise RatchetError(f"A month must look like 2023-01, got {month!r}.")
    if rows < 1 or not 0 <= drift <= 1:
        raise RatchetError(
            f"A month needs at least 1 row and a drift between 0 and 1, got {rows} and {drift}."
        )
    city = _city(seed, drift)
    rng = np.random.default_rng([seed, *map(int, month.split("-"))])
    trips = _trips(city, month, rows, drift, rng)
    columns = _paid(city, trips, drift, rng)
    _spoil(columns, trips, month, rng)
    return _table(columns, trips, month)


def write_months(
    folder: Path,
    months: Sequence[str] = ("2023-01", "2023-02"),
    rows: int = 15_000,
    seed: int = 0,
    drift: float = 0.0,
) -> list[Path]:
    """Write ``green_tripdata_YYYY-MM.parquet`` for each month, each whole or not at all.

    The same arguments give the same bytes, as long as pyarrow stays the same.

    Parameters
    ----------
    folder : Path
        Where to write; made when it isn't there.
    months : sequence of str
        Such as ``("2023-01", "2023-02")``.
    rows, seed, drift
        As in ``simulate_month``.

    Returns
    -------
    list of Path
        One file per month.

    Raises
    ------
    RatchetError
        If an argument is not allowed or the folder can't be written.
    """
    paths = []
    for month in months:
        path = folder / f"green_tripdata_{month}.parquet"
        _write(path, simulate_month(month, rows, seed, drift))
        paths.append(path)
    return paths


def _city(seed: int, drift: float) -> _City:
    rng = np.random.default_rng(seed)
    zones = np.arange(1, ZONES + 1)
    centre_x, centre_y, spread, share, slow = np.array([d[1:] for d in _DISTRICTS]).T
    home = rng.choice(len(_DISTRICTS), ZONES, p=share / share.sum())
    home[np.array(list(_HOME)) - 1] = list(_HOME.values())

    tail = rng.permutation(np.arange(8.0, 8.0 + ZONES)) ** -1.3
    tail[263:] = 0.5 * tail.mean()
    busiest = np.array(list(_BUSIEST)) - 1
    tail[busiest] = 0
    pickups = tail / tail.sum() * (1 - sum(_BUSIEST.values()))
    pickups[busiest] = list(_BUSIEST.values())
    elsewhere = rng.permutation(pickups)
    pickups = (1 - 0.5 * drift) * pickups + 0.5 * drift * elsewhere

    midtown = home == 1
    pull = rng.lognormal(0, 0.4, ZONES) * np.where(midtown, 5.0, 1.0)
    pace = slow[home] * rng.lognormal(0, 0.2, ZONES)
    pace[np.isin(zones, (97, 65))] *= 0.85
    pace[zones == 244] *= 1.35
    return _City(
        x=centre_x[home] + spread[home] * rng.normal(size=ZONES),
        y=centre_y[home] + spread[home] * rng.normal(size=ZONES),
        pickups=pickups,
        dropoffs=pull * (0.3 + ZONES * pickups**0.75),
        pace=pace * (1 - 0.15 * drift),
        generosity=rng.normal(0, 0.9, ZONES),
        midtown=midtown,
    )


def _trips(city: _City, month: str, rows: int, drift: float, rng: np.random.Generator) -> _Trips:
    dispatched = rng.random(rows) < 0.063
    pickup, hour, workday = _times(month, rows, drift, rng)
    flat = (city.pickups + 1 / ZONES) / 2
    origin = np.where(
        dispatched,
        rng.choice(ZONES, rows, p=flat / flat.sum()),
        rng.choice(ZONES, rows, p=city.pickups / city.pickups.sum()),
    )
    goal = _goals(city, origin, dispatched, rng)

    jitter = rng.normal(0, 0.42, (4, rows))
    straight = np.hypot(
        city.x[origin] - city.x[goal] + jitter[0] - jitter[1],
        city.y[origin] - city.y[goal] + jitter[2] - jitter[3],
    )
    miles = 0.15 + 1.15 * straight * rng.lognormal(0, 0.12, rows)

    rush = workday & (hour >= 7) & (hour <= 18)
    pace = np.array(_PACE)[hour] * np.where(workday, 1.0, 1.08)
    through = city.midtown[origin].astype(float) + city.midtown[goal]
    pace = pace * np.sqrt(city.pace[origin] * city.pace[goal]) * np.where(rush, 0.84**through, 1.0)
    speed = (9.1 + 24.9 * (1 - np.exp(-miles / 13))) * pace
    luck = rng.lognormal(0, 0.23, rows) * np.where(rng.random(rows) < 0.03, 1.7, 1.0)
    minutes = miles / speed * 60 * luck + rng.gamma(1.0, 0.7, rows)
    return _Trips(pickup, hour, origin, goal, miles, minutes, dispatched)


def _times(
    month: str, rows: int, drift: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw pick-up times in seconds since 1970, their hours, and whether it is a workday."""
    days = calendar.monthrange(*map(int, month.split("-")))[1]
    first = int(np.datetime64(f"{month}-01", "D").astype(int))
    weekdays = (first + 3 + np.arange(days)) % 7
    busy = np.array(_WEEKDAY)[weekdays] * rng.lognormal(0, 0.06, days)
    day = rng.choice(days, rows, p=busy / busy.sum())
    workday = weekdays[day] < 5
    cumulated = np.cumsum([_WORKDAY, _WEEKEND], axis=1)
    shares = (cumulated / cumulated[:, -1:])[np.where(workday, 0, 1)]
    hour = (rng.random(rows)[:, None] > shares).sum(axis=1)
    hour = np.where(rng.random(rows) < 0.4 * drift, np.minimum(hour + 3, 23), hour)
    second = rng.integers(0, 3600, rows)
    return (first + day) * 86_400 + hour * 3600 + second, hour, workday


def _goals(
    city: _City, origin: np.ndarray, dispatched: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw where each trip ends; dispatched ones go farther."""
    apart = np.hypot(city.x[:, None] - city.x, city.y[:, None] - city.y)
    tables = []
    stay = np.where(np.eye(ZONES, dtype=bool), 0.4, 1.0)
    for far in (0.03, 0.4):
        decay = (1 - far) * np.exp(-apart / 0.9) + far * np.exp(-apart / 7.0)
        pull = np.cumsum(city.dropoffs * decay * stay, axis=1)
        tables.append(pull / pull[:, -1:])
    chance = rng.random(len(origin))
    goal = np.empty(len(origin), dtype=int)
    for table, rows in zip(tables, (~dispatched, dispatched), strict=True):
        goal[rows] = (chance[rows, None] > table[origin[rows]]).sum(axis=1)
    return goal


def _paid(
    city: _City, trips: _Trips, drift: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Meter the trips: what was charged, how it was paid and what was given on top."""
    n = len(trips.pickup)
    vendor = np.where(rng.random(n) < 0.137, 1, 2)
    vendor = np.where(trips.dispatched & (rng.random(n) < 0.8), 2, vendor)
    rate = rng.choice([1.0, 5.0, 2.0, 4.0, 3.0, 99.0], n, p=_shares(972, 24, 2.5, 0.9, 0.5, 0.16))
    street = np.where((rate == 5) & (rng.random(n) < 0.9), 2.0, 1.0)
    passengers = rng.choice(
        [1.0, 2.0, 5.0, 6.0, 3.0, 4.0, 0.0], n, p=_shares(850, 80, 28, 16, 15, 6, 5)
    )
    payment = rng.choice([1.0, 2.0, 3.0, 4.0], n, p=_shares(637, 354, 7.4, 1.5))

    price = 1 + 0.15 * drift
    units = np.round(5 * trips.miles + 0.42 * trips.minutes)
    fare = np.round(price * (3 + 0.7 * units), 2)
    agreed = (rate == 5) | trips.dispatched
    fare = np.where(agreed, np.round(fare * rng.lognormal(0.15, 0.2, n), 2), fare)
    fare = np.where(rate == 2, 70.0, fare)

    local = (trips.pickup // 86_400 + 3) % 7 < 5
    rush = local & (trips.hour >= 16) & (trips.hour < 20)
    night = (trips.hour >= 20) | (trips.hour < 6)
    extra = np.where(rush, 2.5, np.where(night, 1.0, 0.0)) * (rng.random(n) < 0.9) * ~agreed
    tax = np.where(vendor == 1, 1.5, 0.5) * ~agreed
    improvement = np.where(rng.random(n) < 0.06, 0.3, 1.0)
    congestion = np.where(city.midtown[trips.origin] | city.midtown[trips.goal], 2.75, 0.0)
    tolls = np.where(rng.random(n) < np.clip((trips.miles - 4) / 25, 0, 0.5), 6.55, 0.0)
    charged = fare + extra + tax + improvement + congestion + tolls
    tip = _tips(
        city, trips, charged, np.where(trips.dispatched, 1.0, payment), rate, passengers, rng
    )
    return {
        "VendorID": vendor,
        "lpep_pickup_datetime": trips.pickup,
        "lpep_dropoff_datetime": trips.pickup + np.round(60 * trips.minutes).astype(int),
        "store_and_fwd_flag": np.where(rng.random(n) < 0.005, "Y", "N"),
        "RatecodeID": rate,
        "PULocationID": trips.origin + 1,
        "DOLocationID": trips.goal + 1,
        "passenger_count": passengers,
        "trip_distance": np.round(trips.miles, 2),
        "fare_amount": fare,
        "extra": extra,
        "mta_tax": tax,
        "tip_amount": tip,
        "tolls_amount": tolls,
        "ehail_fee": np.full(n, np.nan),
        "improvement_surcharge": improvement,
        "total_amount": np.round(charged + tip, 2),
        "payment_type": payment,
        "trip_type": np.where(rate == 99, np.nan, street),
        "congestion_surcharge": congestion,
    }


def _tips(
    city: _City,
    trips: _Trips,
    charged: np.ndarray,
    payment: np.ndarray,
    rate: np.ndarray,
    passengers: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    mood = (
        3.1
        + city.generosity[trips.origin]
        + 0.5 * city.generosity[trips.goal]
        - 1.6 * (trips.miles < 0.8)
        - 0.9 * np.clip((trips.miles - 4) / 6, 0, 1)
        - 0.8 * ((trips.hour < 5) | (trips.hour >= 23))
        + 0.5 * ((trips.hour >= 17) & (trips.hour <= 20))
        - 1.8 * (rate == 5)
        - 0.5 * (passengers > 2)
    )
    tipped = (payment == 1) & (rng.random(len(mood)) < 1 / (1 + np.exp(-mood)))
    share = rng.choice([0.2, 0.25, 0.3, 0.15, 0.1], len(mood), p=_shares(62, 14, 8, 9, 7))
    own = rng.random(len(mood)) < 0.25
    amount = np.where(
        own, np.maximum(np.round(charged * rng.gamma(6, 0.025, len(mood))), 1), charged * share
    )
    return np.round(np.where(tipped, amount, 0.0), 2)


def _spoil(
    columns: dict[str, np.ndarray], trips: _Trips, month: str, rng: np.random.Generator
) -> None:
    """Put the flaws of the published files into the columns, in place."""
    n = len(trips.pickup)
    kind = rng.random(n)
    metered = ~trips.dispatched
    aborted = metered & (kind < 0.021)
    unmeasured = (kind >= 0.021) & (kind < 0.048)
    refunded = metered & (kind >= 0.048) & (kind < 0.0511)
    all_day = metered & (kind >= 0.0515) & (kind < 0.0536)
    waited = metered & (kind >= 0.054) & (kind < 0.058)
    absurd = (kind >= 0.058) & (kind < 0.0585)
    stray = (kind >= 0.0585) & (kind < 0.0588)

    seconds = columns["lpep_dropoff_datetime"] - columns["lpep_pickup_datetime"]
    seconds = np.where(aborted, rng.integers(1, 55, n), seconds)
    seconds = np.where(refunded, rng.gamma(1, 120, n).astype(int) + 2, seconds)
    seconds = np.where(all_day, 86_400 - rng.integers(5, 3600, n), seconds)
    seconds = np.where(waited, 3600 + rng.gamma(1, 6000, n).astype(int), seconds)
    columns["trip_distance"][aborted | unmeasured] = 0
    columns["DOLocationID"][aborted] = columns["PULocationID"][aborted]
    columns["trip_distance"][refunded] = np.round(rng.gamma(1, 0.3, refunded.sum()), 2)
    columns["trip_distance"][absurd] = np.round(rng.uniform(1_000, 90_000, absurd.sum()), 2)
    _refund(columns, refunded, rng)

    start = int(np.datetime64(f"{month}-01", "s").astype(int))
    end = int((np.datetime64(month, "M") + 1).astype("datetime64[s]").astype(int))
    before = start - rng.integers(3600, 25 * 86_400, n)
    after = end + rng.integers(0, 12_000, n)
    long_ago = int(np.datetime64("2009-01-01T00:00:00", "s").astype(int)) + rng.integers(
        0, 80_000, n
    )
    where = rng.choice(3, n, p=_shares(1, 2, 2))
    odd = np.select([where == 0, where == 1], [long_ago, before], after)
    pickup = np.where(stray, odd, columns["lpep_pickup_datetime"])
    for amount in (pickup, seconds):
        amount[trips.dispatched] = amount[trips.dispatched] // 60 * 60
    columns["lpep_pickup_datetime"] = pickup
    columns["lpep_dropoff_datetime"] = pickup + seconds


def _refund(columns: dict[str, np.ndarray], refunded: np.ndarray, rng: np.random.Generator) -> None:
    columns["payment_type"][refunded] = rng.choice([3.0, 4.0], refunded.sum(), p=_shares(4, 1))
    columns["tip_amount"][refunded] = 0
    columns["tolls_amount"][refunded] = 0
    fare = 3 + 0.7 * np.round(rng.gamma(1, 2.5, refunded.sum()))
    columns["fare_amount"][refunded] = np.round(fare, 2)
    parts = ("fare_amount", "extra", "mta_tax", "improvement_surcharge", "congestion_surcharge")
    for part in parts:
        columns[part][refunded] *= -1
    columns["total_amount"][refunded] = np.round(sum(columns[part][refunded] for part in parts), 2)


def _table(columns: dict[str, np.ndarray], trips: _Trips, month: str) -> pa.Table:
    order = np.lexsort((columns["lpep_pickup_datetime"], trips.dispatched))
    ids = pa.int32() if month >= NARROW_SINCE else pa.int64()
    fee = pa.float64() if month >= NARROW_SINCE else pa.null()
    types = {
        **dict.fromkeys(("VendorID", "PULocationID", "DOLocationID"), ids),
        **dict.fromkeys(("lpep_pickup_datetime", "lpep_dropoff_datetime"), pa.timestamp("us")),
        "store_and_fwd_flag": pa.string(),
        "ehail_fee": fee,
    }
    absent = {
        **dict.fromkeys(("store_and_fwd_flag", "RatecodeID", "passenger_count"), trips.dispatched),
        **dict.fromkeys(("payment_type", "trip_type", "congestion_surcharge"), trips.dispatched),
    }
    arrays = {}
    for name, values in columns.items():
        kind = types.get(name, pa.float64())
        if pa.types.is_null(kind):
            arrays[name] = pa.nulls(len(order))
            continue
        if pa.types.is_timestamp(kind):
            values = values * 1_000_000
        missing = absent.get(name, np.zeros(len(order), dtype=bool))
        if values.dtype.kind == "f":
            missing = missing | np.isnan(values)
            values = values + 0.0  # -0.0 would show up as such in a refund without extras
        arrays[name] = pa.array(values[order], mask=missing[order]).cast(kind)
    return pa.table(arrays)


def _shares(*weights: float) -> np.ndarray:
    return np.array(weights) / sum(weights)


def _write(path: Path, table: pa.Table) -> None:
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd", compression_level=9)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content.getvalue())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RatchetError(
            f"Can't write {path}: {error.strerror}. Make the folder writable."
        ) from error
