"""What could be a parameter of a team: found by rules, told with a reason, and put into the texts."""

import pytest

from domain.model.blueprint import Blueprint, RoleBlueprint, TaskBlueprint
from domain.model.parameter_finding import MOST_PROPOSALS, ParameterProposal, proposals, with_parameters
from domain.model.parameters import check_content, filled
from domain.model.template import ParameterType, TemplateContent, TemplateKind

SITE = "https://acme.example"


def a_team(*descriptions: str, name: str = "Team", title: str = "Worker", goals: list[str] | None = None) -> Blueprint:
    return Blueprint(
        name=name,
        roles=[RoleBlueprint(title=title, goals=goals or [])],
        tasks=[
            TaskBlueprint(name=f"Step {number}", description=text, expected_output="Done.", role=title)
            for number, text in enumerate(descriptions)
        ],
    )


def found(*descriptions: str, **more: str) -> dict[str, ParameterProposal]:
    return {each.value: each for each in proposals(a_team(*descriptions, **more))}  # type: ignore[arg-type]  # texts


def test_a_name_that_several_texts_have_is_proposed_with_its_count_and_reason() -> None:
    team = a_team("Write about Solar Kettle. Say why Solar Kettle is good.", "Sell the product Solar Kettle today.")

    [proposal] = proposals(team)

    assert proposal == ParameterProposal("solar_kettle", ParameterType.STRING, "Solar Kettle", 3, "A name in 2 texts.")


@pytest.mark.parametrize(
    ("first", "second", "value", "name", "kind"),
    [
        ("See https://acme.example/a?b=1.", "Or https://acme.example/a?b=1, so.", f"{SITE}/a?b=1", "url", "STRING"),
        ("Ask a.b@acme.example.", "Tell a.b@acme.example so.", "a.b@acme.example", "email", "STRING"),
        ("Spend $12,500 at most.", "It must not pass $12,500.", "$12,500", "amount", "STRING"),
        ("Spend 300 EUR at most.", "It must not pass 300 EUR.", "300 EUR", "amount", "STRING"),
        ("Done by 2026-12-01.", "Not after 2026-12-01!", "2026-12-01", "date", "STRING"),
        ("Done by 3 May 2027.", "Not after 3 May 2027!", "3 May 2027", "date", "STRING"),
        ("Gain 15% more.", "Is 15% enough?", "15%", "percentage", "STRING"),
        ("Write 250 words.", "Not over 250 words.", "250", "number_of_words", "NUMBER"),
        ("The brand “night owls” is odd.", "Say what the brand “night owls” wants.", "night owls", "brand", "STRING"),
        ("The brand “night owls” is odd.", "Do night owls sleep?", "night owls", "night_owls", "STRING"),
    ],
)  # fmt: skip
def test_each_kind_of_value_is_recognised_where_two_texts_have_it(
    first: str, second: str, value: str, name: str, kind: str
) -> None:
    proposal = found(first, second)[value]

    assert (proposal.name, proposal.type.value, proposal.occurrences) == (name, kind, 2)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Write about Solar Kettle twice: Solar Kettle.", "Nothing else."),  # one text alone
        ("Take 3 steps.", "Take 3 steps."),  # small numbers count steps
        ("Every word begins sentences. Every one.", "Every time."),
        ("Mind the SEO and KPI.", "More SEO, less KPI."),
        ("Ask the Worker.", "Tell the Worker."),  # the title of a role
        ("For {Solar Kettle} and {city}.", "In {city} with {Solar Kettle}."),
        ("Due in March on Monday.", "Not March, not Monday."),
        ("", " "),
    ],
)
def test_what_says_nothing_is_not_proposed(first: str, second: str) -> None:
    assert found(first, second) == {}


def test_a_part_of_the_teams_name_is_proposed_where_one_other_text_has_it() -> None:
    proposal = found("Acme Foods sells soup.", "Count it.", name="Acme Foods Launch Team")["Acme Foods"]

    assert (proposal.occurrences, proposal.reason) == (2, "A part of the team's name in 2 texts.")


def test_common_words_of_the_teams_name_are_not_proposed() -> None:
    assert found("Marketing is hard.", "Marketing is a team.", name="Marketing Team") == {}


def test_a_longer_value_stands_before_a_shorter_one_within_it() -> None:
    values = found("To Acme Foods and to Acme Foods.", "From Acme Foods.")

    assert set(values) == {"Acme Foods"}


def test_a_shorter_value_is_proposed_where_it_stands_alone_in_several_texts() -> None:
    values = found("To Acme Foods.", "From Acme.", "With Acme.")

    assert {value: each.occurrences for value, each in values.items()} == {"Acme": 3}


def test_names_are_told_apart_by_numbers_and_the_list_is_bounded() -> None:
    dates = [f"2026-12-{day:02}" for day in range(1, 31)]
    text = f"On {' and '.join(dates)}."

    proposed = proposals(a_team(text, text))

    assert [each.name for each in proposed][:3] == ["date", "date_2", "date_3"]
    assert len({each.name for each in proposed}) == len(proposed) == MOST_PROPOSALS


def test_a_template_of_all_proposals_makes_the_same_team_again_and_with_values_another_one() -> None:
    team = a_team(
        "Sell Solar Kettle for $20 to 500 people in {city}.",
        "Tell why Solar Kettle costs $20 and whom the 500 are, in {city}.",
        name="Solar Kettle Launch",
        title="Solar Kettle Expert",
        goals=["Love Solar Kettle"],
    )
    proposed = proposals(team)
    blueprint, counts = with_parameters(team, {each.value: each.name for each in proposed})
    content = TemplateContent(parameters=[each.parameter for each in proposed], blueprint=blueprint)

    check_content(content, TemplateKind.TEAM)
    other = filled(content, {"solar_kettle": "Moon Pan", "amount": "$30"})

    assert counts == {each.value: each.occurrences + 2 * (each.value == "Solar Kettle") for each in proposed}
    assert {each.value for each in proposed} == {"Solar Kettle", "$20", "500"}
    assert filled(content, {}) == team
    assert (other.name, other.roles[0].title, other.tasks[0].role) == (
        "Moon Pan Launch",
        "Moon Pan Expert",
        "Moon Pan Expert",
    )
    assert other.tasks[0].description == "Sell Moon Pan for $30 to 500 people in {city}."


def test_values_are_replaced_as_whole_words_the_longest_first_and_never_within_braces() -> None:
    team = a_team("Ann sells Ann Bread to Anna, {Ann} and 10 of 100, 10.5 or 10%.")

    blueprint, counts = with_parameters(team, {"Ann": "who", "Ann Bread": "what", "10": "many"})

    assert blueprint.tasks[0].description == ("{{who}} sells {{what}} to Anna, {Ann} and {{many}} of 100, 10.5 or 10%.")
    assert counts == {"Ann": 1, "Ann Bread": 1, "10": 1}


def test_nothing_is_replaced_without_values() -> None:
    team = a_team("Ann.")

    assert with_parameters(team, {}) == (team, {})


@pytest.mark.parametrize("piece", ["a", "A ", "1", "Aa Bb ", "{", "“x", "a@", "$1,", "-", "https://", "Q1 2026 "])
def test_long_texts_are_looked_at_within_bounds(piece: str) -> None:
    text = (piece * 20_000)[:20_000]
    team = a_team(*[text] * 20)

    assert len(proposals(team)) <= MOST_PROPOSALS


def test_quoted_blanks_are_no_value() -> None:
    assert found('Separate with "  " always.', 'Join by "  " here.') == {}


def test_what_is_too_long_to_be_replaced_is_not_proposed() -> None:
    address = f"{SITE}/{'a' * 250}"

    assert found(f"Read {address} now.", f"Visit {address} now.") == {}


@pytest.mark.parametrize("value", ["“solar\tkettle”", "“solar \u200ekettle”", f"{SITE}/\u200ekettle"])
def test_what_nobody_may_name_a_thing_is_not_proposed(value: str) -> None:
    assert found(f"Sell {value} now.", f"Tell of {value} here.") == {}


def test_what_is_left_of_a_long_list_is_counted_anew() -> None:
    many = " ".join(f"“Filler {number:02}”" for number in range(18))
    # Once “zz mm” is one too many, “mm cc” is found where it stood, and “cc” there no more.
    team = a_team(f"{many} “zz mm” “mm cc” “cc”", f"{many} zz mm cc", f"{many} mm cc", "mm cc")

    proposed = proposals(team)
    _, counts = with_parameters(team, {each.value: each.name for each in proposed})

    assert {each.value: each.occurrences for each in proposed if "cc" in each.value} == {"mm cc": 4}
    assert counts == {each.value: each.occurrences for each in proposed}


def test_of_a_long_name_the_first_words_are_looked_for() -> None:
    name = " ".join(f"Alpha{chr(ord('a') + place)}" for place in range(20))

    assert [*found("Ask Alphab here.", "Then Alphab once more.", name=name)] == ["Alphab"]
    assert [*found("We ask Alphat.", "We tell others.", name=name)] == []
