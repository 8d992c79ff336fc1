"""Make ``python src train`` work in a clone with nothing of ours installed."""

from ratchet.cli import main

main()
