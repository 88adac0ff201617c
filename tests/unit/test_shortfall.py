"""What is said where a budget does not suffice."""

from decimal import Decimal

import pytest

from domain.model.budget import BudgetScope, Shortfall


@pytest.mark.parametrize(
    ("required", "end"),
    [("0.20", "and the next call needs up to $0.2."), ("0", "and nothing is left for any call.")],
)
def test_a_shortfall_says_what_was_needed_or_that_nothing_is_left(required: str, end: str) -> None:
    short = Shortfall(BudgetScope.TEAM, Decimal(1), Decimal("0.9"), Decimal("0.1"), Decimal(required))

    assert short.message == (f"The budget of the team does not suffice: of $1 are $0.9 spent and $0.1 reserved, {end}")
