"""The tool by which a role asks a human; whoever answers may take days, so the work ends and is taken up again."""

from typing import Any, Final

from crewai.tools import BaseTool
from pydantic import BaseModel, Field, PrivateAttr, ValidationError

from domain.crew.session import TaskSession
from domain.crew.tools.watched import ONE_BY_ONE, problems_of
from domain.model.texts import storable

NAME: Final = "ask_human"
MAX_QUESTION: Final = 4_000
_DESCRIPTION: Final = (
    "Ask a human what you cannot know or may not decide yourself, and get the answer. It may take long: ask only what "
    "the task cannot be done without, everything in one question, and never the same question again."
)


class Arguments(BaseModel):
    """What the tool is called with."""

    question: str = Field(
        min_length=1, max_length=MAX_QUESTION, description="The question, with all that the human needs to answer it."
    )


class AskHuman(BaseTool):
    """Answers with what a human said; without that, it ends the work for now."""

    _session: TaskSession = PrivateAttr()

    @classmethod
    def made(cls, session: TaskSession) -> "AskHuman":
        tool = cls(name=NAME, description=_DESCRIPTION, args_schema=Arguments, max_usage_count=ONE_BY_ONE)
        tool._session = session
        return tool

    def run(self, *args: Any, **kwargs: Any) -> str:
        """The answer, or what is wrong with the question; raises WorkStopped when nobody has answered yet."""
        del args  # CrewAI gives arguments by name
        try:
            given = Arguments.model_validate(kwargs)
        except ValidationError as error:
            return f"Error: {problems_of(error)}"
        return self._session.ask_human(storable(given.question))

    def _run(self, **kwargs: Any) -> str:
        return self.run(**kwargs)
