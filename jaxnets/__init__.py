"""The classical deep-learning curriculum as pure functions in JAX.

The way of the data: `data` yields a batch; a `tasks` loss runs `models` on it;
`learners` take the gradient and Optax moves the parameters; `run` repeats, records and
checkpoints; `analysis` looks at what was learned; `sweeps` repeats the whole thing.

Nothing is imported here: `from jaxnets.models.lenet import lenet5` says where a name
lives, and `import jaxnets` costs nothing. Ctrl-C while modules are being imported ends
a program with one line.
"""

import sys

TYPE_CHECKING = False  # typing's own takes time to import
if TYPE_CHECKING:
    import types

_excepthook = sys.excepthook


def _without_imports(
    kind: type[BaseException],
    error: BaseException,
    trace: "types.TracebackType | None",
) -> None:
    """Shows an exception; of Ctrl-C during an import, one line and no traceback."""
    import traceback  # `import jaxnets` itself imports nothing

    frames = [(f.name, f.filename) for f in traceback.extract_tb(trace)]
    modules = [i for i, (name, _) in enumerate(frames) if name == "<module>"]
    inside = frames[modules[0] + 1 :][:1] if modules else []
    importing = any(n == "<module>" or f.startswith("<frozen imp") for n, f in inside)
    causes: list[BaseException | None] = [
        error
    ]  # a library in C ends with an ImportError that Ctrl-C caused
    while causes[-1] is not None:
        causes.append(causes[-1].__cause__ or causes[-1].__context__)
    if importing and any(isinstance(cause, KeyboardInterrupt) for cause in causes):
        print("stopped; nothing to save yet.", file=sys.stderr)  # noqa: T201
    else:
        _excepthook(kind, error, trace)


sys.excepthook = _without_imports

__version__ = "0.1.0"
