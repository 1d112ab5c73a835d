"""The report as Markdown, which also reads well in a terminal, and the page that holds it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
TEXT_COLUMNS = ("case", "verb", "side", "modules of")

Row = Sequence[str]


def markdown(report: dict[str, Any]) -> str:
    """Every section with its heading."""
    sections = {
        "The machine": machine(report),
        "In short": in_short(report["calls"]),
        "Time of a call": latency(report["calls"]),
        "Processor time and memory of a call": resources(report["calls"]),
        "Where the time of our ADD goes": parts(report["parts"]),
        **{
            f"What {one['verb']} of {one['case']} imports": imports(one)
            for one in report["imports"]
        },
        "How many modules a call imports": modules(report["modules"]),
    }
    return "\n\n".join(f"### {title}\n\n{text}" for title, text in sections.items())


def machine(report: dict[str, Any]) -> str:
    before, after = report["load"]
    lines = [f"- {name}: {text}" for name, text in report["machine"].items()]
    lines.append(f"- load average: {before:.1f} at the beginning, {after:.1f} at the end")
    lines.append(f"- pairs: {report['pairs']} of each call, in {report['seconds']:.0f} s")
    return "\n".join(lines)


def in_short(calls: Sequence[dict[str, Any]]) -> str:
    """A row for each verb and side: the least and the greatest of its cases' ratios."""
    ratios: dict[tuple[str, str], list[float]] = {}
    for call in calls:
        for side, ratio in call["ratios"].items():
            ratios.setdefault((call["verb"], side), []).append(ratio)
    reference = list(calls[0]["sides"])[-1]
    rows = [
        [verb, side, f"{min(found):.1f} to {max(found):.1f} times {reference}"]
        for (verb, side), found in ratios.items()
    ]
    return table(("verb", "side", "takes"), rows)


def latency(calls: Sequence[dict[str, Any]]) -> str:
    """Milliseconds, and the medians of the pairs' ratios."""
    sides, compared = list(calls[0]["sides"]), list(calls[0]["ratios"])
    heading = [
        "case",
        "verb",
        *(f"{side} {what}" for side in sides for what in ("min", "median", "p90")),
        *(f"{side} / {sides[-1]}" for side in compared),
    ]
    rows = [
        [
            call["case"],
            call["verb"],
            *(
                f"{call['sides'][side][figure]:.1f}"
                for side in sides
                for figure in ("min_ms", "median_ms", "p90_ms")
            ),
            *(f"{call['ratios'][side]:.2f}" for side in compared),
        ]
        for call in calls
    ]
    return table(heading, rows)


def resources(calls: Sequence[dict[str, Any]]) -> str:
    figures = {"CPU ms": "cpu_ms", "peak MiB": "peak_mib"}
    sides = list(calls[0]["sides"])
    heading = ["case", "verb", *(f"{side} {what}" for what in figures for side in sides)]
    rows = [
        [
            call["case"],
            call["verb"],
            *(f"{call['sides'][side][key]:.1f}" for key in figures.values() for side in sides),
        ]
        for call in calls
    ]
    return table(heading, rows)


def parts(parts: Iterable[dict[str, Any]]) -> str:
    keys = ("process_ms", "interpreter_ms", "imports_ms", "work_ms", "add_ms")
    heading = ("case", "any process", "+ interpreter", "+ imports", "+ work", "whole ADD")
    return table(heading, [[part["case"], *(f"{part[key]:.1f}" for key in keys)] for part in parts])


def imports(trace: dict[str, Any]) -> str:
    heading = ("modules of", "modules", "own ms", "with what they pull in, ms")
    rows = [
        [
            group["name"],
            str(group["modules"]),
            f"{group['own_ms']:.1f}",
            f"{group['cumulative_ms']:.1f}",
        ]
        for group in trace["groups"]
        if group["modules"]
    ]
    return table(heading, [*rows, ["all", str(trace["modules"]), f"{trace['ms']:.1f}", ""]])


def modules(counted: Sequence[dict[str, Any]]) -> str:
    verbs = list(dict.fromkeys(verb for one in counted for verb in one["modules"]))
    rows = [
        [one["case"], *(str(one["modules"].get(verb, "")) for verb in verbs)] for one in counted
    ]
    return table(("case", *verbs), rows)


def table(heading: Row, rows: Sequence[Row]) -> str:
    """Columns of one width; figures stand to the right."""
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    is_text = [name in TEXT_COLUMNS for name in heading]
    lines = [
        " | ".join(
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(row, widths, is_text, strict=True)
        )
        for row in (heading, *rows)
    ]
    rule = " | ".join(
        "-" * width if left else f"{'-' * (width - 1)}:"
        for width, left in zip(widths, is_text, strict=True)
    )
    return "\n".join(f"| {line} |" for line in (lines[0], rule, *lines[1:]))


def update(page: Path, text: str) -> None:
    """Put the text between the page's two marks. Raises ValueError if it has none."""
    content = page.read_text(encoding="utf-8")
    before, begin, rest = content.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page}: there is no {BEGIN} … {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
