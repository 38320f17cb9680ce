"""The named paradigms."""

_SEMI = f"{__package__}.semi_supervised.recipes"

PARADIGMS = {
    "supervised": f"{__package__}.supervised:Supervised",
    "forest": f"{__package__}.transfer.forest:RandomForest",
    "distill": f"{__package__}.transfer.distill:Distill",
    "instances": f"{__package__}.transfer.instances:Instances",
    "probe": f"{__package__}.transfer.probe:Probe",
    "relations": f"{__package__}.transfer.distill:Relations",
    "finetune": f"{__package__}.transfer.finetune:FineTune",
    "entropy": f"{_SEMI}:entropy",
    "fixmatch": f"{_SEMI}:fixmatch",
    "flexmatch": f"{_SEMI}:flexmatch",
    "freematch": f"{_SEMI}:freematch",
    "mean-teacher": f"{_SEMI}:mean_teacher",
    "mixmatch": f"{_SEMI}:mixmatch",
    "pi-model": f"{_SEMI}:pi_model",
    "pseudo-label": f"{_SEMI}:pseudo_label",
    "self-training": f"{_SEMI}:self_training",
    "uda": f"{_SEMI}:uda",
}
"""The catalogue: a paradigm's name and where it stands."""
