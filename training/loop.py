"""Run the epochs of a training: steps, validation, saving, and interruptions."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from configs.schema import TrainConfig
from datasets.loader import BatchLoader, DataError, LostWorkerError
from datasets.wrappers import SampleWrapper
from engine import IDENTITY_NORM, progress_bar, to_device
from errors import UserError
from files.whole import written_whole
from parallel import Group, LostProcessError
from scoring import eval_psnr
from training.log import Log
from training.picture import comparison
from training.recipe import LOSSES
from training.run_folder import BEST, LAST, save
from training.signals import Signals, Stopped
from training.state import TrainState
from training.step import compile_errors, train_step

CHECKED_EVERY = 20  # steps between checks of the loss, each of which waits for the GPU


class Run:
    """The remaining epochs of a run, each followed by its validation and checkpoints."""

    def __init__(
        self,
        config: TrainConfig,
        state: TrainState,
        loaders: tuple[BatchLoader, BatchLoader | None],
        group: Group,
        folder: Path,
        log: Log,
        signals: Signals,
    ) -> None:
        self.config, self.state, self.folder = config, state, folder
        self.group, self.log, self.signals = group, log, signals
        self.train_loader, self.val_loader = loaders
        self.device = group.device
        self.norm = config.data_norm.model_dump() if config.data_norm else IDENTITY_NORM
        self.trained: Any = group.average_gradients(state.model)
        if config.compile:
            mode = config.compile if isinstance(config.compile, str) else "default"
            if mode != "default" and group.world > 1:
                raise UserError(f"compile: {mode} is for one process; set it to true")
            self.trained = torch.compile(self.trained, mode=mode)
        self.begun, self.first = time.monotonic(), state.epoch
        self.saved = time.monotonic()
        self.blind = False  # whether it was reported that there are no pictures
        self.suspects: list[tuple[int, torch.Tensor]] = []
        self.loss_sum = torch.tensor(state.loss_sum, dtype=torch.float64, device=self.device)

    def train(self, validate_first: bool = False) -> None:
        """Train the remaining epochs.

        Args:
            validate_first: Validate the model before the first step, too.
        """
        self.signals.begin()
        try:
            if validate_first:
                self.validate_first()
            if self.state.epoch >= self.config.epoch_max:
                self.log.line(f"complete: {self.state.epoch} epochs of {self.config.epoch_max}")
            while self.state.epoch < self.config.epoch_max:
                started = time.monotonic()
                before = self.state.samples
                with compile_errors(), self.saved_on_failure():
                    self.train_epoch()
                seconds = time.monotonic() - started
                self.close_epoch(started, (self.state.samples - before) / seconds)
        finally:
            for loader in filter(None, (self.train_loader, self.val_loader)):
                loader.close()

    def validate_first(self) -> None:
        """Validate the model that the run begins or continues with."""
        if self.val_loader is None:
            raise UserError("--validate-first: the config has no val_dataset with an epoch_val")
        psnr = self.validate(self.val_loader)
        self.log.line(f"before epoch {self.state.epoch + 1}: val: psnr={psnr:.4f}")

    @contextmanager
    def saved_on_failure(self) -> Iterator[None]:
        """Save the state if something outside ends the run, and say how to continue."""
        try:
            yield
        except LostProcessError as error:
            if self.device.type == "cpu":  # a GPU may wait for the lost one forever
                self.save()
            error.args = (f"{error}; repeat the command with --resume",)
            raise
        except LostWorkerError as error:
            self.save()
            if self.signals.stop:  # sent to all processes of the job, workers included
                self.stop(self.signals.stop)
            error.args = (f"{error}; repeat the command with --resume",)
            raise
        except DataError as error:
            self.save()
            skip = "" if self.config.skip_unreadable else ", or set skip_unreadable: true,"
            again = f"repair the data{skip} and repeat the command with --resume"
            error.args = (f"{error}; the run is saved: {again}",)
            raise
        except OSError:  # such as a log on a full disk
            self.save()
            raise

    def train_epoch(self) -> None:
        """Train the remaining steps of an epoch."""
        config, state, group = self.config, self.state, self.group
        state.model.train()
        self.loss_sum.fill_(state.loss_sum)
        self.train_loader.set_epoch(state.epoch, state.step)
        bar = progress_bar(
            self.train_loader,
            f"epoch {state.epoch + 1}/{config.epoch_max}",
            hidden=not group.is_first,
            total=len(self.train_loader),
            initial=state.step,
        )
        skips = config.max_skipped > 0
        batches = self.train_loader.batches
        for batch in bar if state.step < len(self.train_loader) else ():
            # Random numbers of the model also depend on the progress only.
            torch.manual_seed(hash((config.seed, state.epoch, state.step, group.rank)) % 2**63)
            size = batches.size(state.step)
            with group.talking():
                loss, finite = train_step(
                    self.trained,
                    state.optimizer,
                    to_device(batch, self.device),
                    self.norm,
                    loss=LOSSES[config.loss],
                    grad_clip=config.grad_clip,
                    accumulate=config.accumulate,
                    amp=config.amp,
                    scaler=state.scaler,
                    skip_bad=skips,
                    weight=len(batches.part(state.step)) * group.world / size,
                    group=group,
                )
            self.suspects.append((state.step, finite))
            size = size if not skips or finite else 0
            self.loss_sum += torch.where(finite, loss, 0).double() * size
            state.samples += size
            if state.average is not None:
                state.average.update_parameters(state.model)
            state.rate = state.optimizer.param_groups[0]["lr"]
            state.schedule.step()
            state.step += 1
            self.react_to_signals()  # first, as it notices lost processes, for which a GPU waits
            if self.device.type == "cpu" or config.max_skipped or state.step % CHECKED_EVERY == 0:
                self.check_finite()
                if not bar.disable and state.samples:
                    bar.set_postfix(loss=f"{self.loss_sum.item() / state.samples:.4f}")
        self.check_finite()

    def check_finite(self) -> None:
        """Count the steps whose loss or gradients were not finite, and stop if there are too many.

        Raises:
            UserError: If there are more than ``max_skipped``; its report names the samples.
        """
        if self.state.scaler.is_enabled() and self.state.scaler.get_scale() < 1:
            raise UserError(
                "amp: fp16: the gradients are not finite at any scale of the loss; lower the "
                "learning rate, or use bf16, and go on with --resume --force"
            )
        bad = [step for step, finite in self.suspects if not finite]
        self.suspects.clear()
        for step in bad:
            self.state.skipped += 1
            files = self.train_loader.files_of(step)
            place = {"epoch": self.state.epoch + 1, "step": step + 1, "files": files}
            if self.state.skipped > self.config.max_skipped:
                report = self.folder / "not-finite.json"
                if self.group.is_first:
                    with written_whole(report) as file:
                        file.write(json.dumps(place, indent=1).encode())
                raise UserError(
                    f"loss or gradients became infinite or NaN at epoch {place['epoch']}, step "
                    f"{place['step']}; {report} names the samples; lower the learning rate, or set "
                    "grad_clip or max_skipped, and go on with --resume --force"
                )
            self.log.line(f"skipped step {place['step']} of epoch {place['epoch']}: not finite")

    def react_to_signals(self) -> None:
        """Save if it is due or any process was asked to; stop if any process was asked to."""
        state, every = self.state, self.config.save_every
        due = not (self.folder / LAST).exists()  # so that a run killed early can be resumed
        due |= every.steps is not None and state.step > 0 and state.step % every.steps == 0
        due |= every.seconds is not None and time.monotonic() - self.saved >= every.seconds
        save, stop = self.group.largest(
            self.signals.save or (due and self.group.is_first), self.signals.stop or 0
        )
        if save or stop:
            self.save()
        if stop:
            self.stop(stop)

    def stop(self, status: int) -> None:
        self.log.line(f"stopped after epoch {self.state.epoch}, step {self.state.step}")
        raise Stopped(status)

    def save(self, *names: str) -> None:
        """Write the state in the first process; all processes have the same state."""
        self.check_finite()
        self.state.loss_sum = self.loss_sum.item()
        if self.group.is_first:
            save(self.folder, self.config, self.state, *names)
        self.signals.save = False
        self.saved = time.monotonic()

    def close_epoch(self, started: float, samples_per_second: float) -> None:
        """Validate, save and log an epoch whose steps are done."""
        config, state = self.config, self.state
        number = state.epoch + 1
        record: dict[str, float | int] = {
            "epoch": number,
            "epoch_max": config.epoch_max,
            "loss": self.loss_sum.item() / state.samples if state.samples else math.nan,
            "lr": state.rate,
            "samples_per_second": samples_per_second,
        }
        names = []
        if self.val_loader is not None and number % (config.epoch_val or 1) == 0:
            record["psnr"] = self.validate(self.val_loader)
            if record["psnr"] > state.best:
                state.best = record["psnr"]
                names.append(BEST)
        if config.epoch_save and number % config.epoch_save == 0:
            names.append(f"epoch-{number}.pth")
        if self.device.type == "cuda":
            record["gpu_mib"] = round(torch.cuda.max_memory_allocated(self.device) / 2**20)
        now = time.monotonic()
        record["seconds"] = now - started
        record["left"] = (now - self.begun) / (number - self.first) * (config.epoch_max - number)
        state.epoch, state.step, state.samples, state.record = number, 0, 0, record
        self.loss_sum.zero_()
        self.save(*names)
        self.log.epoch(record)
        if "psnr" in record and self.group.is_first:
            self.show(number)
        self.react_to_signals()

    def show(self, number: int) -> None:
        """Log the first validation images as input, bicubic, ours and truth."""
        assert self.val_loader is not None
        samples, bsize = self.val_loader.samples, self.config.eval_bsize
        if not isinstance(samples, SampleWrapper):
            return
        try:
            picture = comparison(self.state.rendering, samples, self.norm, self.device, bsize)
        except UserError as error:  # an unreadable image, which the validation left out
            if not self.blind:
                self.log.line(f"no pictures of the validation: {error}")
            self.blind = True
            return
        self.log.picture("val/input, bicubic, ours, truth", picture, number)

    def validate(self, loader: BatchLoader) -> float:
        """Compute the mean PSNR; if it fails, save, so that the epoch's steps are not repeated."""

        def on_batch() -> None:
            (stop,) = self.group.largest(self.signals.stop or 0)
            if stop:
                self.stop(stop)

        config = self.config
        model = self.state.rendering
        try:
            with self.saved_on_failure():
                psnr = eval_psnr(
                    loader,
                    model,
                    self.norm,
                    config.eval_type,
                    config.eval_bsize,
                    verbose=self.group.is_first,
                    group=self.group,
                    on_batch=on_batch,
                )
                if math.isnan(psnr) and self.config.skip_unreadable:
                    raise DataError("val_dataset: none of its images can be read")
                return psnr
        except BaseException:
            self.save()
            raise
