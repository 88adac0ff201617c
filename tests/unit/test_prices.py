from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.model.prices import Prices, TokenCounts

THOUSANDTH = Decimal("0.000000001")


def prices(prompt: int, completion: int, *above: tuple[int, Prices]) -> Prices:
    """In thousandths of a dollar per million tokens: whole ones, so that nothing is rounded."""
    reading, writing = prompt * THOUSANDTH, completion * THOUSANDTH
    return Prices(reading, writing, reading, reading, writing, above)


@pytest.mark.parametrize(
    ("prompt", "worst"),
    [
        (100, 100 * 4 + 10 * 2),
        (101, 100 * 4 + 10 * 2),  # a prompt of 101 is cheaper than one of 100
        (150, 100 * 4 + 10 * 2),
        (400, 400 * 1 + 10 * 3),
    ],
)
def test_where_long_prompts_are_cheaper_the_worst_is_a_shorter_one(prompt: int, worst: int) -> None:
    assert prices(4, 2, (100, prices(1, 3))).worst(prompt, 10) == worst * THOUSANDTH


tier = st.builds(prices, st.integers(0, 9), st.integers(0, 9))
ladder = st.dictionaries(st.integers(0, 40), tier, max_size=3).map(lambda it: tuple(sorted(it.items(), reverse=True)))


@given(st.integers(0, 9), st.integers(0, 9), ladder, st.integers(0, 50), st.integers(0, 5))
def test_the_worst_is_the_dearest_of_all_calls_that_are_no_longer(
    prompt: int, completion: int, above: tuple[tuple[int, Prices], ...], most: int, output: int
) -> None:
    model = prices(prompt, completion, *above)

    dearest = max(model.cost(TokenCounts(prompt=k, completion=n)) for k in range(most + 1) for n in range(output + 1))

    assert model.worst(most, output) == dearest
