"""What is done and who is at what, in an Optuna storage that all workers share.

Two studies. One holds the units of work: a trial each, leased to the worker that runs
it, whose name and last sign of life are attributes of the trial. A lease that has run
out is told as failed, and the unit queued again, where it goes on from its checkpoint.
(Optuna's own heartbeats work only where Optuna runs the loop.) The other study holds
the results: one finished trial a setting, with its learning curve, for Optuna's
dashboard and its measures of importance. Both are only ever added to, so that a kill at
any moment leaves nothing that the next worker cannot go on with.
"""

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from jaxnets import files
from jaxnets.run.folder import RunError
from jaxnets.sweeps import space as spaces
from jaxnets.sweeps.plans import Definition, Finished, WorkUnit

# Attempts that end without a word, and without a step more than the one before.
_HOPELESS = 50


class Ledger:
    """The two studies of a sweep, as one worker sees them.

    Attributes:
        worker: Its name.
        lease: Seconds that a lease lasts without a sign of life.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        definition: Mapping[str, Any],
        objectives: int,
        *,
        url: str | None = None,
        lease: float = 60.0,
    ) -> None:
        """Opens the studies, or begins them.

        Args:
            folder: Of the sweep.
            name: Of the study.
            definition: Of the sweep; another one under this name is refused.
            objectives: How many numbers a result has.
            url: Of the storage; by default a SQLite file in the folder.
            lease: See above.

        Raises:
            RunError: If the storage holds another sweep of this name, or cannot be
                reached.
        """
        spaces.quiet()
        self.folder, self.lease = folder, lease
        self._gate_path = folder / "ledger.lock"
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._alive = _hold(folder / "workers", self.worker)
        self._links = contextlib.ExitStack()
        try:
            self._open(name, definition, objectives, url)
        except BaseException:
            self._release()
            raise

    def _open(
        self, name: str, definition: Mapping[str, Any], objectives: int, url: str | None
    ) -> None:
        with self._gate():
            if url is None:  # in a URL "?" and "#" are not part of a path
                plain = self._links.enter_context(files.plain_path(self.folder))
                url = f"sqlite:///{plain / 'study.db'}"
            self._storage = _storage(url)
            self._work = self._study(f"{name}.work", ["minimize"])
            self._results = self._study(name, ["minimize"] * objectives)
            known = self._work.user_attrs.get("definition")
            if known is None:
                self._work.set_user_attr("definition", dict(definition))
            elif known != json.loads(files.dump_json(dict(definition))):
                self.close()
                raise RunError(f"study {name} in this storage is another sweep")

    def _study(self, name: str, directions: list[str]) -> optuna.Study:
        return optuna.create_study(
            storage=self._storage,
            study_name=name,
            directions=directions,
            load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(seed=0),
        )

    # ---------------------------------------------------------------- units of work

    def outcomes(self) -> dict[str, dict[str, Any]]:
        """Name of every unit that is done to what came out of it."""
        found: dict[str, dict[str, Any]] = {}
        for trial in self._trials(TrialState.COMPLETE):
            found.setdefault(trial.user_attrs["unit"], trial.user_attrs["outcome"])
        return found

    def claim(self, units: Sequence[WorkUnit]) -> "Lease | None":
        """Leases the first of these units that no worker trains; None without one."""
        with self._gate():
            self._expire()
            live: dict[str, list[FrozenTrial]] = {}
            for trial in self._trials(TrialState.WAITING, TrialState.RUNNING):
                live.setdefault(trial.user_attrs["unit"], []).append(trial)
            for unit in units:
                mine = live.get(unit.name, [])
                if any(trial.state == TrialState.RUNNING for trial in mine):
                    continue
                number = mine[0]._trial_id if mine else self._queue(unit)
                if self._storage.set_trial_state_values(number, TrialState.RUNNING):
                    lease = Lease(self, unit, number)
                    lease.renew()
                    return lease
        return None

    def _queue(self, unit: WorkUnit) -> int:
        """A new attempt at a unit, waiting."""
        trial = optuna.trial.create_trial(
            state=TrialState.WAITING, user_attrs={"unit": unit.name}
        )
        return self._storage.create_new_trial(self._work._study_id, trial)

    def _expire(self) -> None:
        """Tells what dead workers were at as failed, and queues it again."""
        for trial in self._trials(TrialState.RUNNING):
            attributes = trial.user_attrs
            begun = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
            renewed = max(attributes.get("renewed", 0.0), begun)
            worker = attributes.get("worker", "")
            if time.time() < renewed + self.lease and not self._dead(worker):
                continue
            number = trial._trial_id
            reason = f"the lease of {worker or 'a worker'} ran out"
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
                self._storage.set_trial_user_attr(number, "reason", reason)
                self._storage.set_trial_state_values(number, TrialState.FAIL)

    def hopeless(self, unit: WorkUnit) -> str | None:
        """Why a unit should not be tried again, if that is so.

        It may have killed its workers, by taking all memory say: they ended without a
        word, and none came further than the one before.
        """
        reached = [
            trial.user_attrs.get("reached", 0)
            for trial in self._trials(TrialState.FAIL)
            if trial.user_attrs["unit"] == unit.name
        ]
        stuck = reached[-_HOPELESS:]
        if len(stuck) == _HOPELESS and len(set(stuck)) == 1:
            return f"{_HOPELESS} workers died of it at step {stuck[0]}"
        return None

    def running(self) -> int:
        """How many units are being worked on."""
        return len(self._trials(TrialState.RUNNING))

    def _dead(self, worker: str) -> bool:
        """Whether a worker of this machine is known to have ended."""
        path = self.folder / "workers" / f"{worker}.lock"
        if not worker or worker == self.worker or not path.exists():
            return False
        with path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return worker.startswith(socket.gethostname() + "-")

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        found = self._work.get_trials(deepcopy=False, states=states)
        return sorted(found, key=lambda trial: trial.number)

    # -------------------------------------------------------------------- results

    def publish(self, definition: Definition, finished: Sequence[Finished]) -> None:
        """Adds what is finished, and not there yet, to the study of results."""
        with self._gate():
            known = {
                (trial.user_attrs["group"], trial.user_attrs["trial"])
                for trial in self._results.get_trials(deepcopy=False)
            }
            for done in finished:
                if (done.group, done.trial) not in known:
                    self._results.add_trial(_published(definition, done))

    @property
    def results(self) -> optuna.Study:
        """The study of results."""
        return self._results

    def close(self) -> None:
        """Lets go of the storage."""
        self._release()
        self._storage.remove_session()
        engine = getattr(getattr(self._storage, "_backend", None), "engine", None)
        if engine is not None:
            engine.dispose()

    def _release(self) -> None:
        """Says that this worker has ended."""
        self._links.close()
        self._alive.close()
        (self.folder / "workers" / f"{self.worker}.lock").unlink(missing_ok=True)

    @contextlib.contextmanager
    def _gate(self) -> Iterator[None]:
        """One process at a time, where the storage is a file of this machine."""
        with self._gate_path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class Lease:
    """The lease of a unit by this worker; use it in a `with` statement.

    While it is entered, a thread renews the lease, through compilations too.
    """

    def __init__(self, ledger: Ledger, unit: WorkUnit, number: int) -> None:
        """Takes over what `Ledger.claim` has found."""
        self.unit, self.reached = unit, 0
        self._ledger, self._number = ledger, number
        self._storage = ledger._storage
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._renewing, daemon=True)

    def __enter__(self) -> "Lease":
        """Starts renewing."""
        self._thread.start()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Ends it; an interrupted unit is queued again at once."""
        self._stop()
        if error is not None:
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
                self._set("reason", f"{type(error).__name__}: {error}"[:1000])
                self._set("reached", self.reached)
                self._storage.set_trial_state_values(self._number, TrialState.FAIL)

    def _stop(self) -> None:
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def renew(self) -> None:
        """A sign of life."""
        self._set("worker", self._ledger.worker)
        self._set("renewed", time.time())

    def complete(self, outcome: Mapping[str, Any]) -> None:
        """Stores what came out; once this returns, it survives any kill.

        Where another worker was faster, after a lease had run out, its outcome stands.
        """
        self._stop()
        plain = json.loads(files.dump_json(dict(outcome)))
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            self._set("outcome", plain)
            state = TrialState.COMPLETE
            self._storage.set_trial_state_values(self._number, state, [0.0])

    def _set(self, name: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._number, name, value)

    def _renewing(self) -> None:
        while not self._end.wait(self._ledger.lease / 4):
            try:
                self.renew()
                self._set("reached", self.reached)
            except optuna.exceptions.UpdateFinishedTrialError:
                return  # the lease had run out: another worker has the unit
            except optuna.exceptions.StorageInternalError:
                continue  # the server is away: perhaps it comes back in time


def _published(definition: Definition, done: Finished) -> FrozenTrial:
    space = spaces.from_json(definition.space)
    ranges = spaces.free(space)
    failed = any(None in row for row in done.results) or any(done.reasons)
    state = TrialState.COMPLETE if done.whole else TrialState.PRUNED
    attributes = {
        "group": done.group,
        "trial": done.trial,
        "step": done.step,
        "results": done.results,
        "reasons": done.reasons,
        "history": done.history,
    }
    curve: dict[int, list[float]] = {}
    for replica in done.curves:
        for step, value in replica:
            curve.setdefault(int(step), []).append(float(value))
    values: dict[str, Any] = {}
    if failed:
        state = TrialState.FAIL
    elif done.whole:
        columns = zip(*done.results, strict=True)
        values = {"values": [sum(c) / len(c) for c in columns]}  # type: ignore[arg-type]
    return optuna.trial.create_trial(
        state=state,
        params={
            name: int(value) if ranges[name].kind == "int" else value
            for name, value in done.values.items()
        },
        distributions={name: r.distribution() for name, r in ranges.items()},
        user_attrs=json.loads(files.dump_json(attributes)),
        intermediate_values={s: sum(v) / len(v) for s, v in curve.items()},
        **values,
    )


def _storage(url: str) -> Any:
    """A storage by its address: a database, or `grpc://HOST:PORT`, Optuna's proxy."""
    if url.startswith("grpc://"):
        host, _, port = url.removeprefix("grpc://").partition(":")
        try:
            return optuna.storages.GrpcStorageProxy(host=host, port=int(port or 13000))
        except ImportError as error:
            raise RunError(f"{url} needs grpcio and protobuf: {error}") from error
        except ValueError as error:
            raise RunError(f"the storage {url} has no port: {error}") from error
    waits = {"connect_args": {"timeout": 100}} if url.startswith("sqlite") else {}
    for attempt in range(5):
        try:
            inner = optuna.storages.RDBStorage(
                url, engine_kwargs={**waits, "pool_pre_ping": True}
            )
            return optuna.storages.get_storage(inner)
        except ImportError as error:
            raise RunError(f"{url}: its driver is not installed: {error}") from error
        except Exception as error:
            # Two workers may be making the tables of a new database.
            if attempt == 4:
                raise RunError(f"the storage {url} cannot be used: {error}") from error
            time.sleep(0.2 * 2**attempt)
    raise AssertionError


def _hold(folder: Path, worker: str) -> Any:
    """A lock that is free once this process has ended, however it did."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / f"{worker}.lock").open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file
