"""CrewAI's two files become a team and come back; what gets lost is listed, what is wrong is located."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.model.approval import ApprovalDefault
from domain.model.crew_files import CrewFiles, ImportedCrew, parse_crew, render_crew
from domain.model.crew_files.bounded_yaml import MAX_BYTES, MAX_VALUES
from domain.model.identity import DEFAULT_TENANT, ProjectId, TaskId, new_id
from domain.model.revision import TeamSnapshot
from domain.model.role import Expertise, Role
from domain.model.routing import QualityPreference
from domain.model.task import Task, TaskDependency
from domain.model.team import Oversight, Process, Team, WhenBusy
from domain.model.tool import RoleTool, Tool, ToolKind

PROJECT = ProjectId(new_id())

AGENTS_YAML = """\
# Who works on the travel guide
scout:
  role: >
    {city} Food Scout
  goal: >
    Find places in {city} where the neighbours
    eat themselves
  backstory: >
    You walked every street of {city}: markets, back yards, and the
    kitchens behind them.

    You write down prices.
  llm: openai/gpt-4o-mini
  max_iter: 12
  verbose: true
  tools:
    - web_search
    - notebook_tool

guide_writer:
  role: Guide Writer
  goal: |
    - Write for people who have one evening
    - Keep each entry under
      fifty words
  backstory: "You count words: twice."
  allow_delegation: yes
  max_tokens: 900
"""

TASKS_YAML = """\
scout_task:
  description: >
    List ten places in {city}, with the year {year} prices.
  expected_output: >
    Ten lines: name, street, dish, price
  agent: scout

guide_task:
  description: |
    Write the guide.
    One paragraph per place.
  expected_output: A guide in markdown without '```'
  agent: guide_writer
  context:
    - scout_task
  output_file: out/guide.md
  human_input: false
"""


def a_tool(name: str, kind: ToolKind = ToolKind.WEB_SEARCH, **configuration: Any) -> Tool:
    return Tool(DEFAULT_TENANT, PROJECT, name, kind, configuration=configuration)


def imported(agents: str = AGENTS_YAML, tasks: str = TASKS_YAML, *tools: Tool) -> ImportedCrew:
    return parse_crew(agents, tasks, DEFAULT_TENANT, PROJECT, "Guides", tools)


def problems_of(agents: str = AGENTS_YAML, tasks: str = TASKS_YAML) -> list[tuple[tuple[str, ...], str]]:
    with pytest.raises(Invalid) as caught:
        imported(agents, tasks)
    return [(problem.path, problem.message) for problem in caught.value.problems]


def essence(snapshot: TeamSnapshot) -> dict[str, Any]:
    """What of a team must survive the way out and in: no ids, no dates, no positions."""
    titles = {role.id: index for index, role in enumerate(snapshot.roles)}
    names = {task.id: task.name for task in snapshot.tasks}
    return {
        "roles": [
            (
                role.title,
                role.goals,
                role.backstory,
                role.model,
                role.max_tokens,
                role.is_delegation_allowed,
                {tool.name for tool in snapshot.tools_of(role)},
            )
            for role in snapshot.roles
        ],
        "tasks": {
            task.name: (
                task.description,
                task.expected_output,
                titles[task.role_id] if task.role_id else None,
                task.guardrail,
                task.is_approval_required,
            )
            for task in snapshot.tasks
        },
        "context": {(names[link.task_id], names[link.depends_on_id]) for link in snapshot.dependencies},
    }


def test_a_two_file_crew_becomes_a_team() -> None:
    search = a_tool("Web Search")

    snapshot = imported(AGENTS_YAML, TASKS_YAML, search, a_tool("Other")).snapshot

    scout, writer = snapshot.roles
    assert snapshot.team.name == "Guides"
    assert (scout.title, scout.model) == ("{city} Food Scout", "openai/gpt-4o-mini")
    assert scout.goals == ["Find places in {city} where the neighbours eat themselves"]
    assert scout.backstory == (
        "You walked every street of {city}: markets, back yards, and the kitchens behind them.\nYou write down prices."
    )
    assert writer.goals == ["Write for people who have one evening", "Keep each entry under\nfifty words"]
    assert (writer.is_delegation_allowed, writer.max_tokens, writer.model) == (True, 900, None)
    assert snapshot.tools == [search]
    assert snapshot.role_tools == [RoleTool(DEFAULT_TENANT, scout.id, search.id)]
    first, second = snapshot.tasks
    assert (first.name, first.role_id, first.position) == ("scout_task", scout.id, 0)
    assert (second.name, second.role_id, second.position) == ("guide_task", writer.id, 1)
    assert second.description == "Write the guide.\nOne paragraph per place."
    assert snapshot.dependencies == [TaskDependency(DEFAULT_TENANT, snapshot.team.id, second.id, first.id)]


def test_what_a_team_cannot_hold_is_listed_with_its_place_and_reason() -> None:
    lost = imported(AGENTS_YAML, TASKS_YAML, a_tool("Web Search")).unrepresented

    assert [(item.file, item.path, item.value) for item in lost] == [
        ("agentsYaml", ("scout", "tools", "1"), "notebook_tool"),
        ("agentsYaml", ("scout", "max_iter"), "12"),
        ("agentsYaml", ("scout", "verbose"), "true"),
        ("agentsYaml", ("scout",), "scout"),
        ("tasksYaml", ("guide_task", "output_file"), "out/guide.md"),
    ]
    assert all(item.reason for item in lost)


def test_guardrails_and_human_input_become_checks_of_the_task_and_come_back() -> None:
    tasks = (
        "t:\n  description: d\n  expected_output: e\n  guardrail: It names a price.\n  human_input: true\n"
        "u:\n  description: d\n  expected_output: e\n  human_input: 1\n  guardrail: [x]\n"
    )

    assert problems_of("", tasks) == [
        (("tasksYaml", "u", "guardrail"), "A text is expected."),
        (("tasksYaml", "u", "human_input"), "true or false is expected."),
    ]
    crew = imported("", tasks.split("u:", maxsplit=1)[0])
    [task] = crew.snapshot.tasks
    assert (task.guardrail, task.is_approval_required, crew.unrepresented) == ("It names a price.", True, [])
    written = yaml.safe_load(render_crew(crew.snapshot).tasks_yaml)["t"]
    assert (written["guardrail"], written["human_input"]) == ("It names a price.", True)


def test_a_long_or_nested_lost_value_is_shown_in_one_short_line() -> None:
    agents = f"a:\n  role: A\n  goal: g\n  backstory: b\n  embedder: {{provider: x, names: [{'y' * 100}]}}\n"

    lost = imported(agents, "").unrepresented

    assert lost[0].path == ("a", "embedder")
    assert lost[0].value.startswith("{provider: x, names: [yyy")
    assert len(lost[0].value) == 80


def test_the_two_files_of_a_crew_come_back_and_say_the_same() -> None:
    search = a_tool("Web Search")
    before = imported(AGENTS_YAML, TASKS_YAML, search).snapshot

    files = render_crew(before)

    after = imported(files.agents_yaml, files.tasks_yaml, search)
    assert essence(after.snapshot) == essence(before)
    assert after.unrepresented == []
    assert render_crew(after.snapshot).agents_yaml == files.agents_yaml
    assert render_crew(after.snapshot).tasks_yaml == files.tasks_yaml


def test_the_files_are_written_in_a_stable_readable_shape() -> None:
    files = render_crew(imported(AGENTS_YAML, TASKS_YAML, a_tool("Web Search")).snapshot)

    assert files.agents_yaml == (
        "city_food_scout:\n"
        "  role: '{city} Food Scout'\n"
        "  goal: Find places in {city} where the neighbours eat themselves\n"
        "  backstory: |-\n"
        "    You walked every street of {city}: markets, back yards, and the kitchens behind them.\n"
        "    You write down prices.\n"
        "  llm: openai/gpt-4o-mini\n"
        "  tools:\n"
        "  - web_search\n"
        "\n"
        "guide_writer:\n"
        "  role: Guide Writer\n"
        "  goal: |-\n"
        "    - Write for people who have one evening\n"
        "    - Keep each entry under\n"
        "      fifty words\n"
        "  backstory: 'You count words: twice.'\n"
        "  allow_delegation: true\n"
        "  max_tokens: 900\n"
    )
    assert list(yaml.safe_load(files.tasks_yaml)["guide_task"]) == [
        "description",
        "expected_output",
        "agent",
        "context",
    ]


def test_long_text_is_folded_and_read_back_by_the_plain_loader_that_crewai_uses() -> None:
    text = "A sentence that goes on and on. " * 20
    role = Role(DEFAULT_TENANT, Team(DEFAULT_TENANT, PROJECT, "T").id, "Talker", backstory=text.strip())

    written = render_crew(a_team(role)).agents_yaml

    assert "  backstory: >-\n" in written
    assert max(map(len, written.splitlines())) <= 110
    assert yaml.safe_load(written)["talker"]["backstory"] == text.strip()


def a_team(*roles: Role, tasks: tuple[Task, ...] = (), tools: tuple[Tool, ...] = ()) -> TeamSnapshot:
    links = [RoleTool(DEFAULT_TENANT, role.id, tool.id) for role in roles for tool in tools]
    return TeamSnapshot(Team(DEFAULT_TENANT, PROJECT, "T"), list(roles), list(tasks), [], list(tools), links)


def a_role(title: str, **fields: Any) -> Role:
    return Role(DEFAULT_TENANT, Team(DEFAULT_TENANT, PROJECT, "T").id, title, **fields)


def a_task(name: str, **fields: Any) -> Task:
    team_id = Team(DEFAULT_TENANT, PROJECT, "T").id
    return Task(DEFAULT_TENANT, team_id, name, "Do it.", "It, done.", **fields)


def test_what_the_files_cannot_hold_is_listed_on_export() -> None:
    boss = a_role("Boss")
    role = a_role("Clerk", expertise=Expertise.EXPERT, skills=["filing"], supervisor_id=boss.id, position=1)
    snapshot = a_team(boss, role, tasks=(a_task("file", priority=9),))
    snapshot.team = replace(snapshot.team, process=Process.PARALLEL, manager_id=boss.id)
    snapshot.tools = [a_tool("Unused")]

    lost = render_crew(snapshot).unrepresented

    assert [(item.file, item.path, item.value) for item in lost] == [
        ("team", ("process",), "PARALLEL"),
        ("team", ("manager_id",), "Boss"),
        ("agentsYaml", ("clerk", "expertise"), "EXPERT"),
        ("agentsYaml", ("clerk", "skills"), '["filing"]'),
        ("agentsYaml", ("clerk", "supervisor_id"), "Boss"),
        ("tasksYaml", ("file", "priority"), "9"),
        ("tasksYaml", ("file", "agent"), ""),
        ("team", ("tools",), "Unused"),
    ]


def test_every_setting_that_the_files_have_no_place_for_is_listed() -> None:
    role = a_role("Clerk", max_tasks=2, max_parallel_tasks=1, can_ask=True)
    task = a_task(
        "file",
        role_id=role.id,
        max_budget=Decimal("1.5"),
        quality_preference=QualityPreference.FAST,
        output_schema={"type": "string"},
        approval_assignee="ann",
        approval_timeout_seconds=60.0,
        approval_default=ApprovalDefault.APPROVE,
    )
    snapshot = a_team(role, tasks=(task,))
    snapshot.team = replace(
        snapshot.team,
        max_parallel_tasks=2,
        when_busy=WhenBusy.REJECT,
        oversight=Oversight.CLOSE,
        is_cached=True,
        monthly_budget=Decimal(9),
    )

    lost = render_crew(snapshot).unrepresented

    assert [(*item.path, item.value) for item in lost] == [
        ("max_parallel_tasks", "2"),
        ("when_busy", "REJECT"),
        ("oversight", "CLOSE"),
        ("is_cached", "true"),
        ("monthly_budget", "9"),
        ("clerk", "max_tasks", "2"),
        ("clerk", "max_parallel_tasks", "1"),
        ("clerk", "can_ask", "true"),
        ("file", "max_budget", "1.5"),
        ("file", "quality_preference", "FAST"),
        ("file", "output_schema", '{"type": "string"}'),
        ("file", "approval_assignee", "ann"),
        ("file", "approval_timeout_seconds", "60.0"),
        ("file", "approval_default", "APPROVE"),
    ]


def test_a_goal_that_would_come_back_as_several_is_listed() -> None:
    files = render_crew(a_team(a_role("Writer", goals=["- one\n- two"])))

    assert [(item.path, item.value) for item in files.unrepresented] == [(("writer", "goal"), "- one - two")]


def test_keys_are_unique_python_names_and_tasks_keep_their_own_name() -> None:
    titles = ["Büro-Chef!", "buro chef", "東京", "3D Artist", "Class", "Crew"]
    roles = [a_role(title, position=index) for index, title in enumerate(titles)]
    task = a_task("Büro Chef")

    files = render_crew(a_team(*roles, tasks=(task,)))

    agents = ["buro_chef", "buro_chef_2", "agent", "agent_3d_artist", "agent_class", "crew_2"]
    assert list(yaml.safe_load(files.agents_yaml)) == agents
    assert yaml.safe_load(files.tasks_yaml)["buro_chef_3"]["name"] == "Büro Chef"
    assert imported(files.agents_yaml, files.tasks_yaml).snapshot.tasks[0].name == "Büro Chef"


def test_tasks_are_written_in_the_order_in_which_they_run() -> None:
    late, early = a_task("late", priority=9), a_task("early", position=1)
    snapshot = a_team(tasks=(late, early))
    snapshot.dependencies = [TaskDependency(DEFAULT_TENANT, snapshot.team.id, late.id, early.id)]

    assert list(yaml.safe_load(render_crew(snapshot).tasks_yaml)) == ["early", "late"]


@pytest.mark.parametrize("name", ["Deep Search", "deep_search", "SearchClass", "crewai_tool"])
def test_a_tool_is_found_by_name_slug_class_or_kind(name: str) -> None:
    tool = a_tool("Deep Search", ToolKind.CREWAI_TOOL, class_name="SearchClass")
    agents = f"a:\n  role: A\n  goal: g\n  backstory: b\n  tools: [{name}]\n"

    assert imported(agents, "", a_tool("Sums", ToolKind.CALCULATOR), tool).snapshot.tools == [tool]


def test_a_kind_that_several_tools_have_names_none_of_them() -> None:
    agents = "a:\n  role: A\n  goal: g\n  backstory: b\n  tools: [calculator]\n"
    sums = [a_tool(name, ToolKind.CALCULATOR) for name in ("Sums", "More sums")]

    crew = imported(agents, "", *sums)

    assert crew.snapshot.tools == []
    assert crew.unrepresented[0].path == ("a", "tools", "0")


def test_tools_that_share_a_slug_are_written_by_name() -> None:
    tools = (a_tool("Sums!"), a_tool("Sums?"), a_tool("検索"))
    before = a_team(a_role("Clerk"), tools=tools)

    files = render_crew(before)

    assert yaml.safe_load(files.agents_yaml)["clerk"]["tools"] == ["Sums!", "Sums?", "検索"]
    assert imported(files.agents_yaml, files.tasks_yaml, *tools).snapshot.tools == list(tools)


def test_empty_files_make_a_team_without_roles_and_tasks() -> None:
    for text in ("", "# nothing yet\n", "{}", "---\n", "null"):
        snapshot = imported(text, text).snapshot

        assert (snapshot.roles, snapshot.tasks) == ([], [])
    assert render_crew(a_team()) == CrewFiles("{}\n", "{}\n", [])


def test_an_explicitly_empty_context_is_listed() -> None:
    tasks = "t:\n  description: d\n  expected_output: e\n  context: []\n  agent:\n"

    crew = imported("", tasks)

    assert [(item.path, item.value) for item in crew.unrepresented] == [(("t", "context"), "[]")]
    assert crew.snapshot.tasks[0].role_id is None


LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n  role: [x\nb: y\n", "Line 3: did not find expected ',' or ']'."),
        ("a:\n\tb: c\n", "Line 2: found character that cannot start any token."),
        (LAUGHS, "Line 2: aliases are not supported, write the value out."),
        ("a: 1\na: 2\n", "Line 2: the key 'a' stands here twice."),
        ("a:\n  goal: x\n  goal: y\n", "Line 3: the key 'goal' stands here twice."),
        ("a: !!python/object/apply:os.system [ls]\n", "Line 1: tags are not supported."),
        ("? [a]\n: b\n", "Line 1: a key must be a text."),
        ("a: {}\n---\nb: {}\n", "Line 2: a second document begins, one is expected."),
        ("a: " + "[" * 50_000, "Line 1: values are nested deeper than 20 levels."),
        ("- x\n" * (MAX_VALUES + 1), f"Line {MAX_VALUES}: more than {MAX_VALUES} values."),
        ("é" * (MAX_BYTES // 2 + 1), f"At most {MAX_BYTES} bytes."),
        ("a:\n  b: \ud800\n", "Line 2: this is no valid Unicode."),
        ("a: \x00", "This is no YAML: it has characters that are not allowed."),
        ('a: "\\UFFFFFFFF"', "Line 1: found invalid Unicode character escape code."),
        ("- a\n", "A mapping is expected: one key for each agent or task."),
        ("just words", "A mapping is expected: one key for each agent or task."),
        ("a: {}\n" + "".join(f"b{index}: {{}}\n" for index in range(500)), "At most 500 entries."),
    ],
)
def test_a_text_that_is_no_such_yaml_is_refused_with_its_line(text: str, message: str) -> None:
    assert problems_of(text, TASKS_YAML) == [(("agentsYaml",), message)]
    assert problems_of(AGENTS_YAML, text) == [(("tasksYaml",), message)]


def test_problems_of_both_files_are_told_at_once() -> None:
    assert [path for path, _ in problems_of("a: b", "[")] == [("agentsYaml", "a"), ("tasksYaml",)]


def test_wrong_shapes_are_located() -> None:
    agents = "a:\n  role: 7\n  goal: [x]\n  llm: {}\n  tools: x\n  allow_delegation: maybe\n  max_tokens: 1_0\n"
    tasks = "t:\n  description:\n  expected_output: e\n  agent: nobody\n  context: [t2, 5]\n  name: yes\n"

    assert problems_of(agents, tasks) == [
        (("agentsYaml", "a", "role"), "A text is expected."),
        (("agentsYaml", "a", "goal"), "A text is expected."),
        (("agentsYaml", "a", "backstory"), "CrewAI needs this text."),
        (("agentsYaml", "a", "llm"), "A text is expected."),
        (("agentsYaml", "a", "max_tokens"), "A whole number is expected."),
        (("agentsYaml", "a", "allow_delegation"), "true or false is expected."),
        (("agentsYaml", "a", "tools"), "A list of texts is expected."),
        (("tasksYaml", "t", "name"), "A text is expected."),
        (("tasksYaml", "t", "description"), "CrewAI needs this text."),
        (("tasksYaml", "t", "agent"), "There is no agent 'nobody'."),
        (("tasksYaml", "t", "context"), "A list of texts is expected."),
    ]


def test_unknown_contexts_and_equal_names_are_located() -> None:
    tasks = (
        "t:\n  description: d\n  expected_output: e\n  context: [u, ghost]\n"
        "u:\n  description: d\n  expected_output: e\n  name: t\n"
    )

    assert problems_of("", tasks) == [
        (("tasksYaml", "t", "name"), "Another task has this name."),
        (("tasksYaml", "u", "name"), "Another task has this name."),
        (("tasksYaml", "t", "context", "1"), "There is no task 'ghost'."),
    ]


def test_the_domains_own_rules_speak_in_the_words_of_the_files() -> None:
    agents = f"a:\n  role: |\n    two\n    lines\n  goal: ''\n  backstory: {'b' * 20_001}\n  llm: os.environ/KEY\n"
    tasks = "t:\n  description: d\n  expected_output: ' '\n"

    assert [path for path, _ in problems_of(agents, tasks)] == [
        ("agentsYaml", "a", "role"),
        ("agentsYaml", "a", "backstory"),
        ("agentsYaml", "a", "goal"),
        ("agentsYaml", "a", "llm"),
        ("tasksYaml", "t", "expected_output"),
    ]


def test_a_team_name_is_checked_too() -> None:
    with pytest.raises(Invalid) as caught:
        parse_crew("", "", DEFAULT_TENANT, PROJECT, " ", [])

    assert [problem.path for problem in caught.value.problems] == [("name",)]


def test_tasks_that_wait_for_each_other_are_refused_with_the_cycle_named() -> None:
    tasks = "".join(
        f"{key}:\n  description: d\n  expected_output: e\n  context: [{after}]\n"
        for key, after in (("x", "y"), ("y", "z"), ("z", "x"))
    )

    [(path, message)] = problems_of("", tasks)

    assert (path[0], path[2]) == ("tasksYaml", "context")
    rings = [f"{a} → {b} → {c} → {a}" for a, b, c in ("xyz", "yzx", "zxy")]
    assert message in {f"These tasks would wait for each other: {ring}." for ring in rings}
    assert problems_of("", "x:\n  description: d\n  expected_output: e\n  context: [x]\n") == [
        (("tasksYaml", "x", "context"), "These tasks would wait for each other: x → x.")
    ]


# Everything that YAML could mistake for its own, and what fonts forget.
LETTERS = st.sampled_from([*"abZ09 :#-?!&*%@`'\"\\{}[]|>,=~_.<", "é", "ß", "東", "🚢", "\u00a0", "\u0301"])
BREAKS = st.sampled_from(
    ["\n", "\n\n", "\n ", " \n", "\t", "\r", "\x85", "\u2028", "\ufeff", "\x07", "- ", "\n- ", "---"]
)
WORDS = st.sampled_from(["yes", "null", "1e3", "0x1F", "2024-01-01", "<<", "...", "{topic}", "long word " * 12])


def texts(parts: st.SearchStrategy[str], most: int) -> st.SearchStrategy[str]:
    joined = st.lists(parts, min_size=1, max_size=12).map(lambda drawn: "".join(drawn)[:most])
    return joined.filter(lambda text: bool(text.strip()))


NAMES = texts(LETTERS | WORDS, 200).map(lambda text: "".join(filter(str.isprintable, text))).filter(str.strip)
TEXTS = texts(LETTERS | WORDS | BREAKS, 1000)
MODELS = st.none() | st.sampled_from(["openai/gpt-4o-mini", "groq/openai/gpt-oss-120b", "ollama_chat/qwen3:8b"])


@st.composite
def teams(draw: st.DrawFn) -> TeamSnapshot:
    team = Team(DEFAULT_TENANT, PROJECT, "Guides")
    tools = [a_tool(name) for name in draw(st.lists(NAMES, max_size=3, unique=True))]
    roles = [
        Role(
            DEFAULT_TENANT,
            team.id,
            title,
            goals=draw(st.lists(TEXTS, min_size=1, max_size=3)),
            backstory=draw(TEXTS),
            model=draw(MODELS),
            max_tokens=draw(st.none() | st.integers(1, 1_000_000)),
            is_delegation_allowed=draw(st.booleans()),
            position=index,
        )
        for index, title in enumerate(draw(st.lists(NAMES, max_size=3)))
    ]
    owners = st.sampled_from([None, *(role.id for role in roles)])
    tasks = [
        Task(
            DEFAULT_TENANT,
            team.id,
            name,
            draw(TEXTS),
            draw(TEXTS),
            role_id=draw(owners),
            guardrail=draw(st.none() | TEXTS),
            is_approval_required=draw(st.booleans()),
            position=index,
        )
        for index, name in enumerate(draw(st.lists(NAMES, max_size=4, unique=True)))
    ]
    links = [RoleTool(DEFAULT_TENANT, role.id, tool.id) for role in roles for tool in tools if draw(st.booleans())]
    waits = [(a.id, b.id) for index, a in enumerate(tasks) for b in tasks[:index] if draw(st.booleans())]
    return TeamSnapshot(team, roles, tasks, [_link(team, *pair) for pair in waits], tools, links)


def _link(team: Team, waiting: TaskId, awaited: TaskId) -> TaskDependency:
    return TaskDependency(DEFAULT_TENANT, team.id, waiting, awaited)


def but_goals(roles: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [(role[0], *role[2:]) for role in roles]


@settings(deadline=None, max_examples=60)
@given(teams())
def test_any_team_survives_the_way_out_and_in(before: TeamSnapshot) -> None:
    files = render_crew(before)

    crew = imported(files.agents_yaml, files.tasks_yaml, *before.tools)

    after, expected = essence(crew.snapshot), essence(before)
    if any(item.path[-1] == "goal" for item in files.unrepresented):
        after["roles"], expected["roles"] = but_goals(after["roles"]), but_goals(expected["roles"])
    assert after == expected
    assert crew.unrepresented == []
    plain = yaml.safe_load(files.agents_yaml)
    assert [entry["role"] for entry in plain.values()] == [role.title for role in before.roles]
    assert [entry["backstory"] for entry in plain.values()] == [role.backstory for role in before.roles]
