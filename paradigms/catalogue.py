"""The named paradigms."""

PARADIGMS = {"supervised": f"{__package__}.supervised:Supervised"}
"""The catalogue: a paradigm's name and where it stands."""
