"""What drives a leader and where it fails is told in true sentences, tables and pictures."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from formulas import Chance, Quantity, schema, two, typed

from ratchet import dependence, importance, metrics, weaknesses
from ratchet.dependence import Curve, Dependence, Panel, Point
from ratchet.explanation import Dot, Explanation, Player, Reasons, Share
from ratchet.importance import AGREEMENT, ColumnLoss, GroupLoss, Importance, Judged, Loss
from ratchet.problem import ProblemType
from ratchet.report import failures, reasons
from ratchet.report.facts import Facts
from ratchet.schema import Kind
from ratchet.weaknesses import BadRow, Slice, Weaknesses

ODD = "cost $x_1$ <script>alert(1)</script> & $\\frac"

IMPORTANCE = Importance(
    metric="rmse",
    score=4.5,
    test_score=4.7,
    n_valid=1000,
    n_test=900,
    seen=True,
    confidence=0.95,
    columns=(
        ColumnLoss("size", Loss(7.4, 7.0, 7.9, (7.3, 7.5)), Loss(6.6, 6.1, 7.1, (6.5, 6.7))),
        ColumnLoss(ODD, Loss(0.5, 0.3, 0.7, (0.4, 0.6)), Loss(0.1, -0.1, 0.3, (0.1, 0.1))),
        ColumnLoss("town", Loss(0.1, -0.1, 0.2, (0.1, 0.1)), Loss(0.0, -0.1, 0.1, (0.0,))),
        ColumnLoss("rest", Loss(0.02, None, None, (0.02,)), None),
    ),
    groups=(GroupLoss(("size", "area"), Loss(9.9, 9.1, 10.7, (9.9,))),),
)
DEPENDENCE = Dependence(
    target="price",
    n_rows=200,
    panels=(
        Panel(
            "size",
            "number",
            (
                Curve(
                    "",
                    (
                        Point("1", 1.0, 0.1, 10.0, 9.0, 11.0),
                        Point("2", 2.0, 0.1, 12.0, 11.0, 13.0),
                        Point("missing", None, 0.1, 11.0, 10.0, 12.0),
                    ),
                ),
            ),
            (1.0, 1.5, 2.0),
        ),
        Panel(
            ODD,
            "category",
            (Curve("", tuple(Point(f"{ODD} {n}", None, 0.1, n, n - 1, n + 1) for n in range(9))),),
            (),
        ),
    ),
)
EXPLANATION = Explanation(
    of="price",
    n_background=30,
    players=(
        Player("size", True, 3.0, tuple(Dot(float(n), n % 3) for n in range(-5, 5))),
        Player(ODD, True, 1.0, tuple(Dot(n / 10, None) for n in range(-5, 5))),
    ),
    rows=(
        Reasons(
            18,
            "57.4",
            13.9,
            "",
            15.9,
            (Share("size", "0", -2.5), Share(ODD, "Berlin", 0.5)),
        ),
    ),
)
WEAKNESSES = Weaknesses(
    metric="rmse",
    target="price",
    problem="regression",
    n_rows=900,
    n_of=2000,
    n_columns=4,
    n_slices=40,
    n_small=3,
    n_unknown=2,
    clustered=True,
    n_sure=2,
    confidence=0.95,
    crossed=("size", "town"),
    slices=(
        Slice(("size",), ("3 to 9",), 250, 6.9, 3.3, 3.6, 3.0, 4.2, -0.5),
        Slice(("town", ODD), ("Berlin", "x"), 60, 5.0, 4.4, 0.6, -0.2, 1.4, 0.1),
    ),
    rows=(BadRow(18, "57.4", "13.9", 43.5, (("size", "0"), (ODD, "Berlin"))),),
)


def told(blocks):
    return " ".join(line for block in blocks for line in block.lines)


def words(drawing):
    root = ElementTree.fromstring(drawing.svg.encode())
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    return [
        "".join(text.itertext()).strip() for text in root.iter("{http://www.w3.org/2000/svg}text")
    ]


def cells(block):
    return [[cell.text for cell in row.cells] for row in block.table.rows]


def drawings(blocks):
    return {drawing.name: drawing for block in blocks for drawing in block.drawings}


def test_the_sentences_say_what_the_numbers_say():
    columns, courses, single = reasons.blocks(IMPORTANCE, DEPENDENCE, EXPLANATION)
    text = told([columns])
    assert "1,000 validation and 900 test rows: how much worse rmse gets by it" in text
    assert "The leader was fitted on the validation rows, too" in text
    assert (
        "size matters most: without it rmse is worse by 7.4000 [7.0000, 7.9000],"
        " on test rows 6.6000 [6.1000, 7.1000]." in text
    )
    assert f"{ODD} matters surely on the validation rows, but not surely on the test rows." in text
    assert "Not surely of use: town." in text
    assert "size and area say much the same" in text
    assert "shuffled together they cost 9.9000 [9.1000, 10.7000]" in text
    assert "1 more column seemed to matter less and was shuffled once" in text
    assert cells(columns)[0] == ["size", "7.4000 [7.0000, 7.9000]", "6.6000 [6.1000, 7.1000]"]
    assert len(cells(columns)) == 3
    assert columns.table.more == 1
    assert "Mean price about 200 validation rows" in told([courses])
    assert cells(courses)[0] == ["size", "10.000", "1", "12.000", "2"]
    assert cells(single) == [
        ["18", "57.4", "13.900", "15.900", f"size = 0: -2.500; {ODD} = Berlin: +0.500"]
    ]


def test_a_leader_that_did_not_see_the_rows_is_not_said_to_have_seen_them():
    text = told(reasons.blocks(replace(IMPORTANCE, seen=False), None, None))
    assert "The leader was fitted neither on the validation nor on the test rows." in text
    assert "fitted on the validation rows, too" not in text


def test_where_no_column_matters_that_is_said():
    nothing = Loss(0.0, 0.0, 0.0, (0.0,))
    found = replace(IMPORTANCE, columns=(ColumnLoss("size", nothing, nothing),), groups=())
    assert "No column matters on the validation rows" in told(reasons.blocks(found, None, None))


def test_without_the_extra_it_is_said_how_to_get_it():
    *_, block = reasons.blocks(IMPORTANCE, DEPENDENCE, None)
    assert told([block]) == (
        "What each column adds to the answer about a row is told where the extra explain is"
        ' installed: pip install "ratchet[explain]", then evaluate again.'
    )


def test_a_clustering_has_its_own_words_and_no_section_of_answers():
    found = replace(
        IMPORTANCE,
        metric=AGREEMENT,
        score=None,
        groups=(),
        columns=(ColumnLoss("size", *(Loss(0.8, None, None, (0.7, 0.9)),) * 2),),
    )
    (block,) = reasons.blocks(found, None, None)
    assert "1 less the adjusted Rand index" in told([block])
    assert "size matters most: without it they differ by 0.8000" in told([block])


def test_slices_and_rows_are_told_with_how_many_were_looked_at():
    slices, rows = failures.blocks(WEAKNESSES)
    text = told([slices])
    assert "900 of 2,000 test rows, cut by 4 columns and by any two of size, town" in text
    assert "40 slices of 50 rows or more were compared with all other rows" in text
    assert "the intervals of all of them hold together at 95 %" in text
    assert "3 had, or left, fewer rows." in text
    assert "2 had no interval: they hold, or leave, fewer than 20 groups or times" in text
    assert (
        "On 2 of them the leader is surely worse. Worst is size = 3 to 9:"
        " rmse 6.9000 on 250 rows, 3.3000 elsewhere." in text
    )
    assert "Slices that are worse only by rows of those listed are left out." in text
    assert cells(slices)[0] == [
        "size = 3 to 9",
        "250",
        "6.9000",
        "3.3000",
        "3.6000 [3.0000, 4.2000]",
        "-0.5000",
    ]
    kinds = [row.cells[4].kind for row in slices.table.rows]
    assert kinds == ["worse", "number"]
    assert cells(rows) == [["18", "57.4", "13.9", "43.500", "0", "Berlin"]]
    assert [cell.text for cell in rows.table.head][:4] == ["test row", "actual", "answer", "off by"]


def test_where_no_slice_is_surely_worse_that_is_said():
    unsure = replace(WEAKNESSES, n_sure=0, slices=WEAKNESSES.slices[1:], clustered=False)
    text = told(failures.blocks(unsure))
    assert "On none of them is the leader surely worse than elsewhere." in text
    assert "2 had no interval: rmse is not always defined there." in text
    assert "On none of them is the leader worse than elsewhere." in told(
        failures.blocks(replace(unsure, slices=()))
    )
    none = replace(unsure, slices=(), n_slices=0, n_unknown=0, rows=())
    text = told(failures.blocks(none))
    assert "No slice has enough rows to say where the leader is worse." in text
    assert "The leader is right about every test row." in text


def test_names_are_shown_as_they_are_in_pictures_that_hold_no_script():
    found = drawings(
        [*reasons.blocks(IMPORTANCE, DEPENDENCE, EXPLANATION), *failures.blocks(WEAKNESSES)]
    )
    assert set(found) == {"importance", "dependence", "shap", "slices"}
    for drawing in found.values():
        assert any("$" in word for word in words(drawing))
        assert "var(--ink, #1C2024)" in drawing.svg
        assert drawing.told.endswith(".")
    assert {"size", "validation rows", "test rows"} <= set(words(found["importance"]))
    assert "rmse worse by, when the column is shuffled" in words(found["importance"])
    assert {"price", "missing"} <= set(words(found["dependence"]))
    assert {"low value", "high value"} <= set(words(found["shap"]))
    assert "size = 3 to 9 (250)" in words(found["slices"])
    assert "size 7.4000 [7.0000, 7.9000], on test rows 6.6000" in found["importance"].told
    assert "size: from 10.000 at 1 to 12.000 at 2" in found["dependence"].told
    assert "size = 3 to 9: surely worse by 3.6000 [3.0000, 4.2000]" in found["slices"].told


def test_the_same_facts_give_the_same_pictures():
    one, other = (
        drawings(
            [*reasons.blocks(IMPORTANCE, DEPENDENCE, EXPLANATION), *failures.blocks(WEAKNESSES)]
        )
        for _ in range(2)
    )
    assert one == other


def test_a_number_that_is_not_known_is_a_dash():
    unknown = Loss(None, None, None, ())
    found = replace(
        IMPORTANCE,
        score=None,
        columns=(*IMPORTANCE.columns[:1], ColumnLoss("void", unknown, unknown)),
    )
    (block, _) = reasons.blocks(found, None, None)
    assert cells(block)[1] == ["void", "—", "—"]


@pytest.mark.parametrize("problem", [p for p in ProblemType if p.has_target])
def test_what_was_measured_survives_the_file_and_can_be_told(problem, tmp_path):
    classes = {"binary": ("no", "yes"), "multiclass": ("a", "b", "c")}.get(problem.value, ())
    of = schema(problem, classes, size=Kind.NUMBER, town=Kind.CATEGORY, sold=Kind.DATETIME)
    rng = np.random.default_rng(0)
    n = 300
    frame = typed(
        pd.DataFrame(
            {
                "size": rng.normal(size=n),
                "town": rng.choice(["Aachen", "Berlin"], n),
                "sold": pd.date_range("2024-01-01", periods=n, freq="h"),
            }
        ),
        of,
    )
    frame.loc[::9] = None
    share = 1 / (1 + np.exp(-frame["size"].fillna(0.0).to_numpy()))
    y = rng.integers(0, len(classes), n) if classes else share + rng.normal(size=n)

    def table(rows):
        first = 1 / (1 + np.exp(-rows["size"].fillna(0.0).to_numpy()))
        return two(first) if len(classes) == 2 else np.column_stack([first / 2] * 2 + [1 - first])

    model = Chance(classes, table) if classes else Quantity(lambda rows: rows["size"].fillna(0.0))
    metric = metrics.default(problem)
    said = importance.answers(model, frame, of, probabilities=True)
    judged = Judged(frame, y)
    facts = Facts(
        leader="a formula",
        importance=importance.measure(
            model, of, metric, judged, judged, seen=False, confidence=0.95, seed=1
        ),
        dependence=dependence.measure(model, of, frame, of.names, 1),
        explanation=EXPLANATION,
        weaknesses=weaknesses.measure(
            metric, of, frame, y, said, of.names, confidence=0.95, seed=1
        ),
    )
    facts.save(tmp_path)
    assert Facts.load(tmp_path) == facts
    blocks = [
        *reasons.blocks(facts.importance, facts.dependence, None),
        *failures.blocks(facts.weaknesses),
    ]
    assert {"importance", "dependence"} <= set(drawings(blocks))
    for drawing in drawings(blocks).values():
        assert words(drawing)
