"""A contestant of the benchmark: the same training in PyTorch, with all images on the device."""

import time
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.nn import functional as F

from jaxcifar.bench.work import CLASSES, Timing, Work, random_examples
from jaxcifar.build.model import create_model
from jaxcifar.exchange.torch_modules import torch_network


class TorchTraining:
    """Training in PyTorch, eager or compiled, with channels last in memory.

    A step gathers a batch, normalises it, trains on it and sums the loss; it does not augment.
    """

    def __init__(self, work: Work, compile_mode: str | None) -> None:
        """Create the network, and place it and the images on the GPU, or on the CPU without one.

        Args:
          work: the network to measure.
          compile_mode: mode of `torch.compile`, such as "max-autotune"; None not to compile.
        """
        self._work = work
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        train, test = random_examples(work)
        self._train_images = torch.from_numpy(train.images).to(self._device)
        self._train_labels = torch.from_numpy(train.labels).to(self._device).long()
        self._test_images = torch.from_numpy(test.images).to(self._device)
        model = create_model(work.config, CLASSES)
        # Any, because PyTorch declares no `memory_format`, nor that `compile` gives a module.
        network: Any = torch_network(work.arch, model, mean=(0.5,) * 3, std=(0.25,) * 3)
        network = network.to(self._device, memory_format=torch.channels_last)
        self._optimizer = torch.optim.SGD(
            network.parameters(), 0.01, momentum=0.9, weight_decay=5e-4
        )
        self._network: Any = torch.compile(network, mode=compile_mode) if compile_mode else network

    def train(self, steps: int) -> Timing:
        """Train for `steps` steps; return the number of images and the seconds."""
        self._network.train()
        batch_size = self._work.batch_size
        start_time = time.perf_counter()
        sum_to_wait_for = torch.zeros((), device=self._device)  # depends on all steps
        order = torch.randperm(len(self._train_images), device=self._device)
        for step in range(steps):
            possible_start_count = len(order) - batch_size + 1
            start = (step * batch_size) % possible_start_count
            batch = order[start : start + batch_size]
            images, labels = self._train_images[batch], self._train_labels[batch]
            torch.compiler.cudagraph_mark_step_begin()
            with self._autocast():
                logits = self._network(self._network_inputs(images))
            loss = F.cross_entropy(logits.float(), labels)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            sum_to_wait_for += loss.detach()
        sum_to_wait_for.item()  # waits until all steps are done
        return Timing(steps * batch_size, time.perf_counter() - start_time)

    @torch.no_grad()
    def evaluate(self, batches: int) -> Timing:
        """Predict `batches` batches of test images; return the number of images and the seconds."""
        self._network.eval()
        start_time = time.perf_counter()
        sum_to_wait_for = torch.zeros((), device=self._device)  # depends on all predictions
        batch_size = self._work.eval_batch
        images = self._test_images[: batches * batch_size]
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            with self._autocast():
                logits = self._network(self._network_inputs(batch))
            sum_to_wait_for += (logits.argmax(1) == 0).sum()
        sum_to_wait_for.item()  # waits until all batches are done
        return Timing(len(images), time.perf_counter() - start_time)

    def peak_memory(self) -> int | None:
        """Return the maximum bytes used on an accelerator so far; None on a CPU."""
        if self._device.type == "cpu":
            return None
        return torch.cuda.max_memory_allocated()

    def _network_inputs(self, images: torch.Tensor) -> torch.Tensor:
        channels_first = images.permute(0, 3, 1, 2)
        pixels = channels_first.float() / 255  # the network normalises them
        return pixels.contiguous(memory_format=torch.channels_last)

    def _autocast(self) -> AbstractContextManager:
        uses_bfloat16 = self._work.dtype == "bfloat16"
        return torch.autocast(self._device.type, torch.bfloat16, enabled=uses_bfloat16)
