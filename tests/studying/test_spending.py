"""What a search may spend when it goes on."""

import pytest

from luthier.studying.spending import Budget

BY_TIME = Budget(units=90, seconds=600.0, num_workers=1)


@pytest.mark.parametrize(
    ("before", "said", "keeps", "expected"),
    [
        (Budget(units=36), Budget(units=180), True, Budget(units=36)),
        (Budget(units=36), Budget(units=180), False, Budget(units=180)),
        (BY_TIME, Budget(units=180), True, BY_TIME),
        (BY_TIME, Budget(units=180), False, Budget(units=180)),
        (BY_TIME, Budget(seconds=600.0), False, BY_TIME),
        (BY_TIME, Budget(seconds=900.0), False, Budget(seconds=900.0)),
        (BY_TIME, Budget(units=180, num_workers=4), True, Budget(seconds=600.0, num_workers=4)),
        (Budget(units=36), Budget(seconds=60.0), False, Budget(seconds=60.0)),
    ],
)
def test_a_search_that_goes_on_keeps_its_budget_or_takes_the_new_one(
    before: Budget, said: Budget, keeps: bool, expected: Budget
) -> None:
    assert said.after(before, keeps=keeps) == expected
