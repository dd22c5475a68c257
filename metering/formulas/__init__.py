"""What a meter makes of an event: filters on dimensions, formulas over quantities, and how both are written in the settings file. Pure.

Read: dimension_filters, meter_formulas, meter_entries, rate_cards.
"""
