"""The contracts that models, tasks and learners keep. Call them on your own.

    from jaxnets.testing.learners import check_learner, check_members
    from jaxnets.testing.models import check_bridge, check_gradients, check_model
    from jaxnets.testing.tasks import check_task

Each raises `AssertionError` with the name of the broken promise. The loop, the sweeps
and the checkpoints rely on every one of them.
"""
