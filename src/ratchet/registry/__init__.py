"""The registry: versions, stages and aliases, the ledger, and the move of the champion."""
