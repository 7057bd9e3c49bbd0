"""Whole runs of speech recognition: from a CSV of sound files to a model that transformers' own pipeline runs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor, pipeline

import luthier
from luthier.component import Facts
from luthier.errors import DataError
from luthier.methods.partial import Partial
from luthier.run import Record, Run
from luthier.tasks.speech_recognition import SpeechRecognition
from luthier.training.course import Material, course
from luthier.training.settings import Training
from tests.sounds import RATE, folder_of_clips, processor_of, rows, saved, spoken, tiny_speech

TASK = {"kind": "speech-recognition", "generation": {"max_new_tokens": 8}}
TRAINING = {"epochs": 6, "batch_size": 8, "learning_rate": 5e-3, "precision": "fp32", "log_every": 1}
FROM_SOUND = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "layerdrop": 0.0}


def tuned(folder: Path, model: Path, **said: Any) -> tuple[Run, list[Record]]:
    records: list[Record] = []
    arguments: dict[str, Any] = {
        "model": str(model),
        "data": {"train": str(folder_of_clips(folder, 40)), "validation": 0.2},
        "task": TASK,
        "training": TRAINING,
        "output": folder / "run",
    }
    return luthier.tune(**arguments | said, on_record=records.append), records


def learnt(records: list[Record]) -> bool:
    losses = [record["loss"] for record in records if record["event"] == "step"]
    return sum(losses[-3:]) < 0.8 * sum(losses[:3])


def of_event(records: list[Record], event: str) -> Record:
    return next(record for record in records if record["event"] == event)


@pytest.mark.parametrize("family", ["whisper", "wav2vec2"])
def test_a_run_learns_checks_itself_and_answers_as_the_pipeline_does(family: str, tmp_path: Path) -> None:
    training = TRAINING | {"learning_rate": 5e-3 if family == "whisper" else 5e-4}
    run, records = tuned(tmp_path, saved(tmp_path / "base", family), training=training)
    assert learnt(records)
    assert of_event(records, "self-check")["passed"]
    assert {"wer-basic", "wer-none", "cer-basic", "loss"} == run.metrics["validation"].keys()
    clip = spoken("ab cd")
    (told,) = run.predict([{"audio": clip.tolist(), "sampling_rate": RATE}])
    arguments = {"generate_kwargs": {"max_new_tokens": 8}} if family == "whisper" else {}
    ask = pipeline("automatic-speech-recognition", model=str(run.model_folder), device="cpu", **arguments)
    assert ask(clip)["text"].strip() == told["text"] != ""
    lines = (run.folder / "predictions" / "validation.jsonl").read_text().splitlines()
    assert all(isinstance(json.loads(line)["value"], str) for line in lines)


def test_a_model_that_only_hears_learns_to_write_the_training_rows_characters(tmp_path: Path) -> None:
    base = tmp_path / "base"
    tiny_speech("wav2vec2", **FROM_SOUND, vocab_size=32).save_pretrained(base)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(base)
    run, records = tuned(tmp_path, base, task=TASK | {"vocabulary": "train"}, method="lora")
    assert of_event(records, "self-check")["passed"]
    assert run.recipe.task.vocabulary == tuple("abcd")
    config = json.loads((run.model_folder / "config.json").read_text())
    assert (config["vocab_size"], config["pad_token_id"]) == (7, 0)
    clip = spoken("ab cd")
    (told,) = luthier.load(run.folder).predict([{"audio": clip.tolist(), "sampling_rate": RATE}])
    assert (
        pipeline("automatic-speech-recognition", model=str(run.model_folder), device="cpu")(clip)["text"]
        == told["text"]
    )


def test_an_encoder_learns_alone_and_the_decoder_stays_as_it_was() -> None:
    task, processor, model = SpeechRecognition(), processor_of("whisper"), tiny_speech("whisper")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    method = Partial(train=("encoder",))
    method.apply(model, generator=torch.Generator())
    settings = Training(steps=10, learning_rate=5e-3, log_every=1, precision="fp32").resolve(Facts())
    material = Material(model, processor, task, task.prepare(rows(12), processor), None)
    losses = [record["loss"] for record in course(material, method, settings) if record["event"] == "step"]
    assert losses[-1] < losses[0]
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(before[name], tensor)}
    assert {name.rpartition("layers.")[0] for name in changed} == {"model.encoder."}


def test_what_goes_wrong_after_the_model_is_loaded_is_told_in_one_message(tmp_path: Path) -> None:
    base = saved(tmp_path / "base", "wav2vec2")
    data = folder_of_clips(tmp_path, 6)
    with data.open("a") as file:
        file.write("0.wav,abcé\n")
    with pytest.raises(DataError, match=r"1 of \d rows cannot be used:\n  1 with characters"):
        luthier.tune(model=str(base), data={"train": str(data), "validation": None}, task=TASK, output=tmp_path / "run")
