"""A run inside a thread, inside a notebook, and away from git."""

import subprocess
import textwrap
import threading
from pathlib import Path

import pytest
from toys import small

from jaxnets.run import environment
from jaxnets.run.interrupts import Interrupts

CONFIG = small.Config(steps=4, every=2)


def test_a_run_in_a_thread_changes_no_signal_handler(here, plain):
    import signal

    before, found = signal.getsignal(signal.SIGINT), []

    def work():
        found.append(small.main(CONFIG).step)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [4]
    assert signal.getsignal(signal.SIGINT) is before


def test_handlers_are_put_back(here):
    import signal

    before = signal.getsignal(signal.SIGTERM)
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_commit_and_what_has_changed_since(tmp_path):
    def git(*arguments):
        command = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run([*command, *arguments], check=True, capture_output=True)

    source = tmp_path / "experiment.py"
    source.write_text("one\n")
    assert environment.commit_of(source) == (None, "")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    commit, patch = environment.commit_of(source)
    assert len(commit) == 40
    assert patch == ""
    source.write_text("two\n")
    for stage in (lambda: None, lambda: git("add", ".")):
        stage()
        again, patch = environment.commit_of(source)
        assert again == commit
        assert "-one\n+two\n" in patch


def test_what_may_change_bits_is_told():
    now = environment.environment(None, "")
    assert environment.differences(now, now) == []
    before = {
        **now,
        "packages": {**now["packages"], "jax": "0.0.1"},
        "devices": ["tpu"],
    }
    found = "; ".join(environment.differences(before, now))
    assert "jax 0.0.1, now" in found
    assert "devices" in found


def test_linen_models_work_from_nnx():
    import jax
    import numpy as np
    from flax import nnx

    from jaxnets.models import functional
    from jaxnets.models.convnet import ConvNet
    from jaxnets.types import Variables

    model = ConvNet(filters=(4,), pools=(0,))
    image = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    bridged = nnx.bridge.ToNNX(model, rngs=nnx.Rngs(0)).lazy_init(image, train=False)
    output = bridged(image, train=False)
    state = nnx.to_pure_dict(nnx.state(bridged))
    flat = {
        ".".join(map(str, k)): v
        for k, v in nnx.traversals.flatten_mapping(state).items()
    }
    draw = lambda key: functional.init(model, key, image)
    variables = jax.eval_shape(draw, jax.random.key(1))  # their names and shapes

    def taken(tree):
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: flat[".".join(p.key for p in path)], tree
        )

    stats = {k: taken(v) for k, v in variables.buffers.items()}
    params = taken(variables.params)
    ours = jax.jit(lambda v: functional.predict(model, v, image))
    ours = ours(Variables(params, stats))
    np.testing.assert_allclose(ours, output, rtol=1e-5, atol=1e-6)


@pytest.mark.one_python
def test_a_notebook_shows_plain_lines(tmp_path, warm, surroundings):
    """As a notebook does it: standard output is no terminal, the kernel is a thread."""
    program = textwrap.dedent(f"""
        import io, contextlib, sys
        sys.path.insert(0, {str(Path(small.__file__).parent)!r})
        import small
        from jaxnets.run import report
        report.write = lambda *arguments: None
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            run = small.main(small.Config(steps=4, every=2))
        text = shown.getvalue()
        assert "step 2/4" in text and "\\r" not in text
        assert run.state is not None
        print(run.step)
    """)
    how = {"cwd": tmp_path, "env": surroundings(), "true_start": True}
    done = warm.run(["-c", program], **how)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "4"


@pytest.mark.parametrize("name", ["seed", "data_seed"])
def test_the_two_seeds_do_two_things(name, here):
    import dataclasses

    import jax
    import numpy as np

    from jaxnets.once import once

    def first(config):
        data = small.load(config)
        learner = small.build(config, data)
        key = jax.random.key(config.seed)
        return data.train(0), once(learner.init)(key, config.hyper, data.train(0))

    batch, state = first(CONFIG)
    other_batch, other_state = first(dataclasses.replace(CONFIG, **{name: 7}))
    kernels = [
        np.asarray(s.inner.variables.params["output"]["kernel"])
        for s in (state, other_state)
    ]
    same_batch = np.array_equal(batch.image, other_batch.image)
    same_weights = np.array_equal(*kernels)
    assert (same_batch, same_weights) == (
        (True, False) if name == "seed" else (False, True)
    )
