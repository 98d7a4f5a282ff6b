"""The contracts that models, tasks and learners keep. Call them on your own.

Each raises `AssertionError` with the name of the broken promise. The loop, the sweeps
and the checkpoints rely on every one of them.
"""

from jaxnets.testing.learners import check_learner, check_members
from jaxnets.testing.models import check_bridge, check_gradients, check_model
from jaxnets.testing.tasks import check_task

__all__ = [
    "check_bridge",
    "check_gradients",
    "check_learner",
    "check_members",
    "check_model",
    "check_task",
]
