"""Which rows are run together."""

from collections.abc import Iterator, Sequence


def batches_by_length(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Places of rows of similar length, longest first, at most `max_tokens` with their padding.

    A row that is longer than that is a batch of its own.
    """
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        width = lengths[(batch or [place])[0]]
        if batch and width * (len(batch) + 1) > max_tokens:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
