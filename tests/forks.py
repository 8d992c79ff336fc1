"""Processes that begin with all imported that a promotion needs."""

import multiprocessing
import os
from functools import cache
from multiprocessing import forkserver

import pytest
from conftest import ROOT

# A fork of this very process would inherit OpenMP's threads without their lives.
processes = multiprocessing.get_context("forkserver")


@cache
def warm() -> None:
    """Start the process that the others are forks of, with all that they would have to import."""
    processes.set_forkserver_preload(["warmed"])
    with pytest.MonkeyPatch.context() as patch:
        # It is not given this one's sys.path, and leaves out what it can't find without a word.
        patch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT / "src"), str(ROOT / "tests"))))
        forkserver.ensure_running()
