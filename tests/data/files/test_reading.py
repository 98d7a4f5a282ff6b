"""Lines and encodings of files; what is said of data that a rule leaves out."""

import bz2
import gzip
import io
import lzma
import warnings
import zipfile

import pytest

from jaxnets.data.dataset import DataError
from jaxnets.data.files.digests import read_digests
from jaxnets.data.files.loading import Survey
from jaxnets.data.files.problems import DataWarning, FileError, left_out
from jaxnets.data.files.reading import lines_of, read_text
from jaxnets.data.files.tables import read_rows

pytestmark = pytest.mark.host


def zipped(name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "a" * 20)
    return buffer.getvalue()


def test_what_is_left_out_is_counted_and_much_of_it_is_a_warning(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        left_out("pairs", 0, 200, "pairs have more than 10 words", "--longest")
        assert not capsys.readouterr().out
        left_out("pairs", 20, 200, "pairs have more than 10 words", "--longest 12")
        said = capsys.readouterr().out
    assert "20 of 200 (10.0 %)" in said
    assert "--longest 12" in said
    with pytest.warns(DataWarning, match=r"21 of 200.*--longest 12"):
        left_out("pairs", 21, 200, "pairs have more than 10 words", "--longest 12")
    assert not capsys.readouterr().out


NO_ENDS = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


def test_a_line_ends_at_a_line_feed_and_nowhere_else():
    assert lines_of(f"a{NO_ENDS}b\r\nc\n\nd") == [f"a{NO_ENDS}b", "c", "", "d"]
    assert lines_of("a\n") == ["a"]
    assert lines_of("") == []
    with pytest.raises(FileError, match=r"carriage return alone.*`tr "):
        lines_of("old\rMac\r")


@pytest.mark.parametrize("mark", NO_ENDS)
def test_what_is_no_end_of_a_line_stays_in_its_field(tmp_path, mark):
    field = f"one{mark}two"
    rows = [["a", "b"], [field, "c"], ["d", field]]
    for delimiter, ending in (("\t", "\n"), (",", "\n"), ("\t", "\r\n"), (",", "\r\n")):
        text = "".join(delimiter.join(row) + ending for row in rows)
        (tmp_path / "rows").write_bytes(text.encode())
        survey = Survey()
        read = list(read_rows(tmp_path, "rows", delimiter, survey))
        assert [row for _, row in read] == rows
        assert [where for where, _ in read] == [f"rows, line {n}" for n in (1, 2, 3)]
        assert not survey.problems


def test_a_quoted_field_of_a_csv_holds_line_ends_and_an_open_one_is_named(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'a,"b\r\nc\rd"\r\ne,f\n"g,h\ni,j\n')
    rows = read_rows(tmp_path, "a.csv", ",", Survey())
    assert [next(rows)[1] for _ in range(2)] == [["a", "b\nc\rd"], ["e", "f"]]
    with pytest.raises(DataError, match=r"a.csv, line 4: is no CSV.*, 2 lines, cannot"):
        next(rows)


def test_a_line_with_a_wrong_quote_is_a_problem_and_the_next_ones_are_read(tmp_path):
    long = "x" * 200_000
    text = f'a,b\n"stop" sign,c\nd,"two\nlines"\n"x"y\n{long},e\nf,"open\n'
    (tmp_path / "a.csv").write_text(text)
    survey = Survey()
    read = list(read_rows(tmp_path, "a.csv", ",", survey))
    assert [row for _, row in read] == [["a", "b"], ["d", "two\nlines"], [long, "e"]]
    assert [where for where, _ in read] == [f"a.csv, line {n}" for n in (1, 4, 6)]
    places = [problem.where for problem in survey.problems]
    assert places == [f"a.csv, line {n}" for n in (2, 5, 7)]
    assert 'twice, for example """stop"""' in survey.problems[0].what


def test_empty_lines_are_counted(tmp_path, capsys):
    (tmp_path / "a.tsv").write_text("a\tb\n" * 19 + "\n")
    assert len(list(read_rows(tmp_path, "a.tsv", "\t", Survey()))) == 19
    assert "a.tsv: left out 1 of 20 (5.0 %): lines are empty" in capsys.readouterr().out
    (tmp_path / "b.tsv").write_text("a\tb\n\n")
    with pytest.warns(DataWarning, match="1 of 2"):
        list(read_rows(tmp_path, "b.tsv", "\t", Survey()))


def test_digests_may_have_the_line_ends_of_windows(tmp_path):
    (tmp_path / "SHA256SUMS").write_bytes(f"{'a' * 64}  x\x0cy.png\r\n".encode())
    assert read_digests(tmp_path) == {"x\x0cy.png": "a" * 64}


def test_other_encodings_are_named_with_the_command_that_converts_them(tmp_path):
    path = tmp_path / "a.txt"
    for content, said in (
        ("é".encode("latin-1"), "Latin-1.*iconv -f LATIN1"),
        ("ab".encode("utf-16"), "UTF-16.*iconv -f UTF-16"),
        ("ab".encode("utf-16-le"), "is NUL"),
    ):
        path.write_bytes(content)
        with pytest.raises(FileError, match=said):
            read_text(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (zipped("a.txt"), "is a ZIP archive, not text: unpack it.*`unzip OLD`"),
        (zipped("word/document.xml"), "is a Word document, not text: save it as plain"),
        (zipped("xl/workbook.xml"), "is an Excel workbook, not text: save it as CSV"),
        (gzip.compress(b"a"), "is a gzip file.*`gunzip"),
        (bz2.compress(b"a"), "is a bzip2 file"),
        (lzma.compress(b"a"), "is an xz file"),
        (b"%PDF-1.4 all of it ASCII", "is a PDF, not text.*`pdftotext"),
        (b"PAR1\x15\x04", "is a Parquet file"),
    ],
    ids=["zip", "docx", "xlsx", "gz", "bz2", "xz", "pdf", "parquet"],
)
def test_what_is_no_text_is_named_with_what_to_do(tmp_path, content, said):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(FileError, match=said):
        read_text(path)
