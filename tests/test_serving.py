"""The champion answers requests, in the form in which the README shows one."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

# One worker runs all that needs the clones: making them takes a minute.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("clones")]

# A trip as the README sends it: whole numbers and a time as text, for JSON has nothing else.
TRIP = {
    "PULocationID": 74,
    "DOLocationID": 42,
    "trip_distance": 2.3,
    "lpep_pickup_datetime": "2023-03-01T08:30:00",
}


@pytest.fixture(scope="module")
def ask(doors) -> Callable[[dict], tuple[int, dict]]:
    """Send a request to the champion; give the status and the answer."""
    command = ("mlflow", "models", "serve", "-m", "models:/green-taxi-duration@champion")
    with doors["python"].serve(*command, "--env-manager", "local", ready="/ping") as address:

        def send(body: dict) -> tuple[int, dict]:
            request = urllib.request.Request(
                f"{address}/invocations",
                data=json.dumps(body).encode(),
                headers={"Content-Type": "application/json"},
            )
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, json.load(error)

        yield send


def minutes(answer: tuple[int, dict]) -> list[float]:
    status, body = answer
    assert status == 200, body
    return body["predictions"]


def test_the_champion_answers_a_trip_as_a_client_has_it(ask):
    (found,) = minutes(ask({"dataframe_records": [TRIP]}))
    assert 1 < found < 60


def test_records_and_a_split_table_get_the_same_answer(ask):
    far = TRIP | {"trip_distance": 11}
    table = {"columns": list(TRIP), "data": [list(TRIP.values()), list(far.values())]}
    answered = minutes(ask({"dataframe_split": table}))
    assert answered == minutes(ask({"dataframe_records": [TRIP, far]}))
    assert answered[0] < answered[1]


def test_a_zone_that_was_never_seen_and_a_missing_one_get_an_answer(ask):
    unseen, missing = TRIP | {"PULocationID": 9999}, TRIP | {"PULocationID": None}
    for found in minutes(ask({"dataframe_records": [unseen, missing, TRIP]})):
        assert 1 < found < 60


def test_a_column_that_no_model_asked_for_changes_nothing(ask):
    paid = TRIP | {"total_amount": 99.0}
    assert minutes(ask({"dataframe_records": [paid]})) == minutes(
        ask({"dataframe_records": [TRIP]})
    )


def test_a_missing_column_is_told_by_name(ask):
    trip = {name: value for name, value in TRIP.items() if name != "PULocationID"}
    status, answer = ask({"dataframe_records": [trip]})
    assert status == 400
    assert "Model is missing inputs ['PULocationID']" in answer["message"]


@pytest.mark.parametrize(
    ("column", "value"), [("trip_distance", "far"), ("lpep_pickup_datetime", "soon")]
)
def test_a_value_of_the_wrong_kind_is_told_with_its_column(ask, column, value):
    status, answer = ask({"dataframe_records": [TRIP | {column: value}]})
    assert status == 400
    assert f"Failed to convert column {column}" in answer["message"]
