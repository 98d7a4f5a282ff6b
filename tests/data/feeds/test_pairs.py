import numpy as np
import pytest

from jaxnets.data import text
from jaxnets.data.dataset import DataError
from jaxnets.data.feeds import pairs
from jaxnets.data.files.labelled_lines import looks_labelled
from jaxnets.data.files.loading import Survey
from jaxnets.data.files.problems import DataWarning
from jaxnets.data.files.sentences import has_pairs, sentence_pairs


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """300 pairs; the source of line i has 1 + i % 6 words."""
    path = tmp_path_factory.mktemp("pairs") / "numbers.tsv"
    names = ("one", "two", "three", "four", "five", "six", "seven")
    lines = []
    for i in range(300):
        words = [names[(i // 7 + k) % 7] for k in range(1 + i % 6)]
        words[0] = f"{words[0]}{i % 50}"
        lines.append(f"{' '.join(words)}\t{' '.join(reversed(words)).upper()}!\tby me")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.filterwarnings("ignore::jaxnets.data.files.problems.DataWarning")
def test_words_become_numbers_of_the_training_vocabulary(file):
    made = pairs.word_pairs(file, longest=4, minimum=1, held_out=9)
    seen = set()
    for name, split in made.dataset.splits.items():
        source, target = (np.asarray(split.columns[c]) for c in ("source", "target"))
        assert target.shape[1] == 4 + 2  # <start>, 3 words and a mark, <end>
        assert (target[:, 0] == text.START).all()
        for row, other in zip(source, target, strict=True):
            own = made.source.decode(row).split()
            if name == "train":
                seen.update(own)
                again = made.target.decode(other)
                assert again == " ".join(reversed(own)) + "!"
            assert len(own) <= 3
    assert set(made.source.tokens[4:]) == seen
    assert len(made.dataset.test) <= 9
    assert len(made.dataset.validation) <= 9


@pytest.mark.filterwarnings("ignore::jaxnets.data.files.problems.DataWarning")
def test_what_is_held_out_is_taken_from_the_whole_split(file):
    every = pairs.word_pairs(file, longest=9, minimum=1)
    some = pairs.word_pairs(file, longest=9, minimum=1, held_out=4)
    ids, chosen = list(every.dataset.test.ids), list(some.dataset.test.ids)
    assert len(ids) > 8
    assert len(chosen) == 4
    assert (chosen[0], chosen[-1]) == (ids[0], ids[-1])
    assert list(every.dataset.train.ids) == list(some.dataset.train.ids)


@pytest.mark.filterwarnings("ignore::jaxnets.data.files.problems.DataWarning")
def test_rare_words_and_a_small_vocabulary(file):
    made = pairs.word_pairs(file, longest=9, minimum=3, largest=12)
    assert len(made.source) == 12
    assert (np.asarray(made.dataset.train.columns["source"]) == text.UNKNOWN).any()


@pytest.mark.filterwarnings("ignore::jaxnets.data.files.problems.DataWarning")
def test_what_is_wanted_has_every_word_also_the_unknown_ones(file):
    made = pairs.word_pairs(file, longest=9, minimum=3, largest=12)
    assert set(made.wanted) == {"validation", "test"}
    for name in made.wanted:
        split = sentence_pairs(file).splits[name]
        rows = np.asarray(made.dataset.splits[name].columns["target"])
        read = [made.target.decode(row) for row in rows]
        assert any("<unk>" in sentence for sentence in read)
        whole = [sentence.lower() for sentence in text.texts_of(split, "target")]
        assert list(made.wanted[name]) == whole


def pairs_file(path, rows):
    path.write_text("".join(f"{a}\t{b}\n" for a, b in rows), encoding="utf-8")
    return path


def test_the_longest_sentence_follows_from_the_training_split(tmp_path, capsys):
    """Of 200 pairs 190 have 4 words or fewer, as lines or as the other side."""
    lengths = [1 + i % 4 for i in range(190)] + [9] * 5 + [2] * 5
    rows = [
        (f"w{i % 40} " * n, "v " * (12 if i > 194 else 1))
        for i, n in enumerate(lengths)
    ]
    for name, part in (("train", rows), ("val", rows[:40]), ("test", rows[:40])):
        pairs_file(tmp_path / f"{name}.tsv", part)
    made = pairs.word_pairs(tmp_path, minimum=1)
    said = capsys.readouterr().out
    assert "longest: 4 words, the 95th percentile of the training pairs" in said
    assert "train: left out 10 of 200 (5.0 %): pairs have more than 4 words" in said
    assert "--longest 12 keeps all" in said
    assert len(made.dataset.train) == 190
    asked = pairs.word_pairs(tmp_path, minimum=1, longest=9)
    assert len(asked.dataset.train) == 195
    with pytest.warns(DataWarning) as warned:
        pairs.word_pairs(tmp_path, minimum=1, longest=2)
    assert "train: left out 104 of 200 (52.0 %)" in str(warned[0].message)


def test_words_and_held_out_pairs_that_are_left_out_are_counted(tmp_path, capsys):
    rows = [(f"a{i % 10}", "b") for i in range(99)] + [("once", "b"), ("twice a0", "b")]
    for name, part in (("train", rows), ("val", rows[:50]), ("test", rows[:40])):
        pairs_file(tmp_path / f"{name}.tsv", part)
    made = pairs.word_pairs(tmp_path, longest=5, held_out=45)
    assert len(made.dataset.validation) == 45
    said = capsys.readouterr().out
    assert "validation: left out 5 of 50 (10.0 %): 45 pairs, evenly from" in said
    assert "a file val.tsv of so many pairs chooses them" in said
    assert "train, source: left out 2 of 102 (2.0 %): words that training" in said
    assert "--minimum" in said
    with pytest.warns(DataWarning) as warned:
        pairs.word_pairs(tmp_path, longest=5, largest=10)
    assert "train, source: left out 41 of 102 (40.2 %)" in str(warned[0].message)


def test_a_language_without_spaces_is_read_by_characters(tmp_path):
    places = "北京上海广州深圳"
    rows = [
        (f"我在{a}、她在{b}。", f"I {i % 7}.")
        for i in range(9)
        for a in places
        for b in places
    ]
    made = pairs.word_pairs(pairs_file(tmp_path / "zh.tsv", rows), longest=12)
    assert set(made.source.tokens[4:]) == set("我在她、。" + places)
    assert not (np.asarray(made.dataset.test.columns["source"]) == text.UNKNOWN).any()
    row = np.asarray(made.dataset.test.columns["source"])[0]
    assert made.source.decode(row) in {source for source, _ in rows}


def test_nothing_short_enough_is_said(file):
    with pytest.raises(DataError, match=r"at most 1 words.*--longest, 7 keeps"):
        pairs.word_pairs(file, longest=1)


def test_dates_read_back():
    made = pairs.date_pairs(train=40, held_out=10)
    feeds = pairs.pair_feeds(made, batch_size=8, seed=0)
    batch = feeds.train(0)
    assert batch.source.shape == (8, 48)
    assert batch.target.shape == (8, 12)
    for row in np.asarray(batch.target):
        written = made.target.decode(row)
        assert len(written) == 10
        assert written[4] == written[7] == "-"
    assert feeds.test.length == 1
    assert [
        made.target.decode(r) for r in made.dataset.test.columns["target"][:]
    ] == list(made.wanted["test"])
    last = feeds.test(0)
    assert last.mask.sum() == 10
    assert not np.asarray(last.source)[10:].any()
    row = np.asarray(last.source[0])
    assert "".join(pairs.shown(row, made.source)) == made.source.decode(row)
    tokens = pairs.shown(np.asarray(last.target[0]), made.target)
    assert (tokens[0], tokens[-1], len(tokens)) == ("<start>", "<end>", 12)


def test_bad_lines_may_be_left_out_of_files_only(tmp_path):
    path = pairs_file(tmp_path / "a.tsv", [(f"go {i}", f"va {i}") for i in range(200)])
    with path.open("a") as file:
        file.write("go\n")
    with pytest.raises(DataError, match="--skip-bad leaves the bad ones out"):
        pairs.named_pairs(str(path))
    with pytest.warns(DataWarning) as said:
        made = pairs.named_pairs(str(path), skip_bad=True, minimum=1)
    assert "1 problems, 200 examples left" in str(said[0].message)
    assert sum(map(len, made.dataset.splits.values())) == 200
    with pytest.raises(DataError, match="--skip-bad leaves out parts of a user's"):
        pairs.named_pairs("dates", skip_bad=True)


def test_dates_are_ours_also_beside_a_path_of_that_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few = pairs.date_pairs(train=8, held_out=8)
    monkeypatch.setattr(pairs, "date_pairs", lambda: few)
    pairs.named_pairs("dates")
    assert not capsys.readouterr().out
    (tmp_path / "dates").mkdir()
    pairs.named_pairs("dates")
    assert "dates: the set that comes with jaxnets; ./dates is the folder" in (
        capsys.readouterr().out
    )


def read_sides(path, *lines):
    """The first source and target that are read from lines, and the survey of them."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    survey = Survey()
    columns = sentence_pairs(path, held_out=0.0, survey=survey).train.columns
    return [list(columns[side][:])[:1] for side in ("source", "target")], survey


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("id\tsource\ttarget", "7\tgo\tva"),
        ("target\tsource", "va\tgo"),
        ('"source"\t"target"', "go\tva"),
        ("'translation'\tEn\tscore", "va\tgo\t3"),
        ("en\tid\tfr\tde", "go\t7\tva\tgeh"),
        ("sentence\ttranslation", "go\tva"),
        ("en\tsource", "va\tgo"),
    ],
)
def test_a_header_says_which_columns_are_sides(tmp_path, header, row):
    read, survey = read_sides(tmp_path / "a.tsv", header, row)
    assert read == [["go"], ["va"]]
    assert "is a header, no pair; source and target are `" in survey.notes[0]
    assert not survey.problems
    assert not looks_labelled(tmp_path / "a.tsv")


@pytest.mark.parametrize(
    ("row", "columns"), [("7\tgo\t8\tva", "2,4"), ("7\tgo\tva\tCC-BY", "2,3")]
)
def test_numbers_are_no_sources(tmp_path, row, columns):
    read, survey = read_sides(tmp_path / "a.tsv", *[row] * 3)
    assert read == [[], []]
    assert f"holds numbers: delete it, for example with `cut -f{columns} " in str(
        survey.problems
    )
    for lines in (["7\tseven"] * 3, [row, "go\tva\tCC-BY"]):
        read, survey = read_sides(tmp_path / "a.tsv", *lines)
        assert not survey.problems
        assert read[0] == ["7"]


def test_labels_are_no_header_of_pairs(tmp_path):
    for header in ("sentence1\tsentence2\tlabel", "text\ttarget"):
        read, survey = read_sides(tmp_path / "a.tsv", header, *["go\tva\t0"] * 9)
        assert read == [[], []]
        assert "names labels, not pairs" in str(survey.problems)
        assert looks_labelled(tmp_path / "a.tsv")


def test_few_targets_under_a_header_of_languages_are_pairs(tmp_path):
    rows = [f"I am {i}\t{'oui' if i % 2 else 'non'}" for i in range(60)]
    read, _ = read_sides(tmp_path / "a.tsv", "en\tfr", *rows)
    assert read == [["I am 0"], ["non"]]
    assert not looks_labelled(tmp_path / "a.tsv")


def test_a_folder_of_txt_may_hold_pairs(tmp_path, capsys):
    (tmp_path / "_about.txt").write_text("These are pairs.\n")
    with pytest.raises(DataError, match=r"no file called \*\.tsv, and no \*\.txt that"):
        sentence_pairs(tmp_path)
    assert not has_pairs(tmp_path)
    lines = "".join(f"go {i}\tva {i}\tCC-BY\n" for i in range(100))
    (tmp_path / "fra.txt").write_text(lines)
    assert has_pairs(tmp_path)
    assert sum(map(len, sentence_pairs(tmp_path).splits.values())) == 100
    assert "_about.txt: is passed over" in capsys.readouterr().out
    (tmp_path / "a.tsv").write_text("".join(lines.splitlines(keepends=True)[:99]))
    assert sum(map(len, sentence_pairs(tmp_path).splits.values())) == 99
