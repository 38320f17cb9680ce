"""The named paradigms."""

PARADIGMS = {
    "supervised": f"{__package__}.supervised:Supervised",
    "forest": f"{__package__}.transfer.forest:RandomForest",
    "distill": f"{__package__}.transfer.distill:Distill",
    "instances": f"{__package__}.transfer.instances:Instances",
    "probe": f"{__package__}.transfer.probe:Probe",
    "relations": f"{__package__}.transfer.distill:Relations",
    "finetune": f"{__package__}.transfer.finetune:FineTune",
}
"""The catalogue: a paradigm's name and where it stands."""
