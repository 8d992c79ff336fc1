"""Only the files that were promoted are loaded, and only signed ones where that is asked for."""

import json
import logging
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlparse

import mlflow
import pytest
import yaml
from conftest import copied, tiny_table

from ratchet import signatures, tracking
from ratchet.commands import history, rollback, signing
from ratchet.errors import AlteredError, InterruptionError, RatchetError, SettingsError, StoreError
from ratchet.manifest import Manifest
from ratchet.project import Project
from ratchet.registry import champion, integrity
from ratchet.registry.ledger import Kind, Ledger, Line
from ratchet.registry.versions import DIGEST_TAG
from ratchet.serving import live, models, served
from ratchet.serving.live import Live
from ratchet.settings import from_mapping
from ratchet.steps import promote
from ratchet.steps.train import Leader


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(champion, "_PAUSE", 0.01)
    for name in (integrity.KEY_VARIABLE, integrity.PASSPHRASE_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def files(store):
    """Give the folder in which the files of a version are kept."""

    def place(number: int = 1) -> Path:
        found = store.get_model_version("tiny", str(number))
        return Path(unquote(urlparse(found.source).path))

    return place


@pytest.fixture(scope="module")
def once(made_once, tmp_path_factory):
    """A linear model that was promoted and signed; promoting takes a second."""
    folder = tmp_path_factory.mktemp("promoted_once")
    made = signatures.make(folder / "keys" / "release", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setenv("MLFLOW_REGISTRY_URI", "")
        patch.setenv(integrity.KEY_VARIABLE, str(made.private))
        assert promote.run(Project.open(copied(made_once, folder) / "params.yaml")).promoted
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)
    return folder


@pytest.fixture
def evaluated(once, store, tmp_path):
    """As for all tests, but with a champion."""
    return copied(once, tmp_path) / "params.yaml"


@pytest.fixture
def fresh(made_once, store, tmp_path):
    """A project without a champion."""
    opened = Project.open(copied(made_once, tmp_path) / "params.yaml")
    tracking.connect(opened)
    return opened


@pytest.fixture
def promoted(project):
    """A project with a champion; give that, too."""
    return project, served.find(project)


@pytest.fixture
def key(once, tmp_path):
    """The key that has signed the champion."""
    shutil.copytree(once / "keys", tmp_path / "keys", dirs_exist_ok=True)
    public = signatures.public_key(tmp_path / "keys" / "release.pub")
    return signatures.Pair(public.place.with_suffix(""), public.place, public.id, encrypted=False)


@pytest.fixture
def signing_project(project, key, monkeypatch):
    """A project that signs what it promotes, and loads nothing else."""
    monkeypatch.setenv(integrity.KEY_VARIABLE, str(key.private))
    return trusting(project, key)


def trusting(project: Project, *pairs) -> Project:
    values = yaml.safe_load(project.params_file.read_text(encoding="utf-8"))
    values["registry"] = {
        **values.get("registry", {}),
        "require_signature": True,
        "public_keys": [str(each.public) for each in pairs],
    }
    project.params_file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return Project.open(project.params_file)


def refusal(project, version) -> str:
    with pytest.raises(AlteredError) as caught:
        served.load(project, version)
    return str(caught.value)


WAY_OUT = (
    " It is not loaded. Restore it from a backup of the artifact store, or bring another version"
    " back: ratchet rollback --reason 'its files were changed'."
)


def test_what_is_promoted_is_on_record_in_the_ledger_and_with_the_version(promoted, store, files):
    project, version = promoted
    manifest = Manifest.read(files())
    [line] = Ledger.find(project.settings).lines()
    evidence = Ledger.find(project.settings).evidence_of(line)
    assert line.files == manifest.digest
    assert evidence[integrity.EVIDENCE_KEY] == dict(manifest.files)
    assert store.get_model_version("tiny", "1").tags[DIGEST_TAG] == manifest.digest
    assert models.fetch(version).is_known
    served.load(project, version)  # and again, after MLflow has left its note there
    assert models.fetch(version).manifest == manifest


def test_a_file_that_was_altered_removed_or_added_is_named(promoted, files):
    project, version = promoted
    place, told = files(), "The files of tiny/1 are not those that were promoted: "
    model = place / "model.skops"
    before = model.read_bytes()
    model.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert refusal(project, version) == f"{told}model.skops was altered.{WAY_OUT}"
    model.unlink()
    assert refusal(project, version) == f"{told}model.skops was removed.{WAY_OUT}"
    model.write_bytes(before)
    (place / "code").mkdir()
    (place / "code" / "own.py").write_text("x = 1", encoding="utf-8")
    (place / "MLmodel").write_text((place / "MLmodel").read_text() + "\n", encoding="utf-8")
    assert refusal(project, version) == (
        f"{told}MLmodel was altered, code/own.py was added.{WAY_OUT}"
    )
    shutil.rmtree(place)
    with pytest.raises(StoreError):
        served.load(project, version)


def test_an_altered_file_is_refused_before_it_is_read(promoted, files, tmp_path):
    """The digest comes first: what vetting would say of a file is not even asked."""
    project, version = promoted
    place = files()
    about = yaml.safe_load((place / "MLmodel").read_text(encoding="utf-8"))
    about["flavors"]["sklearn"]["serialization_format"] = "pickle"
    (place / "MLmodel").write_text(yaml.safe_dump(about), encoding="utf-8")
    (place / "model.skops").write_bytes(pickle.dumps(Path.touch))
    assert "MLmodel was altered, model.skops was altered" in refusal(project, version)


def test_who_changes_a_file_and_the_record_beside_it_is_found_out(promoted, files, store):
    project, version = promoted
    place = files()
    (place / "model.skops").write_bytes(b"other")
    digest = Manifest.read(place).digest
    store.set_model_version_tag("tiny", "1", DIGEST_TAG, digest)
    assert refusal(project, version) == (
        f"The tag {DIGEST_TAG} of tiny/1 was changed: the ledger has another digest of its files."
        f"{WAY_OUT}"
    )
    # A line that is added says nothing about a version that an earlier one has registered.
    book = Ledger.find(project.settings)
    first = book.lines()[0]
    forged = replace(first, number=2, version=1, bound=None, files=digest, previous=first.digest)
    store.log_param(book.index, "000002", forged.text)
    assert "was changed: the ledger has another digest" in refusal(project, version)
    store.delete_model_version_tag("tiny", "1", DIGEST_TAG)
    assert "model.skops was altered" in refusal(project, version)


def test_without_the_list_of_files_the_digest_still_refuses(promoted, files, store):
    project, version = promoted
    [line] = Ledger.find(project.settings).lines()
    run = store.get_run(line.decision_run)
    evidence = Path(unquote(urlparse(run.info.artifact_uri).path)) / "decision.json"
    evidence.write_text(json.dumps({"model_files": {}}), encoding="utf-8")
    served.load(project, version)
    (files() / "model.skops").write_bytes(b"other")
    assert "their digest is another one, and the list of them is gone" in refusal(project, version)


def test_a_line_from_before_there_were_digests_reads_and_digests_as_it_did():
    text = (
        '{"at":"2026-11-26T03:38:18.000+00:00","basis":"b","before":null,"decision_run":"d",'
        '"evidence":"e","kind":"promote","number":1,"previous":"","reason":"r","run_id":"r",'
        '"version":null,"who":"me@host"}'
    )
    assert Line.parse(text).text == text
    assert Line.parse(text).files == ""
    assert '"files":"f"' in replace(Line.parse(text), files="f").text


def test_a_version_without_a_digest_is_loaded_and_told_once(project, store, caplog):
    found = store.get_model_version("tiny", "1")
    store.create_model_version("tiny", source=found.source, run_id=found.run_id)
    integrity._TOLD.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            served.load(project, served.find(project, "2"))
    told = [each for each in caplog.messages if "has no digest of its files on record" in each]
    assert len(told) == 1
    assert told[0].startswith("tiny/2 has no digest of its files on record, so that nobody can")
    assert signing.verify(project, "2").line() == "verify: tiny/2: no digest on record"


def test_no_command_loads_a_champion_whose_files_were_changed(
    promoted, better, files, call, key, tmp_path
):
    project, _ = promoted
    (files() / "model.skops").write_bytes(b"other")
    rows = tmp_path / "rows.parquet"
    tiny_table(30, seed=1).drop(columns="price").to_parquet(rows)
    given = ("--params", project.params_file)
    commands = [
        ("serve", "--port", 0, *given),
        ("predict", "--data", rows, "--out", tmp_path / "out.parquet", *given),
        ("export", "--to", tmp_path / "model.onnx", *given),
        ("monitor", "--data", rows, *given),
        ("promote", "--params", better.params_file),
        ("sign", "--key", key.private, *given),
    ]
    for command in commands:
        code, _, err = call(*command)
        assert (code, "model.skops was altered" in err) == (2, True), (command, err)
        assert "Traceback" not in err
    assert not (tmp_path / "out.parquet").exists()
    code, out, _ = call("verify", *given)
    assert (code, "model.skops was altered" in out) == (1, True)
    code, out, err = call("doctor", *given)
    assert "model.skops can't be read: File is not a zip file" in " ".join((out + err).split())
    code, out, _ = call("compare", "tiny/1", Leader.load(better).run_id, *given)
    assert code == 0
    assert "model.skops was altered" in " ".join(out.split())


def test_a_champion_whose_files_were_changed_is_replaced_by_force_only(
    promoted, better, files, store
):
    project, _ = promoted
    (files() / "model.skops").write_bytes(b"other")
    with pytest.raises(AlteredError):
        promote.run(better)
    assert [line.kind for line in Ledger.find(project.settings).lines()] == [Kind.PROMOTE]
    decision = promote.run(better, force=True, reason="the store was written to by a stranger")
    assert decision.promoted
    [gate] = [each for each in decision.gates if each.name == "better_than_champion"]
    assert "model.skops was altered" in gate.reason
    assert served.load(better, served.find(better)).label == "tiny/2"


def test_what_serves_goes_on_while_the_next_version_is_not_what_was_promoted(
    promoted, better, files, monkeypatch
):
    project, _ = promoted
    monkeypatch.setattr(live, "_PAUSE", 0.0)
    following = Live.begin(project)
    promote.run(better)
    model = files(2) / "model.skops"
    before = model.read_bytes()
    model.write_bytes(b"other")
    following.look()
    assert following.now.served.label == "tiny/1"
    assert "tiny/2 can't answer: The files of tiny/2 are not those" in following.state.problem
    assert "model.skops was altered" in following.state.problem
    model.write_bytes(before)
    following.look()
    assert following.now.served.label == "tiny/2"


def test_another_model_than_was_judged_is_not_promoted(fresh, store):
    leader = Leader.load(fresh)
    kept = store.get_logged_model(leader.model_uri.removeprefix("models:/")).artifact_location
    (Path(unquote(urlparse(kept).path)) / "model.skops").write_bytes(b"other")
    with pytest.raises(AlteredError) as caught:
        promote.run(fresh)
    assert str(caught.value) == (
        f"The store keeps another model of run {leader.run_id} than the one that was judged, in"
        f" {fresh.trained / 'model'}: model.skops was altered. It is not promoted. Train again:"
        " dvc repro --force train, or python src train."
    )
    assert store.search_registered_models() == []


# Signatures


def test_promote_signs_where_a_key_is_configured(fresh, key, store, monkeypatch):
    monkeypatch.setenv(integrity.KEY_VARIABLE, str(key.private))
    signing_project = trusting(fresh, key)
    promote.run(signing_project)
    tags = store.get_model_version("tiny", "1").tags
    [text] = [tags[name] for name in tags if name.startswith(integrity.SIGNATURE_TAG)]
    book = Ledger.find(signing_project.settings)
    assert book.signatures() == {1: {key.id: text}}
    assert served.load(signing_project, served.find(signing_project)).label == "tiny/1"
    found = history.read(signing_project, verify=True)
    assert (found.faults, found.n_signatures) == ((), 1)
    assert signing.verify(signing_project, None).signed
    promote.run(signing_project)  # no new candidate, and no new signature
    assert store.get_model_version("tiny", "1").tags == tags


def test_a_key_is_named_by_the_settings_too_and_one_that_is_not_there_is_told_at_once(
    fresh, key, store
):
    named = Project.open(fresh.params_file, [f"registry.signing_key={key.private}"])
    assert integrity.signing_key(named).id == key.id
    wrong = Project.open(fresh.params_file, ["registry.signing_key=nowhere"])
    with pytest.raises(RatchetError, match=r"The private key .*nowhere can't be read"):
        promote.run(wrong)
    assert store.search_registered_models() == []


def test_who_holds_no_key_promotes_and_another_signs(fresh, key, caplog):
    asking = trusting(fresh, key)
    with caplog.at_level(logging.WARNING):
        assert promote.run(asking).promoted
    assert "version 1 is not signed, and registry.require_signature is on" in caplog.text
    with pytest.raises(StoreError) as caught:
        served.load(asking, served.find(asking))
    assert str(caught.value) == (
        "tiny/1 is not signed, and registry.require_signature is on: it is not loaded. Whoever"
        " holds a key signs it: ratchet sign tiny/1"
    )
    found = history.read(asking, verify=True)
    assert found.faults == (
        "line 1: version 1, the champion, is signed by none of registry.public_keys",
    )
    with pytest.raises(RatchetError, match=r"There is no key to sign with\. Name its file: --key"):
        signing.sign(asking, None, None)
    told = signing.sign(asking, "tiny/1", key.private)
    assert (told.version, told.key) == ("tiny/1", key.id)
    assert signing.sign(asking, None, key.private).at == told.at
    served.load(asking, served.find(asking))
    assert history.read(asking, verify=True).n_signatures == 1


def test_a_promotion_that_was_killed_before_it_signed_is_signed_by_the_next(
    fresh, key, monkeypatch, store
):
    monkeypatch.setenv(integrity.KEY_VARIABLE, str(key.private))
    signing_project = trusting(fresh, key)
    with monkeypatch.context() as killed:
        killed.setattr(integrity, "sign", interrupted)
        with pytest.raises(InterruptionError):
            promote.run(signing_project)
    assert promote.run(signing_project).promoted
    assert signers(store, 1) == {key.id}
    served.load(signing_project, served.find(signing_project))


def interrupted(*_):
    raise KeyboardInterrupt


def signers(store, number):
    tags = store.get_model_version("tiny", str(number)).tags
    start = integrity.SIGNATURE_TAG
    return {name.removeprefix(start) for name in tags if name.startswith(start)}


def test_a_signature_of_another_version_key_or_file_is_none(
    signing_project, better, key, store, files, tmp_path
):
    """Each by really doing it to a store that anybody may write to."""
    project = signing_project
    promote.run(better)
    assert signers(store, 2) == {key.id}
    version, name = served.find(project), integrity.SIGNATURE_TAG + key.id
    own, others = (store.get_model_version("tiny", n).tags[name] for n in ("2", "1"))

    def refused() -> str:
        with pytest.raises(StoreError) as caught:
            served.load(project, version)
        assert "registry.require_signature is on: it is not loaded" in str(caught.value)
        return str(caught.value)

    served.load(project, version)
    store.set_model_version_tag("tiny", "2", name, others)  # a replaced tag
    not_of_this = f"tiny/2 has a signature by {key.id} that is not of this version"
    assert refused().startswith(not_of_this)
    store.set_model_version_tag("tiny", "2", name, "no signature")
    assert refused().startswith(not_of_this)
    store.delete_model_version_tag("tiny", "2", name)  # a stripped one
    assert refused().startswith("tiny/2 is not signed")
    assert history.read(project, verify=True).faults == (
        f"line 2: version 2 has lost its signature by {key.id}, which the ledger has",
        "line 2: version 2, the champion, is signed by none of registry.public_keys",
    )
    stranger = signatures.make(tmp_path / "keys" / "stranger", None)
    signing.sign(project, "2", stranger.private)  # another key
    assert refused().startswith(
        f"tiny/2 is signed by {stranger.id}, which registry.public_keys doesn't have (release.pub"
        f" is {key.id})"
    )
    pretending = store.get_model_version("tiny", "2").tags[integrity.SIGNATURE_TAG + stranger.id]
    store.set_model_version_tag("tiny", "2", name, pretending)
    assert refused().startswith(not_of_this)
    store.set_model_version_tag("tiny", "2", name, own)
    served.load(project, version)
    # The same files under another number are another version.
    found = store.get_model_version("tiny", "2")
    store.create_model_version("tiny", source=found.source, run_id=found.run_id)
    store.set_model_version_tag("tiny", "3", name, own)
    version = served.find(project, "3")
    assert refused().startswith(f"tiny/3 has a signature by {key.id} that is not of this version")


def test_files_that_were_changed_are_not_what_was_signed_whatever_the_record_says(
    project, key, store, tmp_path
):
    """A version that was registered by other means has no digest on record, and can be signed."""
    asking = trusting(project, key)
    found = store.get_model_version("tiny", "1")
    copy = tmp_path / "copy"
    shutil.copytree(Path(unquote(urlparse(found.source).path)), copy)
    store.create_model_version("tiny", source=str(copy), run_id=found.run_id)
    signing.sign(asking, "2", key.private)
    version = served.find(asking, "2")
    served.load(asking, version)
    model, extra = copy / "model.skops", copy / "extra.txt"
    before = model.read_bytes()
    for change, undo in (
        (lambda: model.write_bytes(b"other"), lambda: model.write_bytes(before)),
        (model.unlink, lambda: model.write_bytes(before)),
        (lambda: extra.write_text("x"), extra.unlink),
    ):
        change()
        with pytest.raises(StoreError, match="that is not of this version with these files"):
            served.load(asking, version)
        undo()
    served.load(asking, version)


def test_keys_are_changed_one_after_the_other(signing_project, key, tmp_path, store):
    fresh = signatures.make(tmp_path / "keys" / "next", None)
    both = trusting(signing_project, key, fresh)
    served.load(both, served.find(both))
    new = trusting(signing_project, fresh)
    with pytest.raises(StoreError, match=r"which registry\.public_keys doesn't have"):
        served.load(new, served.find(new))
    signing.sign(both, None, fresh.private)
    assert signers(store, 1) == {key.id, fresh.id}
    served.load(new, served.find(new))
    assert history.read(both, verify=True).n_signatures == 2
    assert history.read(new, verify=True).n_signatures == 1


def test_what_serves_goes_on_while_nobody_has_signed_the_next(
    signing_project, better, key, monkeypatch
):
    monkeypatch.setattr(live, "_PAUSE", 0.0)
    following = Live.begin(signing_project)
    monkeypatch.delenv(integrity.KEY_VARIABLE)
    promote.run(better)
    following.look()
    assert following.now.served.label == "tiny/1"
    assert "tiny/2 can't answer: tiny/2 is not signed, and" in following.state.problem
    signing.sign(better, None, key.private)
    following.look()
    assert following.now.served.label == "tiny/2"
    rollback.run(signing_project, reason="it was a test")
    following.look()
    assert following.now.served.label == "tiny/1"


def test_no_command_answers_with_an_unsigned_champion(project, better, key, store, call, tmp_path):
    """Those that only compare with it do: or nobody could take its place."""
    store.delete_model_version_tag("tiny", "1", integrity.SIGNATURE_TAG + key.id)
    trusting(project, key)
    rows = tmp_path / "rows.parquet"
    tiny_table(30, seed=1).drop(columns="price").to_parquet(rows)
    given = ("--params", project.params_file)
    for command in (
        ("serve", "--port", 0),
        ("predict", "--data", rows, "--out", tmp_path / "out.parquet"),
        ("export", "--to", tmp_path / "model.onnx"),
        ("monitor", "--data", rows),
    ):
        code, _, err = call(*command, *given)
        assert (code, "tiny/1 is not signed" in err) == (2, True), (command, err)
    code, out, _ = call("verify", *given)
    assert (code, out) == (1, "verify: tiny/1 is not signed.\n")
    code, out, err = call("doctor", *given)
    assert "tiny/1 is not signed" in " ".join((out + err).split())
    code, _, err = call("promote", "--params", better.params_file)
    assert code == 0, err


@pytest.mark.parametrize(
    ("registry", "told"),
    [
        (
            {"require_signature": True},
            "registry.public_keys must name a file with require_signatur",
        ),
        (
            {"signing_key": "-----BEGIN PRIVATE KEY-----"},
            "must be the path of a file; a key itself",
        ),
        ({"signing_key": "a\nb"}, "must be the path of a file; a key itself"),
        ({"public_keys": [""]}, "must be the path of a file, got ''"),
    ],
)
def test_settings_that_would_lock_out_or_let_out_are_refused(registry, told):
    values = {"name": "t", "data": {"source": "data", "target": "y"}, "registry": registry}
    with pytest.raises(SettingsError) as caught:
        from_mapping(values, origin="here")
    assert told in str(caught.value)
    assert "BEGIN" not in str(caught.value)
