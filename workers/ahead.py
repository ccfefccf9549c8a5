"""Makes the next item of an iterator in a thread while the one before is used."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterable[Item]) -> Generator[Item, None, None]:
    """The items in their order; at most one is held beside the one in use. What making one raises is raised here.

    When the reader stops, the item that is being made is waited for.
    """
    source = iter(items)
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as maker:

        def begin() -> Future[Item | object]:
            return maker.submit(next, source, end)

        coming = begin()
        while (item := coming.result()) is not end:
            coming = begin()
            yield item  # type: ignore[misc]  # the sentinel has ended the loop
