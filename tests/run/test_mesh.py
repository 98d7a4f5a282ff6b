"""Four host devices give the numbers of one, in a process of their own."""

import json
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxnets.run.folder import RunError

# Two folders have a conftest.py, and only one of them can be imported.
TOYS = Path(__file__).parent / "toys"

PROGRAM = textwrap.dedent("""
    import json, sys
    import jax, numpy as np
    sys.path.insert(0, sys.argv[1])
    import small
    from jaxnets.data.feeds.base import ordered
    from jaxnets.learners.averaged import averaged
    from jaxnets.learners.supervised import supervised
    from jaxnets.learners import optimizers, schedules
    from jaxnets.models.convnet import ConvNet
    from jaxnets.models.mlp import MLP
    from jaxnets.once import once
    from jaxnets.run import loop, mesh
    from jaxnets.tasks.classification import classification
    from jaxnets.types import ImageBatch

    data = small.load(small.Config())
    each = int(sys.argv[2])
    # Convolutions inside a scan are slow on a CPU: one network for each.
    model = ConvNet(filters=(4, 8), pools=(0,)) if each == 1 else MLP(widths=(16,))
    # Batches that split over four devices, and ones that do not.
    rows = 32 if each == 1 else 31
    held = ordered(data.dataset.validation, ImageBatch, batch_size=rows)
    rule = optimizers.composed(optimizers.momentum, schedules.constant())
    learner = averaged(supervised(classification(model), rule))

    def numbers(where):
        state = once(learner.init)(jax.random.key(0), small.Hyper(), data.train(0))
        (pause,) = loop.train(learner, state, data.train, steps=20, every=20,
                              mesh=where, steps_per_call=each)
        score = loop.evaluate(learner, pause.state, held, mesh=where)
        leaves = jax.tree.leaves(pause.state.inner.variables)
        assert all(x.sharding.is_fully_replicated for x in leaves)
        return {
            "devices": len(leaves[0].sharding.device_set),
            "params": [float(np.asarray(x, np.float64).sum()) for x in leaves],
            "largest": [float(np.abs(np.asarray(x)).max()) for x in leaves],
            "metrics": {n: float(m.compute()) for n, m in pause.metrics.items()},
            "loss": float(score["loss"].compute()),
        }

    four = mesh.data_mesh()
    rows = mesh.split_rows(four, data.train.fetch(0))
    assert len(rows.positions.addressable_shards) == 4
    assert rows.positions.addressable_shards[0].data.shape == (8,)
    print(json.dumps([numbers(None), numbers(four)]))
""")


@pytest.mark.parametrize("each", [1, 5])
def test_four_devices_give_the_numbers_of_one(toy, tmp_path, each):
    program = tmp_path / "mesh.py"
    program.write_text(PROGRAM)

    flags = {"JAX_NUM_CPU_DEVICES": "4"}
    out, _ = toy("", str(TOYS), str(each), program=program, environment=flags)
    one, four = json.loads(out.splitlines()[-1])
    assert (one["devices"], four["devices"]) == (1, 4)
    for name in ("params", "largest"):
        np.testing.assert_allclose(four[name], one[name], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(four["loss"], one["loss"], rtol=1e-6)
    for name, value in one["metrics"].items():
        np.testing.assert_allclose(four["metrics"][name], value, rtol=1e-6)


def test_a_batch_that_does_not_split_is_refused_with_sizes_that_do():
    from jaxnets.run import mesh

    # Only the size is asked for; four devices would need a process of their own.
    four = jax.sharding.AbstractMesh((4,), ("data",))
    with pytest.raises(RunError, match="use 28 or 32"):
        mesh.check_batch(four, 30)
    with pytest.raises(RunError, match="does not split over 4 devices"):
        mesh.check_batch(four, 3)
    mesh.check_batch(four, 32)
    assert mesh.data_mesh(jax.devices()[:1]).size == 1
