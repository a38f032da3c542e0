"""Labels have as many values as there are models and keys."""

from pathlib import Path

import pytest

from proxy import labels
from proxy.labels import Labels, Seen, seen_in
from proxy.metric_files import MetricFiles
from proxy.metrics import Metrics

CHAT = "/v1/chat/completions"


def knows_llama(model: str) -> bool:
    return model == "llama"


def test_a_model_that_is_known_or_has_answered_has_its_name() -> None:
    made = Labels(knows_llama, Seen())
    assert made.called(CHAT, "llama", answered=False) == "llama"
    assert made.called(CHAT, "guess", answered=False) == "unknown"
    # The catalogue may not have it yet, but SageMaker has.
    assert made.called(CHAT, "new", answered=True) == "new"
    assert made.called(CHAT, "new", answered=False) == "new"
    assert made.called(CHAT, None, answered=False) == ""


def test_what_is_too_much_is_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "MOST_MODELS", 2)
    monkeypatch.setattr(labels, "MOST_KEYS", 1)
    made = Labels(lambda model: True, Seen())
    names = ["a", "b", "c", "a"]
    assert [made.called(CHAT, each, answered=True) for each in names] == ["a", "b", "other", "a"]
    assert [made.model(each) for each in names] == ["a", "b", "other", "a"]
    assert [made.key(each) for each in names] == ["a", "other", "other", "a"]


def test_a_worker_knows_what_those_before_it_have_counted(tmp_path: Path) -> None:
    metrics = Metrics(knows_llama, MetricFiles(tmp_path, 3))
    assert seen_in(metrics.files.read()) == Seen()
    metrics.request_ended(CHAT, "llama", "alice", 200, 0.1, 0.1)
    metrics.tokens_used("llama", "bob", 1, 2)
    seen = Seen({(CHAT, "llama")}, {"llama"}, {"alice", "bob"})
    assert seen_in(MetricFiles(tmp_path, 4).read()) == seen
