"""Checks of the models: is their run there, and can they be loaded without trusting anybody."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlparse
from zipfile import BadZipFile

from ratchet import backends, files, sources, vetting
from ratchet.checks.base import Said, Site, SkipError, error, ok, quoted, some, warning
from ratchet.checks.stores import NOT_YET
from ratchet.errors import RatchetError
from ratchet.manifest import Manifest


def leader_loads(site: Site) -> Iterator[Said]:
    """See that the leader holds no class that skops does not trust, and is no pickle."""
    folder = site.project.trained / "model"
    if not folder.is_dir():
        raise SkipError("no leader has been trained yet")
    fault = _refused(site, folder)
    if fault:
        yield error(f"the leader can't be loaded: {fault}", _again(site))
    else:
        yield ok("it loads without pickle")


def leader_recorded(site: Site) -> Iterator[Said]:
    """See that the leader's run is in the store, or can be logged again there by the next step."""
    project = site.project
    if not (project.trained / "leader.json").is_file():
        raise SkipError("no leader has been trained yet")
    # A store that is yet to be made has no runs; of any other that can't be asked nothing is known.
    client = None if site.access.absent == NOT_YET else site.client
    from ratchet import runfile

    try:
        run_id = str(files.read_json(project.trained / "leader.json", made_by="train")["run_id"])
        kept = runfile.RunFile.load(project.trained, made_by="train")
        found = runfile.find(project, run_id, client) if client is not None else None
    except (RatchetError, KeyError, TypeError) as fault:
        yield error(f"it can't be told which run the leader has: {fault}".rstrip("."), _again(site))
        return
    file = (project.trained / runfile.FILE).relative_to(project.root).as_posix()
    if found == run_id:
        yield ok(f"its run is {run_id}")
    elif found is not None:
        yield ok(f"its run {run_id} is in the store as {found}, logged again")
    elif kept is not None:
        yield ok(f"its run {run_id} is not in the store; the next step logs it again from {file}")
    else:
        told = f"the leader's run {run_id} is not in the store, and there is no {file} to log it"
        yield error(f"{told} again from", _again(site))


def _again(site: Site) -> str:
    return "dvc repro --force train" if site.dvc else "python src train"


def champion_loads(site: Site) -> Iterator[Said]:
    """See that the champion holds no class that skops does not trust, and is no pickle."""
    settings = site.project.settings
    champion = _champion(site)
    where = f"version {champion.version} of {settings.model_name}"
    folder = _folder_of(site, champion)
    if folder is None:
        raise SkipError(f"the files of {where} are on another machine")
    if not folder.is_dir():
        yield error(
            f"the files of {where} are not in {folder}",
            quoted("python", "src", "rollback", "--reason", "its files are gone"),
        )
        return
    fault = _refused(site, folder) or _changed(site, champion, folder)
    if fault:
        yield error(
            f"{where} can't be loaded: {fault}",
            quoted("python", "src", "rollback", "--reason", "it can't be loaded"),
        )
    else:
        yield ok(f"{where} loads without pickle")


def champion_libraries(site: Site) -> Iterator[Said]:
    """See that the champion's libraries are installed in the releases that it was saved with."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    from ratchet.tracking import libraries_of

    champion = _champion(site)
    where = f"version {champion.version} of {site.project.settings.model_name}"
    uri = site.access.uri
    place = f"models:/{champion.name}/{champion.version}"
    with TemporaryDirectory(prefix="ratchet-") as folder:
        try:
            files = get_artifact_repository(place, tracking_uri=uri, registry_uri=uri)
            files.download_artifacts("requirements.txt", folder)
        except (MlflowException, OSError):
            raise SkipError(f"the requirements.txt of {where} can't be had") from None
        other = libraries_of(Path(folder))
    if other:
        yield warning(
            f"{where} was saved with {some(other)}: nobody promises that it loads here, or that it"
            " answers the same",
            "python src run",
        )
    else:
        yield ok(f"{where} has the libraries that it was saved with")


def stage_and_alias(site: Site) -> Iterator[Said]:
    """See that the stage and the alias name the same version."""
    settings = site.project.settings
    stage, alias = settings.registry.stage, settings.registry.alias
    if stage is None:
        raise SkipError("registry.stage is null")
    champion = _champion(site)
    listed = site.client.search_model_versions(f"name = '{settings.model_name}'")
    held = sorted(int(each.version) for each in listed if each.current_stage == stage)
    if held == [int(champion.version)]:
        yield ok(f"{stage} and {alias} are version {champion.version}")
    else:
        shown = ", ".join(map(str, held)) or "none"
        yield warning(
            f"the alias {alias} is version {champion.version}, the stage {stage} {shown}:"
            " promote puts it right",
            "python src promote",
        )


def _champion(site: Site) -> Any:
    from mlflow.exceptions import MlflowException

    settings = site.project.settings
    try:
        return site.client.get_model_version_by_alias(settings.model_name, settings.registry.alias)
    except MlflowException:
        raise SkipError(f"{settings.model_name} has no {settings.registry.alias} yet") from None


def _folder_of(site: Site, version: Any) -> Path | None:
    """Give the folder of a version's files; None when they are not on this machine."""
    place = site.client.get_model_version_download_uri(version.name, version.version)
    if place.startswith("models:/"):
        place = site.client.get_logged_model(place.removeprefix("models:/")).artifact_location
    parsed = urlparse(place)
    return Path(unquote(parsed.path)) if parsed.scheme in ("", "file") else None


def _changed(site: Site, champion: Any, folder: Path) -> str:
    """Say so when a version's files are not those that were promoted or signed; else empty."""
    from ratchet.registry import integrity
    from ratchet.registry.versions import DIGEST_TAG, Version

    promoted, settings = champion.tags.get(DIGEST_TAG), site.project.settings
    try:
        manifest = Manifest.read(folder)
        if promoted not in (None, manifest.digest):
            return f"its files in {folder} are not those that were promoted"
        if not settings.registry.require_signature:
            return ""
        version = Version(champion.name, int(champion.version), champion.run_id or "")
        found = integrity.Found(version, manifest, champion.tags, promoted is not None)
        return integrity.signature_fault(found, integrity.public_keys(site.project))
    except RatchetError as fault:
        return str(fault).rstrip(".")


def _refused(site: Site, folder: Path) -> str:
    """Say why a model would not be loaded; empty when it would."""
    saved = vetting.Saved.read(folder)
    if not saved.flavors:
        return f"{folder} has no MLmodel that can be read"
    strangers = sources.strangers(folder / "code")
    if strangers:
        return f"it comes with code that this project has not: {', '.join(strangers)}"
    if saved.strays:
        return f"it names what lies outside of its own files: {', '.join(saved.strays)}"
    if saved.detour:
        return saved.detour
    if saved.unsafe_format:
        return f"it is saved with {saved.unsafe_format}, which may run any code"
    if not saved.lists_types:
        return ""
    if not saved.file.is_file():
        return f"{saved.file} is not there"
    try:
        unknown = saved.unlisted_types()
    except (OSError, ValueError, KeyError, BadZipFile) as fault:
        return f"{saved.file} can't be read: {fault}"
    if unknown:
        return f"skops does not trust {some(unknown)}; the backend's trusted_types must name them"
    choices = site.project.settings.train
    backends.load(choices.plugins)
    strange = saved.strange_types(
        vetting.known_types(choices.backends, site.project.settings.registry.trusted_types),
        sources.callable_by(folder / "code", backends.callable_modules(choices.backends)),
    )
    if strange:
        return f"only its own file says that {some(strange)} may be trusted"
    return ""
