import numpy as np
import pytest

from jaxnets.data.names import Names, hashes

ODD = ["", "a", "b", "a/b", "\udce9", "\ud800", "é", "e\u0301", "日本"]


def test_names_are_a_sequence_of_their_strings():
    names = Names.of(ODD)
    assert len(names) == len(ODD)
    assert list(names) == [names[i] for i in range(len(ODD))] == ODD
    assert names == ODD
    assert names != ODD[1:]
    assert (names[-1], names[2:4], names.index("b")) == (ODD[-1], ODD[2:4], 2)
    with pytest.raises(IndexError):
        names[len(ODD)]


def test_some_names_and_several_together():
    names = Names.of(ODD)
    index = np.array([8, 0, 3, 3, 5])
    assert names.take(index) == [ODD[i] for i in index]
    assert names.take(np.zeros(0, np.int64)) == []
    assert Names.joined([names, Names.of([]), names[:2]]) == [*ODD, *ODD[:2]]
    assert Names.joined([]) == []
    assert names.mapped(lambda name: name + "!") == [name + "!" for name in ODD]


def test_names_of_any_kind_have_hashes_of_their_own():
    found = hashes(ODD)
    assert (found.dtype, len(set(found.tolist()))) == (np.uint64, len(ODD))
    np.testing.assert_array_equal(found, hashes(Names.of(ODD)))
