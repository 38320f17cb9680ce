"""The bundled texts: 20 Newsgroups, Reuters R8 and R52, and sentences of four domains with the
feelings that people found in them, each read from its carrier."""

from __future__ import annotations

import csv
import io
import tarfile
from pathlib import Path

import numpy as np

from ..errors import BadInput
from .assembly import Part, assemble
from .carriers import locate
from .shard import Dataset
from .texts import as_texts

_LONGEST_TEXT = 10**9
_DOMAINS = {
    "tweets": "tweets_GroundTruth.txt",
    "movies": "movieReviewSnippets_GroundTruth.txt",
    "products": "amazonReviewSnippets_GroundTruth.txt",
    "news": "nytEditorialSnippets_GroundTruth.txt",
}


def newsgroups() -> Dataset:
    """18,821 posts to 20 newsgroups, without what is no word, split 11,293 / 7,528.

    Paper: Cardoso-Cachopo, "Improving methods for single-label text categorization", 2007.
    """
    return _categories("20newsgroups")


def r8() -> Dataset:
    """7,674 Reuters news of 8 topics, official split 5,485 / 2,189.

    Paper: Cardoso-Cachopo, "Improving methods for single-label text categorization", 2007.
    """
    return _categories("r8")


def r52() -> Dataset:
    """9,100 Reuters news of 52 topics, official split 6,532 / 2,568.

    Paper: Cardoso-Cachopo, "Improving methods for single-label text categorization", 2007.
    """
    return _categories("r52")


def sentiment(domain: str = "") -> Dataset:
    """23,703 sentences, positive or negative: tweets, films, products, news; no test part (MIT).

    `domain` is one of these; without it each sentence's owner is its domain, for the partitioner
    `natural`. Those that people found to be neither, a mean of 0, are without a label.

    Paper: Hutto and Gilbert, "VADER: a parsimonious rule-based model for sentiment analysis of
    social media text", 2014, doi 10.1609/icwsm.v8i1.14550
    """
    if domain and domain not in _DOMAINS:
        raise BadInput(f"data.source: sentiment: domain {domain!r} is none of {list(_DOMAINS)}")
    path = locate("sentiment")
    texts: list[str] = []
    labels: list[str] = []
    owners: list[str] = []
    with tarfile.open(path) as archive:
        for name in [domain] if domain else _DOMAINS:
            for valence, text in _sentences(archive, _DOMAINS[name], path):
                texts.append(text)
                labels.append("" if valence == 0 else "positive" if valence > 0 else "negative")
                owners.append(name)
    part = Part(as_texts(texts), np.array(labels), str(path), groups=np.array(owners))
    return assemble("sentiment", part, classes=("negative", "positive"))


def _categories(name: str) -> Dataset:
    train = locate(name)
    test = train.with_name(train.name.replace("-train", "-test"))
    return assemble(name, _tab(train), _tab(test))


def _tab(path: Path) -> Part:
    """A file of tab-separated labels and texts, below three header rows."""
    csv.field_size_limit(_LONGEST_TEXT)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))[3:]
    found = [row for row in rows if len(row) == 2 and all(cell.strip() for cell in row)]
    return Part(as_texts(row[1] for row in found), np.array([row[0] for row in found]), str(path))


def _sentences(archive: tarfile.TarFile, name: str, path: Path) -> list[tuple[float, str]]:
    """The (mean valence, sentence) of each line of a file in the archive."""
    member = next((m for m in archive if Path(m.name).name == name), None)
    file = archive.extractfile(member) if member is not None else None
    if file is None:
        raise BadInput(f"{path}: holds no {name}; get it anew with: umbel data fetch sentiment")
    lines = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="\n")
    rows = (line.rstrip("\r\n").split("\t", 2) for line in lines)
    return [(float(row[1]), row[2].strip()) for row in rows if len(row) == 3]
