"""What a user can do wrong, under one parent."""


class RatchetError(Exception):
    """A mistake of the user's, told in a sentence: the command line exits with 2."""


class SettingsError(RatchetError, ValueError):
    """``params.yaml`` or an override says something that is not allowed."""


class DataError(RatchetError, ValueError):
    """The table can't be read, or can't be learned from."""


class StoreError(RatchetError, RuntimeError):
    """MLflow's tracking store or registry can't be reached, or lacks what was asked for."""


class ClusterError(RatchetError, RuntimeError):
    """Workers or a cluster can't be reached or are gone; what they had ended by then is kept."""


class InterruptionError(RatchetError):
    """Ctrl-C, or SIGTERM as a container gets it: the command line exits with 130."""
