"""Trained weights from a file, put into a model that was built for other data.

A file is safetensors, or what `torch.save` wrote of plain tensors. It may hold a whole model of
umbel's, or a backbone alone as its library names it. A pickle is never run.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadInput
from ..tensors import Tensors, read_tensors

BODY, HEAD = "body.", "head."
"""What the parts of a classifier are called: all but its output layer, and that layer."""

NESTED = ("state_dict", "model_state_dict", "model", "net")
"""Where training programs put the weights in a file that holds more."""

CONVERT = (
    "import torch; from safetensors.torch import save_file; "
    "plain = lambda m: getattr(m, 'state_dict', lambda: m)(); "
    "m = plain(torch.load({path!r}, weights_only=False, map_location='cpu')); "
    "m = plain(next((m[k] for k in {nested} if k in m), m)); "
    "save_file({{k: v.contiguous().clone() for k, v in m.items() if torch.is_tensor(v)}}, "
    "'weights.safetensors')"
)
"""Makes safetensors of whatever a training program pickled: a model, its tensors, or either among
other things."""

LOOKED_AT = 1000
"""Steps of a pickle that tell it from other files."""

UNUSED = ("pooler.", "embeddings.position_ids")
"""Parts of files for transformers' architectures that make no features."""


def read_weights(path: Path, key: str = "model") -> Tensors:
    """A file's tensors by name; raises BadInput where it cannot be read, or would run a program."""
    if not path.is_file():
        raise BadInput(f"{key}.weights: {path}: no such file")
    if path.suffix == ".safetensors":
        try:
            return read_tensors(path)[0]
        except (ValueError, OSError) as error:
            raise BadInput(f"{key}.weights: {path}: cannot be read: {error}") from error
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BadInput(f"{key}.weights: {path}: {_why(path, error)}") from error
    for place in NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(place), Mapping):
            found = found[place]
    tensors = _tensors(found)
    if not tensors:
        raise BadInput(
            f"{key}.weights: {path}: holds a {type(found).__name__}, and no tensors by name; save "
            "model.state_dict()"
        )
    return tensors


def put_weights(module: nn.Module, path: Path, key: str = "model", *, whole: bool = False) -> None:
    """Put a file's weights into a module, all but its output layer where that is for other
    classes, unless it must be the `whole`; raises BadInput, with the first three mismatches and
    what may be the cause. `key` is the section of the experiment that names the file."""
    found = _of_the_library(module, read_weights(path, key))
    expected = module.state_dict()
    fitted = _renamed(found, expected)
    head = {name for name in expected if name.startswith(HEAD)}
    replaced = _replaced(module)
    if replaced:
        own = (replaced + ".", BODY + replaced + ".")
        fitted = {_moved(name, own, HEAD): value for name, value in fitted.items()}
    if any(name in fitted and fitted[name].shape != expected[name].shape for name in head):
        fitted = {name: value for name, value in fitted.items() if name not in head}
    faults = _mismatches(fitted, expected, set() if whole else head)
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        cause = _cause(fitted, expected)
        raise BadInput(
            f"{key}.weights: {path}: does not fit: {'; '.join(faults[:3])}{more}; {cause}"
        )
    for name, value in fitted.items():
        if not value.isfinite().all():
            count = int((~value.isfinite()).sum())
            raise BadInput(
                f"{key}.weights: {path}: {name} holds {count} NaN or infinite numbers of "
                f"{value.numel()}; the training that it is of went astray"
            )
    with torch.no_grad():
        for name, value in fitted.items():
            expected[name].copy_(value)


def library_names(module: nn.Module, tensors: Tensors) -> Tensors:
    """A model's tensors as the library of its architecture calls them, so that whoever has that
    library can load them; a model that is umbel's own, or the user's, keeps its names.

    >>> model = nn.Module()
    >>> model.replaced = "fc"
    >>> tensors = {"body.conv1.weight": torch.zeros(1), "head.bias": torch.zeros(1)}
    >>> list(library_names(model, tensors))
    ['conv1.weight', 'fc.bias']
    """
    replaced = _replaced(module)
    if not replaced:
        return tensors
    named = {_moved(name, (HEAD,), replaced + "."): value for name, value in tensors.items()}
    return {name.removeprefix(BODY): value for name, value in named.items()}


def _replaced(module: nn.Module) -> str:
    """What the library of a model's architecture calls the output layer, `head` where it has none;
    empty for a model that is of no library."""
    found: str | None = getattr(module, "replaced", None)
    return "" if found is None else found or HEAD.removesuffix(".")


def _moved(name: str, places: tuple[str, ...], to: str) -> str:
    """The name with another beginning, where it begins with one of `places`."""
    for place in places:
        if name.startswith(place):
            return to + name.removeprefix(place)
    return name


def _tensors(found: Any) -> Tensors:
    if isinstance(found, nn.Module) or not isinstance(found, Mapping):
        return {}
    return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}


def _of_the_library(module: nn.Module, found: Tensors) -> Tensors:
    """Of a file for an architecture of transformers' what its `AutoModel` would take: what lies
    under the architecture's name, where a model for some task has it there (`bert.`), without the
    parts that umbel does not use."""
    start = str(getattr(getattr(module, "body", None), "base_model_prefix", ""))
    if not start:
        return found
    inner = {n.removeprefix(f"{start}."): v for n, v in found.items() if n.startswith(f"{start}.")}
    return {name: v for name, v in (inner or found).items() if not name.startswith(UNUSED)}


def _renamed(found: Tensors, expected: Mapping[str, Tensor]) -> Tensors:
    """The tensors under the names that fit best: as they are, without a part that all of them
    begin with (`module.`), or as those of a backbone."""
    starts = {name.partition(".")[0] for name in found}
    bare = found if len(starts) > 1 else {n.partition(".")[2]: v for n, v in found.items()}
    ways = [found, bare, *(_in_body(way) for way in (found, bare))]
    return max(ways, key=lambda way: len(way.keys() & expected.keys()))


def _in_body(found: Tensors) -> Tensors:
    return {name if name.startswith(HEAD) else BODY + name: v for name, v in found.items()}


def _mismatches(found: Tensors, expected: Mapping[str, Tensor], optional: set[str]) -> list[str]:
    faults = []
    for name, value in expected.items():
        if name not in found:
            if name not in optional and not name.endswith("num_batches_tracked"):
                faults.append(f"it has no {name}")
        elif found[name].shape != value.shape:
            shapes = f"{tuple(found[name].shape)} instead of {tuple(value.shape)}"
            faults.append(f"{name} is {shapes}")
    return faults + [f"its {name} has no place" for name in found if name not in expected]


def _cause(found: Tensors, expected: Mapping[str, Tensor]) -> str:
    if any(".lora_" in name for name in found.keys() - expected.keys()):
        return "it holds adapters beside its weights; umbel export RUN writes a file of both merged"
    common = found.keys() & expected.keys()
    if not common:
        return "it is of another architecture: no name is the same"
    if len(common) < len(expected) / 2:
        return "it is of another architecture, or of a part of this one"
    odd = [name for name in common if found[name].shape != expected[name].shape]
    if any(found[n].dim() == 4 and found[n].shape[2:] == expected[n].shape[2:] for n in odd):
        return "it is of another width, or for images of another number of channels"
    if odd:
        return "it is of another width, or for inputs of another size"
    return "it is of another depth or variant of the architecture"


def _why(path: Path, error: Exception) -> str:
    """Why `torch.load` would not read a file, and what to do."""
    said = str(error).strip().partition("\n")[0][:200]
    if _is_pickle(path):
        return (
            "is a pickle that would run a program when it is read, so it is not; where you trust "
            f'it, convert it: python -c "{CONVERT.format(path=str(path), nested=NESTED)}"'
        )
    return f"is neither safetensors nor what torch.save wrote ({type(error).__name__}: {said})"


def _is_pickle(path: Path) -> bool:
    """Whether a file is an archive of torch's with a pickle in it, or begins like a pickle."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith("data.pkl") for name in archive.namelist())
        with path.open("rb") as file:
            for _ in islice(pickletools.genops(file), LOOKED_AT):
                pass
            return True
    except (ValueError, OSError, zipfile.BadZipFile):
        return False
