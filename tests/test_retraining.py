"""Whether a training is due follows from the rules, and each says why."""

from dataclasses import replace

import pytest

from ratchet.retraining import Facts, judge
from ratchet.settings import Retrain

QUIET = Facts("taxi/3", has_new_data=False, age_days=2.0)
NEW = replace(QUIET, has_new_data=True, new_files=("may.csv",))
DRIFT = replace(NEW, drift=("trip_distance has moved (PSI 0.4).", "PU is new."))
WORSE = replace(NEW, worse="the live score 6.1 is worse than 5.2")
OFF = {"on_new_data": False}


@pytest.mark.parametrize(
    ("facts", "rules", "reasons"),
    [
        (QUIET, {}, ()),
        (NEW, {}, ("new data (may.csv)",)),
        (NEW, OFF, ()),
        (replace(NEW, new_files=()), {}, ("new data",)),
        (replace(NEW, new_files=tuple("abcd")), {}, ("new data (a, b and 2 more)",)),
        (
            replace(NEW, new_rows=1200),
            {"min_new_rows": 1200},
            ("new data (1,200 rows in may.csv)",),
        ),
        (replace(NEW, new_rows=1199), {"min_new_rows": 1200}, ()),
        # Rows that nobody could count are no reason to wait for ever.
        (NEW, {"min_new_rows": 1200}, ("new data (may.csv)",)),
        (
            DRIFT,
            {},
            ("new data (may.csv)", "drift: trip_distance has moved (PSI 0.4); PU is new"),
        ),
        (
            replace(DRIFT, drift=("a: PSI 0.62; 42.9 % have it.", "b.", "c.")),
            OFF,
            ("drift: a; b and 1 more",),
        ),
        (DRIFT, OFF, ("drift: trip_distance has moved (PSI 0.4); PU is new",)),
        (DRIFT, {**OFF, "on_drift": False}, ()),
        (WORSE, OFF, ("the live score 6.1 is worse than 5.2",)),
        (WORSE, {**OFF, "on_live_score": False}, ()),
        (replace(QUIET, age_days=29.9), {"max_age_days": 30.0}, ()),
        (
            replace(QUIET, age_days=30.0),
            {"max_age_days": 30.0},
            ("the last training is 30 days old, 30 days are allowed",),
        ),
        (replace(QUIET, age_days=None), {"max_age_days": 30.0}, ()),
        (replace(QUIET, champion=None), {}, ("there is no champion",)),
        (replace(NEW, champion=None), OFF, ("there is no champion",)),
        (replace(QUIET, asked_for="new library"), OFF, ("asked for: new library",)),
        (replace(QUIET, left_over=("drift: x",)), {}, ("drift: x",)),
        (replace(NEW, left_over=("drift: x",)), {}, ("new data (may.csv)",)),
        (replace(NEW, unknown="it has no profile"), OFF, ()),
    ],
)
def test_only_what_a_rule_asks_for_makes_it_due(facts, rules, reasons):
    due = judge(facts, Retrain(**rules))
    assert due.reasons == reasons
    assert due.is_due is bool(reasons)


@pytest.mark.parametrize(
    ("facts", "rules", "against"),
    [
        (QUIET, {}, ("these data were judged already, and taxi/3 holds",)),
        (NEW, OFF, ("new data (may.csv) (retrain.on_new_data is false)",)),
        (
            replace(NEW, new_rows=7),
            {"min_new_rows": 1200},
            ("new data (7 rows in may.csv), fewer rows than the 1,200 of retrain.min_new_rows",),
        ),
        (
            replace(NEW, unknown="it has no profile"),
            {},
            ("monitor could not say whether there is drift: it has no profile",),
        ),
        (
            DRIFT,
            {"on_drift": False},
            ("drift: trip_distance has moved (PSI 0.4); PU is new (retrain.on_drift is false)",),
        ),
        (
            WORSE,
            {"on_live_score": False},
            ("the live score 6.1 is worse than 5.2 (retrain.on_live_score is false)",),
        ),
        (
            replace(QUIET, age_days=0.05),
            {"max_age_days": 30.0},
            (
                "these data were judged already, and taxi/3 holds",
                "the last training is 1 hour old, 30 days are allowed",
            ),
        ),
    ],
)
def test_what_was_looked_at_and_is_no_reason_is_told(facts, rules, against):
    assert judge(facts, Retrain(**rules)).against == against
