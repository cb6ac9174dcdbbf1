from flowops.checks.derivatives import Differenced, values_only
from flowops.checks.flow_map import check_flow_map
from flowops.checks.field import check_field
