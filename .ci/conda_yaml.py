"""Write conda.yaml: the pins of uv.lock in the form that `mlflow run` builds from."""

import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]

HEADER = """\
# What `mlflow run` builds: the pins of uv.lock, written by `make lock`.
# The project itself is not listed. MLflow names the environment after this text alone, so a
# second clone would run the first one's code; commands start with `python src`, which is here.
# Nor is a Python: the lock holds for 3.11 and newer, and MLflow takes the one that runs it.
"""


def pins() -> list[str]:
    """Return each locked distribution as a pip requirement, markers included."""
    exported = subprocess.run(
        [
            *("uv", "export", "--frozen", "--no-dev", "--no-hashes", "--no-emit-project"),
            # Both front doors must search the same families; neither needs a cluster, what is
            # told of single answers, another program's format, or a store that most don't have.
            *("--no-annotate", "--no-header", "--all-extras"),
            *("--no-extra", "dask", "--no-extra", "explain", "--no-extra", "onnx"),
            *("--no-extra", "s3"),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [" ".join(line.split()) for line in exported.splitlines() if line.strip()]


def text() -> str:
    """Return the whole file."""
    environment = {
        "name": "ratchet",
        "channels": ["conda-forge"],
        "dependencies": ["pip", {"pip": pins()}],
    }
    return HEADER + yaml.safe_dump(environment, sort_keys=False, width=1000)


if __name__ == "__main__":
    (ROOT / "conda.yaml").write_text(text(), encoding="utf-8")
