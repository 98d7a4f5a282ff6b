import pytest

from jaxnets.data.dataset import DataError
from jaxnets.data.generated import corpus
from jaxnets.data.store.cache import ENVIRONMENT

pytestmark = pytest.mark.host


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv(ENVIRONMENT, str(folder))
        yield folder


def sentence(word):
    return f"This is what the {word} has to say about itself, at some length."


@pytest.fixture
def library(tmp_path):
    """Twenty modules of one docstring, and what must be left alone."""
    for k in range(20):
        path = tmp_path / f"m{k:02d}.py"
        path.write_text(f'"""{sentence(f"module {k:02d}")}"""\n')
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "t.py").write_text(f'"""{sentence("test")}"""\n')
    return tmp_path


def all_of(text):
    return "\n\n".join(text)


def test_the_parts_are_ranges_of_one_text(library):
    text = corpus.corpus_text(library)
    expected = "\n\n".join(sentence(f"module {k:02d}") for k in range(20))
    assert all_of(text) == expected
    assert [part.count("module") for part in text] == [16, 2, 2]


def test_functions_and_classes_in_their_order(library):
    foreign, typeset = sentence("\u4e2d"), sentence("\u201cquote\u201d")
    (library / "m05.py").write_text(
        f'''"""{sentence("module 05")}"""
class Second:
    """{sentence("class")}

        Indented.   \n    """
    def third(self):
        """{sentence("method")}"""
    class Fourth:
        "{sentence("inner class")}"
async def fifth():
    """{sentence("coroutine")}"""
def short():
    """Too short."""
def twice():
    """{sentence("class")}

        Indented."""
def odd():
    """{foreign}"""
def typeset():
    """{typeset}"""
text = "{sentence("string")}"
'''
    )
    text = all_of(corpus.corpus_text(library))
    start = text.index(sentence("module 05"))
    end = text.index("\n\n" + sentence("module 06"))
    assert text[start:end].split("\n\n") == [
        sentence("module 05"),
        sentence("class"),
        "Indented.",
        sentence("method"),
        sentence("inner class"),
        sentence("coroutine"),
        sentence('"quote"'),
    ]


def test_nothing_is_run(library, tmp_path):
    (library / "m03.py").write_text(
        f'"""{sentence("danger")}"""\nopen({str(tmp_path / "ran")!r}, "w")\n'
    )
    assert sentence("danger") in all_of(corpus.corpus_text(library))
    assert not (tmp_path / "ran").exists()


def test_files_that_do_not_parse_are_passed_over(library):
    (library / "m03.py").write_text("def def def")
    (library / "m04.py").write_bytes(b"\xff\xfe\x00")
    text = all_of(corpus.corpus_text(library))
    assert "module 03" not in text
    assert "module 05" in text


def test_the_chapters_of_the_reference_come_first(library):
    (library / "pydoc_data").mkdir()
    chapters = {"a": sentence("chapter"), "b": sentence("other")}
    (library / "pydoc_data" / "topics.py").write_text(f"topics = {chapters!r}\n")
    text = all_of(corpus.corpus_text(library))
    assert text.startswith(f"{sentence('chapter')}\n\n{sentence('other')}\n\n")


def test_a_changed_library_is_read_again(library):
    before = corpus.corpus_text(library)
    (library / "m00.py").write_text(f'"""{sentence("changed module")}"""\n')
    after = corpus.corpus_text(library)
    assert "changed" in after.train
    assert before.digest != after.digest


def test_too_little_text(tmp_path):
    with pytest.raises(DataError, match="too little documentation"):
        corpus.corpus_text(tmp_path)


def test_the_standard_library():
    text = corpus.corpus_text()
    assert text == corpus.corpus_text()
    size = sum(map(len, text))
    assert 1_000_000 < size < 4_000_000
    assert [len(part) / size for part in text] == pytest.approx(
        [0.8, 0.1, 0.1], abs=0.02
    )
    assert set("".join(text)) == set(corpus.CHARACTERS)
    english = text.train.lower().split()
    assert english.count("the") / len(english) > 0.03
