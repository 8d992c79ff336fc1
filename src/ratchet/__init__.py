"""Ratchet: a versioned table to a registered champion that only moves forward, on evidence."""

__version__ = "0.1.0"
