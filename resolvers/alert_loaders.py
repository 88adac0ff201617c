"""The access paths of alert rules and their alerts."""

from domain.model.alert import Alert, AlertRule
from resolvers.loaders import ById, Pages

AlertById = ById(Alert)
AlertRuleById = ById(AlertRule)
AlertsByTenant = Pages(Alert, "tenant_id")
AlertsByRule = Pages(Alert, "rule_id")
AlertRulesByTenant = Pages(AlertRule, "tenant_id")
