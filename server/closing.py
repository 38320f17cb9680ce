"""What is found out about a run's model once it is final."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..confusion import FILE as CONFUSION_FILE
from ..confusion import Confusion
from ..embeddings import FILE as EMBEDDINGS_FILE
from ..errors import BadInput
from ..gain import FILE as GAIN_FILE
from ..paradigms.base import Paradigm
from ..rounds import read_records
from ..schema import Schema
from ..subgraphs import FILE as SUBGRAPHS_FILE
from ..subgraphs import Subgraphs
from ..tensors import Tensors
from .confusion import measure_confusion
from .embedding import Embedding
from .evaluation import CentralTest
from .gain import first_weights, measure_gain, measures_gain
from .observer import Observer
from .phases import Phases
from .record import RunFolder

if TYPE_CHECKING:
    from ..experiment import Experiment


@dataclass(frozen=True)
class Final:
    """A run's model after its last `round`: all of it, what of it travels, and the hash of
    model.safetensors."""

    tensors: Tensors
    travels: Tensors
    sha256: str
    round: int


@dataclass(frozen=True)
class Closing:
    """What a run's experiment asks for after its last round."""

    experiment: Experiment
    schema: Schema
    gains: bool
    embedding: Embedding | None

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        paradigm: Paradigm,
        schema: Schema,
        test: CentralTest | None,
    ) -> Closing:
        """`test` is the server's test set. Raises BadInput for what can never be told."""
        asked = experiment.evaluation
        for key in ("confusion", "embeddings"):
            if getattr(asked, key) and not schema.classes:
                raise BadInput(f"evaluation.{key}: there are no classes in {schema.summary()}")
        if asked.embeddings and test is None:
            raise BadInput(
                "evaluation.embeddings: the server has no test examples to show; set data.test"
            )
        gains = measures_gain(experiment, paradigm)
        shown = test if asked.embeddings else None
        embedding = None if shown is None else Embedding(shown, experiment.experiment.seed)
        return cls(experiment, schema, gains, embedding)

    def tell(self, phases: Phases, folder: RunFolder, observer: Observer, final: Final) -> None:
        """Have the folder's files tell of that model, where they do not yet.

        Args:
            phases: the way to the clients.
            folder: the run's.
            observer: who watches.
            final: the model.
        """
        most, classes = self.experiment.server.max_examples, self.schema.classes

        def lacks(name: str) -> bool:
            return folder.model_told_of(name) != final.sha256

        def write(name: str, told: Mapping[str, Any]) -> None:
            folder.write_told(name, {"model_sha256": final.sha256, **told})

        if self.gains and lacks(GAIN_FILE):
            observer.note("clients train alone, to tell what transfer gained them")
            first = first_weights(self.experiment, self.schema)
            models = final.travels, {name: first[name] for name in final.travels}
            records = read_records(folder.metrics)
            write(GAIN_FILE, measure_gain(phases, most, final.round, models, records))
        if self.experiment.evaluation.confusion and lacks(CONFUSION_FILE):
            told = measure_confusion(phases, most, final.round, final.travels, classes)
            write(CONFUSION_FILE, told)
            observer.note(Confusion.of_file(told).summary)
        # They are no model's: asked again, clients would show the same.
        if self.experiment.evaluation.subgraphs and not folder.has_told(SUBGRAPHS_FILE):
            shown = phases.tell_subgraphs(final.round)
            folder.write_told(SUBGRAPHS_FILE, shown)
            observer.note(Subgraphs.of_file(shown).summary)
        if self.embedding is not None and lacks(EMBEDDINGS_FILE):
            write(EMBEDDINGS_FILE, self.embedding.tell(final.tensors, classes))
