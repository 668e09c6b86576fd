"""Few-shot texts: SetFit in a torch module, files of all kinds, and what a seed draws."""

from __future__ import annotations

import dataclasses
import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ocd.data import seeded
from ocd.errors import MissingData, OCDError
from ocd.tasks import get_task
from ocd.tasks.hub_files import hub_file
from ocd.tasks.text import training
from ocd.tasks.text.bodies import describe_body, load_body, transformer_of
from ocd.tasks.text.loading import draw_shots, make_data, read_labelled
from ocd.tasks.text.network import SetFitNetwork
from ocd.tasks.text.options import OwnTextOptions, TextOptions
from ocd.tasks.text.reader import TextReader
from ocd.tasks.text.tokens import Tokenizer, row_key
from tiny_body import LIMIT, sentences, write_body, write_hub, write_jsonl

pytest.importorskip("setfit")


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    return write_body(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def mpnet(tmp_path_factory):
    return write_body(tmp_path_factory.mktemp("mpnet"), "mpnet")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    return write_hub(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def data(body, hub):
    options = TextOptions(body=str(body))
    return options, get_task("setfit-cr").load(options, hub)


def silent(line: str) -> None:
    pass


# The network


@pytest.mark.parametrize("kind", ["bert", "mpnet"])
@pytest.mark.parametrize("block", [False, True])
def test_embeddings_are_those_of_the_sentence_encoder(kind, block, body, mpnet):
    loaded, name = load_body(str(body if kind == "bert" else mpnet))
    facts = describe_body(loaded, name)
    network = SetFitNetwork(facts, 2, block=block).eval()
    training.copy_body(transformer_of(loaded), network)
    texts = [text for text, _ in sentences(40)] + ["good", "the film was " * 9]
    tokens = Tokenizer(facts)(texts)
    with torch.no_grad():
        found = network.embeddings(tokens.rows)
    wanted = torch.from_numpy(loaded.encode(texts))
    assert torch.allclose(found, wanted, atol=1e-5)
    assert tokens.cut == [41]


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_head_answers_as_the_regression(num_classes):
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(num_classes)
    features, labels = random.normal(size=(30, 8)), np.arange(30) % num_classes
    regression = LogisticRegression().fit(features, labels)
    weight, bias = training.linear_head(regression, num_classes)
    logits = torch.from_numpy(features).float() @ weight.T + bias
    wanted = torch.from_numpy(regression.predict_proba(features)).float()
    assert torch.allclose(logits.softmax(dim=1), wanted, atol=1e-5)


def test_a_class_without_a_text_is_never_answered():
    seen = SimpleNamespace(classes_=np.array([0, 2]), coef_=np.ones((1, 4)), intercept_=np.array([0.3]))
    weight, bias = training.linear_head(seen, 3)
    probabilities = (torch.randn(50, 4) @ weight.T + bias).softmax(dim=1)
    assert probabilities[:, 1].max() < 1e-6


def test_base_answers_as_setfit(data):
    options, loaded = data
    few = draw_shots(dataclasses.replace(options, shots=4, iterations=2), loaded, 0)
    options = dataclasses.replace(options, iterations=2)
    base = training.make_base(options, few)
    before = torch.get_rng_state()
    training.train_base(base, few, options, 0, silent)
    assert torch.equal(torch.get_rng_state(), before)
    texts = [few.texts[row_key(row)] for row in few.train.inputs]
    model = training.train_setfit(texts, few.train.targets.tolist(), options, 0)
    tests = [loaded.texts[row_key(row)] for row in loaded.test.inputs]
    with torch.no_grad():
        found = base(loaded.test.inputs).softmax(dim=1)
    wanted = torch.as_tensor(model.predict_proba(tests)).float()
    assert torch.allclose(found, wanted, atol=1e-5)


# What a seed draws


def test_a_seed_draws_as_many_texts_of_each_class(data):
    options, loaded = data
    one, same, other = (draw_shots(options, loaded, seed).train for seed in (0, 0, 1))
    assert one.targets.bincount().tolist() == [8, 8]
    assert torch.equal(one.inputs, same.inputs)
    assert not torch.equal(one.inputs, other.inputs)


def test_folds_have_their_share_of_each_class():
    from ocd.data import Examples
    from ocd.lessons import CrossFittingConfig, fold_parts

    labels = torch.tensor([0] * 8 + [1] * 8)[torch.randperm(16, generator=seeded(3))]
    folds = CrossFittingConfig(num_folds=4, stratify=True)
    parts = fold_parts(Examples(torch.zeros(16, 2), labels), None, folds, 0)
    assert torch.cat(parts).sort().values.tolist() == list(range(16))
    assert all(labels[part].sum() == 2 for part in parts)


# Files


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_bom_crlf_and_line_ends_in_a_text(tmp_path):
    text = 'text,label\r\n"good, very good",yes\r\n"bad\r\nand broken",no\r\n'
    path = write(tmp_path / "a.csv", text, "utf-8-sig")
    found = read_labelled(path, "text", "label")
    assert found.texts == ["good, very good", "bad\r\nand broken"]
    assert found.labels == ["yes", "no"]


def test_kinds_of_files_agree(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    rows = [("a good one", 1), ("bad", 0)]
    jsonl = write_jsonl(tmp_path / "a.jsonl", rows)
    csv = write(tmp_path / "a.csv", "label,text\n1,a good one\n0,bad\n")
    tsv = write(tmp_path / "a.tsv", "label\ttext\n1\ta good one\n0\tbad\n")
    table = pa.table({"text": [text for text, _ in rows], "label": [1.0, 0.0]})
    parquet.write_table(table, tmp_path / "a.parquet")
    for path in (jsonl, csv, tsv, tmp_path / "a.parquet"):
        found = read_labelled(path, "text", "label")
        assert (found.texts, found.labels) == (["a good one", "bad"], ["1", "0"])


def test_labels_of_all_kinds_of_files_are_one_class(tmp_path):
    """Numbers and truth values are written otherwise by each kind of file."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    csv = write(tmp_path / "a.csv", "text,label,sure\na,1.0,True\nb,-2,false\nc,007,true\n")
    jsonl = write(
        tmp_path / "a.jsonl",
        '{"text": "a", "label": 1, "sure": true}\n{"text": "b", "label": -2.0, "sure": false}\n'
        '{"text": "c", "label": "007", "sure": true}\n',
    )
    floats = pa.table({"text": ["a", "b"], "label": [1.0, -2.0], "sure": [True, False]})
    parquet.write_table(floats, tmp_path / "a.parquet")
    for path, count in ((csv, 3), (jsonl, 3), (tmp_path / "a.parquet", 2)):
        assert read_labelled(path, "text", "label").labels == ["1", "-2", "007"][:count], path
        assert read_labelled(path, "text", "sure").labels == ["true", "false", "true"][:count], path


@pytest.mark.parametrize("label", ["", " ", "nan", "NaN", " <NA> "])
def test_a_missing_label_is_refused_however_it_is_written(tmp_path, label):
    path = write(tmp_path / "a.csv", f"text,label\ngood,1\nbad,{label}\n")
    with pytest.raises(OCDError, match="row 2: there is no label"):
        read_labelled(path, "text", "label")


def test_labels_that_look_like_numbers_have_an_order(tmp_path, body):
    wanted = ["--5", "-", "5-", "9" * 5000]
    rows = "".join(f"good,{label}\n" for label in wanted)
    found = read_labelled(write(tmp_path / "a.csv", "text,label\n" + rows), "text", "label")
    data = make_data(found, found, TextOptions(body=str(body)))
    assert data.classes == sorted(wanted)
    numbers = read_labelled(write(tmp_path / "b.csv", "text,label\na,10\nb,9\nc,-1\n"), "text", "label")
    assert make_data(numbers, numbers, TextOptions(body=str(body))).classes == ["-1", "9", "10"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        # Quotes of the texts themselves, of which csv would make one text of two rows.
        ("a.tsv", 'text\tlabel\n"good film\t1\nbad film"\t0\nfine\t1\n', "row 1: quotes go over"),
        ("b.tsv", 'label\ttext\n1\tgood\n1\t"good film\r\n0\tbad film"\n', "row 2: quotes go over"),
        ("c.tsv", 'text\tby\tlabel\na\t"me\t1\nb\tyou"\t0\n', "row 1: quotes go over"),
        ("a.csv", "text,label,text\na,1,b\n", "2 columns are called 'text'"),
        ("a.jsonl", '{"text": "a", "label": 1, "text": "b"}\n', "row 1: 2 columns are called 'text'"),
        ("b.jsonl", '{"text": {"a": 1}, "label": 1}\n', "'text' is of the type dict"),
        ("b.csv", "label,text\n1,good\n0\n", "row 2: there are only 1 of 2 fields, and 'text'"),
    ],
)
def test_a_file_of_which_something_would_be_lost_is_refused(tmp_path, name, text, message):
    with pytest.raises(OCDError, match=message):
        read_labelled(write(tmp_path / name, text), "text", "label")


def test_columns_of_one_name_in_a_parquet_are_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    columns = [pa.array(["a"]), pa.array(["b"]), pa.array([1])]
    table = pa.Table.from_arrays(columns, names=["text", "text", "label"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(OCDError, match="2 columns are called 'text'"):
        read_labelled(tmp_path / "a.parquet", "text", "label")


def test_a_quoted_text_of_a_tsv_may_have_a_tab_or_a_line_end(tmp_path):
    path = write(tmp_path / "a.tsv", 'text\tlabel\n"good\tone"\t1\n"bad\nfilm"\t0\n')
    assert read_labelled(path, "text", "label").texts == ["good\tone", "bad\nfilm"]


def test_each_line_of_a_file_with_one_column_is_a_row(data, tmp_path):
    reader = data[1].reader
    path = write(tmp_path / "a.csv", 'text\ngood\n\n"fine\nfilm"\nbad\n')
    found = next(reader.read(path, 10))
    assert found.ids == ["1", "2", "3", "4"] and found.remarks == [(1, "the text is empty")]
    several = write(tmp_path / "b.csv", "text,by\ngood,me\n\nbad,you\n")
    assert next(reader.read(several, 10)).ids == ["1", "2"]


HALF = '{"text": "good \\ud800", "label": 1, "name": "\\udc00"}\n'


def test_half_a_character_is_refused(data, tmp_path):
    reader = data[1].reader
    path = write(tmp_path / "a.jsonl", HALF)
    for call in (
        lambda: read_labelled(path, "text", "label"),
        lambda: read_labelled(path, "label", "name"),
        lambda: next(reader.read(path, 10)),
        lambda: reader.take(["fine", "good \ud800"]),
        lambda: reader.take("good \ud800"),
    ):
        with pytest.raises(OCDError, match=r"character \d is .ud|not a text"):
            call()
    named = write(tmp_path / "b.jsonl", HALF.replace("good \\ud800", "good"))
    with pytest.raises(OCDError, match="character 1 is .udc00"):
        read_labelled(named, "text", "name")
    with pytest.raises(OCDError, match="character 1 is .udc00"):
        next(dataclasses.replace(reader, id_column="name").read(named, 10))


def test_the_byte_that_is_no_utf8_is_that_of_the_file(tmp_path):
    path = tmp_path / "a.csv"
    start = b"text,label\n" + b"a good one,1\n" * 20_000
    path.write_bytes(start + b"caf\xe9,1\n")
    with pytest.raises(OCDError, match=f"line 20,002, byte {len(start) + 4:,} of the file"):
        read_labelled(path, "text", "label")


def test_numbers_of_rows_are_those_of_the_file(tmp_path, body):
    long = "good " * 40
    train = write(tmp_path / "a.csv", f"text,label\n,1\nfine,1\nbad,0\n{long},1\n{long},0\n")
    test = write(tmp_path / "b.csv", f"text,label\n,1\n{long},0\n")
    options = OwnTextOptions(train=str(train), test=str(test), body=str(body), shots=2)
    told = get_task("text").load(options, None).notes
    assert any("2 of 4 texts of a.csv are longer" in note and "row 4)" in note for note in told), told
    assert any("1 of 2 texts of b.csv are longer" in note and "row 2)" in note for note in told), told
    assert sum("each seed draws few" in note for note in told) == 1
    both = dataclasses.replace(options, test=str(train))
    loaded = get_task("text").load(both, None)
    assert (len(loaded.train), len(loaded.test)) == (4, 5)


def test_columns_of_the_hubs_sets_are_not_to_choose(data, hub):
    options, _ = data
    for name in ("text", "label"):
        with pytest.raises(OCDError, match=f"{name} is 'words'"):
            get_task("setfit-cr").load(dataclasses.replace(options, **{name: "words"}), hub)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("txt,label\na,1\n", "no column 'text'; did you mean 'txt'"),
        ("text,label\nfine,\n", "row 1: there is no label"),
        ("text,label\na,b,c\n", "row 1: more fields than the head has"),
        ("text,label\n", "no rows with a text"),
        ("text,label\ngood,1\nbad,1\n", "all rows have the label '1'"),
    ],
)
def test_what_cannot_be_trained_on_is_one_line(tmp_path, text, message):
    path = write(tmp_path / "a.csv", text)
    with pytest.raises(OCDError, match=message):
        found = read_labelled(path, "text", "label")
        make_data(found, found, TextOptions())


def test_other_unreadable_files(tmp_path):
    with pytest.raises(OCDError, match="no such file"):
        read_labelled(tmp_path / "a.csv", "text", "label")
    with pytest.raises(OCDError, match="give a csv, tsv, parquet or jsonl"):
        read_labelled(write(tmp_path / "a.doc", "x"), "text", "label")
    with pytest.raises(OCDError, match="not UTF-8"):
        read_labelled(write(tmp_path / "b.csv", "text,label\né,1\n", "latin-1"), "text", "label")
    with pytest.raises(OCDError, match="row 1: not a line of JSON"):
        read_labelled(write(tmp_path / "a.jsonl", "{text\n"), "text", "label")
    with pytest.raises(OCDError, match="cannot be read as parquet"):
        read_labelled(write(tmp_path / "a.parquet", "x"), "text", "label")


def test_a_label_that_only_the_test_file_has(tmp_path):
    train = write(tmp_path / "a.csv", "text,label\ngood,yes\nbad,no\n")
    test = write(tmp_path / "b.csv", "text,label\ngood,yes\nfine,maybe\n")
    found = [read_labelled(path, "text", "label") for path in (train, test)]
    with pytest.raises(OCDError, match="b.csv, row 2: label 'maybe' is in no training row"):
        make_data(*found, TextOptions())


def test_empty_and_long_texts_are_told(tmp_path, body):
    train = write(tmp_path / "a.csv", "text,label\ngood,yes\n,yes\nbad,no\n")
    test = write(tmp_path / "b.csv", f"text,label\n ,yes\n{'good ' * 40},yes\n")
    found = [
        read_labelled(train, "text", "label", leave_out=True), read_labelled(test, "text", "label")
    ]  # fmt: skip
    data = make_data(*found, TextOptions(body=str(body)))
    assert len(data.train) == 2 and len(data.test) == 2
    told = " ".join(data.notes)
    assert "1 texts of a.csv are empty and were left out: row 2" in told
    assert "1 texts of b.csv are empty and were answered all the same: row 1" in told
    cut = f"1 of 2 texts of b.csv are longer than the body's {LIMIT} tokens and were cut"
    assert f"{cut} (the first: row 2)" in told


def test_missing_sets_and_files_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    task = get_task("setfit-enron-spam")
    with pytest.raises(MissingData, match="enron_spam/train.jsonl"):
        task.load(task.options(), tmp_path)
    own = get_task("text")
    with pytest.raises(OCDError, match="train is missing"):
        own.load(OwnTextOptions(), None)


@pytest.mark.parametrize(
    "wrong",
    [{"part": "tail"}, {"shots": 1}, {"iterations": 0}, {"precision": "int8"}, {"text": "label"}],
)
def test_wrong_options(wrong):
    with pytest.raises(OCDError):
        TextOptions(**wrong)


def test_missing_packages_are_named(monkeypatch):
    for package in ("datasets", "setfit"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(OCDError, match=r"pip install 'ocd-torch\[text\]'"):
                training.train_setfit(["good", "bad"], [1, 0], TextOptions(), 0)


def test_a_body_that_is_none(tmp_path):
    with pytest.raises(OCDError, match="nothing' is not there: give the folder of a sentence encoder"):
        load_body(str(tmp_path / "nothing"))
    with pytest.raises(OCDError, match="body './nothing' is not there"):
        load_body("./nothing")
    with pytest.raises(OCDError, match="a.csv' is a file: give the folder"):
        load_body(str(write(tmp_path / "a.csv", "x")))
    with pytest.raises(OCDError, match="cannot be loaded"):
        load_body(str(tmp_path))


def test_the_hubs_client_does_not_speak_of_each_try(tmp_path, monkeypatch, caplog):
    import huggingface_hub

    log = logging.getLogger("huggingface_hub.utils._http")

    def tries(**asked):
        log.warning("Retrying in 1s [Retry 1/5].")
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", tries)
    before = logging.getLogger("huggingface_hub").level
    with pytest.raises(MissingData, match="the hub did not give it: no network"):
        hub_file("SetFit/CR", "train.jsonl", tmp_path)
    assert not caplog.records and logging.getLogger("huggingface_hub").level == before


# New texts


def test_reader_takes_lists_frames_and_files(data, tmp_path):
    import pandas as pd

    _, loaded = data
    facts, tensors = loaded.reader.state()
    reader = TextReader.from_state(facts, tensors)
    texts = ["a good one", "", "the film was " * 9]
    taken = reader.take(texts)
    assert taken.remarks == [(1, "the text is empty"), (2, f"longer than {LIMIT} tokens: cut")]
    path = tmp_path / "new.csv"
    pd.DataFrame({"text": texts, "name": ["x", "y", "z"]}).to_csv(path, index=False)
    for again in (reader.take(pd.DataFrame({"text": texts})), next(reader.read(path, 10))):
        assert torch.equal(again.inputs, taken.inputs)
    named = dataclasses.replace(reader, id_column="name")
    assert [part.ids for part in named.read(path, 2)] == [["x", "y"], ["z"]]
    assert next(reader.read(path, 2, start=2)).ids == ["3"]
    with pytest.raises(OCDError, match="no texts"):
        reader.take([])
    with pytest.raises(OCDError, match="no column 'text'"):
        next(reader.read(write(tmp_path / "x.csv", "a,b\n1,2\n"), 10))


def test_reader_takes_what_has_texts_and_nothing_else(data):
    import pandas as pd

    reader = data[1].reader
    texts = ["good film", "bad film"]
    wanted = reader.take(texts)
    frame = pd.DataFrame({"text": texts, "by": ["me", "you"]})
    taken = [{"text": texts}, [{"text": text} for text in texts], iter(texts), np.array(texts), frame,
             frame.to_dict("list"), frame["text"]]  # fmt: skip
    for given in taken:
        assert torch.equal(reader.take(given).inputs, wanted.inputs), given
    assert len(reader.take({"text": "good film"}).ids) == 1
    missing = pd.DataFrame({"text": pd.array(["good", pd.NA], dtype="string")})
    for given in (missing, ["good", None], ["good", float("nan")], {"text": ["good", None]}):
        assert reader.take(given).remarks == [(1, "the text is empty")]
    for given, message in (
        ({"txt": texts}, "the dictionary: no column 'text'; did you mean 'txt'"),
        ([{"text": "good"}, {"Text": "bad"}], "text 2: no column 'text'; did you mean 'Text'"),
        ([{}], "text 1: no column 'text'; there are none"),
        (pd.DataFrame({"words": texts}), "the frame: no column 'text'"),
        (pd.DataFrame([texts], columns=["text", "text"]), "several columns 'text'"),
        (None, "is of the type NoneType: give a text, a list of texts"),
        (5, "is of the type int"),
        (b"good", "is of the type bytes"),
        ({*texts}, "is of the type set"),
        ([3], "not a text"),
        (np.zeros((2, 2)), "not a text"),
    ):
        with pytest.raises(OCDError, match=message):
            reader.take(given)
