"""A registered version with all that is needed to ask it."""

import numpy as np
import pytest

from ratchet import model, tracking
from ratchet.errors import StoreError
from ratchet.serving import rows, served
from ratchet.steps import prepare, promote
from ratchet.steps.train import Leader


def test_the_champion_answers_as_the_leader_did(project):
    tracking.connect(project)
    with pytest.raises(StoreError, match="There is no champion: no version of"):
        served.find(project)
    decision = promote.run(project)
    version = served.find(project)
    assert decision.promoted
    assert version.run_id == Leader.load(project).run_id
    loaded = served.load(project, version)
    raw = prepare.read_part(project, "test")
    ours = model.predict(loaded.model, rows.accept(raw, loaded.schema), loaded.schema)
    saved = tracking.load_model(str(project.trained / "model"))
    assert np.array_equal(ours.values, model.predict(saved, raw, loaded.schema).values)
    assert loaded.label == f"{version.model}/1"
    assert loaded.metric("auto").name == Leader.load(project).metric
    for name in ("1", f"{version.model}/1", f"{version.model}@champion"):
        assert served.find(project, name) == version
    with pytest.raises(StoreError, match="names a run, which is no version"):
        served.find(project, version.run_id)
