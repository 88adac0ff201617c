"""What a deployment's settings mean for what is said of teams before they run."""

from app.settings import Settings
from domain.model.findings import ToolRules
from domain.services.assessment import AssessmentRules


def assessment_rules(settings: Settings) -> AssessmentRules:
    """The same in API and worker: whatever a run would meet there."""
    has_search = bool(settings.search_endpoint or (settings.search_kind == "serper" and settings.search_key))
    classes = frozenset(entry.partition(":")[0].strip() for entry in settings.crewai_tools)
    return AssessmentRules(settings.model, settings.max_output_tokens, ToolRules(has_search, classes))
