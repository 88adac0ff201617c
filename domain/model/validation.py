"""What is found about a team before it runs: errors, warnings, recommendations, and what it would take."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from domain.model.estimate import Estimate, SuccessEstimate


class Severity(Enum):
    """How much a finding matters: with an ERROR the team cannot do its work."""

    ERROR = "ERROR"
    WARNING = "WARNING"
    RECOMMENDATION = "RECOMMENDATION"


class FindingCode(Enum):
    """What was found, for programs."""

    INVALID = "INVALID"
    NO_ROLE = "NO_ROLE"
    NO_ACTIVE_ROLE = "NO_ACTIVE_ROLE"
    DEPENDENCY_CYCLE = "DEPENDENCY_CYCLE"
    SUPERVISOR_CYCLE = "SUPERVISOR_CYCLE"
    NO_CAPABLE_ROLE = "NO_CAPABLE_ROLE"
    MISSING_MANAGER = "MISSING_MANAGER"
    UNUSABLE_TOOL = "UNUSABLE_TOOL"
    UNUSABLE_MODEL = "UNUSABLE_MODEL"
    NO_MODEL = "NO_MODEL"
    TOO_MANY_ROLES = "TOO_MANY_ROLES"
    EXPERTISE_TOO_HIGH = "EXPERTISE_TOO_HIGH"
    TOOL_NOT_ALLOWED = "TOOL_NOT_ALLOWED"
    OVER_BUDGET = "OVER_BUDGET"
    DUPLICATE_TITLE = "DUPLICATE_TITLE"
    ROLE_WITHOUT_TASK = "ROLE_WITHOUT_TASK"
    OVER_DELEGATION = "OVER_DELEGATION"
    BUDGET_BELOW_ESTIMATE = "BUDGET_BELOW_ESTIMATE"
    NO_TASKS = "NO_TASKS"
    COULD_RUN_IN_PARALLEL = "COULD_RUN_IN_PARALLEL"
    MANY_ROLES = "MANY_ROLES"
    UNUSED_TOOL = "UNUSED_TOOL"
    VAGUE_TASK = "VAGUE_TASK"
    SKILL_NOT_IN_CATALOGUE = "SKILL_NOT_IN_CATALOGUE"
    NO_OUTPUT_CHECK = "NO_OUTPUT_CHECK"
    HARDLY_RECOGNISED = "HARDLY_RECOGNISED"
    ADJUSTED = "ADJUSTED"
    KICKOFF_INPUTS = "KICKOFF_INPUTS"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found. `subject` names the role, task or tool it is about, None: the team as a whole."""

    severity: Severity
    code: FindingCode
    message: str
    subject: str | None = None
    suggestion: str | None = None


@dataclass(frozen=True, slots=True)
class Validation:
    """All that was found. `estimate` and `success` are None where an error makes them senseless."""

    findings: Sequence[Finding]
    estimate: Estimate | None = None
    success: SuccessEstimate | None = None

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity is Severity.ERROR]

    @property
    def warnings(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity is Severity.WARNING]

    @property
    def recommendations(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity is Severity.RECOMMENDATION]

    @property
    def is_valid(self) -> bool:
        return not self.errors
