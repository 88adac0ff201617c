"""Every template that ships is instantiated and run to its end by real workers, CrewAI and LiteLLM."""

import time
from typing import Any

from domain.model.library import ShippedTemplate, shipped_templates
from domain.model.parameters import filled
from domain.model.task import placeholders
from domain.model.template import Parameter, ParameterType, TemplateKind
from resolvers.node_ids import node_id
from tests.e2e.conftest import Fleet
from tests.support.cluster import Api, uuid_of
from tests.support.model_server import Answer, Request, Text
from tests.support.processes import wait_until

ENDS = {"COMPLETED", "FAILED", "CANCELLED"}
LONGEST_SECONDS = 300.0
STATUSES = "query($ids: [ID!]!) { nodes(ids: $ids) { ... on Execution { id status failure { code message } } } }"
TASKS = "SELECT name, status, role_title, output FROM task_execution WHERE execution_id = %s ORDER BY position"


def answering(request: Request) -> Answer:
    """Whatever is asked, a text; a judge finds it good."""
    is_judged = "the verdict is PASSED" in request.text
    return Text('{"verdict": "PASSED", "feedback": ""}' if is_judged else "A result that can be read.")


def a_value(parameter: Parameter) -> Any:
    """Some value that the parameter takes."""
    if parameter.type is ParameterType.NUMBER:
        return parameter.least or 1
    if parameter.type is ParameterType.LIST:
        return ["first", "second"]
    return parameter.options[0] if parameter.options else f"the {parameter.name} of this test"


def values_of(shipped: ShippedTemplate) -> dict[str, Any]:
    """Values of the parameters that need one; the others keep their defaults."""
    return {each.name: a_value(each) for each in shipped.content.parameters if each.is_required}


def inputs_of(shipped: ShippedTemplate) -> dict[str, str]:
    """What a kickoff has to give."""
    tasks = filled(shipped.content, values_of(shipped)).tasks
    texts = [text for task in tasks for text in (task.description, task.expected_output)]
    return {name: f"Some {name}." for name in placeholders(texts)}


def made(api: Api, shipped: ShippedTemplate, project_id: str) -> str:
    """The id of a team that is, or has the only task that is, made of the template."""
    given = {"templateId": node_id("Template", shipped.template.id), "parameters": values_of(shipped)}
    if shipped.template.kind is TemplateKind.TEAM:
        payload = api.mutate("instantiateTemplate", "team { id }", projectId=project_id, **given)
        return str(payload["team"]["id"])
    team_id = api.make("Team", projectId=project_id, name=shipped.template.name)
    api.make("Role", teamId=team_id, title="Expert")
    api.mutate("instantiateTaskTemplate", "task { id }", teamId=team_id, **given)
    return team_id


def test_every_template_makes_a_team_that_runs_to_its_end(fleet: Fleet) -> None:
    api, models = fleet.here, fleet.cluster.models
    models.default = answering
    project_id = api.make("Project", name="Library")

    began = time.monotonic()
    teams = {shipped.template.name: made(api, shipped, project_id) for shipped in shipped_templates()}
    running = {
        shipped.template.name: api.kickoff(teams[shipped.template.name], inputs=inputs_of(shipped))
        for shipped in shipped_templates()
    }

    def ended() -> list[Any]:
        return list(api.ask(STATUSES, ids=list(running.values()))["nodes"])

    wait_until(lambda: all(each["status"] in ENDS for each in ended()), LONGEST_SECONDS)
    print(f"{len(running)} templates ran within {time.monotonic() - began:.1f} s")  # noqa: T201 - the figure
    assert [each for each in ended() if each["status"] != "COMPLETED"] == []
    for shipped in shipped_templates():
        tasks = fleet.cluster.rows(TASKS, uuid_of(running[shipped.template.name]))
        wanted = [task.name for task in filled(shipped.content, values_of(shipped)).tasks]
        assert set(wanted) <= {task["name"] for task in tasks}, shipped.template.name
        assert {task["status"] for task in tasks} == {"COMPLETED"}
        assert all(task["output"] for task in tasks)
