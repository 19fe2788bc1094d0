"""The keys of training and test YAMLs, and their validation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, PositiveFloat, PositiveInt

from configs.source import BASE, Source
from configs.spec import Registry
from configs.values import type_message
from errors import UserError, did_you_mean

EVAL_TYPE = re.compile(r"(benchmark|div2k)-(\d+(?:\.\d+)?)|gray")

Spec = dict[str, Any]
OneOrThree = Annotated[list[float], Field(min_length=1, max_length=3)]


class _Section(pydantic.BaseModel):
    """A mapping that allows no unknown keys; values are not coerced (text is not a number)."""

    model_config = pydantic.ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False
    )


class Stats(_Section):
    """The numbers of (x - sub) / div, one each or one per channel."""

    sub: OneOrThree
    div: OneOrThree

    @pydantic.model_validator(mode="after")
    def _usable(self) -> Stats:
        if 0 in self.div:
            raise ValueError("div cannot be 0")
        if 2 in (len(self.sub), len(self.div)):
            raise ValueError("give one number, or one per channel")
        return self


class DataNorm(_Section):
    """The normalisation of pixels in [0, 1], for the network's input and its target."""

    inp: Stats
    gt: Stats


def _eval_type(value: str | None) -> str | None:
    if value is not None and not EVAL_TYPE.fullmatch(value):
        raise ValueError("expected gray, benchmark-S or div2k-S with the scale S, e.g. benchmark-2")
    return value


EvalType = Annotated[str | None, pydantic.AfterValidator(_eval_type)]


class DataSection(_Section):
    """A section that describes files (dataset), samples (wrapper) and batches."""

    dataset: Spec
    wrapper: Spec
    batch_size: Annotated[int, Field(gt=0, le=10**6)]


class MultiStepLR(_Section):
    """A schedule that multiplies the learning rate by gamma after each milestone, in epochs."""

    milestones: list[PositiveInt]
    gamma: PositiveFloat = 0.1


class WarmupStepLR(_Section):
    """A schedule that raises the learning rate to ``multiplier`` times, then lowers it as a cosine.

    It rises for ``total_epoch`` epochs.
    """

    multiplier: Annotated[float, Field(ge=1)]
    total_epoch: PositiveInt


class SaveEvery(_Section):
    """The intervals at which a run saves within an epoch; ends of epochs are always saved."""

    steps: PositiveInt | None = None
    seconds: PositiveFloat | None = None


def per_channel(norm: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    """Expand a `DataNorm` to three numbers each, so that equivalent ones compare equal."""
    return {
        side: {key: list(x) * (3 if len(x) == 1 else 1) for key, x in stats.items()}
        for side, stats in norm.items()
    }


class TrainConfig(_Section):
    """The content of a training YAML."""

    train_dataset: DataSection
    val_dataset: DataSection | None = None
    data_norm: DataNorm | None = None
    model: Spec
    optimizer: Spec
    epoch_max: PositiveInt
    multi_step_lr: MultiStepLR | None = None
    warmup_step_lr: WarmupStepLR | None = None
    resume: str | None = None
    pre_train: str | dict[str, str] | None = None
    freeze: list[str] | None = None
    epoch_val: PositiveInt | None = None
    epoch_save: PositiveInt | None = None
    eval_type: EvalType = None
    eval_bsize: PositiveInt | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    grad_clip: PositiveFloat | None = None
    num_workers: Annotated[int, Field(ge=0)] | None = None
    amp: Literal["bf16", "fp16"] | None = None
    compile: Literal[False, True, "reduce-overhead"] = False
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    accumulate: PositiveInt = 1
    warmup: PositiveInt | None = None
    lr_schedule: Literal["multi-step", "cosine"] | None = None
    loss: Literal["l1", "mse", "smooth-l1"] = "l1"
    save_every: SaveEvery = SaveEvery(seconds=600)
    max_skipped: Annotated[int, Field(ge=0)] = 0
    skip_unreadable: bool = False

    @pydantic.model_validator(mode="after")
    def _one_beginning(self) -> TrainConfig:
        if self.resume is not None and self.pre_train is not None:
            raise ValueError("resume and pre_train exclude each other: leave one out")
        return self

    @pydantic.model_validator(mode="after")
    def _no_graphs_of_parts(self) -> TrainConfig:
        # The gradients of a CUDA graph are in memory that its next run overwrites.
        if self.compile == "reduce-overhead" and self.accumulate > 1:
            raise ValueError("compile: reduce-overhead and accumulate exclude each other")
        return self

    @pydantic.model_validator(mode="after")
    def _one_schedule(self) -> TrainConfig:
        if self.lr_schedule == "cosine" and self.multi_step_lr is not None:
            raise ValueError("lr_schedule: cosine and multi_step_lr exclude each other")
        if self.lr_schedule == "multi-step" and self.multi_step_lr is None:
            raise ValueError("lr_schedule: multi-step needs multi_step_lr")
        if self.warmup_step_lr is not None:
            others = (self.multi_step_lr, self.warmup, self.lr_schedule)
            if any(value is not None for value in others):
                raise ValueError(
                    "warmup_step_lr excludes multi_step_lr, warmup and lr_schedule: leave them out"
                )
            if self.warmup_step_lr.total_epoch >= self.epoch_max:
                raise ValueError("warmup_step_lr: total_epoch must be less than epoch_max")
        return self


class TestConfig(_Section):
    """The content of a test YAML in the published form: one dataset, one protocol."""

    test_dataset: DataSection
    eval_type: EvalType = None
    eval_bsize: PositiveInt | None = None
    data_norm: DataNorm | None = None


class ScaledTest(TestConfig):
    """A test for several scales: ``{scale}`` in any text is replaced by each of them.

    Attributes:
        values: Other words, such as ``quality`` for ``{quality}``, and the numbers to replace them.
    """

    scales: Annotated[list[PositiveFloat], Field(min_length=1)]
    values: dict[str, Annotated[list[float], Field(min_length=1)]] = {}
    eval_type: str | None = None  # checked once the scale is filled in


class TestSuite(_Section):
    """The content of a test YAML of a table row: a name, and tests whose scales are columns.

    A name with words in braces gives a row for each of their values.
    """

    name: str
    tests: Annotated[list[ScaledTest], Field(min_length=1)]

    @pydantic.model_validator(mode="after")
    def _named_by_values(self) -> TestSuite:
        words = re.findall(r"\{(\w+)\}", self.name)
        if "scale" in words:
            raise ValueError("name: leave {scale} out, the scales are columns")
        listed = ", ".join(words) or "none"
        for i, test in enumerate(self.tests):
            if set(test.values) != set(words):
                raise ValueError(
                    f"tests.{i}.values: expected those of the words in braces in the name: {listed}"
                )
        return self


def parse_section(kind: type[pydantic.BaseModel], raw: Mapping[str, Any]) -> Any:
    """Validate a mapping as a section of a kind.

    Returns:
        (the section or None, a list of problems of one line each).
    """
    try:
        return kind.model_validate(raw), []
    except pydantic.ValidationError as error:
        return None, [_describe(kind, e) for e in error.errors(include_url=False)]


def _describe(kind: type[pydantic.BaseModel], error: Any) -> str:
    place = ".".join(str(step) for step in error["loc"])
    if error["type"] == "extra_forbidden":
        known = _fields_at(kind, error["loc"][:-1])
        if len(error["loc"]) == 1 and issubclass(kind, (TrainConfig, TestConfig, TestSuite)):
            known.append(BASE)
        return f"{place}: unknown key; {did_you_mean(error['loc'][-1], known)}"
    if error["type"] == "model_type":
        keys = ", ".join(_fields_at(kind, error["loc"]))
        return f"{place}: expected a mapping of {keys}; got {error['input']!r}"
    if error["type"] == "missing":
        return f"{place}: this key is missing"
    message = error["msg"].removeprefix("Value error, ")
    if not place:
        return message
    return f"{place}: {type_message(message, error['input'])}"


def _fields_at(kind: Any, steps: Iterable[str | int]) -> list[str]:
    for step in steps:
        if isinstance(step, str):
            kind = _section_of(kind.model_fields[step].annotation)
    return list(kind.model_fields)


def _section_of(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation
    return next(filter(None, map(_section_of, getattr(annotation, "__args__", ()))), None)


def data_problems(section: Any, place: str, datasets: Registry) -> list[str]:
    """List the mistakes in the specs of the raw mapping of a `DataSection`."""
    problems = []
    if isinstance(section, Mapping):
        if "dataset" in section:
            problems += datasets.check(section["dataset"], f"{place}.dataset")
        if "wrapper" in section:
            problems += datasets.check(section["wrapper"], f"{place}.wrapper", ("dataset",))
    return problems


def sampled_problems(eval_type: Any, section: Any, place: str) -> list[str]:
    """Report a protocol of whole images that would be applied to samples of single pixels."""
    wrapper = section.get("wrapper") if isinstance(section, Mapping) else None
    args = wrapper.get("args") if isinstance(wrapper, Mapping) else None
    if eval_type is None or not isinstance(args, Mapping) or args.get("sample_q") is None:
        return []
    return [f"eval_type: {eval_type} needs whole images: leave sample_q out of {place}.wrapper"]


def raise_problems(given: object, problems: Iterable[str]) -> None:
    """Raise one `UserError` that lists all problems, if any, each on a line with its file.

    Args:
        given: Where the problems are: a file, or a config that knows which of its files to name.
    """
    file_of = given.file_of if isinstance(given, Source) else lambda _: given
    unique = dict.fromkeys(problems)
    if unique:
        raise UserError("\n".join(f"{file_of(problem)}: {problem}" for problem in unique))
