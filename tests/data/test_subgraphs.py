"""What is shown of a client's graph, looked at by networkx."""

from __future__ import annotations

import networkx
import numpy as np
import pytest

from umbel.data.subgraphs import MOST_NODES, burnt, laid_out, sampled


def linked(count: int, degree: float, seed: int = 0) -> np.ndarray:
    """The edges of a random graph."""
    graph = networkx.fast_gnp_random_graph(count, degree / count, seed=seed)
    return np.array(sorted(graph.edges), np.int64).reshape(-1, 2)


def graph_of(edges: np.ndarray, count: int) -> networkx.Graph:
    graph = networkx.empty_graph(count)
    graph.add_edges_from(edges.tolist())
    return graph


def test_nodes_are_drawn_near_one_another_and_with_all_edges_between_them() -> None:
    edges = linked(2000, 4)
    whole = graph_of(edges, 2000)
    nodes = burnt(edges, 2000, 100, np.random.default_rng(3))
    part = whole.subgraph(nodes.tolist())
    assert nodes.tolist() == sorted(set(nodes.tolist())) and len(nodes) == 100
    # A hundred of them at random would have five edges.
    assert networkx.number_connected_components(part) <= 2 and part.number_of_edges() > 90
    arrays = {"y": np.arange(2000), "edges": edges}
    shown = sampled(arrays, "client-0")
    assert shown.nodes.tolist() == [MOST_NODES] == [len(shown.y)]
    assert (shown.examples, shown.links) == (2000, len(edges))
    between = whole.subgraph(shown.y.tolist()).edges
    assert {tuple(sorted(pair)) for pair in between} == set(map(tuple, shown.y[shown.edges]))


def test_the_whole_of_a_small_graph_is_shown_and_pieces_where_there_are_no_more_edges() -> None:
    edges = linked(150, 3)
    shown = sampled({"y": np.zeros(150, np.int64), "edges": edges}, "client-0")
    np.testing.assert_array_equal(shown.edges, edges)
    alone = sampled({"y": np.arange(400), "edges": np.zeros((0, 2), np.int64)}, "client-0")
    assert len(set(alone.y.tolist())) == 150 and alone.edges.shape == (0, 2)


def test_the_same_client_always_shows_the_same() -> None:
    arrays = {"y": np.arange(600), "edges": linked(600, 5)}
    first, again, other = (sampled(arrays, name) for name in ("a", "a", "b"))
    np.testing.assert_array_equal(first.y, again.y)
    assert set(first.y.tolist()) != set(other.y.tolist())


@pytest.mark.parametrize(
    ("sizes", "shown"), [([5] * 30, [5] * 9), ([70] * 4, [70] * 2), ([400, 400], [150])]
)
def test_of_a_set_whole_graphs_are_shown(sizes: list[int], shown: list[int]) -> None:
    edges = [np.stack([np.arange(n - 1), np.arange(1, n)], axis=1) for n in sizes]
    links = np.array([len(found) for found in edges])
    arrays = {
        **{"x": np.zeros((sum(sizes), 1)), "y": np.arange(len(sizes)), "nodes": np.array(sizes)},
        **{"links": links, "edges": np.concatenate(edges)},
    }
    found = sampled(arrays, "client-0")
    assert found.nodes.tolist() == shown
    assert (found.examples, found.links) == (len(sizes), links.sum())
    ends = np.cumsum(found.nodes)
    for begin, end in zip(ends - found.nodes, ends, strict=True):
        assert len(set(found.y[begin:end].tolist())) == 1
    if shown != [150]:
        paths = graph_of(found.edges, len(found.y))
        pieces = [len(piece) for piece in networkx.connected_components(paths)]
        assert pieces == shown and len(found.edges) == sum(shown) - len(shown)


def test_places_are_apart_in_the_unit_square_and_links_are_short() -> None:
    edges, count = np.array([[k, k + 1] for k in range(19)] + [[20, 21]]), 30
    places = laid_out(edges, count)
    np.testing.assert_array_equal(places, laid_out(edges, count))
    assert places.min() >= 0 and places.max() <= 1
    apart = np.linalg.norm(places[:, None] - places, axis=2)
    assert apart[np.triu_indices(count, 1)].min() > 0.01
    assert apart[edges[:, 0], edges[:, 1]].mean() < 0.5 * apart[np.triu_indices(20, 1)].mean()
