"""What a user's machine can spring on a project, each looked at by one small function."""

from ratchet.checks import code, data, environment, folder, machine, models, store
from ratchet.checks.base import Check, Finding, Site, State, examine

GROUPS: tuple[tuple[str, tuple[Check, ...]], ...] = (
    ("project", (folder.parameters, folder.mlproject_quotes, folder.stage_commands)),
    (
        "code",
        (
            code.repository,
            code.history,
            code.secrets,
            code.whose_code,
            code.own_environment,
        ),
    ),
    (
        "data",
        (
            data.dvc_installed,
            data.dvc_initialised,
            data.dvc_remote,
            data.data_there,
            data.data_recorded,
            data.data_kept,
            data.pointer_committed,
            data.dvc_locks,
            data.byte_code,
            data.stage_outputs,
        ),
    ),
    (
        "environment",
        (
            environment.python_version,
            environment.packages,
            environment.conda_yaml,
            environment.environment_manager,
            environment.threads,
            environment.mlflow_variables,
        ),
    ),
    (
        "machine",
        (
            machine.cores_and_memory,
            machine.disks,
            machine.writable_folders,
            machine.file_times,
            machine.clock,
        ),
    ),
    (
        "store",
        (
            store.tracking_place,
            store.tracking_store,
            store.experiment,
            store.artifacts,
            store.open_runs,
        ),
    ),
    (
        "models",
        (
            models.leader_loads,
            models.leader_recorded,
            models.champion_loads,
            models.champion_libraries,
            models.stage_and_alias,
        ),
    ),
)
"""All checks, by what they look at, in the order in which they are shown."""

__all__ = ["GROUPS", "Check", "Finding", "Site", "State", "examine"]
