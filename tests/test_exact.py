"""Values that JSON does not have come back from it as they were."""

import json
import math

import numpy as np
import pytest

from ratchet.errors import RatchetError
from ratchet.exact import pack, pack_all, unpack, unpack_all


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        2**80,
        "süß",
        0.1 + 0.2,
        5e-324,
        -0.0,
        math.inf,
        -math.inf,
        (50, 50),
        (),
        [1, [2.0, (3,)]],
        {"sizes": (8,), "more": {"tuple": [1]}},
        {"tuple": [1]},
        {},
        np.float32(0.1),
        np.int64(7),
        np.bool_(True),
        np.str_("relu"),
    ],
)
def test_a_value_keeps_its_type_and_every_bit(value):
    text = json.dumps(pack(value), allow_nan=False)
    back = unpack(json.loads(text))
    assert repr(back) == repr(value)
    assert type(back) is type(value)


def test_a_number_that_is_none_is_still_none():
    assert math.isnan(unpack(json.loads(json.dumps(pack(math.nan), allow_nan=False))))


def test_what_json_has_is_written_as_it_is():
    assert pack_all({"alpha": 0.5, "kind": None, "n": 3, "of": ["a"]}) == {
        "alpha": 0.5,
        "kind": None,
        "n": 3,
        "of": ["a"],
    }


def test_what_was_written_without_any_marks_is_read_too():
    assert unpack_all({"n": 3, "of": {"a": 1, "b": [2]}}) == {"n": 3, "of": {"a": 1, "b": [2]}}


@pytest.mark.parametrize("value", [max, {1: 2}, {"f": object}, 1j])
def test_what_can_not_be_written_down_is_told_when_it_is_wanted(value):
    packed = json.loads(json.dumps(pack(value)))
    with pytest.raises(RatchetError, match="can't be written down, so that it is not known"):
        unpack(packed)
