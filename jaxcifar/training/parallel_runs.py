"""Train several runs of one program together, in one compiled function."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcifar.array_types import Float32, Int, Int32, Integer, UInt8
from jaxcifar.machine.compilations import CPU_OPTIONS
from jaxcifar.machine.sharing import AXIS, AnyArray
from jaxcifar.training.program import Program, PyTree
from jaxcifar.training.state import Hyperparameters, TrainState

ArrayOrShape = AnyArray | jax.ShapeDtypeStruct  # an array, or only its shape


@dataclasses.dataclass(frozen=True)
class ParallelRuns:
    """Several runs that are trained together by one compiled function.

    The arrays of the runs are stacked along a leading axis. The runs do not influence each other. A
    single run shares its batches between all devices of the program's mesh. Several runs are spread
    evenly over the largest number of devices that divides the number of runs.

    Attributes:
      program: the training program of each run.
      run_count: number of runs.
    """

    program: Program
    run_count: int

    @property
    def sharding(self) -> NamedSharding:
        """The device placement of stacked arrays, whose first axis is the axis of runs."""
        if self.run_count == 1:
            return self.program.replicated
        devices = self.program.mesh.devices
        device_counts = range(1, len(devices) + 1)
        fitting_counts = [count for count in device_counts if self.run_count % count == 0]
        device_count = max(fitting_counts)
        return NamedSharding(Mesh(devices[:device_count], (AXIS,)), PartitionSpec(AXIS))

    @property
    def replicated(self) -> NamedSharding:
        """The device placement of arrays that all runs read, such as images."""
        return NamedSharding(self.sharding.mesh, PartitionSpec())

    def join(self, trees: Sequence[PyTree]) -> PyTree:
        """Return the arrays of several runs stacked along a leading axis of runs."""
        stacked = _stack_runs(list(trees), self.program.replicated)
        return stacked if self.run_count == 1 else jax.device_put(stacked, self.sharding)

    def split(self, stacked: PyTree) -> list[PyTree]:
        """Return the arrays of each run, on the devices of its program; the inverse of `join`."""
        replicated = self.program.replicated
        if self.run_count > 1:
            stacked = jax.device_put(stacked, replicated)
        return _unstack_runs(stacked, self.run_count, replicated)

    def trace(
        self,
        hyper: Hyperparameters,
        images: UInt8[ArrayOrShape, "images height width 3"],
        labels: Integer[ArrayOrShape, "images"],
    ) -> jax.stages.Traced:
        """Trace `train_steps` for arrays of the given shapes, so that it can be compiled.

        Only shapes and dtypes of the arguments are used.

        Args:
          hyper: hyper-parameters of one run.
          images: all training images, even if `train_steps` gets the images of a few steps.
          labels: labels of all training images.
        """
        program = self.program
        state = program.init.eval_shape(program, hyper, images)
        order = program.epoch_order.eval_shape(program, hyper, np.int32(0), len(labels))

        def stacked_shape(array: Any) -> jax.ShapeDtypeStruct:
            shape = (self.run_count, *array.shape)
            return jax.ShapeDtypeStruct(shape, array.dtype, sharding=self.sharding)

        states, hypers, orders = jax.tree.map(stacked_shape, (state, hyper, order))
        train_images = images
        if program.steps_per_feed is not None:
            images_per_feed = program.steps_per_feed * program.batch_size
            feed_shape = (images_per_feed, *images.shape[1:])
            train_images = stacked_shape(jax.ShapeDtypeStruct(feed_shape, images.dtype))
        step_count = np.int32(1)
        return ParallelRuns.train_steps.trace(
            self, states, hypers, train_images, labels, orders, step_count
        )

    @partial(jax.jit, static_argnums=0, donate_argnums=1, compiler_options=CPU_OPTIONS)
    def train_steps(
        self,
        states: TrainState,
        hypers: Hyperparameters,
        images: UInt8[Array, "*rows height width 3"],
        labels: Int32[Array, "images"],
        orders: Int32[Array, "runs images"],
        step_count: Int[Array, ""],
    ) -> tuple[TrainState, dict[str, Float32[Array, "runs"]]]:
        """Train each run for `step_count` steps within an epoch, in one compiled function.

        Args:
          states: the training states before the steps, stacked along a first axis of runs. JAX
            reuses their memory.
          hypers: hyper-parameters of the runs, stacked.
          images: all training images or, if `program.steps_per_feed` is set, the images of the next
            steps of each run, stacked.
          labels: labels of all training images.
          orders: for each run, the order of the training images in this epoch.
          step_count: number of steps.

        Returns:
          the new states, and the mean `loss` and `accuracy` of each run since its epoch began.
        """
        # A single run uses all devices; of several runs, each is trained by one device.
        program = self.program if self.run_count == 1 else self.program.copy_for_one_device
        # Read here, because the property lowers a program, which is not possible in `shard_map`.
        compiles_loops = program.compiles_loops
        split_by_run = self.sharding.spec
        same_for_all_runs = PartitionSpec()
        each_run_has_own_images = program.steps_per_feed is not None
        states_spec = hypers_spec = orders_spec = split_by_run
        images_spec = split_by_run if each_run_has_own_images else same_for_all_runs
        labels_spec = step_count_spec = same_for_all_runs
        train_on_devices = jax.shard_map(
            partial(_train_runs_of_device, program, compiles_loops),
            mesh=self.sharding.mesh,
            in_specs=(
                states_spec,
                hypers_spec,
                orders_spec,
                images_spec,
                labels_spec,
                step_count_spec,
            ),
            out_specs=split_by_run,
            check_vma=False,
        )
        return train_on_devices(states, hypers, orders, images, labels, step_count)


def _train_runs_of_device(
    program: Program,
    compiles_loops: bool,
    states: TrainState,
    hypers: Hyperparameters,
    orders: Array,
    images: Array,
    labels: Array,
    step_count: Array,
) -> tuple[TrainState, dict[str, Array]]:
    """Train the runs of one device for some steps; return their new states and their metrics.

    Args:
      program: the training program of all runs.
      compiles_loops: `program.compiles_loops`, which can't be read inside of `shard_map`.
      states: the states of the runs, stacked along the first axis.
      hypers: the hyper-parameters of the runs, stacked.
      orders: the order of the images in each run, stacked.
      images: the training images; stacked if each run has its own.
      labels: the labels of the images.
      step_count: the number of steps.
    """
    run_count = len(orders)

    def train_run(
        state: TrainState, hyper: Hyperparameters, order: Array, images_of_run: Array
    ) -> tuple[TrainState, dict[str, Array]]:
        return program.train_steps(state, hyper, images_of_run, labels, order, step_count)

    map_over_runs = partial(_map_over_runs, run_count=run_count, use_vmap=compiles_loops)
    each_run_has_own_images = program.steps_per_feed is not None
    if each_run_has_own_images:
        train_runs = map_over_runs(train_run)
        return train_runs(states, hypers, orders, images)
    train_run_on_shared_images = partial(train_run, images_of_run=images)
    train_runs = map_over_runs(train_run_on_shared_images)
    return train_runs(states, hypers, orders)


def _map_over_runs(
    train_run: Callable[..., PyTree], run_count: int, use_vmap: bool
) -> Callable[..., PyTree]:
    """Return a function that calls `train_run` for each of `run_count` runs, on stacked arrays.

    With `use_vmap`, `jax.vmap` computes the runs together; otherwise `train_run` is called once for
    each run. On a CPU, `vmap` would turn convolutions into grouped ones, XLA's slowest kind.
    """
    if use_vmap and run_count > 1:
        return jax.vmap(train_run)

    def train_one_after_another(*stacked_arguments: PyTree) -> PyTree:
        results = []
        for run in range(run_count):
            arguments_of_run = _arrays_of_run(stacked_arguments, run)
            results.append(train_run(*arguments_of_run))
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

    return train_one_after_another


def _arrays_of_run(stacked: PyTree, run: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[run], stacked)


@partial(jax.jit, static_argnums=1)
def _stack_runs(trees: list[PyTree], placement: NamedSharding) -> PyTree:
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    return jax.lax.with_sharding_constraint(stacked, placement)


@partial(jax.jit, static_argnums=(1, 2))
def _unstack_runs(stacked: PyTree, run_count: int, placement: NamedSharding) -> list[PyTree]:
    trees = [_arrays_of_run(stacked, run) for run in range(run_count)]
    return jax.lax.with_sharding_constraint(trees, placement)
