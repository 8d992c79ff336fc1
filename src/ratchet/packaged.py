"""How another project names the package that runs: by a requirement, or as a wheel of its own."""

import base64
import csv
import hashlib
import io
import json
import re
import tomllib
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

import ratchet
from ratchet.errors import RatchetError

NAME = __package__.partition(".")[0]
"""Name of the package and of its distribution."""

WHEELS = "wheels"
"""Folder of a project that holds the wheel, where no index has the package."""

# A zip has a time for each file, and none before 1980; equal files give equal wheels.
_TIME = (1980, 1, 1, 0, 0, 0)
# Long enough not to meet twice, short enough to read in the name of a file.
_DIGITS = 10


@dataclass(frozen=True)
class Origin:
    """Where another machine gets this package from."""

    requirement: str
    """A line for pip, such as ``ratchet==0.1.0`` or ``./wheels/ratchet-….whl``."""
    needs_wheel: bool
    """Whether it names a wheel that ``write_wheel`` has to write."""


def origin() -> Origin:
    """Say how a project refers to the package that runs.

    What came from an index is pinned by its version, what came from an address
    or a repository by that and the digest or commit. What was installed from a
    folder or a file of this machine, or runs from a checkout, is nowhere else: a
    wheel of it has to travel with the project.

    Raises
    ------
    RatchetError
        If nothing here says what the package needs, so that no wheel can be made.
    """
    installed = _installed()
    if installed is not None:
        address = _address(installed)
        if address is None:
            return Origin(f"{NAME}=={installed.version}", needs_wheel=False)
        if not address.startswith("file:"):
            return Origin(f"{NAME} @ {address}", needs_wheel=False)
    return Origin(f"./{WHEELS}/{wheel_name()}", needs_wheel=True)


def other_than(listed: Collection[str]) -> str:
    """Say so when a list of requirements asks for another state of this package than runs.

    Parameters
    ----------
    listed : collection of str
        Requirements, such as those of a conda.yaml.

    Returns
    -------
    str
        A clause; empty where they agree, or none of them is about this package.
    """
    asked = next((each for each in listed if is_ours(each)), None)
    if asked is None or normalised(asked) == normalised(origin().requirement):
        return ""
    return f"{NAME} {running_version()} runs from {_package()}, and conda.yaml asks for {asked}"


def running_version() -> str:
    """Give the version of the package that runs; with a digest where it is no release.

    The digest is of its files, so that two states of a checkout never have the
    same version.
    """
    installed = _installed()
    if installed is not None and _address(installed) is None:
        return installed.version
    return _digested()


def named_version(requirement: str) -> str | None:
    """Read the version of this package that a requirement asks for.

    Examples
    --------
    >>> named_version("ratchet==0.1.0"), named_version("pandas==3.0")
    ('0.1.0', None)
    >>> named_version("./wheels/ratchet-0.1.0+h1f2e-py3-none-any.whl")
    '0.1.0+h1f2e'
    """
    found = re.fullmatch(rf"{NAME}\s*==\s*(\S+)|\S*\b{NAME}-([^-/]+)-\S+\.whl", requirement.strip())
    return (found[1] or found[2]) if found else None


def normalised(requirement: str) -> str:
    """Write a requirement of this package so that equal ones are equal texts.

    Examples
    --------
    >>> normalised("./wheels/ratchet-0.1.0+h1-py3-none-any.whl")
    'ratchet==0.1.0+h1'
    """
    version = named_version(requirement)
    return f"{NAME}=={version}" if version else "".join(requirement.split())


def is_ours(requirement: str) -> bool:
    """Tell whether a requirement is about this package."""
    return named_version(requirement) is not None or required_name(requirement) == NAME


def wheel_name() -> str:
    """Name the wheel of the package that runs."""
    return f"{NAME}-{_digested()}-py3-none-any.whl"


def write_wheel(folder: Path) -> Path:
    """Write a wheel of the package that runs; equal code gives equal bytes.

    Raises
    ------
    RatchetError
        If nothing here says what the package needs.
    """
    package = _package()
    about = f"{NAME}-{_digested()}.dist-info"
    files = {
        f"{NAME}/{name}": (package / name).read_bytes() for name in sorted(_files(package))
    } | {f"{about}/{name}": text.encode() for name, text in _about().items()}
    licence = _licence()
    if licence is not None:
        files[f"{about}/licenses/LICENSE"] = licence
    rows = [(name, _record_digest(content), len(content)) for name, content in files.items()]
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows([*rows, (f"{about}/RECORD", "", "")])
    files[f"{about}/RECORD"] = lines.getvalue().encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / wheel_name()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as wheel:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            wheel.writestr(entry, content)
    return path


def pins() -> tuple[str, ...]:
    """Pin all that the package needs, directly or not, at the versions that are installed.

    An extra counts where everything that it asks for is installed.

    Returns
    -------
    tuple of str
        Such as ``numpy==2.4.6``, sorted; the package itself is not among them.
    """
    from packaging.requirements import Requirement

    own = [Requirement(each) for each in _requirements()]
    extras = {extra for need in own for extra in _extras_of(need)}
    whole = tuple(extra for extra in sorted(extras) if _is_whole(extra, own))
    waiting: list[tuple[Requirement, tuple[str, ...]]] = [(need, whole) for need in own]
    found: dict[str, str] = {}
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while waiting:
        need, active = waiting.pop()
        asked = (normal(need.name), tuple(sorted(need.extras)))
        if not _applies(need, active) or asked in seen:
            continue
        seen.add(asked)
        try:
            distribution = metadata.distribution(need.name)
        except metadata.PackageNotFoundError:
            continue  # a broken environment is for the doctor to tell
        found[asked[0]] = distribution.version
        waiting += [(Requirement(each), asked[1]) for each in distribution.requires or ()]
    return tuple(f"{name}=={version}" for name, version in sorted(found.items()))


def listed_in(file: Path) -> tuple[str, ...]:
    """Read what a conda.yaml has pip install; nothing where there is no such file."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return ()
    dependencies = content.get("dependencies") if isinstance(content, dict) else None
    return tuple(
        str(requirement)
        for each in (dependencies if isinstance(dependencies, list) else ())
        if isinstance(each, dict)
        for requirement in each.get("pip") or ()
    )


def required_name(requirement: str) -> str:
    """Give the name of the distribution that a requirement asks for, empty where it has none.

    Examples
    --------
    >>> required_name("ruamel.yaml==0.19 ; python_version < '3.12'"), required_name("./a.whl")
    ('ruamel-yaml', '')
    """
    found = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
    return normal(found[0]) if found else ""


def pin_of(requirement: str) -> str:
    """Pin a requirement to the version that is installed; as it is where none is."""
    name = required_name(requirement)
    try:
        return (
            f"{name}=={metadata.version(name)}" if name and "@" not in requirement else requirement
        )
    except metadata.PackageNotFoundError:
        return requirement


def other_releases(pins: Iterable[str]) -> tuple[str, ...]:
    """Name what is installed in another release than pins ask for, or not at all.

    Patches of one release count as equal: 1.9.0 and 1.9.1 do.

    Examples
    --------
    >>> other_releases(["no-such-package==1.2.3", "packaging"])
    ('no-such-package 1.2.3 (not installed)',)
    """
    from packaging.version import Version

    found = []
    for pin in pins:
        name, asked = required_name(pin), pin.partition(";")[0].partition("==")[2].strip()
        if not name or not asked:
            continue
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            found.append(f"{name} {asked} (not installed)")
            continue
        if Version(asked).release[:2] != Version(installed).release[:2]:
            found.append(f"{name} {asked} (installed: {installed})")
    return tuple(found)


def normal(name: str) -> str:
    """Write the name of a distribution as all tools understand it.

    Examples
    --------
    >>> normal("ruamel.yaml"), normal("Jinja2")
    ('ruamel-yaml', 'jinja2')
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def _applies(need: Any, active: tuple[str, ...]) -> bool:
    marker, extras = need.marker, ("", *active)
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)


def _extras_of(need: Any) -> list[str]:
    return re.findall(r"extra == ['\"]([\w.-]+)['\"]", str(need.marker or ""))


def _is_whole(extra: str, needs: list[Any]) -> bool:
    wanted = [need.name for need in needs if extra in _extras_of(need)]
    try:
        return bool(wanted) and all(metadata.version(name) for name in wanted)
    except metadata.PackageNotFoundError:
        return False


def _package() -> Path:
    return Path(__file__).resolve().parent


def _checkout() -> dict[str, Any] | None:
    """Read the pyproject.toml of the checkout that the package runs from, if it does."""
    file = _package().parents[1] / "pyproject.toml"
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):
        return None
    return project if project.get("name") == NAME else None


def _distribution() -> metadata.Distribution | None:
    try:
        return metadata.distribution(NAME)
    except metadata.PackageNotFoundError:
        return None


def _installed() -> metadata.Distribution | None:
    """Give the distribution that the running files came with; None where they were not installed.

    One that is installed to be edited has its files in a checkout, which change.
    """
    found = _distribution()
    if found is None:
        return None
    place = Path(str(found.locate_file(f"{NAME}/__init__.py")))
    return found if place.resolve() == _package() / "__init__.py" else None


def _address(distribution: metadata.Distribution) -> str | None:
    """Read where a distribution was installed from; None for an index."""
    text = distribution.read_text("direct_url.json")
    if not text:
        return None
    told = json.loads(text)
    url = str(told["url"])
    if "vcs_info" in told:
        return f"{told['vcs_info']['vcs']}+{url}@{told['vcs_info']['commit_id']}"
    hashes = told.get("archive_info", {}).get("hashes", {})
    return f"{url}#sha256={hashes['sha256']}" if "sha256" in hashes else url


def _files(package: Path) -> Iterator[str]:
    for path in package.rglob("*"):
        name = path.relative_to(package)
        if path.is_file() and "__pycache__" not in name.parts and not name.name.startswith("."):
            yield name.as_posix()


def _digested() -> str:
    package = _package()
    digest = hashlib.sha256()
    for name in sorted(_files(package)):
        digest.update(f"{name}\0".encode())
        digest.update(hashlib.sha256((package / name).read_bytes()).digest())
    # Begun with a letter, since a number would lose its leading zeros.
    return f"{ratchet.__version__}+h{digest.hexdigest()[:_DIGITS]}"


def _record_digest(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return f"sha256={digest}"


def _requirements() -> list[str]:
    project = _checkout()
    if project is not None:
        return [*project["dependencies"], *_optional(project)]
    found = _distribution()
    if found is None:
        raise RatchetError(
            f"{NAME} runs from {_package()}, which is neither installed nor a checkout with its"
            f" pyproject.toml, so that nothing says what it needs. Install it with pip."
        )
    return found.requires or []


def _optional(project: Mapping[str, Any]) -> Iterator[str]:
    for extra, needs in project.get("optional-dependencies", {}).items():
        for need in needs:
            name, _, marker = (part.strip() for part in need.partition(";"))
            told = f"({marker}) and " if marker else ""
            yield f"{name} ; {told}extra == '{extra}'"


def _licence() -> bytes | None:
    if _checkout() is not None:
        file = _package().parents[1] / "LICENSE"
        return file.read_bytes() if file.is_file() else None
    found = _distribution()
    text = found.read_text("licenses/LICENSE") if found is not None else None
    return None if text is None else text.encode()


def _about() -> dict[str, str]:
    """Write what a wheel says of itself."""
    requirements = _requirements()
    project = _checkout()
    if project is not None:
        points = {"console_scripts": project.get("scripts", {}), **project.get("entry-points", {})}
        python = str(project.get("requires-python", ""))
        summary, licence = str(project["description"]), str(project["license"])
        extras = list(project.get("optional-dependencies", {}))
    else:
        own = metadata.distribution(NAME)
        points = {}
        for each in own.entry_points:
            points.setdefault(each.group, {})[each.name] = each.value
        said = own.metadata
        python, summary, licence = (
            (said.get_all(field) or [""])[0]
            for field in ("Requires-Python", "Summary", "License-Expression")
        )
        extras = said.get_all("Provides-Extra") or []
    fields = [
        ("Metadata-Version", "2.4"),
        ("Name", NAME),
        ("Version", _digested()),
        ("Summary", summary),
        ("License-Expression", licence),
        ("License-File", "LICENSE" if _licence() is not None else ""),
        ("Requires-Python", python),
        *(("Provides-Extra", extra) for extra in extras),
        *(("Requires-Dist", need) for need in requirements),
    ]
    wheel = "Wheel-Version: 1.0\nGenerator: ratchet\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    lines = [
        line
        for group, entries in points.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()), "")
    ]
    return {
        "METADATA": "".join(f"{name}: {value}\n" for name, value in fields if value),
        "WHEEL": wheel,
        "entry_points.txt": "\n".join(lines),
    }
