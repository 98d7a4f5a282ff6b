"""What classify.py computes is plain JAX and Optax: the same bits without a learner."""

import jax
import numpy as np
import pytest

from experiments import by_hand, classify
from jaxnets.once import once
from jaxnets.run import loop


@pytest.mark.one_python  # other versions may order the sums of two programs otherwise
def test_a_convnet_trained_by_hand_has_the_same_bits():
    config = classify.Config()
    data = classify.load(config)
    learner = classify.build(config, data)
    state = once(learner.init)(jax.random.key(0), config.hyper, data.train(0))
    for pause in loop.train(learner, state, data.train, steps=3, every=3):
        state = pause.state
    mine = by_hand.trained(3)
    params, buffers = state.inner.variables
    pairs = {
        "params": (mine.variables["params"], params),
        "batch_stats": (mine.variables["batch_stats"], buffers["batch_stats"]),
        "optimizer": (mine.optimizer, state.inner.optimizer),
        "average": (mine.average["params"], state.average.params),
    }
    for name, (ours, theirs) in pairs.items():
        leaves = jax.tree.leaves(ours), jax.tree.leaves(theirs)
        assert len(leaves[0]) > 4
        for a, b in zip(*leaves, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)
