"""Make ``python src train`` work in a clone with nothing of ours installed."""

import sys

try:
    from ratchet.cli import main
except ModuleNotFoundError as missing:
    if (missing.name or "ratchet").startswith("ratchet"):
        raise
    # The doctor itself could not start: this is what it would say.
    sys.stderr.write(
        f"{sys.executable} has no {missing.name}. Make the project's environment with"
        " `make install`, and use it with `source .venv/bin/activate`.\n"
    )
    sys.exit(2)

main()
