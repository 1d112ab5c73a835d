"""The resolver's configuration file, resolv.conf(5), as the result's dns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cnicore.result import Dns


def read_dns(path: str) -> Dns:
    """What the file says. Raises OSError."""
    with open(path, encoding="utf-8", errors="replace") as lines:
        return parse_dns(lines)


def parse_dns(lines: Iterable[str]) -> Dns:
    """Of `domain` and `nameserver` the first word counts, of `search` and `options` all.

    As in the reference, a comment after an option is not taken off.
    """
    entries = [(words[0], words[1:]) for words in map(str.split, lines) if is_entry(words)]

    def words_of(keyword: str) -> Iterator[list[str]]:
        return (words for word, words in entries if word == keyword)

    return Dns(
        nameservers=tuple(words[0] for words in words_of("nameserver")),
        domain=([""] + [words[0] for words in words_of("domain")])[-1],
        search=tuple(word for words in words_of("search") for word in words),
        options=tuple(word for words in words_of("options") for word in words),
    )


def is_entry(words: list[str]) -> bool:
    return len(words) > 1 and words[0][0] not in "#;"
