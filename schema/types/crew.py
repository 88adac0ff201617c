"""CrewAI's own files."""

import strawberry


@strawberry.type(description="Something of a crew that cannot be represented, and is therefore not carried over.")
class Unrepresented:
    file: str = strawberry.field(description="agentsYaml, tasksYaml, or team.")
    path: list[str] = strawberry.field(description="Where it stands in the file.")
    value: str = strawberry.field(description="What stands there, shortened.")
    reason: str = strawberry.field(description="Why it is not carried over.")


@strawberry.type(description="A team as CrewAI's own files.")
class CrewFiles:
    agents_yaml: str = strawberry.field(description="The text of agents.yaml.")
    tasks_yaml: str = strawberry.field(description="The text of tasks.yaml.")
    unrepresented: list[Unrepresented] = strawberry.field(description="What of the team the files cannot hold.")
