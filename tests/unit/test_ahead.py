"""What is read ahead: in order, one item beside the one in use, and errors where they belong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from workers.ahead import ahead

WAIT_S = 10.0


class Unreadable(Exception):
    pass


class TestAhead:
    def test_items_come_in_order(self) -> None:
        assert list(ahead(range(50))) == list(range(50))
        assert list(ahead([])) == []

    def test_the_next_item_and_no_other_is_made_while_one_is_used(self) -> None:
        made = threading.Semaphore(0)
        items = []

        def items_made() -> Iterator[int]:
            for number in range(5):
                items.append(number)
                made.release()
                yield number

        with closing(ahead(items_made())) as read:
            assert next(read) == 0
            assert made.acquire(timeout=WAIT_S)
            assert made.acquire(timeout=WAIT_S)
            assert not made.acquire(timeout=0.05)
            assert items == [0, 1]

    def test_items_are_made_in_another_thread(self) -> None:
        def who() -> Iterator[int]:
            yield threading.get_ident()

        assert threading.get_ident() not in ahead(who())

    def test_what_making_raises_comes_after_what_was_made(self) -> None:
        def items() -> Iterator[int]:
            yield 1
            raise Unreadable

        read = ahead(items())
        assert next(read) == 1
        with pytest.raises(Unreadable):
            next(read)

    def test_closing_ends_the_thread(self) -> None:
        with closing(ahead(range(100))) as read:
            next(read)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
