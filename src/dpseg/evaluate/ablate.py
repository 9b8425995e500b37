"""The paper's ablation tables: which part of the method brings what, on any model and set.

Every row is the same trained network with one thing changed. Rows that two tables share are run
once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dpseg.engines.protocol import ModelInfo
from dpseg.errors import DataError
from dpseg.evaluate.configuration import Configuration
from dpseg.evaluate.report import markdown_rows
from dpseg.evaluate.results import Evaluation

WHOLE = Configuration("everything on")


@dataclass(frozen=True)
class Ablation:
    """One table.

    Attributes:
        title: heads it.
        rows: label to configuration.
    """

    title: str
    rows: Mapping[str, Configuration]


def ablations(info: ModelInfo) -> dict[str, Ablation]:
    """List the tables of a model.

    Args:
        info: of the model; sets levels and templates.

    Returns:
        Short name to table.
    """
    shallow_first = sorted(info.levels)
    levels = {
        f"visual cost volumes of levels {', '.join(map(str, shallow_first[:count]))}": tuple(
            shallow_first[:count]
        )
        for count in range(1, len(shallow_first))
    }
    bare = {"decoder": False}
    return {
        "prompts": Ablation(
            "Prompt strategy",
            {
                "text": _row(prompts="text"),
                "pictures": _row(prompts="visual"),
                "both, averaged cost volumes": _row(joined="average_cost"),
                "both, averaged embeddings": WHOLE,
            },
        ),
        "cost": Ablation(
            "Prompt strategy, cost volume alone (no decoder)",
            {
                "text": _row(prompts="text", **bare),
                "pictures": _row(prompts="visual", **bare),
                "both, averaged cost volumes": _row(joined="average_cost", **bare),
                "both, concatenated embeddings": _row(joined="concatenate", **bare),
                "both, averaged embeddings": _row(**bare),
            },
        ),
        "guidance": Ablation(
            "Guidance of the decoder",
            {
                "none": _row(guidance_levels=()),
                "enlarged cost volume": _row(guidance="upsampled"),
                **{label: _row(guidance_levels=chosen) for label, chosen in levels.items()},
                f"visual cost volumes of levels {', '.join(map(str, shallow_first))}": WHOLE,
            },
        ),
        "tokens": Ablation("Token-wise prompts", {"off": _row(token_wise=False), "on": WHOLE}),
        "templates": Ablation("Number of templates", dict(_template_rows(len(info.templates)))),
        "rounds": Ablation(
            "Refinement rounds",
            {
                "none": WHOLE,
                **{
                    f"{rounds}, {mode}": _row(refine=rounds, refine_mode=mode)
                    for mode in ("pool", "crop")
                    for rounds in (1, 2)
                },
            },
        ),
    }


def configurations_of(tables: Iterable[Ablation]) -> list[Configuration]:
    """List every configuration of some tables once."""
    return list(dict.fromkeys(row for table in tables for row in table.rows.values()))


def ablation_markdown(table: Ablation, evaluations: Sequence[Evaluation]) -> str:
    """Write a table: mIoU on every set, and the means over the sets.

    Args:
        table: which rows.
        evaluations: one a set, with the rows' configurations.

    Returns:
        A heading and a Markdown table.
    """
    labels = {label: configuration.name for label, configuration in table.rows.items()}
    return f"### {table.title}\n\n{markdown_rows(evaluations, labels)}"


def choose(tables: Mapping[str, Ablation], wanted: Sequence[str]) -> list[Ablation]:
    """Pick tables by name, all for none.

    Raises:
        DataError: there is no such table; lists them.
    """
    unknown = [name for name in wanted if name not in tables]
    if unknown:
        raise DataError(f"no ablation {unknown[0]!r}; there are {', '.join(tables)}")
    return [table for name, table in tables.items() if not wanted or name in wanted]


def _row(**changes: object) -> Configuration:
    """Make a configuration that differs from the whole, named by how it does."""
    name = ", ".join(f"{key} {value}" for key, value in changes.items())
    asked = {key: changes.pop(key) for key in list(changes) if hasattr(WHOLE.options, key)}
    options = WHOLE.options.replace(**asked)
    return replace(WHOLE, name=name, options=options, **changes)  # type: ignore[arg-type]


def _template_rows(templates: int) -> Iterable[tuple[str, Configuration]]:
    """Make rows of 1, 2, 4, ... templates, and all."""
    count = 1
    while count < templates:
        yield str(count), _row(templates=count)
        count *= 2
    yield str(templates), WHOLE
