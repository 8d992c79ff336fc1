"""The files of examples/kubernetes have the form that MLflow and Kubernetes ask for."""

import json
import shlex

import pytest
import yaml
from conftest import ROOT

FOLDER = ROOT / "examples" / "kubernetes"


def documents(name):
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


def test_mlflow_reads_the_project_and_its_commands_reach_a_container_as_they_are():
    from mlflow.projects._project_spec import load_project

    project = load_project(str(FOLDER))
    assert project.docker_env["image"]
    for name, given in (("main", {}), ("with_one_change", {"set": "train.search.max_trials=10"})):
        command = project.get_entry_point(name).compute_command(given, None)
        # What the backend makes of it: it quotes each word, and no shell takes the quotes off.
        words = [shlex.quote(word) for word in shlex.split(command)]
        assert words == shlex.split(command)
        assert words[:3] == ["python", "/project/src", "run"]
        assert "/project/params.yaml" in words


def test_the_backend_config_has_what_mlflow_asks_for():
    from mlflow.projects import _parse_kubernetes_config

    config = json.loads((FOLDER / "kubernetes_config.json").read_text(encoding="utf-8"))
    path = config["kube-job-template-path"]
    assert ROOT / path == FOLDER / "job.yml"
    parsed = _parse_kubernetes_config({**config, "kube-job-template-path": str(ROOT / path)})
    template = parsed["kube-job-template"]
    # The places that the backend writes to.
    assert template["metadata"]["namespace"]
    pod = template["spec"]["template"]["spec"]
    assert isinstance(pod["containers"][0]["env"], list)
    assert pod["restartPolicy"] == "Never"


def test_a_job_may_talk_to_the_scheduler_and_nobody_else_outside_may():
    [job] = documents("job.yml")
    labels = job["spec"]["template"]["metadata"]["labels"]
    of_kind = {each["kind"]: each for each in documents("dask-cluster.yml")}
    rules = of_kind["NetworkPolicy"]["spec"]["ingress"][0]
    allowed = [each["podSelector"]["matchLabels"] for each in rules["from"]]
    assert allowed == [{"app": "dask-worker"}, labels]
    assert rules["ports"][0]["port"] == of_kind["Service"]["spec"]["ports"][0]["port"]


@pytest.mark.parametrize("name", ["job.yml", "dask-cluster.yml"])
def test_every_container_says_what_it_needs(name):
    for document in documents(name):
        pod = document["spec"].get("template", {}).get("spec", {"containers": []})
        for container in pod["containers"]:
            limits = container["resources"]["limits"]
            assert container["resources"]["requests"] == limits
            assert set(limits) == {"cpu", "memory"}


def test_the_image_is_made_of_files_that_are_there():
    lines = (FOLDER / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [line.split()[2:-1] for line in lines if line.startswith("COPY")]
    assert copied
    assert all((ROOT / name).exists() for names in copied for name in names)
    image = yaml.safe_load((FOLDER / "MLproject").read_text(encoding="utf-8"))["docker_env"][
        "image"
    ]
    assert lines[0].split("-t ")[1].split()[0] == image
    assert {
        container["image"]
        for document in documents("dask-cluster.yml")
        for container in document["spec"].get("template", {}).get("spec", {}).get("containers", [])
    } == {image}
