"""A folder's models by name: those of one base share it, and each says what it says alone."""

import json

import pytest
import serving_folders as folders
from mixing import RANKS

from scrimp.core.errors import GuardError, ModelError, OptionError
from scrimp.serving.hosting import gather, members

TEXTS = ["what a good film", "I hated it"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, causal_folder):
    return folders.make(tmp_path_factory.mktemp("served"), causal_folder)


@pytest.fixture(scope="module")
def models(folder, causal_folder):
    return gather(folder, base=str(causal_folder), dtype="float32", rows=4, context=128)


def test_everything_is_found_by_the_names_of_the_folders(models):
    assert set(models) == {"sums", "dora", "films", "words", "bare", *RANKS}


def test_models_of_one_base_share_it(models):
    shared = {models[name].host for name in ("sums", "films", "bare", *RANKS)}
    assert len(shared) == 1
    assert models["dora"].host not in shared
    assert set(next(iter(shared)).mixed.names) == {"sums", "films", *RANKS}
    assert models["words"].host is None


def test_what_each_can_do(models):
    assert {name for name, one in models.items() if one.writes} == {"sums", "dora", "bare", *RANKS}
    assert {name for name, one in models.items() if one.labels} == {"films", "words"}
    assert {name for name, one in models.items() if one.embeds} == set(models) - {"words"}


@pytest.mark.parametrize("name", ["films", "words"])
def test_labels_are_those_of_the_predictor_alone(models, folder, name):
    alone = folders.predictor(folder, name).predict([{"text": text} for text in TEXTS])
    served = models[name].classify(TEXTS)
    assert [one["label"] for one in served] == [one["label"] for one in alone]
    for one, other in zip(served, alone, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)


def test_vectors_depend_on_the_adapter(models):
    base, adapted = models["bare"].embed(TEXTS, 64), models["sums"].embed(TEXTS, 64)
    assert base != adapted
    assert models["bare"].embed(TEXTS, 64) == base


def test_a_single_run_is_served_by_its_own_name_and_its_base_too(folder, causal_folder):
    found = gather(folder / "sums", dtype="float32", rows=2, context=64)
    assert set(found) == {"sums", causal_folder.name}
    assert found[causal_folder.name].adapter is None


def test_an_encoder_with_a_head_classifies_and_embeds(tmp_path, encoder_folder):
    from scrimp.checkpoints.heads import PooledClassifier
    from scrimp.checkpoints.loading import load, resolve
    from scrimp.examples.records import Layout
    from scrimp.examples.templates import Template
    from scrimp.serving.predictors import PooledHead

    encoder = load(resolve(encoder_folder), dtype="float32")
    rows = folders.examples(folders.LABELLED, Layout.LABEL)
    head = PooledHead(encoder.with_model(PooledClassifier(encoder.model, rows.labels)),
                      Template.for_(encoder.tokenizer, rows))
    head.save(tmp_path / "head")
    served = gather(tmp_path, rows=2)["head"]
    assert (served.writes, served.embeds, set(served.labels)) == (False, True, {"positive", "negative"})
    alone = head.predict([{"text": text} for text in TEXTS])
    assert [one["scores"] for one in served.classify(TEXTS)] == [pytest.approx(one["scores"]) for one in alone]
    assert served.sizes(TEXTS)[0] == 256
    assert len(served.embed(TEXTS, 32)) == 2


def test_a_folder_without_models_and_names_that_nobody_could_ask_for_are_refused(tmp_path, folder):
    with pytest.raises(ModelError, match="no model in this folder"):
        members(tmp_path)
    with pytest.raises(ModelError, match="cannot be read"):
        members(tmp_path / "missing")
    (tmp_path / "a b").symlink_to(folder / "films")
    with pytest.raises(ModelError, match="no name for a model"):
        members(tmp_path)


def test_an_adapter_that_names_no_base_needs_one(folder, tmp_path):
    import shutil

    path = shutil.copytree(folder / "rank-two", tmp_path / "peer")
    told = json.loads((path / "adapter_config.json").read_text())
    told["base_model_name_or_path"] = None
    (path / "adapter_config.json").write_text(json.dumps(told))
    with pytest.raises(ModelError, match="what base"):
        gather(tmp_path)


def test_what_writes_other_tokens_than_in_training_is_refused(folder, tmp_path):
    import shutil

    path = shutil.copytree(folder / "sums", tmp_path / "sums")
    told = json.loads((path / "model" / "scrimp.json").read_text())
    told["template_fingerprint"] = "0" * 64
    (path / "model" / "scrimp.json").write_text(json.dumps(told))
    with pytest.raises(GuardError, match="other tokens"):
        gather(tmp_path)


def test_a_folder_of_nothing_that_can_be_served_is_refused(tmp_path):
    from scrimp.examples.records import Layout
    from scrimp.serving.predictors import NearestAnswer

    NearestAnswer.fit(folders.examples(folders.PAIRS, Layout.PROMPT)).save(tmp_path / "nearest")
    with pytest.raises(OptionError, match="nothing"):
        gather(tmp_path)
