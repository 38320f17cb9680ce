"""The named paradigms."""

PARADIGMS = {
    "supervised": f"{__package__}.supervised:Supervised",
    "finetune": f"{__package__}.transfer.finetune:FineTune",
}
"""The catalogue: a paradigm's name and where it stands."""
