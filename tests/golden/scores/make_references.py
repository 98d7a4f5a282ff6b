"""Makes references.json: the texts of cases.py as other packages score them.

Run it with an interpreter that has pycocoevalcap, sacrebleu and what `jaxnets.data`
needs, from the root: `PYTHONPATH=. python tests/golden/scores/make_references.py`.
"""

import itertools
import json
from pathlib import Path

import sacrebleu
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from tests.golden.scores import cases


def captioning(hypotheses, references):
    own = {i: [text] for i, text in enumerate(hypotheses)}
    theirs = dict(enumerate(references))
    bleu, _ = Bleu(4).compute_score(theirs, own, verbose=0)
    cider, each = Cider().compute_score(theirs, own)
    rouge, one = Rouge().compute_score(theirs, own)
    return {
        "bleu": bleu,
        "cider": cider,
        "cider_each": [float(x) for x in each[:20]],
        "rouge": rouge,
        "rouge_each": [float(x) for x in one[:20]],
    }


def translation(hypotheses, references):
    streams = [list(row) for row in itertools.zip_longest(*references)]
    return sacrebleu.corpus_bleu(hypotheses, streams).score


if __name__ == "__main__":
    every = {**cases.TOKENS, "shapes": cases.of_shapes()}
    plain = {**cases.PLAIN, "shapes": cases.of_shapes()}
    found = {
        "captioning": {name: captioning(*case) for name, case in every.items()},
        "translation": {name: translation(*case) for name, case in plain.items()},
    }
    path = Path(__file__).with_name("references.json")
    path.write_text(json.dumps(found, indent=1) + "\n")
