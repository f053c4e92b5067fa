"""Rules that methods are trained by: what they set, and that the optimizer does what it says."""

import json

import numpy as np
import pandas as pd
import pytest

from sdclib.methods import METHODS, make_hasher
from study import rules
from study.rules import PAPER_RULE, by_rule
from study.runs import expand_config

X = np.random.default_rng(0).standard_normal((64, 6), dtype=np.float32) * 6
VIEWS = np.stack([X, X + np.float32(0.1)])
TOKENS = np.random.default_rng(1).standard_normal((2, 64, 4, 3), dtype=np.float32)
TRAINED = [name for name, method in METHODS.items() if hasattr(method, "_train")]
OTHERS = ["greedyhash", "bihalf", "crovca", "wch"]  # whose own optimizer is no plain Adam


def weights(method: str, **parameters: object) -> np.ndarray:
    hasher = make_hasher(method, 4, epochs=1, batch_size=64, optimizer="adam", **parameters)
    hasher.fit(X, views=VIEWS, tokens=TOKENS)
    return np.concatenate([w.detach().numpy().ravel() for w in hasher.head_.parameters()])


@pytest.mark.filterwarnings("ignore:.*collapse")
@pytest.mark.parametrize("method", OTHERS)
def test_adam_takes_the_place_of_the_methods_own_optimizer(method):
    moved = np.abs(weights(method, learning_rate=1e-3, weight_decay=0.0) - weights(method, learning_rate=0.0))
    # the first step of Adam is the learning rate, whatever the gradient
    assert moved.max() == pytest.approx(1e-3, rel=1e-2)
    assert (moved > 0.9e-3).mean() > 0.25


def test_another_optimizer_is_refused():
    with pytest.raises(ValueError, match="optimizer: expected"):
        make_hasher("bihalf", 4, optimizer="sgd").fit(X)


@pytest.mark.parametrize("method", [name for name in TRAINED if name != "sdc"])
def test_every_method_that_trains_takes_the_papers_rule(method):
    parameters = by_rule("paper", method, {})
    assert parameters.keys() | {"optimizer"} == PAPER_RULE.keys()
    assert "optimizer" in parameters or method not in OTHERS
    hasher = make_hasher(method, 4, **parameters)
    assert hasher.resolved_parameters().items() >= parameters.items()


def test_rules_enter_a_configuration(tmp_path, monkeypatch):
    monkeypatch.setattr(rules, "RESULTS", tmp_path)
    tried = [("bihalf", {"gamma": g}, score) for g, score in ((3.0, 0.4), (6.0, 0.6), (9.0, 0.5))]
    tried.append(("ssdh", {"alpha": 1.0}, 0.9))
    columns = ["method", "parameters", "map_expected"]
    table = pd.DataFrame([(m, json.dumps(p), score) for m, p, score in tried], columns=columns)
    config = {"data": "cifar10-embedded", "n_bits": 16, "seeds": 0}
    config["runs"] = [{"method": "bihalf", "rule": ["authors", "paper", "tuned"]}]
    with pytest.raises(ValueError, match=r"needs .*rules_tuning\.csv"):
        expand_config(config)
    table.to_csv(tmp_path / "rules_tuning.csv", index=False)
    authors, paper, tuned = expand_config(config)
    assert [spec.rule for spec in (authors, paper, tuned)] == ["authors", "paper", "tuned"]
    assert authors.parameters == {}
    assert paper.parameters == PAPER_RULE
    assert tuned.parameters == {"gamma": 6.0}
    assert by_rule("tuned", "bihalf", {"gamma": 9.0}) == {"gamma": 9.0}
    with pytest.raises(ValueError, match="needs rows of greedyhash"):
        by_rule("tuned", "greedyhash", {})
    with pytest.raises(ValueError, match="rule: expected"):
        by_rule("best", "bihalf", {})
