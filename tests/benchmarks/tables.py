"""The report as Markdown, which also reads well in a terminal, and the page that holds it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
TEXT_COLUMNS = ("case", "verb", "side", "modules of")
STARTS = " starts"  # ends the headings of further columns of text

Row = Sequence[str]


def markdown(report: dict[str, Any]) -> str:
    """Every section with its heading. What is counted does not depend on the kernel."""
    guest = report["guest"]
    imported, run = ([*report[key], *guest.get(key, [])] for key in ("modules", "started"))
    sections = {"The machine": machine(report)}
    if report["calls"]:
        sections |= sections_of_calls(report)
    if guest:
        sections["Under user-mode-linux"] = under_guest(guest)
    if imported:
        sections["How many modules a call imports"] = modules(imported)
    if run:
        sections["How many programs a call starts"] = started(run)
    if report["scale"]:
        sections |= sections_of_scale(report)
    return "\n\n".join(f"### {title}\n\n{text}" for title, text in sections.items())


def sections_of_calls(report: dict[str, Any]) -> dict[str, str]:
    return {
        "In short": in_short(report["calls"]),
        "Time of a call": latency(report["calls"]),
        "Processor time and memory of a call": resources(report["calls"]),
        "Where the time of our ADD goes": parts(report["parts"]),
        **{
            f"What {one['verb']} of {one['case']} imports": imports(one)
            for one in report["imports"]
        },
    }


def sections_of_scale(report: dict[str, Any]) -> dict[str, str]:
    return {
        "portmap with many mappings of others": scale(report["scale"]),
        "New connections through a published port": connections(report["connections"]),
        "Peak memory of portmap's ADD with many mappings of others": memory(report["memory"]),
    }


def machine(report: dict[str, Any]) -> str:
    before, after = report["load"]
    lines = [f"- {name}: {text}" for name, text in report["machine"].items()]
    lines.append(f"- load average: {before:.1f} at the beginning, {after:.1f} at the end")
    if report["calls"]:
        lines.append(f"- pairs: {report['pairs']} of each call, in {report['seconds']:.0f} s")
    return "\n".join(lines)


def under_guest(report: dict[str, Any]) -> str:
    """The machine that the guest is, and the times there if they were asked for."""
    times = [latency(report["calls"])] if report["calls"] else []
    return "\n\n".join([machine(report), *times])


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


def started(counted: Sequence[dict[str, Any]]) -> str:
    """Without the calls that start nothing on any side."""
    sides = list(counted[0]["sides"])
    rows = [
        [one["case"], one["verb"], *(programs(one["sides"][side]) for side in sides)]
        for one in counted
        if any(one["sides"].values())
    ]
    return table(("case", "verb", *(f"{side}{STARTS}" for side in sides)), rows)


def programs(counts: dict[str, int]) -> str:
    names = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f"{sum(counts.values())}: {names}" if counts else "0"


def scale(rows: Sequence[dict[str, Any]]) -> str:
    """Medians in milliseconds, how many calls they are of, and ratios."""
    sides, compared = list(rows[0]["sides"]), list(rows[0]["ratios"])
    heading = [
        "verb",
        "mappings",
        *(f"{side} {what}" for side in sides for what in ("calls", "median", "/ empty")),
        *(f"{side} / {sides[-1]}" for side in compared),
    ]
    cells = [
        [
            one["verb"],
            str(one["mappings"]),
            *(cell for side in sides for cell in cells_of_scale(one["sides"][side])),
            *(f"{one['ratios'][side]:.2f}" for side in compared),
        ]
        for one in rows
    ]
    return table(heading, cells)


def cells_of_scale(figures: dict[str, float]) -> Row:
    return str(figures["calls"]), f"{figures['median_ms']:.1f}", f"{figures['to_empty']:.2f}"


def connections(rows: Sequence[dict[str, Any]]) -> str:
    return to_empty(rows, "per_second", "per second", 0)


def memory(rows: Sequence[dict[str, Any]]) -> str:
    return to_empty(rows, "peak_mib", "MiB", 1)


def to_empty(rows: Sequence[dict[str, Any]], key: str, unit: str, digits: int) -> str:
    """A figure of each side, and its ratio to that of the side's emptiest host."""
    sides = list(rows[0]["sides"])
    heading = ["mappings", *(f"{side} {what}" for side in sides for what in (unit, "/ empty"))]
    cells = [
        [
            str(one["mappings"]),
            *(
                f"{one['sides'][side][name]:.{places}f}"
                for side in sides
                for name, places in ((key, digits), ("to_empty", 2))
            ),
        ]
        for one in rows
    ]
    return table(heading, cells)


def table(heading: Row, rows: Sequence[Row]) -> str:
    """Columns of one width; figures stand to the right."""
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    is_text = [name in TEXT_COLUMNS or name.endswith(STARTS) for name in heading]
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
