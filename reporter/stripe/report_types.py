"""The types of Stripe's asynchronous error reports."""

from typing import Final

ERROR_REPORT: Final = "v1.billing.meter.error_report_triggered"
NO_METER_FOUND: Final = "v1.billing.meter.no_meter_found"
REPORT_TYPES: Final = (ERROR_REPORT, NO_METER_FOUND)
