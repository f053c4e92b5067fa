import re

import numpy as np
import pytest

from sdclib import cli, load_features
from sdclib.files import read_json
from sdclib.search.report import measure_embeddings
from study.provenance import PROJECT_ROOT
from tests.sentences.published import says

NOTEBOOK = PROJECT_ROOT / "notebooks" / "own_embeddings.ipynb"


def test_goals():
    data = load_features("cifar10-embedded")
    vectors = np.concatenate([data.query, data.database])
    labels = np.concatenate([data.query_labels, data.database_labels])
    report = measure_embeddings(vectors, labels, methods=["itq", "neighbour-itq"], n_bits=[64])
    size = report.costs.groupby("method")["n_bytes"].first()
    says("ITQ's 64-bit codes are 128 times smaller than the vectors", size["cosine"] == 128 * size["itq"])
    values = report.scores.set_index(["goal", "method", "query", "depth"])["value"]
    says(
        "find about nine of the ten nearest neighbours when 100 candidates of float queries are re-scored",
        0.85 < values["neighbours", "itq", "float", 100] < 0.95,
    )
    classes, near, rescored = (
        values[goal, "neighbour-itq", "codes", depth] - values[goal, "itq", "codes", depth]
        for goal, depth in (("classes", 0), ("neighbours", 0), ("neighbours", 100))
    )
    says(
        "Methods with neighbours as teacher ({doc}`neighbours`) find more items of the same class, and fewer of "
        "the nearest neighbours.",
        classes > 0.05 and max(near, rescored) < -0.05,
    )


def test_commands_are_those_of_sdc():
    text = "\n".join("".join(cell["source"]) for cell in read_json(NOTEBOOK)["cells"])
    commands = re.findall(r"^%?sdc (.*?)(?:  #.*)?$", text, flags=re.MULTILINE)
    assert len(commands) > 10
    for command in commands:
        cli._parser().parse_args(re.sub(r"{\w+}", "1", command).split())  # exits at what it does not know


@pytest.mark.slow
def test_a_file_of_ones_own(tmp_path):
    papermill = pytest.importorskip("papermill", reason="needs the extra 'book'")
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).standard_normal((300, 16), dtype=np.float32))
    knobs = {"path": str(tmp_path / "mine.npy"), "lengths": [8, 16], "n_bits": 8, "depth": 20, "epochs": 1}
    papermill.execute_notebook(
        NOTEBOOK, tmp_path / "out.ipynb", knobs, cwd=NOTEBOOK.parent, progress_bar=False
    )
