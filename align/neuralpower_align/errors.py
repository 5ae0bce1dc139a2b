"""What may be wrong with measurements, as against faults of the program."""

from __future__ import annotations


class Unattributable(ValueError):
    """These readings and inferences cannot be attributed. The text says why, in one line for people.

    Callers catch this and no other ValueError: numpy's LinAlgError is one too, and says that something here is wrong.
    """
