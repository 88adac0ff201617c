"""Names for types that refer to each other across modules."""

from typing import TYPE_CHECKING, Annotated

import strawberry

if TYPE_CHECKING:
    from schema.types.alert import Alert, AlertRule
    from schema.types.approval import Approval
    from schema.types.credential import Credential
    from schema.types.events import ExecutionEvent
    from schema.types.execution import Execution, TaskExecution
    from schema.types.generation import Generation
    from schema.types.metrics import Metrics
    from schema.types.model import Model
    from schema.types.optimization import Optimization
    from schema.types.project import Project, Tenant
    from schema.types.recommendation import RecommendationReport
    from schema.types.role import Role
    from schema.types.schedule import Schedule, ScheduleFire
    from schema.types.task import Task
    from schema.types.team import Team
    from schema.types.template import TeamOrigin, Template
    from schema.types.tool import Tool
    from schema.types.webhook import Webhook

TenantType = Annotated["Tenant", strawberry.lazy("schema.types.project")]
ProjectType = Annotated["Project", strawberry.lazy("schema.types.project")]
TeamType = Annotated["Team", strawberry.lazy("schema.types.team")]
RoleType = Annotated["Role", strawberry.lazy("schema.types.role")]
TaskType = Annotated["Task", strawberry.lazy("schema.types.task")]
MetricsType = Annotated["Metrics", strawberry.lazy("schema.types.metrics")]
ModelType = Annotated["Model", strawberry.lazy("schema.types.model")]
ToolType = Annotated["Tool", strawberry.lazy("schema.types.tool")]
CredentialType = Annotated["Credential", strawberry.lazy("schema.types.credential")]
WebhookType = Annotated["Webhook", strawberry.lazy("schema.types.webhook")]
ExecutionType = Annotated["Execution", strawberry.lazy("schema.types.execution")]
ScheduleType = Annotated["Schedule", strawberry.lazy("schema.types.schedule")]
ScheduleFireType = Annotated["ScheduleFire", strawberry.lazy("schema.types.schedule")]
TaskExecutionType = Annotated["TaskExecution", strawberry.lazy("schema.types.execution")]
ExecutionEventType = Annotated["ExecutionEvent", strawberry.lazy("schema.types.events")]
AlertType = Annotated["Alert", strawberry.lazy("schema.types.alert")]
AlertRuleType = Annotated["AlertRule", strawberry.lazy("schema.types.alert")]
ApprovalType = Annotated["Approval", strawberry.lazy("schema.types.approval")]
GenerationType = Annotated["Generation", strawberry.lazy("schema.types.generation")]
TemplateType = Annotated["Template", strawberry.lazy("schema.types.template")]
TeamOriginType = Annotated["TeamOrigin", strawberry.lazy("schema.types.template")]
OptimizationType = Annotated["Optimization", strawberry.lazy("schema.types.optimization")]
RecommendationReportType = Annotated["RecommendationReport", strawberry.lazy("schema.types.recommendation")]
