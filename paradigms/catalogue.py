"""The named paradigms."""

_SURE = f"{__package__}.semi_supervised.recipes"
_AGREE = f"{__package__}.semi_supervised.recipes_consistency"

SEMI_SUPERVISED = {
    "entropy": f"{_AGREE}:entropy",
    "fedmatch": f"{_SURE}:fedmatch",
    "fixmatch": f"{_SURE}:fixmatch",
    "flexmatch": f"{_SURE}:flexmatch",
    "freematch": f"{_SURE}:freematch",
    "mean-teacher": f"{_AGREE}:mean_teacher",
    "mixmatch": f"{_AGREE}:mixmatch",
    "pi-model": f"{_AGREE}:pi_model",
    "pseudo-label": f"{_SURE}:pseudo_label",
    "rscfed": f"{_AGREE}:rscfed",
    "self-training": f"{_SURE}:self_training",
    "semifl": f"{_SURE}:semifl",
    "svm": f"{_SURE}:svm",
    "uda": f"{_SURE}:uda",
}
"""Those that learn from examples without a label beside others."""

PARADIGMS = {
    "supervised": f"{__package__}.supervised:Supervised",
    "distill": f"{__package__}.transfer.distill:Distill",
    "fedgcn": f"{__package__}.graph.fedgcn:FedGcn",
    "fedsage": f"{__package__}.graph.fedsage:FedSage",
    "finetune": f"{__package__}.transfer.finetune:FineTune",
    "forest": f"{__package__}.transfer.forest:RandomForest",
    "instances": f"{__package__}.transfer.instances:Instances",
    "label-propagation": f"{__package__}.semi_supervised.propagation:LabelPropagation",
    "label-spreading": f"{__package__}.semi_supervised.propagation:LabelSpreading",
    "mixture": f"{__package__}.semi_supervised.em:GaussianMixture",
    "graphs": f"{__package__}.graph.graphs:Graphs",
    "links": f"{__package__}.graph.links:LinkPrediction",
    "neighbour-graph": f"{__package__}.graph.vectors:NeighbourGraph",
    "node-propagation": f"{__package__}.graph.propagation:NodePropagation",
    "nodes": f"{__package__}.graph.nodes:Nodes",
    "probe": f"{__package__}.transfer.probe:Probe",
    "relations": f"{__package__}.transfer.distill:Relations",
    **SEMI_SUPERVISED,
}
"""The catalogue: a paradigm's name and where it stands."""
