"""Who may reach what: servers listen to this machine, packages come with their digests."""

import re
import tomllib

import pytest
import typer
import yaml
from conftest import ROOT

from ratchet.cli import app

TOLD = (
    ROOT / "Makefile",
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "src" / "ratchet" / "templates" / "project").glob("*")),
    *sorted((ROOT / ".github" / "workflows").glob("*.yml")),
    *sorted((ROOT / "src").rglob("*.py")),
    *sorted((ROOT / "examples").rglob("*.py")),
)
LOCK = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
# What starts a server, as commands and as code write it.
SERVER = re.compile(r"mlflow (?:ui|server|models serve)\b.*|(?:python src|ratchet) serve\b.*")


def commands_of(name: str) -> dict[str, object]:
    """Give the defaults of a command's options."""
    command = typer.main.get_command(app).commands[name]
    return {each.name: each.default for each in command.params}


# Servers


def test_serve_listens_to_this_machine_only():
    assert commands_of("serve")["host"] == "127.0.0.1"


def test_mlflows_own_servers_listen_to_this_machine_unless_told():
    """On which `make ui`, and every command that is printed, relies."""
    from mlflow.cli import cli

    for name in ("server", "ui"):
        options = {each.name: each.default for each in cli.get_command(None, name).params}
        assert options["host"] == "127.0.0.1"


@pytest.mark.parametrize("path", TOLD, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_command_that_is_told_opens_a_server_to_the_network_without_saying_so(path):
    text = path.read_text(encoding="utf-8")
    for command in SERVER.findall(text):
        host = re.search(r"--host[ =]([\w.]+)", command)
        if host is not None and host[1] not in ("127.0.0.1", "localhost"):
            # Only inside of a container, which has a network of its own.
            assert path.name == "serving.md" and "image of the project's own" in command, command
    assert path.suffix != ".yml" or "0.0.0.0" not in text


# Packages


@pytest.mark.parametrize("package", LOCK["package"], ids=lambda package: package["name"])
def test_every_file_of_every_locked_package_has_its_digest(package):
    files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
    if package["source"] == {"virtual": "."}:
        assert (package["name"], files) == ("ratchet", [])
        return
    assert package["source"] == {"registry": "https://pypi.org/simple"}
    assert files
    for each in files:
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", each["hash"]), each["url"]
        assert each["url"].startswith("https://"), each["url"]


def test_what_mlflow_installs_is_a_version_that_has_its_digest_in_the_lock():
    """Its own environments are made from names and versions: pip is given no digests."""
    listed = yaml.safe_load((ROOT / "conda.yaml").read_text(encoding="utf-8"))["dependencies"]
    (pins,) = (each["pip"] for each in listed if isinstance(each, dict))
    locked = {f"{each['name']}=={each['version']}" for each in LOCK["package"] if "version" in each}
    for pin in pins:
        requirement = pin.partition(";")[0].strip()
        assert re.fullmatch(r"[\w.-]+==[\w.+!-]+", requirement), pin
        assert requirement in locked


def test_a_models_requirements_are_exact_versions(project):
    told = (project.trained / "model" / "requirements.txt").read_text(encoding="utf-8")
    for line in filter(None, told.splitlines()):
        assert re.fullmatch(r"[\w.-]+==[\w.+!-]+", line.strip()), line


def test_the_audit_looks_at_what_is_locked_and_nothing_else_installs_it():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [recipe] = re.findall(r"^audit:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert "uv export --frozen" in recipe
    assert "--all-groups" in recipe and "--all-extras" in recipe
    assert re.search(r"uvx pip-audit@\d+\.\d+\.\d+ .*--require-hashes --disable-pip", recipe)
    assert "pip-audit" not in {each["name"] for each in LOCK["package"]}
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "audit.yml").read_text())
    when = workflow[True]  # in YAML 1.1 the key `on` is the truth value
    assert {"uv.lock", "pyproject.toml"} <= set(when["pull_request"]["paths"])
    assert when["schedule"]
    [job] = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make audit"]


# What the page says


def test_the_page_on_security_names_files_and_settings_that_are_there():
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", page):
        assert (ROOT / "docs" / target).exists(), target
    from ratchet.settings import field_docs

    names = {name for name, _, _ in field_docs()}
    told = set(re.findall(r"`((?:data|hooks|train|registry|tracking|lineage|promote)\.\w+)`", page))
    assert told
    assert told <= names
