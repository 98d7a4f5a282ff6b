"""Texts to score: captions of `shapes`, ragged ones, and plain sentences."""

from jaxnets.data.shapes.captions import write
from jaxnets.data.shapes.scenes import scene


def of_shapes(count=500):
    """Each scene's first caption, or now and then another's, and its four others."""
    rows = [
        [text for text, _ in write(scene("golden", i), f"golden {i}")]
        for i in range(count)
    ]
    own = [rows[(i + 1) % count][0] if i % 5 == 4 else rows[i][0] for i in range(count)]
    return own, [row[1:] for row in rows]


RAGGED = (
    ["", "dog", "the the the the the the the", "a cat sat on the mat today"],
    [
        ["a red ball", "the ball"],
        ["dog", "a big dog runs"],
        ["the cat is on the mat", "there is a cat on the mat"],
        ["on the mat sat a cat", "a cat sat on the mat", "one cat"],
    ],
)
SHORT = (["dog", "a cat"], [["dog"], ["a dog", "the cat sat"]])
EMPTY = (["", ""], [["a red ball"], ["two", "three dogs"]])
APART = (["one two three", "four five"], [["six"], ["seven eight nine ten"]])
LONG = (
    ["a b c d e f g h i j k l m n o p a b c d", "x y"],
    [["a b c d", "e f g h i j a b c d"], ["x y", "y x"]],
)
ALONE = (["a red ball"], [["a red ball", "the blue ball"]])
TIES = (["a b c d"], [["a b c", "a b c d e"]])
TOKENS = {
    "ragged": RAGGED,
    "short": SHORT,
    "empty": EMPTY,
    "apart": APART,
    "long": LONG,
    "alone": ALONE,
    "ties": TIES,
}

SENTENCES = (
    [
        "It's a \"test\", isn't it? Yes - of 3.14 & more...",
        "The U.S. had 1,000 dogs; 5-year-old cats, too!",
        "a.,5 b,,c 10-20 &quot;x&quot; &amp;lt; <skipped> e-mail\n",
        "Great.",
        "Ich weiß: 'so' viel wie 5% (fünf) @home [x] {y} ~z^2 `q` \\n |p|_k",
    ],
    [
        ["It's a test, isn't it? Yes, of 3.14 and more ...", 'It is a "test" of 3.1'],
        ["The US had 1,000 dogs, and 5-year-old cats too!", "1,000 dogs"],
        ['a ., 5 b , , c 10 -20 "x" &lt; e-mail', "a.,5"],
        ["Great", "great ."],
        ["Ich weiß: so viel wie 5 % (fünf) @home [x] {y} ~z^2 `q` \\n |p|_k", "Nein."],
    ],
)
PLAIN = {
    "sentences": SENTENCES,
    "ragged": RAGGED,
    "empty": EMPTY,
    "short": SHORT,
    "apart": APART,
    "no_four": (["the cat sat by a dog", "a b c d e"], [["the cat ran"], ["b c"]]),
    "ties": TIES,
}
