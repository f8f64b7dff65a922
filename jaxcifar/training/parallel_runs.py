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

WithShape = AnyArray | jax.ShapeDtypeStruct  # an array, or only its shape


@dataclasses.dataclass(frozen=True)
class ParallelRuns:
    """Several runs of one program, whose arrays are stacked along a leading axis of runs.

    A single run shares its batches between all devices of the program's mesh. Several runs are
    spread evenly over devices: over the largest number of devices that divides the number of runs.
    The runs on one device are batched by `vmap`. The runs do not influence each other.

    Attributes:
      program: the program of each run.
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
        possible_counts = range(1, len(devices) + 1)
        device_count = max(count for count in possible_counts if self.run_count % count == 0)
        return NamedSharding(Mesh(devices[:device_count], (AXIS,)), PartitionSpec(AXIS))

    @property
    def replicated(self) -> NamedSharding:
        """The device placement of arrays that all runs read, such as images."""
        return NamedSharding(self.sharding.mesh, PartitionSpec())

    def join(self, trees: Sequence[PyTree]) -> PyTree:
        """Return the arrays of several runs stacked along a leading axis of runs."""
        stacked = _stack(list(trees), self.program.replicated)
        return stacked if self.run_count == 1 else jax.device_put(stacked, self.sharding)

    def split(self, stacked: PyTree) -> list[PyTree]:
        """Return the arrays of each run, on the devices of its program; the inverse of `join`."""
        replicated = self.program.replicated
        if self.run_count > 1:
            stacked = jax.device_put(stacked, replicated)
        return _unstack(stacked, self.run_count, replicated)

    def trace(
        self,
        hyper: Hyperparameters,
        images: UInt8[WithShape, "images height width 3"],
        labels: Integer[WithShape, "images"],
    ) -> jax.stages.Traced:
        """Return `train_steps`, traced for arrays of these shapes; array values are not used.

        `images` are all training images, also if the program is fed those of a few steps.
        """
        program = self.program
        state = program.init.eval_shape(program, hyper, images)
        order = program.epoch_order.eval_shape(program, hyper, np.int32(0), len(labels))

        def stacked(array: Any) -> jax.ShapeDtypeStruct:
            shape = (self.run_count, *array.shape)
            return jax.ShapeDtypeStruct(shape, array.dtype, sharding=self.sharding)

        states, hypers, orders = jax.tree.map(stacked, (state, hyper, order))
        if program.fed_steps is not None:
            shape = (program.fed_steps * program.batch_size, *images.shape[1:])
            images = stacked(jax.ShapeDtypeStruct(shape, images.dtype))
        return ParallelRuns.train_steps.trace(
            self, states, hypers, images, labels, orders, np.int32(1)
        )

    @partial(jax.jit, static_argnums=0, donate_argnums=1, compiler_options=CPU_OPTIONS)
    def train_steps(
        self,
        states: TrainState,
        hypers: Hyperparameters,
        images: UInt8[Array, "*rows height width 3"],
        labels: Int32[Array, "images"],
        orders: Int32[Array, "runs images"],
        count: Int[Array, ""],
    ) -> tuple[TrainState, dict[str, Float32[Array, "runs"]]]:
        """Train each run for `count` steps; return the new states, and mean loss and accuracy.

        The arguments are those of `Program.train_steps`; `states`, `hypers` and `orders` are
        stacked along a first axis of runs, as are `images` if the program is fed those of a few
        steps. JAX reuses the memory of `states`.
        """
        # A single run uses all devices; of several runs, each is trained by one device.
        program = self.program if self.run_count == 1 else self.program.for_one_device
        is_fed = program.fed_steps is not None
        compiles_loops = (
            program.compiles_loops
        )  # found here, because nothing can be lowered in `shard_map`

        def train_on_device(
            states: TrainState,
            hypers: Hyperparameters,
            orders: Array,
            images: Array,
            labels: Array,
            count: Array,
        ) -> tuple[TrainState, dict[str, Array]]:
            def train(
                state: TrainState, hyper: Hyperparameters, order: Array, images: Array = images
            ) -> tuple[TrainState, dict[str, Array]]:
                return program.train_steps(state, hyper, images, labels, order, count)

            of_runs = (states, hypers, orders, images) if is_fed else (states, hypers, orders)
            return _map_runs(train, len(orders), compiles_loops)(*of_runs)

        split_by_run, replicated = self.sharding.spec, PartitionSpec()
        of_images = split_by_run if is_fed else replicated
        return jax.shard_map(
            train_on_device,
            mesh=self.sharding.mesh,
            in_specs=(
                *(split_by_run, split_by_run, split_by_run),  # states, hypers and orders
                *(of_images, replicated, replicated),  # images, labels and count
            ),
            out_specs=split_by_run,
            check_vma=False,
        )(states, hypers, orders, images, labels, count)


def _map_runs(
    function: Callable[..., PyTree], run_count: int, use_vmap: bool
) -> Callable[..., PyTree]:
    """Return `function` mapped over a leading axis of length `run_count`, the axis of runs.

    Without `use_vmap` the function is called once per run. On a CPU `vmap` would turn convolutions
    into grouped convolutions, which are the slowest kind in XLA.
    """
    if use_vmap and run_count > 1:
        return jax.vmap(function)

    def call_for_each_run(*stacked: PyTree) -> PyTree:
        results = [function(*_arrays_of_run(stacked, run)) for run in range(run_count)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

    return call_for_each_run


def _arrays_of_run(stacked: PyTree, run: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[run], stacked)


@partial(jax.jit, static_argnums=1)
def _stack(trees: list[PyTree], placement: NamedSharding) -> PyTree:
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    return jax.lax.with_sharding_constraint(stacked, placement)


@partial(jax.jit, static_argnums=(1, 2))
def _unstack(stacked: PyTree, count: int, placement: NamedSharding) -> list[PyTree]:
    trees = [_arrays_of_run(stacked, run) for run in range(count)]
    return jax.lax.with_sharding_constraint(trees, placement)
