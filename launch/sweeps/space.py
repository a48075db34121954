"""Hydra's grammar of sweeps as Optuna's distributions, and the values that are chosen as overrides again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, Transformer

from anchor.errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["all_values", "distribution_of", "write_value"]

LOG = "log"


def distribution_of(override: Override) -> BaseDistribution:
    """What Optuna draws the key of ``override`` from: ``a,b`` or ``choice``, ``range``, ``interval``; ``tag(log,...)``.

    The stop of a range is left out, as in Hydra; an interval has both its ends. ``int(interval(1,8))`` is whole
    numbers.

    Raises:
        ConfigError: no value, an empty interval, or a logarithm of what is not above 0.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    sweep: Any = override.value()
    tags: set[str] = getattr(sweep, "tags", set())
    if unknown := sorted(tags - {LOG}):
        raise ConfigError(f"{override.input_line}: the tag {unknown[0]} is unknown. The search knows tag(log,...).")
    if isinstance(sweep, IntervalSweep):
        low, high, step = sweep.start, sweep.end, None
    elif override.is_range_sweep():
        numbers: list[Any] = sorted(override.sweep_iterator())  # type: ignore[type-var]
        _need(override, bool(numbers), "it holds no value")
        low, high, step = numbers[0], numbers[-1], abs(sweep.step)
        _need(override, LOG not in tags or step == 1, "tag(log,...) needs a step of 1")
    else:
        return CategoricalDistribution(list(override.sweep_iterator(Transformer.str)))  # type: ignore[arg-type]
    assert low is not None
    assert high is not None
    _need(override, low <= high, f"{low} is above {high}")
    _need(override, LOG not in tags or low > 0, "tag(log,...) needs numbers above 0")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=LOG in tags, step=int(step or 1))
    return FloatDistribution(
        float(low), float(high), log=LOG in tags, step=None if step is None or LOG in tags else float(step)
    )


def all_values(key: str, distribution: BaseDistribution) -> list[Any]:
    """Every value of ``distribution``, for a grid.

    Raises:
        ConfigError: it is an interval of numbers without a step.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    if distribution.step is None:
        raise ConfigError(
            f"{key}: a grid cannot hold an interval. Give values, range(start,stop,step), or another "
            "hydra.sweeper.sampler."
        )
    count = round((distribution.high - distribution.low) / distribution.step) + 1
    return [distribution.low + i * distribution.step for i in range(count)]


def write_value(key: str, value: Any) -> str:
    """``key=value`` as an override; a choice is Hydra's own text already."""
    return f"{key}={value if isinstance(value, str) else repr(value)}"


def _need(override: Override, is_given: bool, what: str) -> None:
    if not is_given:
        raise ConfigError(f"{override.input_line}: {what}.")
