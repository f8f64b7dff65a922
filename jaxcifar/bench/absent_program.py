"""The training program compiled for devices that are not here, and what the compiler says of it."""

import dataclasses
import time
from typing import Any

from jax.stages import Compiled

from jaxcifar.bench.absent_devices import Target, devices_of
from jaxcifar.bench.compiled_text import read_program
from jaxcifar.bench.device_traffic import Collective, find_collectives
from jaxcifar.bench.step_costs import KindTotal, step_kernels, totals_by_kind
from jaxcifar.bench.training_memory import trace_training
from jaxcifar.config.experiment import Config
from jaxcifar.diagram.network_summary import summarize, training_flops
from jaxcifar.machine.memory import program_bytes


@dataclasses.dataclass(frozen=True)
class AbsentProgram:
    """The costs of a training program that was compiled for devices that are not here.

    All numbers are for one device.

    Attributes:
      target: the devices.
      dtype: precision that the network computes in.
      batch_size: images in a step of one run, on all devices together.
      run_count: number of runs that are trained together.
      compile_seconds: seconds of compiling.
      persistent_bytes: training images, weights and optimizer state.
      step_bytes: additional memory during a step.
      flops: multiplications and additions of a step, by the sizes of the layers.
      kinds: kernels of a step and the bytes that they read and write, by kind.
      branch_kernels: number of kernels in branches, which not every step takes.
      exchanged: data exchanges between devices in a step.
      text: the compiled program, as XLA writes it.
    """

    target: Target
    dtype: str
    batch_size: int
    run_count: int
    compile_seconds: float
    persistent_bytes: int
    step_bytes: int
    flops: float
    kinds: list[KindTotal]
    branch_kernels: int
    exchanged: list[Collective]
    text: str

    @property
    def kernel_count(self) -> int:
        """Number of kernels of a step."""
        return sum(total.kernels for total in self.kinds)

    @property
    def moved_bytes(self) -> int:
        """Bytes of main memory that the kernels of a step read and write."""
        return sum(total.bytes for total in self.kinds)

    @property
    def least_seconds(self) -> dict[str, float]:
        """The shortest possible seconds of a step, by each published limit of a device.

        The keys are "arithmetic", "memory" (reading and writing it) and "exchanges" between
        devices, modelled in `device_traffic`. Arithmetic and memory work at the same time, so a
        step takes at least as long as the slower of these two (the "roofline"; Williams, Waterman
        and Patterson 2009).
        """
        machine, chip, devices = self.target.machine, self.target.chip, self.target.device_count
        exchange_seconds = [
            machine.all_reduce_seconds(exchange.bytes, devices) for exchange in self.exchanged
        ]
        return {
            "arithmetic": self.flops / machine.flops,
            "memory": self.moved_bytes / chip.bandwidth,
            "exchanges": sum(exchange_seconds),
        }

    def as_record(self) -> dict[str, Any]:
        """Return everything except the program's text as values that fit into a JSON file."""
        record = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del record["text"]
        return {
            **record,
            "target": self.target.name,
            "kinds": [dataclasses.asdict(total) for total in self.kinds],
            "exchanged": [dataclasses.asdict(collective) for collective in self.exchanged],
            "kernel_count": self.kernel_count,
            "moved_bytes": self.moved_bytes,
            "least_seconds": self.least_seconds,
        }


def compile_for(target: Target, config: Config, run_count: int = 1) -> AbsentProgram:
    """Compile a config's training program, for the 45,000 training images of CIFAR-10.

    Args:
      target: the devices to compile for.
      config: settings of the run.
      run_count: number of runs that are trained together.

    Returns:
      the program and its costs.

    Raises:
      UsageError: the batch size does not fit the devices, or user code can't be loaded.
      RunError: the compiler can't be loaded, or does not know the target.
    """
    devices = devices_of(target)
    start_time = time.perf_counter()
    training = trace_training(config, devices, run_count, images_are_on_devices=True)
    compiled = training.traced.lower().compile()
    compile_seconds = time.perf_counter() - start_time
    text = compiled.as_text() or ""
    kernels = step_kernels(read_program(text))
    branch_kernels = [kernel for kernel in kernels if kernel.in_branch]
    device_count = len(training.parallel_runs.replicated.mesh.devices)
    images_per_device = run_count * config.batch_size / device_count
    macs = summarize(training.program.model).macs
    return AbsentProgram(
        target=target,
        dtype=str(training.program.dtype),
        batch_size=config.batch_size,
        run_count=run_count,
        compile_seconds=compile_seconds,
        persistent_bytes=_argument_bytes(compiled),
        step_bytes=program_bytes(compiled) or 0,
        flops=training_flops(macs, images_per_device),
        kinds=totals_by_kind(kernels),
        branch_kernels=len(branch_kernels),
        exchanged=find_collectives(text),
        text=text,
    )


def _argument_bytes(compiled: Compiled) -> int:
    memory_analysis = compiled.memory_analysis()
    return int(memory_analysis.argument_size_in_bytes) if memory_analysis else 0
