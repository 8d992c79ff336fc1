"""What a table says of itself, and the settings that follow from it."""

from ratchet.survey.base import Choice, Remark, Survey
from ratchet.survey.look import look

__all__ = ["Choice", "Remark", "Survey", "look"]
