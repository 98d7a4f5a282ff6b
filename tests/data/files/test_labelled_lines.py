"""Files of labelled texts as others write them: headers, splits without labels."""

import pytest

from jaxnets.data.dataset import DataError
from jaxnets.data.feeds.texts import labelled_texts
from jaxnets.data.files.column_names import split_of_file
from jaxnets.data.files.labelled_lines import labelled_lines, looks_labelled
from jaxnets.data.files.loading import Survey
from jaxnets.data.files.problems import DataWarning
from jaxnets.data.files.sentences import sentence_pairs, text_files

pytestmark = pytest.mark.host

BODY = "".join(f"a fine film {i}\t1\na dull film {i}\t0\n" for i in range(20))


def put(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.tsv").write_text(text, encoding="utf-8")
    return folder


def sizes(data):
    return [len(split) for split in data.splits.values()]


def test_glue_sst2_has_two_classes_and_a_test_split_from_train(tmp_path, capsys):
    header = "sentence\tlabel\n"
    test = "index\tsentence\n" + "".join(f"{i}\tan odd film {i}\n" for i in range(9))
    put(tmp_path, train=header + BODY, dev=header + BODY[: 6 * 16], test=test)
    data = labelled_lines(tmp_path)
    assert data.classes == ("0", "1")
    assert sizes(data) == [36, 6, 4]
    assert all("odd" not in text for s in data.splits.values() for text in texts(s))
    said = capsys.readouterr().out
    assert "train.tsv: the first line is a header; columns read: `sentence`, `l" in said
    assert "test.tsv: has no labels, so it is left out; the test split is held" in said


def texts(split):
    return list(split.columns["text"][:])


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("a.tsv", [["text", "label"], ["good one", "pos"], ["bad one", "neg"]]),
        ("a.tsv", [["Label", "Text"], ["pos", "good one"], ["neg", "bad one"]]),
        ("a.tsv", [["Sentence", "Sentiment"], ["good one", "pos"], ["bad one", "neg"]]),
        (
            "a.tsv",
            [["\ufeffsentence", "label"], ["good one", "pos"], ["bad one", "neg"]],
        ),
        (
            "a.tsv",
            [
                ["PhraseId", "SentenceId", "Phrase", "Sentiment"],
                ["1", "1", "good one", "pos"],
                ["2", "1", "bad one", "neg"],
            ],
        ),
        ("a.csv", [["review", "sentiment"], ["good one", "pos"], ["bad one", "neg"]]),
        ("a.tsv", [["gj04", "1", "", "good one"], ["gj04", "0", "*", "bad one"]]),
        ("a.tsv", [["good one", "pos"], ["bad one", "neg"]]),
    ],
    ids=["text", "swapped", "SST", "mark", "kaggle", "csv", "CoLA", "plain"],
)
def test_the_columns_are_those_that_the_header_names(tmp_path, name, rows):
    first = 1 if rows[0][-1].lower() in ("label", "text", "sentiment") else 0
    lines = rows[:first] + 10 * rows[first:]
    delimiter = "," if name.endswith("csv") else "\t"
    path = tmp_path / name
    path.write_text("".join(delimiter.join(row) + "\n" for row in lines), "utf-8")
    data = labelled_lines(path)
    assert sum(sizes(data)) == 20
    assert set(texts(data.train)) == {"good one", "bad one"}
    assert data.classes in (("neg", "pos"), ("0", "1"))
    worth = {"good one": 1, "bad one": 0}
    labels = data.train.columns["label"].tolist()
    assert labels == [worth[text] for text in texts(data.train)]
    assert looks_labelled(path)


def refused(tmp_path, message, **files):
    with pytest.raises(DataError, match=message):
        labelled_lines(put(tmp_path, **files))


def test_a_class_that_training_does_not_have_is_refused(tmp_path):
    message = r"test\.tsv, line 2: has the label '2', which no training line has.*0, 1"
    refused(tmp_path, message, train=BODY, test="a film\t0\nanother film\t2\n")


def test_a_file_whose_labels_are_all_unknown_is_refused_in_one_line(tmp_path):
    test = "".join(f"{i}\tan odd film {i}\n" for i in range(9))
    refused(tmp_path, r"1 problems.*\n.*test\.tsv, line 1", train=BODY, test=test)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("".join(f"pos\tfilm {i}\n" for i in range(9)), "9 different labels in 9"),
        ("Satz\tWertung\n" + BODY, r"line 1: is the only.*'Wertung'.*`text` and"),
        ("one film\t1\n" * 9, "has one label only: '1'"),
        ("sentence1\tsentence2\tlabel\n" + "a\tb\t1\n" * 9, "sentence1, sentence2"),
        ("index\tsentence\n" + "1\tfilm\n" * 9, "no column of labels to train on"),
        (BODY + "a\tb\tc\n", "line 41: is not a text and a label: it has 3 columns"),
        (BODY + "\u200b\t1\n", "line 41.*holds no word"),
        (BODY + "film\t \n", "line 41.*the label is empty"),
    ],
    ids=["swapped", "header", "one", "two", "none", "three", "empty", "blank"],
)
def test_what_makes_no_sense_is_refused_with_a_remedy(tmp_path, train, message):
    refused(tmp_path, message, train=train)
    survey = Survey()
    labelled_lines(tmp_path, survey=survey)  # a check lists the same
    assert survey.problems


def test_bad_lines_may_be_left_out_and_are_counted(tmp_path):
    put(tmp_path, train=BODY + "alone\n")
    with pytest.warns(DataWarning, match=r"1 problems, 40 examples left(.|\n)*line 41"):
        data = labelled_lines(tmp_path, skip_bad=True)
    assert sum(sizes(data)) == 40


def test_another_delimiter_without_a_header_has_a_remedy(tmp_path):
    (tmp_path / "a.csv").write_text("a film;1\nanother film;0\n" * 9)
    with pytest.raises(DataError, match="begin with a line such as `text;label`"):
        labelled_lines(tmp_path / "a.csv")


def test_a_label_of_one_line_is_left_out_with_the_line(tmp_path):
    put(tmp_path, train=BODY + "a\tx\n")
    with pytest.warns(DataWarning, match=r"1 problems, 40 examples left(.|\n)*line 41"):
        data = labelled_texts(f"{tmp_path}/train.tsv", skip_bad=True)
    assert data.classes == ("0", "1")
    assert "a" not in texts(data.train)


def test_texts_without_classes_are_no_bad_lines(tmp_path):
    put(tmp_path, train=BODY.replace("\t1", "\t0"))
    with pytest.raises(DataError, match="has one label only: '0'"):
        labelled_lines(tmp_path, skip_bad=True)


@pytest.mark.parametrize(
    ("name", "delimiter"),
    [("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", ","), ("a.csv", "|")],
)
def test_a_header_says_what_separates_columns(tmp_path, name, delimiter, capsys):
    body = BODY.replace(";", ".").replace(",", ".")
    text = f'"text"\tlabel\n{body}'.replace("\t", delimiter)
    (tmp_path / name).write_text(text)
    assert looks_labelled(tmp_path / name)
    data = labelled_lines(tmp_path / name)
    assert (sizes(data), data.classes) == ([32, 4, 4], ("0", "1"))
    said = capsys.readouterr().out
    assert f"{name}: its columns are separated by {delimiter!r}" in said


def test_quotes_in_a_tsv_are_part_of_the_text(tmp_path):
    put(tmp_path, train=BODY + '"fine"\t1\n')
    assert '"fine"' in texts(labelled_lines(tmp_path, held_out=0.05).train)


def test_files_are_splits_by_the_beginning_of_their_names(tmp_path, capsys):
    put(tmp_path, train_1=BODY, dev_matched=BODY, test=BODY, extra=BODY)
    (tmp_path / "._train.tsv").write_bytes(b"\0\5\26\7")
    assert sizes(labelled_lines(tmp_path)) == [80, 40, 40]
    assert "extra.tsv: is read as training data" in capsys.readouterr().out


def test_a_test_file_of_one_column_has_no_labels(tmp_path, capsys):
    put(tmp_path, train=BODY, test="a film\nanother film\n")
    assert sizes(labelled_lines(tmp_path)) == [32, 4, 4]
    assert "test.tsv: has no labels, so it is left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    "rows",
    [
        "".join(f"{i}\t{line}\n" for i, line in enumerate(BODY.splitlines())),
        "index\tsentence1\tsentence2\tscore\n" + "1\ta\tb\t3\n" * 20,
        BODY.replace("\t0", "\t1"),
    ],
    ids=["numbered", "two texts", "one class"],
)
def test_what_is_labelled_in_a_wrong_way_does_not_pass_as_pairs(tmp_path, rows):
    path = put(tmp_path, a=rows) / "a.tsv"
    assert looks_labelled(path)
    with pytest.raises(DataError):
        labelled_lines(path)


def test_a_labelled_header_is_refused_among_pairs(tmp_path):
    put(tmp_path, a="sentence\tlabel\n" + BODY)
    with pytest.raises(DataError, match="line 1: names labels, not pairs"):
        sentence_pairs(tmp_path / "a.tsv")


def test_pairs_do_not_look_labelled_and_lose_their_header(tmp_path, capsys):
    rows = "".join(f"go {i}\tva {i}\tCC-BY\n" for i in range(100))
    for number, header in enumerate(
        ("source\ttarget\n", "English\tFrench\n", "en\tfr\n")
    ):
        path = put(tmp_path, **{f"pairs{number}": header + rows}) / f"pairs{number}.tsv"
        assert not looks_labelled(path)
        assert sum(sizes(sentence_pairs(path))) == 100
        said = capsys.readouterr().out
        assert (
            f"pairs{number}.tsv, line 1: `{header.strip()}` is a".replace("\t", " TAB ")
            in said
        )
    few = "".join(f"{i}\tI like {'tea' if i % 2 else 'milk'}.\n" for i in range(60))
    assert not looks_labelled(put(tmp_path, few=few) / "few.tsv")
    path = put(tmp_path, same="go 1\tva 1\n" + rows) / "same.tsv"
    assert sum(sizes(sentence_pairs(path))) == 101
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "among", "split", "said"),
    [
        ("ptb.train.txt", ("ptb.valid.txt", "ptb.test.txt"), "train", "by a word"),
        ("ptb.valid.txt", ("ptb.train.txt",), "validation", "is validation data"),
        ("ptb/data/Test/a.txt", ("train.txt",), "test", ""),
        ("en-fr.dev2.tsv", ("en-fr.train.tsv",), "validation", "by a word"),
        ("imdb test.csv", ("imdb_train.csv",), "test", "by a word"),
        ("test/train.tsv", ("train/train.tsv",), "test", ""),
        ("a/train-test.tsv", ("b.tsv",), "train", "names test and train, so"),
        ("contest.tsv", ("test.tsv",), "train", "none of the words"),
        ("contest.tsv", ("trainer.tsv",), "train", ""),
        ("test.tsv", (), "train", "is the only file"),
        ("train.tsv", (), "train", ""),
    ],
)
def test_any_word_of_a_name_decides_the_split(name, among, split, said):
    notes = []
    for _ in range(2):
        assert split_of_file(name, (name, *among), notes) == split
    assert len(notes) == bool(said)
    assert said in "".join(notes)


def test_a_file_that_is_alone_is_all_splits_whatever_its_name(tmp_path):
    put(tmp_path, test=BODY)
    assert sizes(labelled_lines(tmp_path / "test.tsv")) == [32, 4, 4]
    assert sizes(text_files(tmp_path / "test.tsv")) == [1, 1, 1]
