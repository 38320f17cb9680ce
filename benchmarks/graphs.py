"""Graph neural networks beside what is published, in one place and at clients.

`place`: Cora and Citeseer, the official split, GCN and GAT in one place (Kipf and Welling 2017,
Velickovic et al. 2018), ten seeds.

`louvain`: GCN over five Louvain communities, 60/20/20 of each client's nodes at random, alone,
FedAvg and in one place (FederatedScope-GNN, arXiv 2204.05562), five seeds. Alone each community has
a model: judged by what that community holds out, and by what all hold out.

`fedsage`: GraphSAGE and FedSage+ over the same communities, five seeds; only Cora's is judged.

`fedgcn`: the official split at ten clients (Dirichlet, alpha 10000, the paper's IID case),
FedAvg and FedGCN with one and two hops (arXiv 2201.12433), five seeds.

`propagation`: label propagation over the official split, in one place, over five Louvain
communities and at ten clients (Kipf and Welling 2017, table 2), one seed, for only the division is
random: the figures are the same three times.

`molecules`: BBBP, BACE, ClinTox and solubility over four clients by scaffold, GIN and GCN: alone,
FedAvg, FedProx, GCFL+, one place; three seeds. Judged is by the area under the ROC curve, of
solubility's three classes by accuracy, on the same molecules for all: a fifth of each client's put
together, of solubility the official test part. Alone, and with GCFL+, each client has a model: the
figure is the mean over these of how each does on all those molecules. All train as many epochs
with the same optimiser, in one place over four times the examples.

`links`: Cora's edges, a tenth held out, in one place and over five Louvain communities.

`movielens`: films for users at ten clients and in one place, a fifth of the ratings held out:
recall@20 as in LightGCN (He et al. 2020, arXiv 2002.02126), beside ranking by popularity; three
seeds.

`large`: a random graph of 100,000 nodes, one round with sampled neighbours: its peak memory.

    python benchmarks/graphs.py place louvain --data DATA [--out FOLDER] [--seeds N]

DATA is `planetoid`, with the options of that source (`--data 'planetoid?download=true'`), or a
folder that holds cora.npz and citeseer.npz, which docs/graphs.md says how to make; `molecules` and
`movielens` need `umbel data fetch` of their sets. Each run is kept, and one that is there is not
repeated. Exits with 1 where a figure is more than a point below the published one, or more than two
where that is told as about so much (FedGCN, by the better of its two), FedAvg not 3 points above
alone on the mean over the sets of molecules, or recall not above that of popularity.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from graph_figures import Setting
from graph_links import links, movielens
from graph_memory import large
from graph_molecules import molecules
from graph_nodes import fedgcn, fedsage, louvain, place, propagation

ROWS = {
    found.__name__: found
    for found in (place, louvain, fedsage, fedgcn, propagation, molecules, links, movielens, large)
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="+", choices=list(ROWS))
    parser.add_argument("--data", default="planetoid")
    parser.add_argument("--out", type=Path, default=Path("runs/graphs"))
    parser.add_argument("--seeds", type=int)
    given = parser.parse_args()
    setting = Setting(given.data, given.out, given.seeds)
    said = [fault for row in given.rows for fault in ROWS[row](setting)]
    print("\n".join(said))
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
