"""Templates as YAML, as they come in from people and go out to them: what is wrong is located in the input."""

from domain.errors import Invalid, Problem
from domain.model.library.loading import TemplateFile, parse_template, render_template
from domain.model.rules import Rules
from domain.model.template import Template, TemplateContent


def read_template(text: str, name: str | None = None) -> TemplateFile:
    """The template in the text, under this name if there is one.

    Raises Invalid, under `yaml` and there by the keys of the file, or under `name`.
    """
    if name is not None:
        rules = Rules()
        rules.name(name, "name")
        rules.hold()
    try:
        return parse_template(text, name)
    except Invalid as error:
        raise Invalid([Problem(each.message, ("yaml", *each.path)) for each in error.problems]) from None


def write_template(template: Template, content: TemplateContent, number: int) -> str:
    """This version as YAML that `read_template` takes."""
    return render_template(template, content, number)
