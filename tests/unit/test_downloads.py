"""Downloads and progress: whatever is asked for is exactly that part of the whole."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.progress import Progress
from app.services.checkpoints import Download, Literal


class Untouchable:
    """Three bytes that nobody may read."""

    size = 3

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        raise AssertionError(f"read from {start} to {stop}")


class TestDownload:
    @given(st.lists(st.binary(max_size=20), max_size=8), st.integers(0, 100), st.integers(0, 100))
    def test_any_part_is_that_slice_of_the_whole(self, contents: list[bytes], start: int, stop: int) -> None:
        download = Download("x", "e", "application/x-tar", tuple(Literal(content) for content in contents))
        whole = b"".join(contents)
        assert download.size == len(whole)
        assert b"".join(download.read(start, min(stop, len(whole)))) == whole[start:stop]

    def test_segments_outside_the_part_are_not_read(self) -> None:
        download = Download("x", "e", "t", (Untouchable(), Literal(b"bbb"), Untouchable()))
        assert b"".join(download.read(3, 6)) == b"bbb"


class TestProgress:
    def test_pace_and_time_left(self) -> None:
        progress = Progress(done=30, total=120, paced=20, elapsed_s=10.0)
        assert (progress.throughput, progress.eta_s) == (2.0, 45.0)

    def test_no_pace_before_the_first_unit(self) -> None:
        progress = Progress(done=30, total=120, paced=0, elapsed_s=15.0)
        assert (progress.throughput, progress.eta_s) == (None, None)

    @given(st.integers(0, 1000), st.integers(0, 1000), st.integers(-1000, 1000), st.floats(-1, 1e6))
    def test_time_left_is_never_negative(self, done: int, total: int, paced: int, elapsed_s: float) -> None:
        eta = Progress(done, total, paced=paced, elapsed_s=elapsed_s).eta_s
        assert eta is None or eta >= 0
